"""What is done when a run collapses: a warning, a stop, or the way back to the last healthy checkpoint.

`CollapseWatch` works with any TRL trainer; what a trainer does not log is not looked at. Rolling back is what
`mgrpo train` does.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mgrpo.errors import reason_of
from mgrpo.monitoring.collapse import ON_COLLAPSE, CollapseAlarm, Event
from mgrpo.runs.checkpoints import checkpoints, remove
from mgrpo.runs.files import (
    ALARMS_FILE,
    COMPLETIONS_DIRECTORY,
    METRICS_FILE,
    read_rows,
    write_whole,
)

ROLLED_BACK_DIRECTORY = "rolled-back"
"""In a run's directory: metrics and completions of what was rolled back, a numbered directory each time."""


class CollapseWatch(TrainerCallback):
    """Looks at each logged row for signs of a collapse, and writes `alarms.jsonl` into the output directory.

    Args:
        on_collapse: `warn` says so; `stop` also stops training, with a checkpoint; `rollback` stops without one, for
            the caller to go back.
        tell: takes each event and its sentence; by default the sentence is printed on stderr.

    Attributes:
        alarm: the alarm itself.
        stop_event: the event that stopped training, or None.
    """

    def __init__(self, on_collapse: str = "warn", tell: Callable[[Event, str], None] | None = None) -> None:
        if on_collapse not in ON_COLLAPSE:
            raise ValueError(f"on_collapse must be one of {ON_COLLAPSE}, got {on_collapse!r}")
        self.on_collapse = on_collapse
        self.tell = tell or (lambda _, text: print(text, file=sys.stderr))
        self.alarm = CollapseAlarm()
        self.stop_event: Event | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """See again what a resumed run had logged, so that its early phase stays its own."""
        self.alarm, self.stop_event = CollapseAlarm(), None
        directory = Path(args.output_dir)
        if not state.is_world_process_zero:
            return
        if state.global_step and (directory / METRICS_FILE).exists():
            for row in read_rows(directory / METRICS_FILE):
                if row["step"] <= state.global_step:
                    self.alarm.update(row)
        _drop_events_after(directory, state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Take the row; say what it means, and stop where that is asked for."""
        event = None
        if state.is_world_process_zero:
            event = self.alarm.update({"step": state.global_step, **(logs or {})})
        if args.world_size > 1:  # all processes stop, or none
            event = broadcast_object_list([event])[0]
        if event is None:
            return
        if state.is_world_process_zero:
            self._report(event, Path(args.output_dir))
        if event.kind == "alarm" and self.on_collapse != "warn" and self.stop_event is None:
            self.stop_event = event
            control.should_training_stop = True
            control.should_save = self.on_collapse == "stop"

    def _report(self, event: Event, directory: Path) -> None:
        try:
            append_event(event, directory)
        except OSError as error:
            self.tell(event, f"{directory / ALARMS_FILE} could not be written ({reason_of(error)})")
        if event.kind == "cleared":
            self.tell(event, f"collapse alarm: over at step {event.step}")
            return
        healthy = healthy_checkpoint(directory, event)
        where = f"the last healthy checkpoint is {healthy}" if healthy else "there is no healthy checkpoint"
        self.tell(event, f"collapse alarm at step {event.step}: {event.message}; {where}")


def healthy_checkpoint(run_directory: Path, event: Event) -> Path | None:
    """The last checkpoint of a run that an alarm does not condemn, or None."""
    healthy = [path for step, path in checkpoints(run_directory) if step <= (event.healthy_step or 0)]
    return healthy[0] if healthy else None


def roll_back(run_directory: Path, event: Event, settings: dict[str, Any]) -> Path | None:
    """Take a run's directory back to its last healthy checkpoint; log it.

    Metrics and completions of what came after go to `rolled-back/`; its checkpoints are deleted. The line in the log
    comes last: a run that is killed before it comes to the same alarm again, and goes back once more.

    Args:
        run_directory: the run's.
        event: the alarm.
        settings: what training goes on with, for the log.

    Returns:
        The checkpoint, or None where the run has to begin anew.
    """
    healthy = healthy_checkpoint(run_directory, event)
    step = int(healthy.name.rsplit("-", 1)[1]) if healthy else 0
    for number, checkpoint in checkpoints(run_directory):
        if number > step:
            remove(checkpoint)
    kept = run_directory / ROLLED_BACK_DIRECTORY / str(len(rollbacks(run_directory)) + 1)
    shutil.rmtree(kept, ignore_errors=True)
    (kept / COMPLETIONS_DIRECTORY).mkdir(parents=True)
    # of the rows up to the step the run itself keeps its own
    rows = [row for row in read_rows(run_directory / METRICS_FILE) if row["step"] > step]
    (kept / METRICS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for table in (run_directory / COMPLETIONS_DIRECTORY).glob("step-*.parquet"):
        if int(table.stem.split("-")[1]) > step:
            table.rename(kept / COMPLETIONS_DIRECTORY / table.name)
    append_event(
        Event(
            step=event.step,
            kind="rollback",
            signals=event.signals,
            message=f"rolled back to {healthy.name if healthy else 'the beginning'}, on with "
            + ", ".join(f"{name} {value:g}" for name, value in settings.items()),
            healthy_step=step,
            settings=settings,
        ),
        run_directory,
    )
    return healthy


def append_event(event: Event, run_directory: Path) -> None:
    """Add a line to a run's `alarms.jsonl`, whole or not at all."""
    path = run_directory / ALARMS_FILE
    rows = read_rows(path) if path.exists() else []
    write_whole(path, "".join(json.dumps(row) + "\n" for row in (*rows, event.as_row())))


def rollbacks(run_directory: Path) -> list[dict[str, Any]]:
    """The rollbacks that a run has had, as logged."""
    path = run_directory / ALARMS_FILE
    return [row for row in read_rows(path) if row["kind"] == "rollback"] if path.exists() else []


def _drop_events_after(run_directory: Path, step: int) -> None:
    """Of a run that goes on at a step: what came later will be seen again, except before the last rollback."""
    path = run_directory / ALARMS_FILE
    if not path.exists():
        return
    rows = read_rows(path)
    last = max((i for i, row in enumerate(rows) if row["kind"] == "rollback"), default=-1)
    kept = [row for i, row in enumerate(rows) if i <= last or row["step"] <= step]
    write_whole(path, "".join(json.dumps(row) + "\n" for row in kept))
