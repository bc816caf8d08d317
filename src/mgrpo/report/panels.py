"""The curves of the report as Plotly figures, complete but for the points, which the page has once for each metric.

A colour is a name of the style sheet (`series-0`, `raised`): the page has a light and a dark one for it. The points
of a trace are the metric `meta.metric` of the run `meta.run`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mgrpo.runs import metrics as names
from mgrpo.runs.files import Row

NUM_COLOURS = 7
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
"""With seven colours no two of the first 42 runs look alike."""
ALARM_DASHES = {"rollback": "dash", "cleared": "dot"}
FAINT = 0.4
"""Opacity of the events behind a run's first alarm."""
MAX_STACKS = 4
"""Runs whose phases are shown one by one; of more runs each step's whole time is compared."""

Figure = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """One picture with the curves of all runs.

    Attributes:
        id: its name in the page.
        metrics: the names of its lines, which have one unit.
        kind: a `band` has a middle, a lower and an upper line; the lines of a `stack` add up from the bottom.
    """

    id: str
    title: str
    metrics: tuple[str, ...]
    kind: Literal["lines", "band", "stack"] = "lines"


PANELS = (
    Panel("held-out", "Held-out accuracy", (names.HELD_OUT_ACCURACY,)),
    Panel("probe", "Log-probability of the initial answers", (names.PROBE,)),
    Panel("forgotten", "Forgotten initial answers", (names.FORGOTTEN,)),
    Panel("agreement", "Agreement and accuracy", (names.AGREEMENT, names.GOLD_LABEL_ACCURACY, names.GOLD_ACCURACY)),
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
    Panel("time", "Time of a step", (*names.SAMPLING_PHASES, names.TIME_LEARN), kind="stack"),
)


def figures(runs: Sequence[Sequence[Row]], labels: Sequence[str], alarms: Sequence[Sequence[Row]]) -> list[Figure]:
    """The panels in which some run has something to show, each with its `data` and `layout` as Plotly takes them.

    Each run has metric rows, a label, and the events of its collapse alarm.
    """
    # A metric that is 0 throughout, as the filter's where it is off, has nothing to show.
    shown = {name for rows in runs for row in rows for name, value in row.items() if value}
    logged = [{name for row in rows for name, value in row.items() if value is not None} for rows in runs]
    layout = _layout(runs, _alarm_lines(labels, alarms))
    found = []
    for panel in (*PANELS, *_benchmark_panels(shown)):
        if not shown.isdisjoint(panel.metrics):
            kept = tuple(name for name in panel.metrics if name in shown or panel.kind != "lines")
            for part, traces in _parts(replace(panel, metrics=kept), labels, logged):
                found.append(_figure(part, traces, layout))
    return found


def _parts(
    panel: Panel, labels: Sequence[str], logged: Sequence[set[str]]
) -> Iterator[tuple[Panel, list[dict[str, Any]]]]:
    """Of one run a panel has all its lines; of several each line has a panel, in which the runs are compared."""
    runs = range(len(labels))
    has_one_run = len(labels) == 1
    if panel.kind == "stack" and len(labels) <= MAX_STACKS:
        for r in runs:
            traces = [_trace(r, labels[r], name, i, stacked=True) for i, name in enumerate(panel.metrics)]
            traces = [trace for trace in traces if trace["meta"]["metric"] in logged[r]]
            of_run = replace(panel, id=f"{panel.id}-{r}", title=f"{panel.title}, {labels[r]}")
            if traces:
                yield panel if has_one_run else of_run, traces
    elif panel.kind == "stack":
        whole = Panel(panel.id, panel.title, (names.TIME_STEP,))
        yield whole, [_trace(r, labels[r], names.TIME_STEP, r, label=labels[r]) for r in runs]
    elif panel.kind == "band":
        middle, *edges = panel.metrics
        traces = []
        for r in runs:
            if logged[r].issuperset(edges):
                traces += [_edge(r, labels[r], name, is_upper=name == edges[1]) for name in edges]
            traces.append(_trace(r, labels[r], middle, r, label=None if has_one_run else labels[r]))
        yield panel, traces
    elif has_one_run:
        yield panel, [_trace(0, labels[0], name, i) for i, name in enumerate(panel.metrics)]
    else:
        for name in panel.metrics:
            part = Panel(f"{panel.id}-{name}", f"{panel.title}: {names.describe(name).label}", (name,))
            part = panel if len(panel.metrics) == 1 else part
            yield part, [_trace(r, labels[r], name, r, label=labels[r]) for r in runs]


def _trace(
    run: int, group: str, metric: str, look: int, *, label: str | None = None, stacked: bool = False
) -> dict[str, Any]:
    """A line; `look` numbers its colour and dashes, `group` is the run's label, by which it is hidden."""
    color = f"series-{look % NUM_COLOURS}"
    style: dict[str, Any] = {"line": {"color": color, "dash": DASHES[look % len(DASHES)], "width": 1.8}}
    if stacked:
        style = {"stackgroup": "phases", "line": {"color": color, "width": 1}}
    return {
        "type": "scatter",
        "name": label or names.describe(metric).label,
        "legendgroup": group,
        "meta": {"run": run, "metric": metric, "measured": names.knows_answers(metric)},
        "hovertemplate": "%{y:.3~g} s" if stacked else "%{y:.4~g}",
        **style,
    }


def _edge(run: int, group: str, metric: str, *, is_upper: bool) -> dict[str, Any]:
    """An edge of a band, not drawn; the upper one fills the band."""
    style = {"line": {"color": f"series-{run % NUM_COLOURS}", "width": 0}, "hoverinfo": "skip"}
    fill = {"fill": "tonexty"} if is_upper else {}
    return {**_trace(run, group, metric, run), **style, **fill, "hovertemplate": ""}


def _figure(panel: Panel, traces: list[dict[str, Any]], layout: dict[str, Any]) -> Figure:
    described = [names.describe(name) for name in panel.metrics]
    yaxis = dict(layout["yaxis"])
    if described[0].unit == names.SHARE:
        yaxis["range"] = [-0.03, 1.03]
    key = None
    if panel.kind == "band":
        key = f"{described[0].label}; {', '.join(metric.label for metric in described[1:])} the shaded band"
    return {
        "id": panel.id,
        "title": panel.title,
        "unit": described[0].unit,
        "is_measured": all(map(names.knows_answers, panel.metrics)),
        "about": [[metric.name, metric.meaning] for metric in described],
        "key": key,
        "data": traces,
        "layout": {**layout, "yaxis": yaxis},
    }


def _layout(runs: Sequence[Sequence[Row]], shapes: list[dict[str, Any]]) -> dict[str, Any]:
    steps = [row["step"] for rows in runs for row in rows] or [0, 1]
    edge = max((max(steps) - min(steps)) * 0.015, 0.5)
    return {
        "margin": {"l": 40, "r": 10, "t": 6, "b": 26},
        "showlegend": False,
        "hovermode": "x unified",
        "hoverdistance": -1,  # however far the nearest logged step is
        "font": {"size": 11},
        "hoverlabel": {"font": {"size": 12}},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": {
            "range": [min(steps) - edge, max(steps) + edge],
            "nticks": 6,
            "zeroline": False,
            "hoverformat": "d",
            "unifiedhovertitle": {"text": "step %{x}"},
        },
        # Zooming is over steps, and heights follow.
        "yaxis": {
            "fixedrange": True,
            "nticks": 5,
            "zeroline": False,
            "exponentformat": "power",
            "automargin": "width",
        },
        "shapes": shapes,
    }


def _alarm_lines(labels: Sequence[str], alarms: Sequence[Sequence[Row]]) -> list[dict[str, Any]]:
    return [
        {
            **{"type": "line", "x0": event["step"], "x1": event["step"], "y0": 0, "y1": 1, "yref": "paper"},
            "legendgroup": label,
            "opacity": FAINT if e else 1,
            "line": {
                "color": "raised" if len(labels) == 1 else f"series-{r % NUM_COLOURS}",
                "width": 1 if e else 2,
                "dash": ALARM_DASHES.get(event["kind"], "solid"),
            },
        }
        for r, (label, events) in enumerate(zip(labels, alarms, strict=True))
        for e, event in enumerate(events)
    ]


def _benchmark_panels(shown: set[str]) -> list[Panel]:
    """A panel for each benchmark that was measured while a run trained, with both models."""
    logged = [name for name in shown if name.startswith(names.BENCHMARK_PREFIX)]
    panels = []
    for benchmark in sorted({name.removeprefix(names.BENCHMARK_PREFIX).rpartition("/")[0] for name in logged}):
        both = tuple(names.benchmark_metric(benchmark, model) for model in (names.POLICY, names.MOMENTUM_MODEL))
        panels.append(Panel(f"benchmark-{benchmark}", benchmark, both))
    return panels


def with_derived(row: Row) -> Row:
    """A metric row with the time that the other phases leave for learning."""
    phases = [row.get(name) for name in names.SAMPLING_PHASES]
    if row.get(names.TIME_STEP) is None or phases[0] is None:
        return row
    # Below 0 where a batch is trained on in several steps, each of which is shorter than the batch's sampling.
    return {**row, names.TIME_LEARN: max(row[names.TIME_STEP] - sum(phase or 0 for phase in phases), 0)}
