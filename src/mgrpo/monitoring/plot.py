"""The curves of one or several runs in one picture."""

from collections.abc import Mapping
from pathlib import Path

from mgrpo.errors import UserError
from mgrpo.runs import metrics as names
from mgrpo.runs.files import Row, read_run, series

PANELS = (
    names.HELD_OUT_ACCURACY,
    names.AGREEMENT,
    names.GOLD_LABEL_ACCURACY,
    names.ENTROPY,
    names.KL,
    names.LENGTH,
    names.TOP_SHARE,
    names.DISTANCE,
    names.DROPPED_RATE,
    names.GRAD_NORM,
)
COLUMNS = 3
STYLES = ("--", ":")
"""Of the horizontal lines."""


def require_matplotlib() -> None:
    """Check that pictures can be drawn.

    Raises:
        UserError: if matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError("drawing needs matplotlib, which is not installed: pip install 'mgrpo[report]'.") from None


def plot_runs(run_directories: list[Path], output: Path) -> None:
    """Draw the curves of runs, one line each, labelled by the directories' names.

    Raises:
        UserError: if a directory holds no run, the picture's format is unknown, or matplotlib is not installed.
    """
    labels = [directory.resolve().name for directory in run_directories]
    if len(set(labels)) < len(labels):
        labels = list(map(str, run_directories))
    runs = {label: read_run(directory) for label, directory in zip(labels, run_directories, strict=True)}
    draw(runs, output)


def draw(runs: dict[str, list[Row]], output: Path, levels: Mapping[str, float] | None = None) -> None:
    """Draw the metric rows of labelled runs; a panel in which no run has anything but 0 is left out.

    Args:
        runs: each run's rows by its label.
        output: the picture.
        levels: accuracies by their labels: horizontal lines where held-out accuracy is drawn.

    Raises:
        UserError: as `plot_runs`.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    # A metric that is 0 throughout, as the filter's where it is off, has nothing to show.
    logged = {name for rows in runs.values() for row in rows for name in row}
    benchmarks = sorted(name for name in logged if name.startswith(names.BENCHMARK_PREFIX))
    measured = [names.HELD_OUT_ACCURACY, *(name for name in benchmarks if name.endswith(f"/{names.POLICY}"))]
    panels = [name for name in dict.fromkeys([*measured, *PANELS]) if _has_values(runs, name)]
    if not panels:
        raise UserError(f"there is nothing to draw: {', '.join(runs)} logged no step yet.")
    num_rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(4.2 * COLUMNS, 2.8 * num_rows + 0.5), layout="constrained")
    axes = figure.subplots(num_rows, COLUMNS, squeeze=False).flatten()
    for axis, name in zip(axes, panels, strict=False):
        for label, rows in runs.items():
            axis.plot(*series(rows, name), label=label, linewidth=1.6)
        for (label, value), style in zip((levels or {}).items() if name in measured else (), STYLES, strict=False):
            axis.axhline(value, label=label, color="0.3", linewidth=1.1, linestyle=style)
        axis.set_title(names.title(name), fontsize=10)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
        if name in (*measured, names.AGREEMENT, names.GOLD_LABEL_ACCURACY):
            axis.set_ylim(0, 1)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    handles, shown = axes[0].get_legend_handles_labels()
    figure.legend(handles, shown, loc="outside upper center", ncols=min(len(shown), 4), frameon=False)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(output, dpi=130)
    except OSError as error:
        raise UserError(f"{output} cannot be written ({error.strerror}); give another path.") from error
    except ValueError as error:
        raise UserError(f"{output} cannot be drawn ({error}); give it the ending .png.") from error


def _has_values(runs: Mapping[str, list[Row]], name: str) -> bool:
    return any(any(series(rows, name)[1]) for rows in runs.values())
