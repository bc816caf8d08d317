"""Did a run hold or collapse? Computed from its held-out accuracy, which training never sees."""

from dataclasses import dataclass

from mgrpo.runs.files import Row, series
from mgrpo.runs.metrics import HELD_OUT_ACCURACY

COLLAPSE_SHARE = 0.8
"""Collapsed: accuracy stays below this share of the start's ..."""
COLLAPSE_EVALUATIONS = 5
"""... for so many evaluations in a row."""
WINDOW = 3
"""Evaluations that are averaged for peak and end: one alone, on 256 prompts, has a standard error of 0.03."""


@dataclass(frozen=True)
class Stability:
    """The course of one run, in held-out accuracy.

    Attributes:
        start: accuracy at the first evaluation, before training.
        peak: highest accuracy, smoothed over the last `WINDOW` evaluations; first reached at `peak_step`.
        final: mean of the last `WINDOW` evaluations.
        last_step: the step of the last evaluation.
        collapse_step: first step behind the peak from which the accuracy, not smoothed, is below 80% of the start's in
            5 evaluations in a row, or None. A run that has fewer evaluations left behind its peak cannot collapse.
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
    windows = [accuracies[max(0, i - WINDOW + 1) : i + 1] for i in range(len(accuracies))]
    smoothed = [sum(window) / len(window) for window in windows]
    peak = max(smoothed)
    at_peak = smoothed.index(peak)
    too_low = [accuracy < COLLAPSE_SHARE * accuracies[0] for accuracy in accuracies]
    behind_peak = range(at_peak + 1, len(accuracies) - COLLAPSE_EVALUATIONS + 1)
    return Stability(
        start=accuracies[0],
        peak=peak,
        peak_step=steps[at_peak],
        final=smoothed[-1],
        last_step=steps[-1],
        collapse_step=next((steps[i] for i in behind_peak if all(too_low[i : i + COLLAPSE_EVALUATIONS])), None),
    )


def verdict(label: str, outcome: Stability) -> str:
    """Say how a run went."""
    if outcome.collapse_step is not None:
        end = f"collapsed at step {outcome.collapse_step} and ended at {outcome.final:.2f}"
    elif outcome.final < outcome.start:
        end = f"ended at {outcome.final:.2f}, below its start, without a collapse"
    else:
        end = f"held, and ended at {outcome.final:.2f}"
    return (
        f"{label}: held-out accuracy began at {outcome.start:.2f}, peaked at {outcome.peak:.2f} (step "
        f"{outcome.peak_step}), {end} (step {outcome.last_step})."
    )
