"""A fair trial of the collapse alarm: every label-free signal is tuned on the same runs and judged on others.

One study is left out at a time. On the runs of the others each signal gets the form and the limit that separate
collapsing from healthy runs best (share of collapses seen in time less share of false alarms); both are then judged on
the study that was left out.

    python studies/alarm_trial.py   # writes results/alarm/trial.csv in half a minute; monitoring.md has it
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import alarms
import numpy as np
import pandas as pd

from mgrpo.runs import metrics as names

RESULTS = Path(__file__).parent / "results"
TRIAL = RESULTS / "alarm" / "trial.csv"
STUDIES = ("momentum", "rate-half", "swaps", "headroom", "group-size", "sizes", "low-rate", "rates")
"""Studies whose runs logged the probe and every other signal."""
GAP = "policy's agreement less the momentum model's"
PAIR = "the probe or one more signal"
SIGNALS = (
    names.PROBE,
    names.FORGOTTEN,
    names.KL,
    names.ENTROPY,
    names.AGREEMENT,
    GAP,
    names.TIE_RATE,
    names.FLIP_RATE,
    names.TOP_SHARE,
    names.DISTINCT,
    names.NONE_RATE,
    names.LENGTH,
    names.GRAD_NORM,
    names.REWARD_STD,
)
STEP = 5
"""Signals are compared on one grid of steps; between logged rows the last value holds."""
WINDOW, LAG = 3, 5
"""Rows that are averaged, and rows back that a trend reaches."""


class Run(NamedTuple):
    """A run's signals by step, and its end: the step at which it was lost, or its last."""

    study: str
    signals: pd.DataFrame
    is_collapse: bool
    end: int


@cache
def runs() -> list[Run]:
    """The committed runs that collapsed or held, each once."""
    return list(_runs())


def _runs() -> Iterator[Run]:
    committed = pd.read_parquet(alarms.SIGNALS)
    tables = [pd.read_parquet(RESULTS / study / "table.parquet").assign(study=study) for study in STUDIES]
    table = pd.concat([*tables, committed[committed["study"].isin(STUDIES)]])
    table = table.astype({"study": str, "variant": str, "metric": str, "value": float})
    table = table.drop_duplicates(["study", "variant", "seed", "step", "metric"])
    for (study, variant, _), of_run in table.groupby(["study", "variant", "seed"]):
        if (study, variant) in alarms.REPEATED:
            continue
        judged = alarms.ending(alarms.rows_of(of_run.sort_values("step")))
        if judged["outcome"] == alarms.DIPPED:
            continue
        signals = of_run.pivot(index="step", columns="metric", values="value").loc[1:]
        if {names.POLICY_AGREEMENT, names.MOMENTUM_AGREEMENT} <= set(signals):
            signals[GAP] = signals[names.POLICY_AGREEMENT] - signals[names.MOMENTUM_AGREEMENT]
        is_collapse = judged["outcome"] == alarms.COLLAPSED
        yield Run(study, signals, is_collapse, judged["lost_step"] if is_collapse else int(signals.index[-1]))


def forms(signal: pd.Series) -> dict[str, pd.Series]:
    """What an alarm can watch in a signal: its level, its change since the start, its trend and its acceleration.

    Each is known at its step. Both directions: an alarm rings above a limit.
    """
    mean = signal.rolling(WINDOW).mean()
    trend = mean - mean.shift(LAG)
    watched = {
        "level": signal,
        "change": mean - signal.iloc[:WINDOW].median(),
        "trend": trend,
        "acceleration": trend - trend.shift(LAG),
    }
    lasting = signal.rolling(WINDOW)
    up = watched | {"lasting level": lasting.min()}
    down = watched | {"lasting level": lasting.max()}
    return {f"{name} rises": of for name, of in up.items()} | {f"{name} falls": -of for name, of in down.items()}


@cache
def trajectories(signal: str) -> dict[str, np.ndarray]:
    """Each form of a signal: (runs, steps), -inf where it is not known or the run is over."""
    grid = np.arange(0, max(run.end for run in runs()) + STEP, STEP)
    found: dict[str, list[np.ndarray]] = {}
    nothing = pd.Series(np.nan, index=range(1, 2))
    for run in runs():
        logged = run.signals[signal].dropna() if signal in run.signals else nothing
        for form, values in forms(logged if len(logged) else nothing).items():
            known = values.reindex(values.index.union(grid)).ffill().reindex(grid)
            found.setdefault(form, []).append(known.where(grid <= run.end).fillna(-np.inf).to_numpy())
    return {form: np.stack(of_runs) for form, of_runs in found.items()}


class Trial(NamedTuple):
    """How a signal did on the studies that its form and limit were not chosen on."""

    in_time: int
    false_alarms: int
    area: float
    form: str


def peaks(signal: str) -> dict[str, np.ndarray]:
    """The highest value of each form of a signal in each run, until its end."""
    return {form: of_runs.max(axis=1) for form, of_runs in trajectories(signal).items()}


@cache
def trial(signal: str) -> Trial:
    """Tune a signal on all studies but one and judge it on that one; each study in turn."""
    of_form = peaks(signal)
    rings = np.zeros(len(runs()), dtype=bool)
    chosen = []
    for others, left_out in folds():
        limits = {form: choose(of_runs[others], is_collapse()[others]) for form, of_runs in of_form.items()}
        form = max(limits, key=lambda form: limits[form][1])
        rings[left_out] = of_form[form][left_out] > limits[form][0]
        chosen.append(form)
    form = max(sorted(set(chosen)), key=chosen.count)
    counts = int(rings[is_collapse()].sum()), int(rings[~is_collapse()].sum())
    return Trial(*counts, area(of_form[form], is_collapse()), form)


@cache
def pair_trial(first: str = names.PROBE, num_limits: int = 15) -> Trial:
    """The same for an alarm that rings when either of two signals is above its limit; the second is chosen, too."""
    others_of = {(signal, form): of for signal in SIGNALS if signal != first for form, of in peaks(signal).items()}
    mine = peaks(first)[trial(first).form]
    rings = np.zeros(len(runs()), dtype=bool)
    chosen = []
    for others, left_out in folds():
        best = (-np.inf, 0.0, 0.0, ("", ""))
        for limit in _limits(mine[others], num_limits):
            for name, of_runs in others_of.items():
                quiet = np.where(mine[others] > limit, np.inf, of_runs[others])
                second, gain = choose(quiet, is_collapse()[others])
                best = max(best, (gain, limit, second, name))
        _, limit, second, name = best
        rings[left_out] = (mine[left_out] > limit) | (others_of[name][left_out] > second)
        chosen.append(" ".join(name))
    counts = int(rings[is_collapse()].sum()), int(rings[~is_collapse()].sum())
    return Trial(*counts, np.nan, max(sorted(set(chosen)), key=chosen.count))


@cache
def is_collapse() -> np.ndarray:
    """Which runs collapsed."""
    return np.array([run.is_collapse for run in runs()])


def folds() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The runs to tune on and those to judge by, as masks; each study is left out once."""
    study = np.array([run.study for run in runs()])
    return ((study != left_out, study == left_out) for left_out in np.unique(study))


def choose(peaks: np.ndarray, is_collapse: np.ndarray) -> tuple[float, float]:
    """The limit that separates best, and by how much: the share of collapses above it less that of the others."""
    limits = np.append(_limits(peaks), np.inf)
    gains = (peaks[is_collapse] > limits[:, None]).mean(axis=1) - (peaks[~is_collapse] > limits[:, None]).mean(axis=1)
    return float(limits[gains.argmax()]), float(gains.max())


def _limits(peaks: np.ndarray, most: int | None = None) -> np.ndarray:
    values = np.unique(peaks[np.isfinite(peaks)])
    between = (values[1:] + values[:-1]) / 2
    return between if most is None else np.quantile(between, np.linspace(0, 1, most))


def area(peaks: np.ndarray, is_collapse: np.ndarray) -> float:
    """How often a collapsing run, until it is lost, peaks above a healthy one; ties count half."""
    collapsing, healthy = peaks[is_collapse][:, None], peaks[~is_collapse]
    return float(np.mean((collapsing > healthy) + 0.5 * (collapsing == healthy)))


def measure() -> pd.DataFrame:
    """A row for each signal, the best first, and one for the probe with one more."""
    num_collapses, num_healthy = int(is_collapse().sum()), int((~is_collapse()).sum())
    trials = {signal: trial(signal) for signal in SIGNALS} | {PAIR: pair_trial()}
    rows = pd.DataFrame([{"signal": signal, **of._asdict()} for signal, of in trials.items()])
    rows["collapses"], rows["healthy"] = num_collapses, num_healthy
    rows["difference"] = rows["in_time"] / num_collapses - rows["false_alarms"] / num_healthy
    return rows.sort_values("difference", ascending=False).round(4)


def table() -> str:
    """The committed trial as a Markdown table."""
    lines = [["signal", "watched form", "alarm in time", "false alarms", "difference", "area under the curve"]]
    lines.append(["---"] * len(lines[0]))
    for of in pd.read_csv(TRIAL).itertuples():
        counts = [f"{of.in_time} of {of.collapses}", f"{of.false_alarms} of {of.healthy}"]
        name = of.signal if " " in of.signal else f"`{of.signal}`"
        lines.append([name, of.form, *counts, f"{of.difference:.2f}", "–" if pd.isna(of.area) else f"{of.area:.2f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    measure().to_csv(TRIAL, index=False)
    print(table())
