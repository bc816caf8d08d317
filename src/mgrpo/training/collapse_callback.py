"""What a run's logged rows are watched for: a collapse (warn, stop, roll back), and numbers that would be overlooked.

`CollapseWatch` works with any TRL trainer; what a trainer does not log is not checked.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mgrpo.errors import reason_of
from mgrpo.monitoring.alarms import append_event, drop_events_after, healthy_checkpoint
from mgrpo.monitoring.collapse import ON_COLLAPSE, CollapseAlarm, Event
from mgrpo.runs import metrics as names
from mgrpo.runs.files import ALARMS_FILE, METRICS_FILE, read_metrics

UNANSWERED_ROWS = 5
"""Logged rows in a row without any answer, until it is reported."""


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


class NumberWatch(TrainerCallback):
    """Checks each logged row, and explains numbers that would be overlooked.

    Args:
        tell: takes a sentence; by default it is printed on stderr.
    """

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self.tell = tell or (lambda text: print(text, file=sys.stderr))
        self._num_skipped = 0
        self._not_finite: set[str] = set()
        self._num_unanswered = 0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start again."""
        self._num_skipped, self._not_finite, self._num_unanswered = 0, set(), 0

    def on_log(self, _: Any, state: TrainerState, *__: Any, logs: dict[str, Any], **___: Any) -> None:
        """Take the row."""
        if not state.is_world_process_zero:
            return
        row, step = logs, state.global_step
        skipped = int(row.get(names.SKIPPED_STEPS) or 0)  # an evaluation's row has none
        new = {name: value for name, value in row.items() if _is_broken(value) and name not in self._not_finite}
        if skipped > self._num_skipped:
            self.tell(f"step {step}  a loss or gradient was not finite: {skipped} steps skipped so far")
            new.pop(names.GRAD_NORM, None)  # that is what was just said
            self._num_skipped = skipped
        if new:
            values = ", ".join(f"{name} {value}" for name, value in new.items())
            self.tell(f"step {step}  not finite, and null in metrics.jsonl: {values}; each is said once")
        self._not_finite |= new.keys()
        self._look_for_answers(row, step)

    def _look_for_answers(self, row: dict[str, Any], step: int) -> None:
        if names.NONE_RATE not in row:  # an evaluation's
            return
        self._num_unanswered = self._num_unanswered + 1 if row[names.NONE_RATE] == 1 else 0
        if self._num_unanswered == UNANSWERED_ROWS:
            self.tell(
                f"step {step}  nobody answers: no completion of the last {UNANSWERED_ROWS} logged steps had an answer "
                "to vote for. completions/ shows what was sampled, `mgrpo tasks show` how answers are asked for and "
                "read; does the extractor fit, do the completions end before max_completion_length?"
            )


def _is_broken(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
