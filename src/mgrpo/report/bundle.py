"""Some runs as one JSON object: everything that the page shows except the completions' texts."""

import json
import math
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from mgrpo.monitoring.stability import stability, verdict
from mgrpo.report.completions import Summary, rounded
from mgrpo.report.panels import figures, with_derived
from mgrpo.report.read import RunRecord
from mgrpo.runs import metrics as names
from mgrpo.runs.files import NOT_COMPARED, Row, series

MAX_IN_TITLE = 3
DIGITS = 6
"""Significant ones of metrics."""
LABEL_FREE = (names.AGREEMENT, names.DISTINCT, names.ENTROPY)
"""What a run is judged by where right answers are not known."""

Data = dict[str, Any]


def bundle(records: Sequence[RunRecord], summaries: Sequence[dict[int, Summary]], live: bool = False) -> Data:
    """The object that the page shows, embedded in it or sent to it by `mgrpo watch` (`live`).

    `summaries` are of each run's tables, by their steps.
    """
    rows = list(map(_all_rows, records, summaries))
    labels = [record.label for record in records]
    are_evaluations = all(record.is_evaluation and record.rows for record in records)
    # An evaluation has one step: a table shows it, and there are no curves.
    panels = [] if are_evaluations else figures(rows, labels, [record.alarms for record in records])
    metrics = list(dict.fromkeys(trace["meta"]["metric"] for panel in panels for trace in panel["data"]))
    steps = [row["step"] for record in records for row in record.rows] or [0, 1]
    more = f" and {len(labels) - MAX_IN_TITLE} more" if len(labels) > MAX_IN_TITLE else ""
    return {
        "live": live,
        "title": ", ".join(labels[:MAX_IN_TITLE]) + more,
        "mgrpo": version("mgrpo"),
        "notes": _notes(records),
        "steps": [min(steps), max(steps)],
        "panels": panels,
        "results": _results(records) if are_evaluations else None,
        "differences": _differences(records),
        "runs": [_run(*run, metrics, live) for run in zip(records, rows, summaries, strict=True)],
    }


def to_json(data: Any) -> str:
    """As JSON in ASCII; a value that JSON does not know, as YAML's dates and infinities, becomes its text."""
    return json.dumps(_plain(data), separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    is_known = value is None or isinstance(value, str | int) or isinstance(value, float) and math.isfinite(value)
    return value if is_known else str(value)


def _all_rows(record: RunRecord, summaries: dict[int, Summary]) -> list[Row]:
    rows = []
    for row in map(with_derived, record.rows):
        if summary := summaries.get(row["step"]):
            row = {**row, names.ENTROPY_LOW: summary.entropy_low, names.ENTROPY_HIGH: summary.entropy_high}
        rows.append(row)
    return rows


def _run(
    record: RunRecord, rows: list[Row], summaries: dict[int, Summary], metrics: Sequence[str], live: bool
) -> Data:
    recipe = record.recipe
    unfinished = "unfinished" if record.rows else "starting"
    return {
        "label": record.label,
        "directory": str(record.directory),
        "state": "evaluated" if record.is_evaluation else "finished" if record.is_finished else unfinished,
        "step": rows[-1]["step"] if rows else None,
        "max_steps": _max_steps(record),
        "updated": record.updated if live else None,
        "verdict": verdict_of(record),
        "alarms": record.alarms,
        "notes": list(record.notes),
        "recipe": recipe and {"set": recipe.given, "defaults": recipe.defaults, "fields": recipe.fields},
        "environment": record.environment,
        "steps": [row["step"] for row in rows],
        "metrics": {name: [rounded(row.get(name), DIGITS) for row in rows] for name in metrics},
        "completions": {
            "recorded": len(record.tables),
            "steps": list(summaries),
            "flags": [summary.flags for summary in summaries.values()],
            "chunks": [],
            "cut": None,
        },
    }


def _results(records: Sequence[RunRecord]) -> list[list[str]]:
    """A table of what evaluations measured, its heading first."""
    logged = dict.fromkeys(name for record in records for name in record.rows[-1] if name in names.METRICS)
    metrics = [names.describe(name) for name in logged]
    table = [["", "step", *(metric.label for metric in metrics)]]
    for record in records:
        row = record.rows[-1]
        values = [(metric.unit, row.get(metric.name)) for metric in metrics]
        cells = ["–" if v is None else f"{v:.1%}" if unit == names.SHARE else f"{v:.4g}" for unit, v in values]
        table.append([record.label, str(row["step"]), *cells])
    return table


def _max_steps(record: RunRecord) -> int | None:
    max_steps = record.recipe.fields.get("max_steps") if record.recipe else None
    return max_steps if isinstance(max_steps, int) and max_steps > 0 else None


def verdict_of(record: RunRecord) -> str:
    """Say briefly how a run went, or is going; without right answers by what else is known."""
    rows, label = record.rows, record.label
    if not rows:
        return f"{label}: no step is logged yet."
    if record.is_evaluation:
        return f"{label}: {rows[-1].get(names.GOLD_ACCURACY, 0):.1%} of the completions of this evaluation are right."
    outcome = stability(rows)
    if outcome is not None:
        sentence = verdict(label, outcome)
    else:
        courses = {names.describe(name).label: series(rows, name)[1] for name in LABEL_FREE}
        told = [f"{words} {values[0]:.2f} to {values[-1]:.2f}" for words, values in courses.items() if values]
        alarms = [event["step"] for event in record.alarms if event["kind"] == "alarm"]
        alarm = f"the collapse alarm came at step {alarms[0]}" if alarms else "no collapse alarm was raised"
        sentence = f"{label}: right answers were not measured; {', '.join([*told, alarm])}."
    if record.is_finished:
        return sentence
    of_all = f" of {max_steps}" if (max_steps := _max_steps(record)) else ""
    return f"{sentence} Logged up to step {rows[-1]['step']}{of_all}: it is running, or ended early."


def _notes(records: Sequence[RunRecord]) -> list[str]:
    tasks = dict.fromkeys(str(record.recipe.fields.get("task")) for record in records if record.recipe)
    if len(tasks) < 2:
        return []
    return [f"The runs are of different tasks ({', '.join(tasks)}): their accuracies are not comparable."]


def _differences(records: Sequence[RunRecord]) -> list[Data]:
    recipes = [record.recipe for record in records if record.recipe is not None]
    given = frozenset[str]().union(*(recipe.given_names for recipe in recipes))
    differences = []
    for field in dict.fromkeys(name for recipe in recipes for name in recipe.fields):
        values = [to_json(recipe.fields[field]) for recipe in recipes if field in recipe.fields]
        # A field that is new since one of the runs, and was not set in another, makes no difference.
        is_missing = len(values) < len(recipes) and field in given
        if field not in NOT_COMPARED and (is_missing or len(set(values)) > 1):
            of_all = [record.recipe.fields.get(field) if record.recipe else None for record in records]
            differences.append({"field": field, "values": of_all})
    return differences
