"""The rows of a table of benchmarks, each a model or several seeds' models, and how two of them compare."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mgrpo.errors import UserError
from mgrpo.evaluation.results import MOMENTUM_SUFFIX, BenchmarkResult, Results, read_results
from mgrpo.evaluation.samples import SETTINGS_FILE, read_samples, read_settings
from mgrpo.evaluation.statistics import Estimate, Floats, PairedDifference, estimate, estimate_mean, paired_difference


@dataclass(frozen=True)
class Measured:
    """The results of one model.

    Attributes:
        results: from its `results.json`.
        scores: by benchmark, the share of right samples by question; benchmarks without samples are absent.
    """

    results: Results
    scores: dict[str, dict[int, float]]

    @property
    def step(self) -> float:
        """Optimizer steps; infinite if unknown."""
        step = self.results.model.step
        return np.inf if step is None else step


@dataclass(frozen=True)
class Line:
    """A row of a table: a model, or a method by the models of several seeds.

    Attributes:
        name: in the table.
        runs: by seed; None for a single one that has no seed.
        is_momentum: whether these are momentum models.
        is_chosen_by_gold: whether these checkpoints were chosen by right answers.
    """

    name: str
    runs: Mapping[int | None, Measured]
    is_momentum: bool = False
    is_chosen_by_gold: bool = False

    @property
    def benchmarks(self) -> list[str]:
        """The benchmarks that every run was measured on."""
        first, *others = (run.results.benchmarks for run in self.runs.values())
        return [name for name in first if all(name in other for other in others)]

    def results_on(self, benchmark: str) -> list[BenchmarkResult]:
        """The runs' results on a benchmark that every run was measured on."""
        return [run.results.benchmarks[benchmark] for run in self.runs.values()]


def read_measured(directory: Path) -> Measured:
    """Read an evaluation of one model: `results.json`, and the samples of each benchmark if they still exist.

    Raises:
        UserError: if there are no results, or they cannot be read.
    """
    results, scores = read_results(directory), {}
    for path in sorted(directory.glob(f"*/{SETTINGS_FILE}")):
        name = str((read_settings(path.parent) or {}).get("benchmark"))
        if name in results.benchmarks:
            found = _question_scores(path.parent, results.benchmarks[name])
            if found is not None:
                scores[name] = found
    return Measured(results, scores)


def _question_scores(directory: Path, result: BenchmarkResult) -> dict[int, float] | None:
    """The share of right samples by question; None if the samples are not those that the result was computed from."""
    by_question: dict[int, dict[int, bool]] = {}
    try:
        for _, sample in read_samples(directory):
            if sample.number < result.k:
                by_question.setdefault(sample.question, {})[sample.number] = sample.is_right
    except (FileNotFoundError, UserError):
        return None
    complete = sorted(question for question, verdicts in by_question.items() if len(verdicts) == result.k)
    complete = complete[: result.num_questions]
    scores = {question: sum(by_question[question].values()) / result.k for question in complete}
    if len(scores) < result.num_questions or abs(np.mean(list(scores.values())) - result.headline.value) > 1e-9:
        return None
    return scores


def read_lines(directory: Path, labels: Collection[str], benchmarks: Collection[str]) -> list[Line]:
    """Read a part of an evaluation: a row for each model, named by its label, or for one given by name, of label "".

    In the order of training; a momentum model follows its policy.

    Args:
        directory: of the evaluation, which may hold what other calls measured.
        labels: of the models.
        benchmarks: those that the rows have.

    Raises:
        UserError: if there are no results, or they cannot be read.
    """
    found = []
    for label in labels:
        measured = read_measured(directory / label)
        of_these = {name: result for name, result in measured.results.benchmarks.items() if name in benchmarks}
        scores = {name: by_question for name, by_question in measured.scores.items() if name in of_these}
        found.append((label, Measured(replace(measured.results, benchmarks=of_these), scores)))
    found.sort(key=lambda pair: (pair[1].step, pair[0].removesuffix(MOMENTUM_SUFFIX), len(pair[0])))
    return [
        Line(label or measured.results.model.name, {None: measured}, measured.results.model.weights == "momentum")
        for label, measured in found
    ]


def measure_line(line: Line, benchmark: str) -> Estimate:
    """The row's `avg@k` on a benchmark.

    For several runs it is their mean, with an interval over runs and questions; over runs alone if samples are
    missing, or the runs answered different questions.
    """
    headlines = [result.headline for result in line.results_on(benchmark)]
    if len(headlines) == 1:
        return headlines[0]
    of_runs = _shared_scores(list(line.runs.values()), benchmark)
    return estimate([headline.value for headline in headlines] if of_runs is None else of_runs, is_share=True)


def measure_mean(line: Line, benchmarks: Sequence[str]) -> Estimate:
    """The row's mean over benchmarks, equally weighted; the interval is nan unless all samples exist."""
    of_benchmarks = [_shared_scores(list(line.runs.values()), benchmark) for benchmark in benchmarks]
    known = [of_runs for of_runs in of_benchmarks if of_runs is not None]
    if len(known) == len(benchmarks):
        return estimate_mean(known, are_shares=True)
    return Estimate(float(np.mean([measure_line(line, benchmark).value for benchmark in benchmarks])), np.nan, np.nan)


def compare_lines(first: Line, second: Line) -> dict[str | None, PairedDifference]:
    """How much better one row is than another: by benchmark, and under None on all together if there are several.

    Only benchmarks for which both rows have samples. Runs are paired by seed; a run without a seed is compared with
    each. Empty if nothing can be paired.
    """
    shared = [seed for seed in first.runs if seed in second.runs]
    if not shared and None not in (*first.runs, *second.runs):
        return {}
    left = [first.runs[seed] for seed in shared] or list(first.runs.values())
    right = [second.runs[seed] for seed in shared] or list(second.runs.values())
    pairs: list[tuple[Floats, Floats]] = []
    found: dict[str | None, PairedDifference] = {}
    for benchmark in first.benchmarks:
        both = _shared_scores([*left, *right], benchmark) if benchmark in second.benchmarks else None
        if both is not None:
            pairs.append((both[: len(left)], both[len(left) :]))
            found[benchmark] = paired_difference(pairs[-1:])
    if len(pairs) > 1:
        found[None] = paired_difference(pairs)
    return found


def _shared_scores(runs: Sequence[Measured], benchmark: str) -> Floats | None:
    """Scores of the questions that all runs answered, (S, Q); None without samples, or with different questions."""
    if any(benchmark not in run.scores for run in runs):
        return None
    if len({run.results.benchmarks[benchmark].source.sha256 for run in runs}) > 1:
        return None
    questions = sorted(set.intersection(*(set(run.scores[benchmark]) for run in runs)))
    if not questions:
        return None
    return np.array([[run.scores[benchmark][question] for question in questions] for run in runs])
