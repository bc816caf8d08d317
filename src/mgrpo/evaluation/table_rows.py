"""The lines of a table of benchmarks: a model or several seeds' models, and two of them on the same questions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mgrpo.evaluation.results import RESULTS_FILE, BenchmarkResult, Results, read_results
from mgrpo.evaluation.statistics import (
    Estimate,
    Floats,
    PairedDifference,
    estimate,
    estimate_mean,
    mean_paired_difference,
)
from mgrpo.evaluation.store import SETTINGS_FILE
from mgrpo.runs.files import SAMPLES_FILE

MOMENTUM_SUFFIX = "-momentum"
"""Of the label of a run's momentum model, behind the policy's."""


@dataclass(frozen=True)
class Measured:
    """The results of one model.

    Attributes:
        results: of its `results.json`.
        scores: by benchmark, the share of right samples by question; benchmarks without samples are absent.
    """

    results: Results
    scores: dict[str, dict[int, float]]

    @property
    def step(self) -> float:
        """Optimizer steps; infinite where that is not known."""
        step = self.results.model.step
        return np.inf if step is None else step


@dataclass(frozen=True)
class Line:
    """What a table says in one line: a model, or a method by the models of several seeds.

    Attributes:
        name: as the table has it.
        runs: by seed; a single one by None, if it belongs to no seed.
        is_momentum: whether these are momentum models.
        is_chosen_by_gold: whether right answers chose these checkpoints of all.
    """

    name: str
    runs: Mapping[int | None, Measured]
    is_momentum: bool = False
    is_chosen_by_gold: bool = False

    @property
    def benchmarks(self) -> list[str]:
        """Those that every run was measured on."""
        first, *others = (run.results.benchmarks for run in self.runs.values())
        return [name for name in first if all(name in other for other in others)]


@dataclass(frozen=True)
class Comparison:
    """How much better a line is than another.

    Attributes:
        benchmark: where, or None: the mean over all benchmarks that both were measured on.
        num_questions: that both answered.
        num_runs: seeds that are paired.
        difference: first minus second.
    """

    benchmark: str | None
    num_questions: int
    num_runs: int
    difference: PairedDifference


def read_measured(directory: Path) -> Measured:
    """Read what an evaluation left of a model: `results.json`, and the samples of each benchmark where they are there.

    Raises:
        UserError: if there are no results, or they cannot be read.
    """
    results = read_results(directory)
    scores = {}
    for path in sorted(directory.glob(f"*/{SETTINGS_FILE}")):
        name = _benchmark_of(path)
        if name in results.benchmarks:
            found = _question_scores(path.with_name(SAMPLES_FILE), results.benchmarks[name])
            if found is not None:
                scores[name] = found
    return Measured(results, scores)


def read_lines(directory: Path) -> list[Line]:
    """What an evaluation left: a line for each of a run's models, by its label, or one for a model by its name.

    In the order of training; the momentum model's behind the policy's.

    Raises:
        UserError: if there are no results, or they cannot be read.
    """
    labels = sorted(path.parent for path in directory.glob(f"*/{RESULTS_FILE}"))
    if not labels or (directory / RESULTS_FILE).exists():
        measured = read_measured(directory)
        return [Line(measured.results.model.name, {None: measured})]
    found = {label.name: read_measured(label) for label in labels}
    order = sorted(found, key=lambda label: (found[label].step, label.removesuffix(MOMENTUM_SUFFIX), len(label)))
    return [
        Line(label, {None: found[label]}, is_momentum=found[label].results.model.weights == "momentum")
        for label in order
    ]


def measure_line(line: Line, benchmark: str) -> Estimate:
    """The line's `avg@k` on a benchmark.

    Of several runs it is their mean, and the interval is over runs and questions; where samples are not there, or the
    runs' questions are not the same ones, over runs alone.
    """
    results = [run.results.benchmarks[benchmark] for run in line.runs.values()]
    if len(results) == 1:
        return results[0].headline
    of_runs = _scores_of(list(line.runs.values()), benchmark)
    return estimate([result.headline.value for result in results] if of_runs is None else of_runs, is_share=True)


def measure_mean(line: Line, benchmarks: Sequence[str]) -> Estimate:
    """The line's mean over benchmarks, which weigh the same; without samples of all the interval is nan."""
    of_benchmarks = [_scores_of(list(line.runs.values()), benchmark) for benchmark in benchmarks]
    known = [of_runs for of_runs in of_benchmarks if of_runs is not None]
    if len(known) == len(benchmarks):
        return estimate_mean(known)
    return Estimate(float(np.mean([measure_line(line, benchmark).value for benchmark in benchmarks])), np.nan, np.nan)


def compare_lines(first: Line, second: Line) -> list[Comparison]:
    """Compare two lines on each benchmark whose samples both have, and on all of those together where there are two.

    Runs are paired by seed; a run of no seed is compared with each. Empty where nothing can be paired.
    """
    shared = [seed for seed in first.runs if seed in second.runs]
    if not shared and None not in (*first.runs, *second.runs):
        return []
    left = [first.runs[seed] for seed in shared] or list(first.runs.values())
    right = [second.runs[seed] for seed in shared] or list(second.runs.values())
    pairs, found = [], []
    for benchmark in first.benchmarks:
        both = _scores_of([*left, *right], benchmark) if benchmark in second.benchmarks else None
        if both is not None:
            pairs.append((both[: len(left)], both[len(left) :]))
            found.append(_comparison(benchmark, pairs[-1:]))
    return found + ([_comparison(None, pairs)] if len(pairs) > 1 else [])


def _comparison(benchmark: str | None, pairs: list[tuple[Floats, Floats]]) -> Comparison:
    num_questions = sum(left.shape[1] for left, _ in pairs)
    num_runs = max(len(scores) for scores in pairs[0])
    return Comparison(benchmark, num_questions, num_runs, mean_paired_difference(pairs))


def _scores_of(runs: Sequence[Measured], benchmark: str) -> Floats | None:
    """Scores of the questions that all runs answered, (S, Q); None without samples, or of different questions."""
    if any(benchmark not in run.scores for run in runs):
        return None
    if len({run.results.benchmarks[benchmark].source.sha256 for run in runs}) > 1:
        return None
    questions = sorted(set.intersection(*(set(run.scores[benchmark]) for run in runs)))
    if not questions:
        return None
    return np.array([[run.scores[benchmark][question] for question in questions] for run in runs])


def _benchmark_of(settings: Path) -> str | None:
    try:
        name = json.loads(settings.read_text(encoding="utf-8"))["benchmark"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _question_scores(path: Path, result: BenchmarkResult) -> dict[int, float] | None:
    """The share of right samples by question; None if these are not the samples that the result was measured on."""
    is_right: dict[int, dict[int, bool]] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            sample = json.loads(line)
            if sample["number"] < result.k:
                is_right.setdefault(sample["question"], {})[sample["number"]] = sample["is_right"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # there are none, or a line is half written; what is missing shows below
    complete = sorted(question for question, samples in is_right.items() if len(samples) == result.k)
    scores = {question: sum(is_right[question].values()) / result.k for question in complete[: result.num_questions]}
    if len(scores) < result.num_questions or abs(np.mean(list(scores.values())) - result.headline.value) > 1e-9:
        return None
    return scores
