"""A collapse alarm that needs no right answers: a few signs, each a limit on one metric that must hold for some rows.

A run's metric rows go in one by one, an event comes out where the alarm begins or ends. Nothing is written here:
`training/collapse_callback.py` acts on it, for any TRL trainer.

Which signs, and where their limits lie, was calibrated on runs of four studies; studies/monitoring.md says how, and
how often the alarm comes in time, late, or for nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

from mgrpo.errors import UserError
from mgrpo.runs import metrics as names
from mgrpo.runs.reading import WrongTypeError, read_as, read_json_lines

ON_COLLAPSE = ("warn", "stop", "rollback")
"""What a run does when the alarm goes off."""
MAX_MESSAGE = 1000
"""Characters of an event's message that are read; the alarm's own have some hundred."""
EARLY_ROWS = 5
"""The first rows of a run, whose median is what relative limits are multiples of."""


@dataclass(frozen=True)
class Sign:
    """One sign of a collapse: a metric beyond a limit for some rows.

    Attributes:
        metric: the name it is logged under. Rows without it are ignored.
        direction: which side of the limit is bad.
        limit: in the metric's own unit, or if `is_relative` as a multiple of the run's early median.
        num_rows: rows in a row beyond the limit, until it counts; within it, until it no longer does.
    """

    metric: str
    direction: Literal["above", "below"]
    limit: float
    meaning: str
    is_relative: bool = False
    num_rows: int = 3


SIGNS = (
    Sign(names.PROBE, "below", -0.012, "the policy is forgetting what the initial model mostly answered", num_rows=1),
    Sign(names.FORGOTTEN, "above", 0.4, "the policy has forgotten what the initial model mostly answered", num_rows=1),
    Sign(names.KL, "above", 0.4, "the policy is far from the initial model"),
    Sign(names.FLIP_RATE, "above", 0.3, "labels are others than at the prompt's last visit"),
    Sign(names.NONE_RATE, "above", 0.3, "completions have no answer"),
    Sign(names.TOP_SHARE, "above", 0.5, "different prompts have the same label"),
    Sign(names.DISTINCT, "below", 0.6, "the labels of different prompts become the same", is_relative=True),
    Sign(names.TRL_LENGTH, "below", 0.7, "completions shrink", is_relative=True),
    Sign(names.TRL_LENGTH, "above", 1.5, "completions grow", is_relative=True),
    Sign(names.REWARD_STD, "below", 0.3, "nearly all completions have the same reward", is_relative=True),
)


@dataclass(frozen=True)
class Event:
    """What happened to a run, a line of `alarms.jsonl`.

    Attributes:
        step: of the row at which it was seen, in optimizer steps.
        kind: `alarm`, `cleared`, and what was done about it: `stop`, `rollback`.
        signals: the metrics whose signs are on, those that came with this event.
        healthy_step: with an alarm, the last step at which none of its signs was half way to its limit.
        settings: with a rollback, what training continues with.
    """

    step: int
    kind: Literal["alarm", "cleared", "stop", "rollback"]
    signals: list[str]
    message: str
    healthy_step: int | None = None
    settings: dict[str, float] = field(default_factory=dict)

    def as_row(self) -> dict[str, Any]:
        """The event as a JSON object, without what it has not."""
        return {name: value for name, value in asdict(self).items() if value not in (None, {})}


def read_events(path: Path) -> list[dict[str, Any]]:
    """Read an `alarms.jsonl`: its events as rows; what is none, or has fields of other types, is left out."""
    events = []
    try:
        for _, row in read_json_lines(path):
            try:
                fields = {name: value for name, value in dict(row).items() if value is not None}
                event = read_as(Event, {"message": "", "signals": [], **fields})
            except (WrongTypeError, TypeError, ValueError):  # the latter two where it is no object
                continue
            cut = f"{event.message[:MAX_MESSAGE]} …" if len(event.message) > MAX_MESSAGE else event.message
            events.append(replace(event, message=cut).as_row())
    except (FileNotFoundError, UserError):
        pass
    return events


class _Watch:
    """One sign, row by row."""

    def __init__(self, sign: Sign) -> None:
        self.sign = sign
        self.is_on = False
        self.healthy_step = self._in_a_row = 0
        self.value = self.limit = math.nan
        self._early: list[float] = []

    def update(self, step: int, value: float) -> None:
        """Take a row's value."""
        sign = self.sign
        if sign.is_relative and len(self._early) < EARLY_ROWS:
            self._early.append(value)
            self.healthy_step = step
            return
        start = median(self._early) if sign.is_relative else 0.0
        self.value, self.limit = value, sign.limit * start if sign.is_relative else sign.limit
        if not self._is_beyond(value, (start + self.limit) / 2):
            self.healthy_step = step
        is_beyond = self._is_beyond(value, self.limit)
        self._in_a_row = self._in_a_row + 1 if is_beyond != self.is_on else 0
        if self._in_a_row >= sign.num_rows:
            self.is_on, self._in_a_row = is_beyond, 0

    def _is_beyond(self, value: float, limit: float) -> bool:
        return value > limit if self.sign.direction == "above" else value < limit

    def __str__(self) -> str:
        sign = self.sign
        return f"{sign.meaning} ({sign.metric} {self.value:.3g}, limit {self.limit:.3g})"


class CollapseAlarm:
    """Watches a run's rows; the alarm is on as long as any sign is.

    Args:
        signs: what to watch for; a sign whose metric the trainer does not log never comes on.
    """

    def __init__(self, signs: Sequence[Sign] = SIGNS) -> None:
        self._watches = [_Watch(sign) for sign in signs]

    @property
    def is_on(self) -> bool:
        """Whether any sign is on."""
        return any(watch.is_on for watch in self._watches)

    def update(self, row: dict[str, Any]) -> Event | None:
        """Take the next row, which has the optimizer step as `step`.

        Values that are missing, null or not finite are ignored.

        Returns:
            An alarm where it begins, or where another sign joins it; its end; or None.
        """
        before = {watch for watch in self._watches if watch.is_on}
        for watch in self._watches:
            value = row.get(watch.sign.metric)
            if isinstance(value, int | float) and math.isfinite(value):
                watch.update(row["step"], float(value))
        now = [watch for watch in self._watches if watch.is_on]
        new = [watch for watch in now if watch not in before]
        if new:
            return Event(
                step=row["step"],
                kind="alarm",
                signals=[watch.sign.metric for watch in new],
                message="; ".join(map(str, new)),
                healthy_step=min(watch.healthy_step for watch in new),
            )
        if before and not now:
            return Event(row["step"], "cleared", [watch.sign.metric for watch in before], "no sign is on any more")
        return None
