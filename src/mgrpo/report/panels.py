"""The curves of the report: which metrics each panel has, in which order, under which title."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mgrpo.runs import metrics as names
from mgrpo.runs.files import Row


@dataclass(frozen=True)
class Panel:
    """One picture with the curves of all runs.

    Attributes:
        id: its name in the page.
        title: what stands above it.
        metrics: the names of its lines; they have one unit.
        kind: a `band` has a middle, a lower and an upper line; what is a `stack` adds up from the bottom.
    """

    id: str
    title: str
    metrics: tuple[str, ...]
    kind: Literal["lines", "band", "stack"] = "lines"


PANELS = [
    Panel("held-out", "Held-out accuracy", (names.HELD_OUT_ACCURACY,)),
    Panel("probe", "Log-probability of the initial answers", (names.PROBE,)),
    Panel("forgotten", "Initial answers that are forgotten", (names.FORGOTTEN,)),
    Panel(
        "agreement",
        "Agreement with the label",
        (names.AGREEMENT, names.GOLD_LABEL_ACCURACY, names.GOLD_ACCURACY),
    ),
    Panel("entropy", "Entropy", (names.ENTROPY, names.ENTROPY_LOW, names.ENTROPY_HIGH), kind="band"),
    Panel("distinct", "Different labels in a batch", (names.DISTINCT,)),
    Panel("top-share", "Prompts with the most common label", (names.TOP_SHARE,)),
    Panel("flips", "Labels that flipped since the last visit", (names.FLIP_RATE,)),
    Panel("distance", "Momentum model's distance from the policy", (names.DISTANCE,)),
    Panel("voters", "Voters that give the same label alone", (names.POLICY_AGREEMENT, names.MOMENTUM_AGREEMENT)),
    Panel("no-label", "Ties, and groups without a label", (names.TIE_RATE, names.UNLABELLED_RATE)),
    Panel("grad-norm", "Gradient norm", (names.GRAD_NORM,)),
    Panel("kl", "KL to the initial model", (names.KL,)),
    Panel("length", "Completion length", (names.LENGTH,)),
    Panel("no-answer", "Completions without an answer", (names.NONE_RATE,)),
    Panel("dropped", "Dropped by the entropy filter", (names.DROPPED_RATE, names.GOLD_DROPPED_ACCURACY)),
    Panel("reward-std", "Spread of the reward in a group", (names.REWARD_STD,)),
    Panel("skipped", "Skipped optimizer steps", (names.SKIPPED_STEPS,)),
    Panel(
        "time",
        "Time of a step",
        (names.TIME_POLICY, names.TIME_MOMENTUM, names.TIME_LABEL, names.TIME_LEARN),
        kind="stack",
    ),
]


def panels_with_data(runs: Sequence[Sequence[Row]]) -> list[dict[str, Any]]:
    """The panels in which some run has something, with the meaning of each line, as the page takes them."""
    # A metric that is 0 throughout, as the filter's where it is off, has nothing to show.
    shown = {name for rows in runs for row in rows for name, value in row.items() if value}
    panels = [panel for panel in (*PANELS, *_benchmark_panels(shown)) if not shown.isdisjoint(panel.metrics)]
    return [
        {
            "id": panel.id,
            "title": panel.title,
            "unit": (unit := names.describe(panel.metrics[0]).unit),
            "range": (0, 1) if unit == names.SHARE else None,
            "kind": panel.kind,
            "lines": [_line(name) for name in panel.metrics if name in shown or panel.kind != "lines"],
        }
        for panel in panels
    ]


def _line(name: str) -> dict[str, Any]:
    metric = names.describe(name)
    return {
        "metric": name,
        "label": metric.label,
        "about": metric.meaning,
        "knows_answers": names.knows_answers(name),
    }


def _benchmark_panels(shown: set[str]) -> list[Panel]:
    """A panel for each benchmark that was measured while a run trained."""
    prefix = names.BENCHMARK_PREFIX
    logged = sorted(name.removeprefix(prefix) for name in shown if name.startswith(prefix))
    models = (names.POLICY, names.MOMENTUM_MODEL)
    return [
        Panel(f"benchmark-{benchmark}", benchmark, tuple(names.benchmark_metric(benchmark, model) for model in models))
        for benchmark in dict.fromkeys(name.rpartition("/")[0] for name in logged)
    ]


def with_derived(row: Row) -> Row:
    """A metric row with the time that is left for learning."""
    phases = [row.get(name) for name in (names.TIME_POLICY, names.TIME_MOMENTUM, names.TIME_LABEL)]
    if row.get(names.TIME_STEP) is None or phases[0] is None:
        return row
    # Below 0 where a batch is learnt from in several steps, each of which is shorter than the batch's sampling.
    return {**row, names.TIME_LEARN: max(row[names.TIME_STEP] - sum(phase or 0 for phase in phases), 0)}
