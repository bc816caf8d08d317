"""95% intervals and p-values of means over questions, for which both the questions and the seeds are a random draw."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
RESAMPLES = 10_000
"""Draws of the bootstrap; its own error in an end of an interval is then about 2% of the interval's width."""
PERMUTATIONS = 10_000
"""Draws of a permutation test that is not exact; its smallest p is 1 / 10,001."""
EXACT_UP_TO = 16
"""Number of differences up to which all signs, 65,536, are tried."""
FEW = 5
"""Right or wrong answers, in numbers of questions, below which a bootstrap has too little to draw from."""
SEED = 0
CHUNK = 4_000_000
"""Numbers drawn at a time, which bounds memory."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval.

    Attributes:
        low, high: ends of the interval; nan if unknown.
        method: how the interval was computed; `wilson` of a mean: from the benchmarks' own, some of them Wilson's.
    """

    value: float
    low: float
    high: float
    method: Literal["bootstrap", "wilson"] = "bootstrap"


@dataclass(frozen=True)
class PairedDifference:
    """How much better one model is than another on the same questions.

    Attributes:
        value: mean difference, first minus second.
        low, high: ends of its 95% interval; nan if unknown.
        p_questions: of the test that flips the sign of each question's difference: do these very models differ?
        p_runs: of the test that flips the sign of each run's difference: do the methods behind them differ? None for
            a single run; at least 2 / 2^S for S runs.
        num_questions: of all benchmarks together.
        num_runs: paired runs.
    """

    value: float
    low: float
    high: float
    p_questions: float
    p_runs: float | None
    num_questions: int
    num_runs: int


def estimate(scores: ArrayLike, *, is_share: bool = False) -> Estimate:
    """The mean of questions' scores with its percentile bootstrap interval, clustered by question.

    A question is drawn with all its samples, whose mean is its score, so samples of one question do not count as
    independent. With runs of several seeds, (S, Q), runs are drawn too, and independently of them questions, the same
    ones for all runs (Owen 2007). S - 1 runs are drawn, because S out of a few vary too little (Rao and Wu 1988).

    The bootstrap is wrong for a share that is nearly 0 or 1 on few questions: without any right answer it would
    exclude that there ever is one. With right or wrong answers on fewer than 5 questions' worth, the interval is
    Wilson's, with the number of samples that gives the bootstrap's variance, or with Q if that variance is 0.

    Otherwise equal scores: the interval has no width, although the mean is uncertain. A single question: nan.

    Args:
        scores: one for each question, (Q,), or (S, Q) for S runs.
        is_share: whether the scores are shares in [0, 1], not differences.

    Raises:
        ValueError: if there is no question, or a score is not finite.
    """
    of_runs = _of_runs(scores)
    value, num_questions = float(of_runs.mean()), of_runs.shape[1]
    if num_questions < 2:
        return Estimate(value, math.nan, math.nan)
    means = _resampled_means(of_runs)
    if is_share and num_questions * min(value, 1 - value) < FEW:
        return _wilson(value, float(means.var()) * num_questions / (num_questions - 1), num_questions)
    return Estimate(value, *_percentiles(means))


def estimate_mean(benchmarks: Sequence[ArrayLike], *, are_shares: bool = False) -> Estimate:
    """The mean over benchmarks, equally weighted, with its bootstrap interval.

    Questions are drawn separately for each benchmark, runs once for all. Where `estimate` gives a benchmark Wilson's
    interval, the bootstrap would have the same fault here: the distances from the benchmarks' values to the ends of
    their own intervals are then added as independent errors (Zou and Donner 2008).

    Args:
        benchmarks: scores of each, (Q,), or (S, Q) for the same S runs; Q may differ.
        are_shares: whether the scores are shares in [0, 1], not differences.

    Raises:
        ValueError: as `estimate` does, or if benchmarks have different numbers of runs.
    """
    of_benchmarks = [_of_runs(scores) for scores in benchmarks]
    if len({len(of_runs) for of_runs in of_benchmarks}) != 1:
        raise ValueError("a mean over benchmarks needs at least one benchmark, and the same runs on each")
    value = float(np.mean([of_runs.mean() for of_runs in of_benchmarks]))
    if min(of_runs.shape[1] for of_runs in of_benchmarks) < 2:
        return Estimate(value, math.nan, math.nan)
    own = [estimate(of_runs, is_share=True) for of_runs in of_benchmarks] if are_shares else []
    if any(each.method == "wilson" for each in own):
        below = math.hypot(*(each.value - each.low for each in own)) / len(own)
        above = math.hypot(*(each.high - each.value for each in own)) / len(own)
        return Estimate(value, value - below, value + above, method="wilson")
    means = np.mean([_resampled_means(of_runs, index) for index, of_runs in enumerate(of_benchmarks)], axis=0)
    return Estimate(value, *_percentiles(means))


def paired_difference(benchmarks: Sequence[tuple[ArrayLike, ArrayLike]]) -> PairedDifference:
    """Compare two models on the same questions, or two methods on the same questions and seeds.

    The mean over benchmarks, equally weighted. The differences of questions are resampled. Runs are paired in the
    order given; a single run, such as the initial model's, is compared with each run of the other side.

    No difference anywhere: 0, an interval of width 0, p = 1. A single question: interval nan, p = 1.

    Args:
        benchmarks: for each, the scores of both sides on the same questions in the same order, (Q,), or (S, Q) for S
            runs.

    Raises:
        ValueError: as `estimate_mean` does, or if both sides have different numbers of questions or runs.
    """
    differences = [_differences(first, second) for first, second in benchmarks]
    found = estimate_mean(differences)
    of_questions = [of_runs.mean(axis=0) / of_runs.shape[1] for of_runs in differences]
    by_run = np.mean([of_runs.mean(axis=1) for of_runs in differences], axis=0)
    p_questions = sign_flip_p(np.concatenate(of_questions))
    p_runs = sign_flip_p(by_run) if len(by_run) > 1 else None
    num_questions = sum(of_runs.shape[1] for of_runs in differences)
    return PairedDifference(found.value, found.low, found.high, p_questions, p_runs, num_questions, len(by_run))


def sign_flip_p(differences: ArrayLike) -> float:
    """Two-sided p of a mean difference: how often do random signs make it as large? (n,) -> p.

    Under the null hypothesis each difference could equally have the other sign. Differences of 0 change nothing. With
    up to 16 others all signs are tried, and p is exact. With more, 10,000 are drawn and the observed signs counted as
    one of them, p = (b + 1) / (m + 1) (Phipson and Smyth 2010), so p is never 0.

    Raises:
        ValueError: if there is no difference, or one is not finite.
    """
    pairs = _of_runs(differences).ravel()
    flipped = np.abs(pairs[pairs != 0])
    observed = abs(pairs.sum()) - 1e-9 * flipped.sum()  # rounding may make an equal sum smaller
    if len(flipped) <= EXACT_UP_TO:
        sums = np.zeros(1)
        for difference in flipped:
            sums = np.concatenate([sums - difference, sums + difference])
        return float((np.abs(sums) >= observed).mean())
    rng = np.random.default_rng(SEED)
    as_large = 0
    for size in _chunks(PERMUTATIONS, len(flipped)):
        signs = 2.0 * rng.integers(2, size=(size, len(flipped))) - 1
        as_large += int((np.abs(signs @ flipped) >= observed).sum())
    return (as_large + 1) / (PERMUTATIONS + 1)


def holm(p_values: ArrayLike) -> Floats:
    """Correct the p-values of one table for their number (Holm 1979), (n,) -> (n,).

    The smallest is multiplied by n, the next by n - 1, and so on; none becomes smaller than the one before, none
    larger than 1. A corrected p below .05 keeps the chance of any false claim in the whole table below .05.
    """
    given = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1)), 1.0)
    return corrected


def _of_runs(scores: ArrayLike) -> Floats:
    checked = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if checked.ndim != 2 or checked.size == 0:
        raise ValueError(f"scores must be of questions, (Q,), or of runs and questions, (S, Q); not {checked.shape}")
    if not np.isfinite(checked).all():
        raise ValueError("a score is not finite; leave out the question that has no sample")
    return checked


def _differences(first: ArrayLike, second: ArrayLike) -> Floats:
    left, right = _of_runs(first), _of_runs(second)
    if left.shape[1] != right.shape[1]:
        raise ValueError(f"{left.shape[1]} questions cannot be paired with {right.shape[1]}")
    if left.shape[0] != right.shape[0] and 1 not in (left.shape[0], right.shape[0]):
        raise ValueError(f"{left.shape[0]} runs cannot be paired with {right.shape[0]}")
    return left - right


def _percentiles(means: Floats) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _wilson(share: float, variance: float, num_questions: int) -> Estimate:
    """Wilson's interval (1927) of a share with this variance."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    number = share * (1 - share) / variance if variance > 0 else num_questions
    middle = (share + z**2 / (2 * number)) / (1 + z**2 / number)
    half = z / (1 + z**2 / number) * math.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
    return Estimate(share, max(middle - half, 0.0), min(middle + half, 1.0), "wilson")


def _resampled_means(of_runs: Floats, benchmark: int = 0) -> Floats:
    """Means of the bootstrap's draws, (RESAMPLES,); drawn questions differ by benchmark, drawn runs do not."""
    num_runs, num_questions = of_runs.shape
    of_questions, of_seeds = np.random.default_rng([SEED, benchmark]), np.random.default_rng([SEED, 0, 1])
    means = []
    for size in _chunks(RESAMPLES, num_questions):
        drawn = _counts(of_questions, size, num_questions, num_questions)
        by_run = drawn @ of_runs.T / num_questions
        if num_runs > 1:
            by_run = by_run * _counts(of_seeds, size, num_runs, num_runs - 1) * num_runs / (num_runs - 1)
        means.append(by_run.mean(axis=1))
    return np.concatenate(means)


def _counts(rng: np.random.Generator, size: int, number: int, num_drawn: int) -> Floats:
    """How often each of `number` items is drawn when `num_drawn` are, with replacement; (size, number)."""
    drawn = rng.integers(number, size=(size, num_drawn)) + number * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * number).reshape(size, number).astype(np.float64)


def _chunks(number: int, width: int) -> Iterator[int]:
    at_a_time = max(1, CHUNK // width)
    for start in range(0, number, at_a_time):
        yield min(at_a_time, number - start)
