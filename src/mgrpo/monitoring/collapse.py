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
"""The first rows of a run with a metric, whose median is the run's own start."""
CLEAR_ROWS = 5
"""Rows in a row that a sign must be closer to the start than to its limit, until it is off and can alarm again."""


@dataclass(frozen=True)
class Sign:
    """One sign of a collapse: a metric beyond a limit for some rows.

    Attributes:
        metric: the name it is logged under. Rows without it are ignored.
        direction: which side of the limit is bad.
        limit: in the metric's own unit (`value`); as a multiple of the run's start (`of_start`); or, for a share that
            differs between models and tasks, as a part of what the start leaves of 1 (`of_rest`).
        num_rows: rows in a row beyond the limit, until it counts.
    """

    metric: str
    direction: Literal["above", "below"]
    limit: float
    meaning: str
    unit: Literal["value", "of_start", "of_rest"] = "value"
    num_rows: int = 3


SIGNS = (
    Sign(names.PROBE, "below", -0.012, "the policy is forgetting what the initial model mostly answered", num_rows=1),
    Sign(names.FORGOTTEN, "above", 0.4, "the policy has forgotten what the initial model mostly answered", num_rows=1),
    Sign(names.KL, "above", 0.4, "the policy is far from the initial model"),
    Sign(names.FLIP_RATE, "above", 0.3, "more labels change from visit to visit than at the start", "of_rest"),
    Sign(names.NONE_RATE, "above", 0.3, "more completions have no answer than at the start", "of_rest"),
    # A step may have four prompts, of which three have one label by chance.
    Sign(names.TOP_SHARE, "above", 0.5, "more prompts have the same label than at the start", "of_rest", num_rows=5),
    Sign(names.DISTINCT, "below", 0.6, "the labels of different prompts become the same", "of_start", num_rows=5),
    Sign(names.TRL_LENGTH, "below", 0.7, "completions shrink", "of_start"),
    Sign(names.TRL_LENGTH, "above", 1.5, "completions grow", "of_start"),
    Sign(names.REWARD_STD, "below", 0.3, "nearly all completions have the same reward", "of_start"),
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
        if sign.unit != "value" and len(self._early) < EARLY_ROWS:
            self._early.append(value)
            self.healthy_step = step
            return
        start = median(self._early) if self._early else 0.0
        limits = {"value": sign.limit, "of_start": sign.limit * start, "of_rest": start + sign.limit * (1 - start)}
        self.value, self.limit = value, limits[sign.unit]
        is_healthy = not self._is_beyond(value, (start + self.limit) / 2)
        if is_healthy:
            self.healthy_step = step
        changes = is_healthy if self.is_on else self._is_beyond(value, self.limit)
        self._in_a_row = self._in_a_row + 1 if changes else 0
        if self._in_a_row >= (CLEAR_ROWS if self.is_on else sign.num_rows):
            self.is_on, self._in_a_row = not self.is_on, 0

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
            An alarm where it begins; its end, where the last sign is off again; or None.
        """
        before = [watch for watch in self._watches if watch.is_on]
        for watch in self._watches:
            value = row.get(watch.sign.metric)
            if isinstance(value, int | float) and math.isfinite(value):
                watch.update(row["step"], float(value))
        now = [watch for watch in self._watches if watch.is_on]
        if now and not before:
            return Event(
                step=row["step"],
                kind="alarm",
                signals=[watch.sign.metric for watch in now],
                message="; ".join(map(str, now)),
                healthy_step=min(watch.healthy_step for watch in now),
            )
        if before and not now:
            return Event(row["step"], "cleared", [watch.sign.metric for watch in before], "no sign is on any more")
        return None
