"""What is done when a run collapses: a warning, a stop, or a stop for `mgrpo train` to roll back.

`CollapseWatch` works with any TRL trainer; what a trainer does not log is not checked.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mgrpo.errors import reason_of
from mgrpo.monitoring.alarms import append_event, drop_events_after, healthy_checkpoint
from mgrpo.monitoring.collapse import ON_COLLAPSE, CollapseAlarm, Event
from mgrpo.runs.files import ALARMS_FILE, METRICS_FILE, read_metrics


class CollapseWatch(TrainerCallback):
    """Checks each logged row for signs of a collapse, and writes `alarms.jsonl` into the output directory.

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
        """Read again what a resumed run had logged, so that its early phase stays its own."""
        self.alarm, self.stop_event = CollapseAlarm(), None
        directory = Path(args.output_dir)
        if not state.is_world_process_zero:
            return
        for row in read_metrics(directory / METRICS_FILE) if state.global_step else ():
            if row["step"] <= state.global_step:
                self.alarm.update(row)
        drop_events_after(directory, state.global_step)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, *, logs: dict[str, Any], **_: Any
    ) -> None:
        """Take the row; say what it means, and stop where that is asked for."""
        event = None
        if state.is_world_process_zero:
            event = self.alarm.update({"step": state.global_step, **logs})
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
