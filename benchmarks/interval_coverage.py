"""How often 95% intervals hold the truth, on simulated benchmarks of few and of many questions, and how wide they are.

    python benchmarks/interval_coverage.py --trials 1000 --seed 0

A question's chance of being solved is drawn from a Beta distribution with the given mean and a + b = 1, which leaves
most questions either nearly always or nearly never solved; k samples are drawn of each. The truth is the Beta's mean:
what the model would score on all questions of the kind.

mgrpo      `mgrpo.evaluation.statistics.estimate`: the bootstrap, or Wilson's where that has too little to draw from
bootstrap  percentile, clustered by question
t          mean +- t(Q - 1) standard errors over questions' means
wilson     Wilson's interval of a proportion, of as many samples as would have that standard error; of Q where it is 0

Then the same for S runs, of which each has its own normal shift of all chances, standard deviation 0.03; and for the
difference of two models, one 0.05 better than the other where it can be. Last, how often the sign-flip test of two
models that are equally good finds p <= 0.05.
"""

import argparse
from collections.abc import Iterable
from itertools import chain

import numpy as np
from scipy import stats

from mgrpo.evaluation import statistics as intervals
from mgrpo.evaluation.statistics import estimate, paired_difference, sign_flip_p

QUESTIONS = (10, 30, 100, 500)
ACCURACIES = (0.01, 0.05, 0.15, 0.5, 0.8)
RUN_DEVIATION = 0.03
# The mean of min(p + 0.05, 1) - p = min(0.05, 1 - p) over Beta(1/2, 1/2), by its quantiles sin^2(pi u / 2)
BETTER = float(np.minimum(0.05, np.sin(np.pi / 2 * (np.arange(10**6) + 0.5) / 10**6) ** 2).mean())


def t_interval(of_questions: np.ndarray) -> tuple[float, float]:
    half = stats.t.ppf(0.975, len(of_questions) - 1) * stats.sem(of_questions)
    return of_questions.mean() - half, of_questions.mean() + half


def wilson(of_questions: np.ndarray) -> tuple[float, float]:
    mean, variance = of_questions.mean(), stats.sem(of_questions) ** 2
    number = mean * (1 - mean) / variance if variance > 0 else len(of_questions)
    z = stats.norm.ppf(0.975)
    middle = (mean + z**2 / (2 * number)) / (1 + z**2 / number)
    half = z / (1 + z**2 / number) * np.sqrt(mean * (1 - mean) / number + z**2 / (4 * number**2))
    return middle - half, middle + half


def every_interval(of_questions: np.ndarray) -> dict[str, tuple[float, float]]:
    ours = estimate(of_questions, is_share=True)
    bootstrap = ours if ours.method == "bootstrap" else estimate(of_questions)
    return {
        "mgrpo": (ours.low, ours.high),
        "bootstrap": (bootstrap.low, bootstrap.high),
        "t": t_interval(of_questions),
        "wilson": wilson(of_questions),
    }


METHODS = ("mgrpo", "bootstrap", "t", "wilson")


def sample(rng: np.random.Generator, accuracy: float, num: int, k: int) -> np.ndarray:
    return rng.binomial(k, rng.beta(accuracy, 1 - accuracy, num)) / k


def coverage(rng: np.random.Generator, accuracy: float, num: int, k: int, trials: int) -> list[str]:
    held, width, without = {name: 0 for name in METHODS}, {name: 0.0 for name in METHODS}, 0
    for _ in range(trials):
        of_questions = sample(rng, accuracy, num, k)
        without += np.ptp(of_questions) == 0
        for name, (low, high) in every_interval(of_questions).items():
            held[name] += low <= accuracy <= high
            width[name] += high - low
    cells = [f"{100 * held[name] / trials:.1f} ({100 * width[name] / trials:.1f})" for name in METHODS]
    return [str(num), str(k), f"{100 * accuracy:g}", *cells, f"{100 * without / trials:.1f}"]


def coverage_of_runs(rng: np.random.Generator, num_runs: int, num: int, trials: int) -> list[str]:
    k, held, width = 4, 0, 0.0
    for _ in range(trials):
        chance = rng.uniform(0.2, 0.8, num) + rng.normal(0, RUN_DEVIATION, (num_runs, 1))
        found = estimate(rng.binomial(k, np.clip(chance, 0, 1)) / k)
        held += found.low <= 0.5 <= found.high
        width += found.high - found.low
    return [str(num_runs), str(num), f"{100 * held / trials:.1f} ({100 * width / trials:.1f})"]


def of_differences(rng: np.random.Generator, num: int, k: int, trials: int) -> list[str]:
    return [str(num), str(k), coverage_of_differences(rng, num, k, trials), false_alarms(rng, num, k, trials)]


def coverage_of_differences(rng: np.random.Generator, num: int, k: int, trials: int) -> str:
    held, width = 0, 0.0
    for _ in range(trials):
        chance = rng.beta(0.5, 0.5, num)
        better = np.minimum(chance + 0.05, 1)
        found = paired_difference([(rng.binomial(k, better) / k, rng.binomial(k, chance) / k)])
        held += found.low <= BETTER <= found.high
        width += found.high - found.low
    return f"{100 * held / trials:.1f} ({100 * width / trials:.1f})"


def false_alarms(rng: np.random.Generator, num: int, k: int, trials: int) -> str:
    alarms = 0
    for _ in range(trials):
        chance = rng.beta(0.5, 0.5, num)
        alarms += sign_flip_p((rng.binomial(k, chance) - rng.binomial(k, chance)) / k) <= 0.05
    return f"{100 * alarms / trials:.1f}"


def show(rows: Iterable[list[str]]) -> None:
    for number, row in enumerate(rows):
        print(f"| {' | '.join(row)} |", flush=True)
        if number == 0:
            print("|---" * len(row) + "|")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resamples", type=int, default=1_000, help="and signs; the package takes 10,000 of each")
    arguments = parser.parse_args()
    intervals.RESAMPLES = intervals.PERMUTATIONS = arguments.resamples
    rng = np.random.default_rng(arguments.seed)
    trials = arguments.trials
    print(f"percent of {trials} intervals that hold the truth (mean width in points), seed {arguments.seed}\n")
    accuracies = ((num, k, accuracy) for num in QUESTIONS for k in (1, 8) for accuracy in ACCURACIES)
    head = ["questions", "k", "accuracy", *METHODS, "all scores equal"]
    show(chain([head], (coverage(rng, accuracy, num, k, trials) for num, k, accuracy in accuracies)))
    runs = ((num_runs, num) for num in (30, 500) for num_runs in (1, 2, 3, 5, 10))
    head = ["runs", "questions", "bootstrap"]
    show(chain([head], (coverage_of_runs(rng, num_runs, num, trials) for num_runs, num in runs)))
    head = ["questions", "k", "bootstrap of the difference", "p <= 0.05 of equal models"]
    sizes = ((num, k) for num in QUESTIONS for k in (1, 8))
    show(chain([head], (of_differences(rng, num, k, trials) for num, k in sizes)))


if __name__ == "__main__":
    main()
