"""Messages about a run's numbers: skipped steps, metrics that are not finite, nobody who answers."""

import math
import sys
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerState

from mgrpo.runs import metrics as names

UNANSWERED_ROWS = 5
"""Logged rows in a row without any answer, until it is said."""


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
