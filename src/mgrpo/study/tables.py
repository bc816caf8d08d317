"""From the metric rows of many runs to one tidy table, and to a summary of each variant.

Everything here is counted at evaluations: a training metric's value there is its mean over the rows that were logged
since the evaluation before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mgrpo.evaluation.statistics import Estimate, estimate, holm, sign_flip_p
from mgrpo.monitoring.stability import WINDOW, stability
from mgrpo.runs import metrics as names
from mgrpo.runs.files import Row, read_run, series
from mgrpo.runs.metrics import HELD_OUT_ACCURACY

TABLE_COLUMNS = ["variant", "seed", "step", "metric", "value"]

SIGNALS = {
    "agreement, highest": (names.AGREEMENT, 1),
    "entropy, lowest": (names.ENTROPY, -1),
    "distinct labels, most": (names.DISTINCT, 1),
    "momentum agreement, highest": (names.MOMENTUM_AGREEMENT, 1),
    "KL, lowest": (names.KL, -1),
}
"""What picks a checkpoint without right answers: a training metric, and 1 where high is good or -1 where low is."""
LAST = "last"
"""No signal: the last checkpoint."""

AT_THE_END = {"final_entropy": names.ENTROPY, "final_agreement": names.AGREEMENT, "final_kl": names.KL}
MEASURES = ("start", "peak", "final", "final_to_peak", "collapse_step", "area", "picked", *AT_THE_END)
"""Of one run; the summary has each as a mean over seeds, with its interval."""

_METRICS = [name for name, metric in names.METRICS.items() if metric.unit != names.SECONDS]
_HELD_OUT = [names.EVAL_PREFIX + name for name in _METRICS if name.startswith("gold/")]


@dataclass(frozen=True)
class StudiedRun:
    """A run as the tables see it: its metric rows at evaluations, and whether it is trained on right answers."""

    variant: str
    seed: int
    rows: list[Row]
    learns_from_gold: bool = False


def read_studied_run(variant: str, seed: int, directory: Path, fields: Mapping[str, Any]) -> StudiedRun:
    """Read a run; `fields` is its recipe."""
    return StudiedRun(variant, seed, at_evaluations(read_run(directory)), fields.get("label_source") == "gold")


def at_evaluations(rows: Sequence[Row]) -> list[Row]:
    """One row an evaluation: its own metrics, and the means of the training metrics since the one before.

    The evaluation before training has no training metrics. Without any evaluation the rows stay as they were logged.
    Times, TRL's own metrics, and held-out metrics other than `gold/` are left out. Values are rounded to float32, as
    in the written table, so that the table gives the same summary again.
    """
    shown = ["step", *_METRICS, *_HELD_OUT]
    rows = [{name: row[name] for name in shown if row.get(name) is not None} for row in rows]
    if not any(HELD_OUT_ACCURACY in row for row in rows):
        return [_rounded(row) for row in rows if len(row) > 1]
    evaluations: list[Row] = []
    since: list[Row] = []
    for row in rows:
        since.append(row)
        if HELD_OUT_ACCURACY in row:
            logged = {name: series(since, name)[1] for name in _METRICS}
            means = {name: sum(values) / len(values) for name, values in logged.items() if values}
            evaluations.append(_rounded(row | means))
            since = []
    return evaluations


def _rounded(row: Row) -> Row:
    return {name: value if name == "step" else float(np.float32(value)) for name, value in row.items()}


def tidy_table(runs: Sequence[StudiedRun]) -> pd.DataFrame:
    """One line a value: variant, seed, step, metric, value; sorted.

    A metric that is 0 in every run, such as the filter's without a filter, is left out.
    """
    values = [
        (run.variant, run.seed, row["step"], name, row[name])
        for run in runs
        for row in run.rows
        for name in row.keys() - {"step"}
    ]
    table = pd.DataFrame(values, columns=TABLE_COLUMNS).astype({"seed": "int32", "step": "int32", "value": "float32"})
    is_zero = table.groupby("metric")["value"].transform(lambda of_metric: (of_metric == 0).all())
    table = table[~is_zero.astype(bool)]
    return table.sort_values(TABLE_COLUMNS[:-1]).reset_index(drop=True)


def write_table(table: pd.DataFrame, directory: Path) -> None:
    """Write the tidy table as `table.parquet`, and as `table.csv` with five digits."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(arrow, directory / "table.parquet", compression="zstd")
    table.to_csv(directory / "table.csv", index=False, float_format="%.5g")


def picks(run: StudiedRun) -> dict[str, float]:
    """The held-out accuracy of the checkpoint that each signal picks, where the run logged it.

    Of several evaluations with the best value the first is picked. The evaluation before training is not a candidate:
    no signal has a value there.
    """
    evaluated = [row for row in run.rows if HELD_OUT_ACCURACY in row]
    picked = {}
    for signal, (name, sign) in SIGNALS.items():
        if candidates := [row for row in evaluated if name in row]:
            picked[signal] = max(candidates, key=lambda row: sign * row[name])[HELD_OUT_ACCURACY]  # noqa: B023
    if evaluated:
        picked[LAST] = evaluated[-1][HELD_OUT_ACCURACY]
    return picked


def signal_table(runs: Sequence[StudiedRun]) -> pd.DataFrame:
    """Each signal with the accuracy it picks, as a mean over the runs that logged it, the highest first."""
    picked = pd.DataFrame([picks(run) for run in runs])
    table = pd.DataFrame({"accuracy": picked.mean(), "runs": picked.count()})
    return table.sort_values("accuracy", ascending=False, kind="stable").rename_axis("signal").reset_index()


def best_signal(runs: Sequence[StudiedRun]) -> str | None:
    """The signal with the highest mean, of those that every run logged; None where nothing was evaluated."""
    table = signal_table(runs)
    in_all = table[table["runs"] == len(runs)]
    return None if in_all.empty else str(in_all["signal"].iloc[0])


def measures(run: StudiedRun, signal: str | None) -> dict[str, float]:
    """The summary's measures of one run; nan where one does not apply."""
    outcome = stability(run.rows)
    found = dict.fromkeys(MEASURES, np.nan)
    for measure, name in AT_THE_END.items():
        if values := series(run.rows, name)[1]:
            found[measure] = float(np.mean(values[-WINDOW:]))
    if outcome is not None:
        steps, accuracies = series(run.rows, HELD_OUT_ACCURACY)
        found |= {
            "start": outcome.start,
            "peak": outcome.peak,
            "final": outcome.final,
            "final_to_peak": outcome.final / outcome.peak if outcome.peak else np.nan,
            "collapse_step": np.nan if outcome.collapse_step is None else outcome.collapse_step,
            "area": area(steps, accuracies),
            "picked": picks(run).get(signal or "", np.nan),
        }
    return found


def area(steps: Sequence[int], values: Sequence[float]) -> float:
    """The mean of a curve over its steps, by trapezoids; a single point's is its value."""
    return float(np.trapezoid(values, steps) / (steps[-1] - steps[0])) if len(steps) > 1 else values[0]


def summarize(runs: Sequence[StudiedRun], baseline: str | None) -> pd.DataFrame:
    """One line a variant, in the order of the runs: each measure's mean over seeds with its interval, and counts.

    `collapse_step` is the mean over the runs that collapsed. `wins` and `losses` count the seeds in which the final
    accuracy is above and below the baseline's, `p` is of a paired sign-flip test of these differences, corrected for
    the number of variants (Holm); they are empty for the baseline and without one.
    """
    signal = best_signal(runs)
    of_runs = pd.DataFrame([{"variant": run.variant, "seed": run.seed, **measures(run, signal)} for run in runs])
    of_runs = of_runs.set_index("seed")
    final_of_baseline = of_runs[of_runs["variant"] == baseline]["final"]
    lines = []
    for variant, of_seeds in of_runs.groupby("variant", sort=False):
        line: dict[str, object] = {"variant": variant, "seeds": len(of_seeds)}
        for measure in MEASURES:
            values = of_seeds[measure].dropna()
            mean = estimate(values) if len(values) else Estimate(np.nan, np.nan, np.nan)
            line |= {measure: mean.value, f"{measure}_low": mean.low, f"{measure}_high": mean.high}
            if measure == "collapse_step":
                line["collapsed"] = len(values)
        gains = (of_seeds["final"] - final_of_baseline).dropna()
        is_compared = variant != baseline and len(gains) > 0
        line["wins"] = (gains > 0).sum() if is_compared else None
        line["losses"] = (gains < 0).sum() if is_compared else None
        line["p"] = sign_flip_p(gains) if is_compared else np.nan
        lines.append(line)
    summary = pd.DataFrame(lines).astype({"wins": "Int64", "losses": "Int64"})
    is_tested = summary["p"].notna()
    summary.loc[is_tested, "p"] = holm(summary.loc[is_tested, "p"])
    return summary
