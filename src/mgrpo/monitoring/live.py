"""A run while it trains, in seven lines of a terminal: where it is, what it does, and where its time goes."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from mgrpo.runs import metrics as names

CURVES = (
    (names.AGREEMENT, names.HELD_OUT_ACCURACY),
    (names.ENTROPY, names.DISTANCE),
    (names.DISTINCT, names.LENGTH),
)
"""The metric of each cell, line by line."""

NUM_VALUES = 30
"""Logged values of which a trend is drawn."""
NUM_STEPS_OF_RATE = 100
"""Last steps of which the rate is taken, with the evaluations between them."""
SLOW, NUM_QUICK = 5.0, 5
"""Seconds that a first step takes if it shows the pace; of quicker steps, whose first is the slowest, so many do."""
LEAST_SPAN = 0.2
"""A trend's height is at least this share of its largest value, so that noise on a level curve looks level."""

TREND, TREND_ASCII = "▁▂▃▄▅▆▇█", "_.:-=+*#"
BAR, BAR_ASCII = ("━", "─"), ("#", "-")
LABEL_WIDTH, VALUE_WIDTH = 10, 8


class LiveView:
    """What a live display shows; rich renders it, from a thread of its own if need be.

    Args:
        clock: seconds.

    Attributes:
        alarm: what the collapse alarm says; None: nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began = clock, clock()
        # Tuples, replaced whole: another thread reads them.
        self._curves: dict[str, tuple[float, ...]] = {name: () for line in CURVES for name in line}
        self._last: dict[str, float] = {}
        self.begin(step=0, max_steps=0, batches_per_step=1.0, completions_per_step=0.0, watched_from=1)

    def begin(
        self, *, step: int, max_steps: int, batches_per_step: float, completions_per_step: float, watched_from: int
    ) -> None:
        """Training begins, or begins again at an earlier step.

        Args:
            step: the step it begins behind, above 0 in a run that is resumed.
            max_steps: its last step.
            batches_per_step: batches sampled in an optimizer step; below 1 where each is trained on several times.
            completions_per_step: completions of both models sampled for an optimizer step.
            watched_from: the first step after which the alarm can say something.
        """
        self._step, self._max_steps = step, max_steps
        self._batches_per_step, self._completions_per_step = batches_per_step, completions_per_step
        self._watched_from = watched_from
        # A batch that several steps are trained on is sampled in the first of them.
        self._steps_per_batch, self._is_expected = max(1, round(1 / batches_per_step)), False
        self._ends: tuple[tuple[int, float], ...] = ()
        self.alarm: str | None = None

    def begin_step(self) -> None:
        """An optimizer step begins; what happened before the first one is not a part of it."""
        self._ends = self._ends or ((self._step, self._clock()),)

    def end_step(self, step: int) -> None:
        """An optimizer step ended."""
        self._step = step
        self._ends = (*self._ends, (step, self._clock()))[-NUM_STEPS_OF_RATE - 1 :]

    def expected(self) -> str | None:
        """How long a step and all of them take, once it is known and only once."""
        (first, begun), (last, ended) = self._ends[0], self._ends[-1]
        num_batches = (last - first) // self._steps_per_batch
        is_known = num_batches >= 1 and (ended - begun >= SLOW or num_batches >= NUM_QUICK)
        if not is_known or self._is_expected or last >= self._max_steps:
            return None
        self._is_expected = True
        seconds, steps = (ended - begun) / (last - first), self._max_steps - first
        return f"{_pace(seconds)}, {_clock(round(seconds * steps))} for {steps} steps"

    def add_row(self, row: dict[str, Any]) -> None:
        """Take the numbers of a logged row."""
        numbers = {name: value for name, value in row.items() if isinstance(value, int | float)}
        self._last |= numbers
        for name in self._curves.keys() & numbers.keys():
            self._curves[name] = (*self._curves[name], numbers[name])[-NUM_VALUES:]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As many lines, whatever is known so far, so that nothing jumps."""
        width, is_ascii = options.max_width, options.ascii_only
        progress, trends = self._progress(width, is_ascii), self._trends(width, is_ascii)
        for line in (progress, *trends, self._speed(), self._time(), self._alarm()):
            line.no_wrap, line.overflow = True, "ellipsis"
            yield line

    def _progress(self, width: int, is_ascii: bool) -> Text:
        now = self._clock()
        head = f"step {self._step:{len(str(self._max_steps))}d}/{self._max_steps} "
        rate, clock = "", f"elapsed {_clock(int(now - self._began))}"
        if len(self._ends) > 1:
            (first, begun), (last, ended) = self._ends[0], self._ends[-1]
            seconds = (ended - begun) / (last - first)
            rate = f"  {_pace(seconds)}"
            if last < self._max_steps:
                left = max(0.0, (self._max_steps - last) * seconds - (now - ended))
                clock = f"remaining {_clock(round(left))}"
        tail = f"{rate}  {clock}"
        space = max(0, width - len(head) - len(tail))
        done = space * self._step // max(1, self._max_steps)
        full, empty = BAR_ASCII if is_ascii else BAR
        return Text.assemble(head, (full * done, "green"), (empty * (space - done), "dim"), tail)

    def _trends(self, width: int, is_ascii: bool) -> Iterator[Text]:
        column = (width - 2) // len(CURVES[0])
        levels = TREND_ASCII if is_ascii else TREND
        for line in CURVES:
            text = Text()
            for name in line:
                values = self._curves[name]
                space = max(0, column - LABEL_WIDTH - VALUE_WIDTH)
                text.append(*_label(names.short_label(name)))
                text.append(f"{number(values[-1]) if values else '-':{VALUE_WIDTH}}")
                text.append(f"{trend(values[len(values) - min(space, len(values)) :], levels):{space + 2}}", "cyan")
            text.rstrip()
            yield text

    def _speed(self) -> Text:
        seconds, length = self._last.get(names.TIME_STEP), self._last.get(names.LENGTH)
        speed = "-"
        if seconds and self._completions_per_step:
            rate = self._completions_per_step / seconds
            speed = f"{_rate(rate)} completions/s"
            speed += "" if length is None else f"  {_rate(rate * length)} tokens/s"
        return Text.assemble(_label("speed"), speed)

    def _time(self) -> Text:
        step = self._last.get(names.TIME_STEP)
        if not step:
            return Text.assemble(_label("time"), "-")
        seconds = {
            names.short_label(name): self._last[name] * self._batches_per_step
            for name in names.SAMPLING_PHASES
            if self._last.get(name) is not None
        }
        seconds["learn"] = max(0.0, step - sum(seconds.values()))
        shares = "  ".join(f"{label} {value / step:.0%}" for label, value in seconds.items())
        return Text.assemble(_label("time"), shares)

    def _alarm(self) -> Text:
        if self.alarm is not None:
            return Text.assemble(_label("alarm"), (self.alarm, "bold red"))
        is_watched = self._step >= self._watched_from
        state = ("none", "green") if is_watched else f"watching from step {self._watched_from}"
        return Text.assemble(_label("alarm"), state)


def _label(text: str) -> tuple[str, str]:
    return f"{text:{LABEL_WIDTH}}", "dim"


def trend(values: tuple[float, ...], levels: str = TREND) -> str:
    """The values as a row of blocks, one a value, from the smallest to the largest of them."""
    if not values:
        return ""
    low, high = min(values), max(values)
    span = max(high - low, LEAST_SPAN * max(abs(low), abs(high)))
    if not span:
        return levels[0] * len(values)
    low = (low + high - span) / 2
    heights = [round((value - low) / span * len(levels), 6) for value in values]  # 4, not 3.9999999
    return "".join(levels[min(len(levels) - 1, int(height))] for height in heights)


def number(value: float) -> str:
    """Three digits, and all of a number with more before the point."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _pace(seconds: float) -> str:
    return f"{1 / seconds:.1f} steps/s" if 0 < seconds < 1 else f"{seconds:.1f} s/step"


def _clock(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
