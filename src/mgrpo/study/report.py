"""What a study leaves: its table, its summary as CSV, Markdown and on the terminal, and its figure."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mgrpo.errors import UserError
from mgrpo.evaluation.render import markdown_table, show_grids
from mgrpo.evaluation.tables import Grid
from mgrpo.monitoring.plot import require_matplotlib
from mgrpo.runs import metrics as names
from mgrpo.runs.files import series
from mgrpo.study.tables import StudiedRun, best_signal, signal_table, summarize, tidy_table, write_table

HEADINGS = {
    "start": "start",
    "peak": "peak",
    "final": "final",
    "final_to_peak": "final/peak",
    "area": "area",
    "picked": "picked",
    "final_agreement": "agreement",
    "final_entropy": "entropy",
    "final_kl": "KL",
}
"""Of the measures that the Markdown table shows with their intervals."""
CAPTION = (
    "Held-out accuracy: at the start, at its peak (smoothed over 3 evaluations), as the mean of the last 3, and of "
    "the checkpoint picked by {signal}. Means over seeds [95% interval, bootstrap over seeds]. Collapsed: below 80% "
    "of the start for 5 evaluations in a row. Won-lost: seeds that end above and below the baseline's."
)
DRAWN = (names.HELD_OUT_ACCURACY, names.AGREEMENT, names.ENTROPY, names.KL)
SMALLEST_KL = 1e-4
"""The logarithmic axis begins here, with smaller values on it: KL is 0 at the start and above 1 in a collapse."""


def write_report(runs: Sequence[StudiedRun], directory: Path, baseline: str | None) -> None:
    """Write everything into a directory, and show the summary.

    Raises:
        UserError: if matplotlib is not installed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    summary = summarize(runs, baseline)
    write_table(tidy_table(runs), directory)
    summary.to_csv(directory / "summary.csv", index=False, float_format="%.6g")
    (directory / "summary.md").write_text(summary_markdown(summary, runs), encoding="utf-8")
    draw_study(runs, directory / "curves.png", baseline)
    show_summary(summary, runs)
    print(f"runs: {len(runs)}; tables and curves: {directory}")


def summary_markdown(summary: pd.DataFrame, runs: Sequence[StudiedRun]) -> str:
    """The summary as a Markdown table, with what each signal picks below it."""
    rows = []
    for _, line in summary.iterrows():
        cells = []
        for name in HEADINGS:
            value, low, high = (_number(line[column], 3) for column in (name, f"{name}_low", f"{name}_high"))
            cells.append(f"{value} [{low}, {high}]" if low else value)
        rows.append([line["variant"], *cells, _collapsed(line), _wins(line), _number(line["p"], 3)])
    text = [_caption(runs), ""]
    text += markdown_table(["variant", *HEADINGS.values(), "collapsed", "won-lost", "p"], rows)
    picked = [[line.signal, f"{line.accuracy:.3f}", str(line.runs)] for line in signal_table(runs).itertuples()]
    if picked:
        head = ["checkpoint picked by", "mean held-out accuracy", "runs that logged it"]
        text += ["", *markdown_table(head, picked)]
    return "\n".join(text) + "\n"


def show_summary(summary: pd.DataFrame, runs: Sequence[StudiedRun]) -> None:
    """Print what the summary says about accuracy."""
    rows = []
    for _, line in summary.iterrows():
        start, peak, final, low, high, picked = (
            _number(line[name], 2) for name in ("start", "peak", "final", "final_low", "final_high", "picked")
        )
        variant = line["variant"].replace(",", ", ")  # on a narrow terminal it is wrapped at the spaces
        interval = f"{low}-{high}" if low else ""
        rows.append([variant, start, peak, final, interval, picked, _collapsed(line), _wins(line)])
    head = ["variant", "start", "peak", "final", "95%", "picked", "collapsed", "won-lost"]
    longest = max(len(part) for name in summary["variant"] for part in name.split(","))
    show_grids([Grid(head, rows, [_caption(runs)])], name_width=longest + len(","))


def _caption(runs: Sequence[StudiedRun]) -> str:
    signal = best_signal(runs)
    caption = "Nothing was evaluated." if signal is None else CAPTION.format(signal=signal)
    gold = dict.fromkeys(run.variant for run in runs if run.learns_from_gold)
    return f"{caption} Not label-free, trained on right answers: {', '.join(gold)}." if gold else caption


def _number(value: float, digits: int) -> str:
    return "" if pd.isna(value) else f"{value:.{digits}f}"


def _collapsed(line: pd.Series) -> str:
    at_step = f" at {line['collapse_step']:.0f}" if line["collapsed"] else ""
    return f"{line['collapsed']}/{line['seeds']}{at_step}"


def _wins(line: pd.Series) -> str:
    return "" if pd.isna(line["wins"]) else f"{line['wins']}-{line['losses']}"


def draw_study(runs: Sequence[StudiedRun], output: Path, baseline: str | None) -> None:
    """Draw a row for each variant and a column for each metric: twelve variants fit.

    A variant's mean over seeds is thick, its seeds are thin, and the baseline's mean is dashed.

    Raises:
        UserError: if matplotlib is not installed, or no run logged anything to draw.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    variants: dict[str, list[StudiedRun]] = {}
    for run in runs:
        variants.setdefault(run.variant, []).append(run)
    columns = [name for name in DRAWN if any(name in row for run in runs for row in run.rows)]
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
