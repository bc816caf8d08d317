"""A study in one picture, a row for each variant and a column for each metric: twelve variants fit."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mgrpo.errors import UserError
from mgrpo.monitoring.plot import require_matplotlib
from mgrpo.runs import metrics as names
from mgrpo.runs.files import series
from mgrpo.study.tables import StudiedRun

COLUMNS = (names.HELD_OUT_ACCURACY, names.AGREEMENT, names.ENTROPY, names.KL)
SMALLEST_KL = 1e-4
"""The logarithmic axis begins here, with smaller values on it: KL is 0 at the start and above 1 in a collapse."""


def draw_study(runs: Sequence[StudiedRun], output: Path, baseline: str | None) -> None:
    """Draw each variant's mean over seeds, its seeds as thin lines, and the baseline's mean as a dashed line.

    Raises:
        UserError: if matplotlib is not installed, or no run logged anything to draw.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    variants: dict[str, list[StudiedRun]] = {}
    for run in runs:
        variants.setdefault(run.variant, []).append(run)
    columns = [name for name in COLUMNS if any(name in row for run in runs for row in run.rows)]
    if not columns:
        raise UserError("there is nothing to draw: the runs logged neither accuracy nor agreement, entropy or KL.")
    figure = Figure(figsize=(3.3 * len(columns), 1.5 * len(variants) + 0.7), layout="constrained")
    axes = figure.subplots(len(variants), len(columns), squeeze=False, sharex=True, sharey="col")
    for row, (variant, of_variant) in zip(axes, variants.items(), strict=True):
        for axis, name in zip(row, columns, strict=True):
            for run in of_variant:
                axis.plot(*_curve([run], name), color="tab:blue", linewidth=0.6, alpha=0.55)
            if baseline in variants and variant != baseline:
                axis.plot(*_curve(variants[baseline], name), color="0.45", linewidth=1.2, linestyle="--")
            axis.plot(*_curve(of_variant, name), color="tab:blue", linewidth=2)
            axis.grid(alpha=0.25)
            axis.tick_params(labelsize=7)
            if names.describe(name).unit == names.SHARE:
                axis.set_ylim(0, 1)
            elif name == names.KL:
                axis.set_yscale("log")
                axis.set_ylim(bottom=SMALLEST_KL)
        gold = ["(right answers)"] if any(run.learns_from_gold for run in of_variant) else []
        row[0].set_ylabel("\n".join([*variant.split(","), *gold]), fontsize=8)
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(names.title(name), fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("step", fontsize=8)
    dashed = f"; dashed: {baseline}" if baseline in variants and len(variants) > 1 else ""
    figure.suptitle(f"thick: mean over seeds; thin: one seed{dashed}", fontsize=8)
    figure.savefig(output, dpi=110)


def _curve(runs: Sequence[StudiedRun], name: str) -> tuple[list[int], list[float]]:
    """The mean over the runs that have a value, step by step."""
    at_steps: dict[int, list[float]] = {}
    for run in runs:
        for step, value in zip(*series(run.rows, name), strict=True):
            at_steps.setdefault(step, []).append(max(value, SMALLEST_KL) if name == names.KL else value)
    steps = sorted(at_steps)
    return steps, [float(np.mean(at_steps[step])) for step in steps]
