"""The curves of the report: which metrics stand in which panel, in which order, under which title."""

import ast
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mgrpo.monitoring.stability import HELD_OUT_ACCURACY
from mgrpo.runs import metrics as names
from mgrpo.runs.files import Row

ENTROPY_LOW = "entropy/p10"
ENTROPY_HIGH = "entropy/p90"
TIME_LEARN = "time/learn"

FURTHER = {
    ENTROPY_LOW: "A tenth of the policy's completions at this step have less; from the table of completions.",
    ENTROPY_HIGH: "A tenth of the policy's completions at this step have more; from the table of completions.",
    TIME_LEARN: "Seconds of a training step that the other phases leave: loss and gradient.",
}
"""What the metrics mean that are not in `names`: TRL's, and those that are worked out here."""
BENCHMARK = "Share of the completions on the benchmark that are right, one for each question, greedy."


@dataclass(frozen=True)
class Panel:
    """One picture with the curves of all runs.

    Attributes:
        id: its name in the page.
        title: what stands above it.
        unit: of its values.
        lines: a label for each metric.
        kind: a `band` has a middle, a lower and an upper line; what is a `stack` adds up from the bottom.
        range: of its values, where that is fixed.
    """

    id: str
    title: str
    unit: str
    lines: dict[str, str]
    kind: Literal["lines", "band", "stack"] = "lines"
    range: tuple[float, float] | None = None


def _shares(id: str, title: str, lines: dict[str, str]) -> Panel:
    return Panel(id, title, "share", lines, range=(0, 1))


PANELS = [
    _shares("held-out", "Held-out accuracy", {HELD_OUT_ACCURACY: "held-out accuracy"}),
    Panel("probe", "Log-probability of the initial answers", "nats per token", {names.PROBE: "change"}),
    _shares("forgotten", "Initial answers that are forgotten", {names.FORGOTTEN: "forgotten"}),
    _shares(
        "agreement",
        "Agreement with the label",
        {
            names.AGREEMENT: "agreement",
            names.GOLD_LABEL_ACCURACY: "labels that are right",
            names.GOLD_ACCURACY: "completions that are right",
        },
    ),
    Panel(
        "entropy",
        "Entropy",
        "nats per token",
        {names.ENTROPY: "mean", ENTROPY_LOW: "10% are below", ENTROPY_HIGH: "10% are above"},
        kind="band",
    ),
    Panel("distinct", "Different labels in a batch", "labels", {names.DISTINCT: "different labels"}),
    _shares("top-share", "Prompts with the most common label", {names.TOP_SHARE: "most common label"}),
    _shares("flips", "Labels that flipped since the last visit", {names.FLIP_RATE: "flipped"}),
    Panel("distance", "Momentum model's distance from the policy", "relative", {names.DISTANCE: "distance"}),
    _shares(
        "voters",
        "Voters that give the same label alone",
        {names.POLICY_AGREEMENT: "policy", names.MOMENTUM_AGREEMENT: "momentum model"},
    ),
    _shares(
        "no-label",
        "Ties, and groups that left the loss",
        {names.TIE_RATE: "tie", names.UNLABELLED_RATE: "left the loss"},
    ),
    Panel("grad-norm", "Gradient norm", "", {names.GRAD_NORM: "gradient norm"}),
    Panel("kl", "KL to the initial model", "nats per token", {names.KL: "KL"}),
    Panel("length", "Completion length", "tokens", {names.LENGTH: "length"}),
    _shares("no-answer", "Completions without an answer", {names.NONE_RATE: "no answer"}),
    _shares(
        "dropped",
        "Dropped by the entropy filter",
        {names.DROPPED_RATE: "dropped", names.GOLD_DROPPED_ACCURACY: "dropped ones that are right"},
    ),
    Panel("reward-std", "Spread of the reward in a group", "", {names.REWARD_STD: "standard deviation"}),
    Panel("skipped", "Skipped optimizer steps", "steps", {names.SKIPPED_STEPS: "skipped"}),
    Panel(
        "time",
        "Time of a step",
        "seconds",
        {
            names.TIME_POLICY: "sample policy",
            names.TIME_MOMENTUM: "sample momentum",
            names.TIME_LABEL: "label",
            TIME_LEARN: "learn",
        },
        kind="stack",
    ),
]


def panels_with_data(runs: Sequence[Sequence[Row]]) -> list[dict[str, Any]]:
    """The panels in which some run has something, with the meaning of each line, as the page takes them."""
    # A metric that is 0 throughout, as the filter's where it is off, has nothing to show.
    shown = {name for rows in runs for row in rows for name, value in row.items() if value}
    benchmarks = _benchmark_panels(shown)
    meanings = _meanings() | {name: BENCHMARK for panel in benchmarks for name in panel.lines}
    return [
        {
            "id": panel.id,
            "title": panel.title,
            "unit": panel.unit,
            "range": panel.range,
            "kind": panel.kind,
            "lines": [
                {"metric": name, "label": label, "about": meanings[name], "knows_answers": knows_answers(name)}
                for name, label in panel.lines.items()
                if name in shown or panel.kind != "lines"
            ],
        }
        for panel in PANELS + benchmarks
        if not shown.isdisjoint(panel.lines)
    ]


def _benchmark_panels(shown: set[str]) -> list[Panel]:
    """A panel for each benchmark that was measured while a run trained."""
    logged = sorted(name.removeprefix(names.BENCHMARK_PREFIX) for name in shown if _is_of_benchmark(name))
    return [
        _shares(
            f"benchmark-{benchmark}",
            benchmark,
            {
                names.benchmark_metric(benchmark, names.POLICY): "policy",
                names.benchmark_metric(benchmark, names.MOMENTUM_MODEL): "momentum model",
            },
        )
        for benchmark in dict.fromkeys(name.rpartition("/")[0] for name in logged)
    ]


def _is_of_benchmark(name: str) -> bool:
    return name.startswith(names.BENCHMARK_PREFIX)


def knows_answers(name: str) -> bool:
    """Whether a metric is made with the right answers, which nothing is learnt from."""
    return name.removeprefix(names.EVAL_PREFIX).startswith("gold/") or _is_of_benchmark(name)


def with_derived(row: Row) -> Row:
    """A metric row with the time that is left for learning."""
    phases = [row.get(name) for name in (names.TIME_POLICY, names.TIME_MOMENTUM, names.TIME_LABEL)]
    if row.get(names.TIME_STEP) is None or phases[0] is None:
        return row
    # Below 0 where a batch is learnt from in several steps, each of which is shorter than the batch's sampling.
    return {**row, TIME_LEARN: max(row[names.TIME_STEP] - sum(phase or 0 for phase in phases), 0)}


def _meanings() -> dict[str, str]:
    """The docstrings under the constants in `names`, by the constants' values."""
    meanings = dict(FURTHER)
    body = ast.parse(inspect.getsource(names)).body
    for assignment, docstring in zip(body, body[1:], strict=False):
        if isinstance(assignment, ast.Assign) and isinstance(docstring, ast.Expr):
            name, meaning = ast.literal_eval(assignment.value), ast.literal_eval(docstring.value)
            meanings[name] = " ".join(meaning.split())
            meanings[names.EVAL_PREFIX + name] = f"On held-out prompts: {meanings[name]}"
    return meanings
