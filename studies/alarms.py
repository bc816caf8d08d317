"""How often the collapse alarm comes in time, late, or for nothing; its signals are in results/alarm/signals.parquet.

    python studies/alarms.py RUNS ...     # output directories of studies; takes over the signals of their runs

`outcomes` judges the alarm of this version by them; studies/write.py puts it into monitoring.md.
"""

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from mgrpo.monitoring.collapse import SIGNS, CollapseAlarm, Event, Sign
from mgrpo.monitoring.stability import WINDOW, stability
from mgrpo.runs import metrics as names
from mgrpo.runs.files import FINAL_DIRECTORY, read_run
from mgrpo.runs.metrics import HELD_OUT_ACCURACY

SIGNALS = Path(__file__).parent / "results" / "alarm" / "signals.parquet"
METRICS = [*dict.fromkeys(sign.metric for sign in SIGNS), HELD_OUT_ACCURACY]
LOSS = 0.9
"""A tenth of its peak is what a run has lost below this share of it."""

CALIBRATION = ("alarm", "alarm-others", "momentum", "rate-half")
"""The studies on whose runs the limits were chosen; all others judge them."""
REPEATED = {("momentum", "momentum=0.99"), ("group-size", "srt-16"), ("group-size", "m-grpo-no-filter-16")}
"""Variants of studies that other studies have, too; a run counts once."""
UNITS = {"value": "", "of_start": " x the start", "of_rest": " of the way from the start to 1"}
COLLAPSED, DIPPED, HELD = "collapsed", "dipped", "held"


def gather(directories: list[Path]) -> pd.DataFrame:
    """The signals of all finished runs, a row a run, step and metric."""
    rows = []
    for directory in directories:
        for run in sorted(path.parent for path in directory.glob(f"*/seed-*/{FINAL_DIRECTORY}")):
            key = (directory.name, run.parent.name, int(run.name.removeprefix("seed-")))
            if key[:2] in REPEATED:
                continue
            for row in read_run(run):
                rows += [(*key, row["step"], name, row[name]) for name in METRICS if row.get(name) is not None]
    table = pd.DataFrame(rows, columns=["study", "variant", "seed", "step", "metric", "value"])
    return table.astype({"value": "float32", "study": "category", "variant": "category", "metric": "category"})


def rows_of(of_run: pd.DataFrame) -> list[dict[str, Any]]:
    """A run's metric rows, from its part of a tidy table."""
    rows: dict[int, dict[str, Any]] = {}
    columns = (of_run[name].tolist() for name in ("step", "metric", "value"))
    for step, metric, value in zip(*columns, strict=True):
        rows.setdefault(step, {"step": step})[metric] = value
    return [rows[step] for step in sorted(rows)]


@cache
def committed_runs() -> dict[tuple[str, str, int], list[dict[str, Any]]]:
    """Each committed run's rows, by study, variant and seed."""
    groups = pd.read_parquet(SIGNALS).groupby(["study", "variant", "seed"], observed=True, sort=False)
    return {key: rows_of(of_run) for key, of_run in groups}


@cache
def outcomes(signs: Sequence[Sign] = SIGNS) -> pd.DataFrame:
    """How each committed run went, and what an alarm of these signs made of it."""
    judged = endings().copy()
    firsts = [first_event(rows, CollapseAlarm(signs)) for rows in committed_runs().values()]
    judged["alarm_step"] = pd.Series([event.step if event else None for event in firsts], dtype=float)
    judged["signal"] = [event.signals[0] if event else None for event in firsts]
    judged["early"] = judged["lost_step"] - judged["alarm_step"]  # steps from the alarm to it
    return judged


def first_event(rows: list[dict[str, Any]], alarm: CollapseAlarm) -> Event | None:
    """The first alarm of a run."""
    return next((event for row in rows if (event := alarm.update(row)) is not None), None)


@cache
def endings() -> pd.DataFrame:
    """How each committed run went."""
    return pd.DataFrame(
        {"study": study, "variant": variant, "seed": seed, "is_calibration": study in CALIBRATION} | ending(rows)
        for (study, variant, seed), rows in committed_runs().items()
    )


def ending(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One run: `collapsed`; `dipped`, it lost a tenth of its peak at some time, but not for good; or `held`.

    Accuracies are held-out, `lost_step` is the first evaluation from which on a collapsing run never again reaches 90%
    of its highest mean of three evaluations so far.
    """
    outcome = stability(rows)
    assert outcome is not None
    accuracy, smooth = held_out(rows)
    peak = smooth.cummax()
    kind = HELD if (smooth >= LOSS * peak).all() else DIPPED
    lost_step = None
    lost = accuracy.index[accuracy.index > accuracy[accuracy >= LOSS * peak].index[-1]]
    if outcome.collapse_step is not None and len(lost):
        kind, lost_step = COLLAPSED, int(lost[0])
    step = outcome.collapse_step
    return {"outcome": kind, "final": outcome.final, "lost_step": lost_step, "collapse_step": step}


def held_out(rows: list[dict[str, Any]]) -> tuple[pd.Series, pd.Series]:
    """Held-out accuracy by step, and its mean over three evaluations."""
    accuracy = pd.Series({row["step"]: row[HELD_OUT_ACCURACY] for row in rows if HELD_OUT_ACCURACY in row})
    return accuracy, accuracy.rolling(WINDOW, min_periods=1).mean()


@cache
def watched(fall: float) -> pd.DataFrame:
    """`outcomes` of an alarm that knows the right answers: held-out accuracy is this share below its peak so far."""
    judged = endings().copy()
    steps = []
    for rows in committed_runs().values():
        accuracy, smooth = held_out(rows)
        fallen = accuracy.index[accuracy < (1 - fall) * smooth.cummax()]
        steps.append(fallen[0] if len(fallen) else None)
    judged["alarm_step"] = pd.array(steps, dtype="Int64").astype(float)
    judged["early"] = judged["lost_step"] - judged["alarm_step"]
    return judged


def is_in_time(runs: pd.DataFrame) -> pd.Series:
    """Which runs' alarm came at or before the evaluation that shows the loss."""
    return runs["alarm_step"] <= runs["lost_step"]


def counts(runs: pd.DataFrame) -> dict[str, str]:
    """What the alarm did in some runs, as text."""
    collapsed, held, dipped = (runs[runs["outcome"] == kind] for kind in (COLLAPSED, HELD, DIPPED))
    early = collapsed["early"].dropna()
    return {
        "collapsing runs": f"{len(collapsed)}",
        "alarm in time": _of(is_in_time(collapsed)),
        "before 80% of the start": _of(collapsed["alarm_step"] <= collapsed["collapse_step"]),
        "never": f"{collapsed['alarm_step'].isna().sum()}",
        "steps early, median": f"{early.median():.0f}" if len(early) else "–",
        "alarms in runs that hold": _of(held["alarm_step"].notna()),
        "in runs that dip": _of(dipped["alarm_step"].notna()),
    }


def _of(mask: pd.Series) -> str:
    return f"{mask.sum()} of {len(mask)}" if len(mask) else "–"


def rate_table() -> str:
    """The alarm on the runs that its limits were chosen on, and on each other study."""
    judged = outcomes()
    others = judged[~judged["is_calibration"]]
    groups = {"chosen on": judged[judged["is_calibration"]]}
    groups |= {f"`{study}`": others[others["study"] == study] for study in dict.fromkeys(others["study"])}
    return _table("runs", {name: counts(runs) for name, runs in groups.items()} | {"**all others**": counts(others)})


def limit_table(falls: Sequence[float] = (0.1, 0.125, 0.15, 0.175, 0.2)) -> str:
    """The alarm beside alarms that watch held-out accuracy itself, on all runs that its limits were not chosen on."""
    judged = {"the alarm": outcomes()}
    judged |= {f"held-out accuracy {fall:.1%} below its peak": watched(fall) for fall in falls}
    by = {name: counts(runs[~runs["is_calibration"]]) for name, runs in judged.items()}
    columns = ("alarm in time", "never", "alarms in runs that hold", "in runs that dip")
    return _table("what is watched", {name: {column: of[column] for column in columns} for name, of in by.items()})


def sign_table() -> str:
    """Each sign alone, on all runs that the limits were not chosen on."""
    lines = {}
    for sign in SIGNS:
        judged = outcomes((sign,))
        by = counts(judged[~judged["is_calibration"]])
        unit = UNITS[sign.unit]
        rows = "1 row" if sign.num_rows == 1 else f"{sign.num_rows} rows"
        what = f"`{sign.metric}` {sign.direction} {sign.limit:g}{unit}, {rows}"
        lines[what] = {name: by[name] for name in ("alarm in time", "never", "alarms in runs that hold")}
    return _table("sign", lines)


def judged_by(kind: str, what: str) -> str:
    """Of the runs of a kind, how many had their alarm `in time`, `before collapse`, or at all: `alarmed`; as text.

    Runs that the limits were chosen on are not among them.
    """
    judged = outcomes()
    runs = judged[~judged["is_calibration"] & (judged["outcome"] == kind)]
    masks = {
        "in time": is_in_time(runs),
        "before collapse": runs["alarm_step"] <= runs["collapse_step"],
        "alarmed": runs["alarm_step"].notna(),
    }
    return _of(masks[what])


def _table(first: str, lines: dict[str, dict[str, str]]) -> str:
    head = [first, *next(iter(lines.values()))]
    rows = [head, ["---"] * len(head), *([name, *line.values()] for name, line in lines.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def draw_misses(path: Path, columns: int = 4) -> int:
    """Draw held-out accuracy and probe of each run that the alarm was late for or that it disturbed for nothing.

    Calibration runs are not among them.

    Returns:
        How many there are.
    """
    judged = outcomes()
    judged = judged[~judged["is_calibration"]]
    late = (judged["outcome"] == COLLAPSED) & ~is_in_time(judged)
    misses = judged[late | ((judged["outcome"] == HELD) & judged["alarm_step"].notna())]
    num_rows = max(-(-len(misses) // columns), 1)
    figure, axes = plt.subplots(num_rows, columns, figsize=(3 * columns, 2.2 * num_rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, run in zip(axes.flat, misses.itertuples(), strict=False):
        rows = committed_runs()[run.study, run.variant, run.seed]
        axis.axis("on")
        for name, colour, on in ((HELD_OUT_ACCURACY, "C0", axis), (names.PROBE, "C1", axis.twinx())):
            points = [(row["step"], row[name]) for row in rows if name in row]
            on.plot(*zip(*points, strict=True), color=colour, linewidth=1)
            on.tick_params(labelsize=6, labelcolor=colour, axis="y")
        for step, colour in ((run.alarm_step, "C3"), (run.lost_step, "0.4")):
            if not pd.isna(step):
                axis.axvline(step, color=colour, linestyle="--", linewidth=1)
        axis.tick_params(labelsize=6, axis="x")
        axis.set_title(f"{run.study}: {run.variant}, seed {run.seed} ({run.outcome})", fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return len(misses)


if __name__ == "__main__":
    SIGNALS.parent.mkdir(parents=True, exist_ok=True)
    gather([Path(argument) for argument in sys.argv[1:]]).to_parquet(SIGNALS, compression="zstd")
    print(SIGNALS, draw_misses(Path(__file__).parent / "pictures" / "misses.png"), "misses drawn")
