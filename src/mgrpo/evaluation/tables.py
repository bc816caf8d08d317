"""Tables of benchmarks: models by benchmark, which of two is better, and what makes numbers incomparable."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isnan
from statistics import fmean

from mgrpo.evaluation.metrics import CONSISTENCY, MEAN_LENGTH, NO_ANSWER_RATE
from mgrpo.evaluation.results import BenchmarkResult, Results
from mgrpo.evaluation.statistics import Estimate, PairedDifference
from mgrpo.evaluation.table_rows import Line, compare_lines, measure_line, measure_mean

SIGNIFICANT = 0.05
NOTHING = "–"
CHOSEN = "†"
READING = (
    "Right samples in percent ± half of the 95% interval (bootstrap, clustered by question); in brackets Wilson's "
    "interval, if few are right or few are wrong."
)
OVER_RUNS = "Of several runs: their mean, and an interval over runs and questions."
SHIP = (
    "Policy − momentum: paired difference in points [95% interval] and p by sign flips. Ship: the better one, if "
    "both show a difference; either: no difference was shown."
)
CHOSEN_BY_GOLD = (
    f"{CHOSEN} The best of a run's checkpoints by the mean over its benchmarks, chosen by right answers to these very "
    "questions: no label-free run could have picked it."
)
DIFFERENCES = (
    "Paired differences in points [95% interval] on the questions that both answered. p: signs of questions flipped, "
    "do these very models differ?"
)
DIFFERENCES_OF_RUNS = (
    "p (runs): signs of runs flipped, do the methods differ? Of S runs it is 2 / 2^S at least: 0.25 of 3, 0.063 of 5."
)
METRICS = (
    "k samples of each question asked; in percent: avg@k, pass@k (at least one is right), maj@k (the most common "
    "answer is right), samples that give the most common answer, samples without an answer; tokens: mean length of a "
    "completion. results.json has the intervals, and pass@j for fewer samples."
)
SHOWN_VALUE = 24
"""Characters of a setting in a note."""


@dataclass(frozen=True)
class Grid:
    """A table of plain texts: column headings, cells by row, and notes below it."""

    head: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


def benchmark_grid(lines: Sequence[Line]) -> Grid:
    """Models by benchmarks, in percent, and which of a policy and the momentum model in the next row to ship."""
    benchmarks = list(dict.fromkeys(name for line in lines for name in line.benchmarks))
    shared = [name for name in benchmarks if all(name in line.benchmarks for line in lines)]
    with_momentum = {
        id(policy): compare_lines(policy, other)
        for policy, other in pairwise(lines)
        if other.is_momentum and not policy.is_momentum
    }
    has_mean, has_ship = len(shared) > 1, any(with_momentum.values())
    head = ["", *(f"{name} {_metric(lines, name)}" for name in benchmarks)]
    head += [f"mean of {len(shared)}"] * has_mean + ["policy − momentum", "p", "ship"] * has_ship
    rows = []
    for line in lines:
        row = [line_name(line)]
        row += [percent(measure_line(line, name)) if name in line.benchmarks else NOTHING for name in benchmarks]
        if has_mean:
            row.append(percent(measure_mean(line, shared)))
        if has_ship:
            row += _ship(with_momentum.get(id(line)))
        rows.append(row)
    notes = [READING]
    notes += [OVER_RUNS] * any(len(line.runs) > 1 for line in lines) + [SHIP] * has_ship
    notes += [CHOSEN_BY_GOLD] * any(line.is_chosen_by_gold for line in lines)
    return Grid(head, rows, [*notes, *_limits(lines), *_unlike(lines)])


def difference_grid(pairs: Sequence[tuple[Line, Line]]) -> Grid | None:
    """The difference of each pair of rows on each benchmark; None if no pair has samples of the same questions."""
    compared = [(first, second, compare_lines(first, second)) for first, second in pairs]
    has_runs = any(one.p_runs is not None for *_, differences in compared for one in differences.values())
    rows = []
    for first, second, differences in compared:
        for place, (benchmark, difference) in enumerate(differences.items()):
            name = f"{first.name} − {second.name}" if place == 0 else ""
            row = [name, benchmark or "mean", str(difference.num_questions)]
            row += [str(difference.num_runs)] * has_runs + [points(difference), p_value(difference.p_questions)]
            if has_runs:
                row.append(NOTHING if difference.p_runs is None else p_value(difference.p_runs))
            rows.append(row)
    if not rows:
        return None
    head = ["", "benchmark", "questions", *["runs"] * has_runs, "difference", "p", *["p (runs)"] * has_runs]
    return Grid(head, rows, [DIFFERENCES, *[DIFFERENCES_OF_RUNS] * has_runs])


def metric_grid(lines: Sequence[Line]) -> Grid:
    """Every metric of each row on each benchmark, without intervals."""
    rows = []
    for line in lines:
        for place, benchmark in enumerate(line.benchmarks):
            results = line.results_on(benchmark)
            cells = [_metric_cell(results, name) for name in ("avg@", "pass@", "maj@", CONSISTENCY, NO_ANSWER_RATE)]
            length = fmean(result.metrics[MEAN_LENGTH].value for result in results)
            row = [line_name(line) if place == 0 else "", benchmark, str(results[0].num_questions)]
            rows.append([*row, _counts(result.k for result in results), *cells, f"{length:.0f}"])
    head = ["", "benchmark", "asked", "k", "avg", "pass", "maj", "consistent", "none", "tokens"]
    return Grid(head, rows, [METRICS])


def line_name(line: Line) -> str:
    """A row's name with the number of its runs, if there are several, and the mark of a chosen one."""
    runs = f" ({len(line.runs)} runs)" if len(line.runs) > 1 else ""
    return f"{line.name}{runs}{f' {CHOSEN}' if line.is_chosen_by_gold else ''}"


def percent(estimate: Estimate) -> str:
    """`61.5 ± 4.2`; both ends if the interval is Wilson's, which is not symmetric; the value alone without one."""
    value, low, high = (100 * number for number in (estimate.value, estimate.low, estimate.high))
    if isnan(low):
        return f"{value:.1f}"
    is_wilson = estimate.method == "wilson"
    return f"{value:.1f} [{low:.1f}, {high:.1f}]" if is_wilson else f"{value:.1f} ± {(high - low) / 2:.1f}"


def _metric(lines: Sequence[Line], benchmark: str) -> str:
    of_runs = (run.results.benchmarks for line in lines for run in line.runs.values())
    return f"avg@{_counts(results[benchmark].k for results in of_runs if benchmark in results)}"


def _counts(ks: Iterable[int]) -> str:
    return "/".join(map(str, sorted(set(ks))))


def _ship(differences: dict[str | None, PairedDifference] | None) -> list[str]:
    if not differences:
        return [""] * 3
    *_, difference = differences.values()  # the last: of all benchmarks together, where there are several
    is_shown = (difference.low > 0 or difference.high < 0) and difference.p_questions < SIGNIFICANT
    better = "policy" if difference.value > 0 else "momentum"
    return [points(difference), p_value(difference.p_questions), better if is_shown else "either"]


def _metric_cell(results: Sequence[BenchmarkResult], name: str) -> str:
    """A metric's mean over runs in percent; the run's k is appended to a name that ends with @."""
    metrics = [result.metrics.get(f"{name}{result.k}" if name.endswith("@") else name) for result in results]
    values = [metric.value for metric in metrics if metric is not None]
    return f"{100 * fmean(values):.1f}" if len(values) == len(metrics) else NOTHING


def points(difference: PairedDifference) -> str:
    """`+1.2 [−0.3, +2.7]`, in percentage points."""
    value, low, high = (
        f"{100 * number:+.1f}".replace("-", "−") for number in (difference.value, difference.low, difference.high)
    )
    return value if isnan(difference.low) else f"{value} [{low}, {high}]"


def p_value(p: float) -> str:
    """Three decimals, or `<0.001`."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _limits(lines: Sequence[Line]) -> list[str]:
    limits = {
        f"{result.limit} of {name}"
        for line in lines
        for run in line.runs.values()
        for name, result in run.results.benchmarks.items()
        if result.limit is not None
    }
    return [f"Only the first questions: {', '.join(sorted(limits))}."] if limits else []


def _unlike(lines: Sequence[Line]) -> list[str]:
    """A warning that names the settings in which the rows differ, or nothing."""
    values: dict[str, dict[str, None]] = {}
    for line in lines:
        for run in line.runs.values():
            for name, value in _shaping(run.results).items():
                values.setdefault(name, {})[str(value)] = None
    differing = [
        f"{name} ({', '.join(text if len(text) <= SHOWN_VALUE else f'{text[:SHOWN_VALUE]}...' for text in found)})"
        for name, found in values.items()
        if len(found) > 1
    ]
    return [f"Not measured alike, so compare with care: {'; '.join(differing)}."] if differing else []


def _shaping(results: Results) -> dict[str, object]:
    """Everything but the model that influences the numbers, by names for a note."""
    protocol = dataclasses.asdict(results.protocol)
    found = {name: protocol[name] for name in protocol if name not in ("name", "seed", "versions")}
    found |= {f"version of {name}": version for name, version in results.protocol.versions.items()}
    for benchmark, result in results.benchmarks.items():
        settings = {"questions": result.source.sha256, **dataclasses.asdict(result)}
        for name in ("source", "num_questions", "metrics"):
            del settings[name]
        found |= {f"{name} of {benchmark}": value for name, value in settings.items()}
    return found
