"""Did a run hold or collapse? Computed from its held-out accuracy, which is measured and never learnt from."""

from dataclasses import dataclass

from mgrpo.monitoring import names
from mgrpo.monitoring.run_log import Row, series

COLLAPSE_SHARE = 0.7
"""Collapsed: the smoothed accuracy has fallen below this share of its running peak."""
WINDOW = 3
"""Evaluations that are averaged: one alone, on 256 prompts, has a standard error of 0.03."""

HELD_OUT_ACCURACY = names.EVAL_PREFIX + names.GOLD_ACCURACY


@dataclass(frozen=True)
class Stability:
    """The course of one run, in held-out accuracy smoothed over the last `WINDOW` evaluations.

    Attributes:
        start: accuracy before training.
        peak: highest smoothed accuracy, and the step at which it was reached.
        peak_step: that step.
        final: smoothed accuracy at the end.
        last_step: the step of the last evaluation.
        collapse_step: first step at which the smoothed accuracy was below 70% of its running peak, or None.
    """

    start: float
    peak: float
    peak_step: int
    final: float
    last_step: int
    collapse_step: int | None


def stability(rows: list[Row]) -> Stability | None:
    """Judge a run by its metric rows; None if it has no held-out accuracy."""
    steps, accuracies = series(rows, HELD_OUT_ACCURACY)
    if not steps:
        return None
    smoothed = [
        sum(window) / len(window)
        for window in (accuracies[max(0, i - WINDOW + 1) : i + 1] for i in range(len(accuracies)))
    ]
    collapse_step, running_peak = None, 0.0
    for step, value in zip(steps, smoothed, strict=True):
        running_peak = max(running_peak, value)
        if collapse_step is None and value < COLLAPSE_SHARE * running_peak:
            collapse_step = step
    peak = max(smoothed)
    return Stability(
        start=accuracies[0],
        peak=peak,
        peak_step=steps[smoothed.index(peak)],
        final=smoothed[-1],
        last_step=steps[-1],
        collapse_step=collapse_step,
    )


def verdict(label: str, outcome: Stability) -> str:
    """Say in a sentence how a run went."""
    if outcome.collapse_step is not None:
        end = f"collapsed at step {outcome.collapse_step} and ended at {outcome.final:.2f}"
    elif outcome.final < outcome.start:
        end = f"did not collapse, but ended at {outcome.final:.2f}, below its start"
    else:
        end = f"held, and ended at {outcome.final:.2f}"
    return (
        f"{label}: held-out accuracy began at {outcome.start:.2f}, peaked at {outcome.peak:.2f} (step "
        f"{outcome.peak_step}), {end} (step {outcome.last_step})."
    )
