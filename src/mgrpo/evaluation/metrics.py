"""The metrics of a benchmark, from what was sampled: each is a mean over questions of a score of the question.

Axes: Q questions, K samples of a question.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mgrpo.evaluation.statistics import Estimate, Floats, estimate

NO_ANSWER = -1
"""Answer id of a completion without an answer."""
CONSISTENCY = "consistency"
NO_ANSWER_RATE = "no_answer_rate"
MEAN_LENGTH = "mean_length"


@dataclass(frozen=True)
class Samples:
    """What was sampled of each question; (Q, K) each, where K is the most samples that a question has.

    Attributes:
        is_right: whether the answer is right.
        answer_ids: equal ids within a row are equal answers; -1 is no answer.
        lengths: tokens of the completions, end-of-text included.
        num_samples: (Q,), samples of each question; what stands behind them in a row does not count. All K if None.
    """

    is_right: NDArray[np.bool_]
    answer_ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    num_samples: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:  # noqa: D105
        shape = self.is_right.shape
        if len(shape) != 2 or 0 in shape or {self.answer_ids.shape, self.lengths.shape} != {shape}:
            raise ValueError(
                f"is_right, answer_ids and lengths must all be (Q, K), of a question and a sample at least; they are "
                f"{shape}, {self.answer_ids.shape} and {self.lengths.shape}"
            )
        counts = self.counts
        if counts.shape != shape[:1] or counts.min() < 1 or counts.max() > shape[1]:
            raise ValueError(f"num_samples must be (Q,), each from 1 to {shape[1]}")
        if (self.answer_ids[self.is_sampled] < NO_ANSWER).any():
            raise ValueError("answer ids must be -1 or above")

    @property
    def counts(self) -> NDArray[np.int64]:
        """Samples of each question, (Q,)."""
        return np.full(len(self.is_right), self.is_right.shape[1]) if self.num_samples is None else self.num_samples

    @property
    def is_sampled(self) -> NDArray[np.bool_]:
        """Which places of the rows hold a sample, (Q, K)."""
        return np.arange(self.is_right.shape[1]) < self.counts[:, None]


def pad(
    is_right: Sequence[Sequence[bool]], answer_ids: Sequence[Sequence[int]], lengths: Sequence[Sequence[int]]
) -> Samples:
    """Samples from lists, one a question, of which some may be shorter: an evaluation that was interrupted.

    Raises:
        ValueError: if there is no question, one has no sample, or the three are not of the same samples.
    """
    counts = [len(row) for row in is_right]
    if [len(row) for row in answer_ids] != counts or [len(row) for row in lengths] != counts:
        raise ValueError("is_right, answer_ids and lengths must have as many samples of each question")
    shape = (len(counts), max(counts, default=0))
    padded = np.zeros(shape, bool), np.full(shape, NO_ANSWER, np.int64), np.zeros(shape, np.int64)
    for array, rows in zip(padded, (is_right, answer_ids, lengths), strict=True):
        for line, row in zip(array, rows, strict=True):
            line[: len(row)] = row
    return Samples(*padded, num_samples=np.array(counts, np.int64))


def measure(samples: Samples) -> dict[str, Estimate]:
    """Every metric with its interval, by name: the means of `scores`."""
    return {
        name: estimate(of_questions, is_share=name != MEAN_LENGTH) for name, of_questions in scores(samples).items()
    }


def scores(samples: Samples) -> dict[str, Floats]:
    """The score of each question, (Q,), by the metric that is their mean.

    Questions weigh the same, however many samples they have. `avg@K` and `maj@K` are of the samples that a question
    has, K at most. `pass@j` is given for j = 2, 4, 8, ... and K, as far as every question has j samples; `pass@1` is
    `avg@K`. With K = 1 there is neither `pass@1`, nor a majority and its consistency.
    """
    most, fewest = samples.is_right.shape[1], int(samples.counts.min())
    found = {f"avg@{most}": average(samples)}
    powers = [2**power for power in range(1, most.bit_length())]
    found |= {f"pass@{j}": pass_at(samples, j) for j in sorted({*powers, most} - {1}) if j <= fewest}
    if most > 1:
        found |= {f"maj@{most}": majority(samples), CONSISTENCY: consistency(samples)}
    return found | {NO_ANSWER_RATE: no_answer_rate(samples), MEAN_LENGTH: mean_length(samples)}


def average(samples: Samples) -> Floats:
    """Share of right samples of each question, (Q,): avg@K."""
    return _mean(samples, samples.is_right)


def pass_at(samples: Samples, j: int) -> Floats:
    """Chance that of j samples of a question one at least is right, (Q,): pass@j, estimated without bias.

    1 - C(n - c, j) / C(n, j) for n samples of which c are right (Chen et al. 2021, arXiv 2107.03374, eq. 1), as a
    product of j factors that are all in [0, 1], so that no binomial coefficient has to be held.

    Raises:
        ValueError: if j is below 1, or a question has fewer samples.
    """
    fewest = int(samples.counts.min())
    if not 1 <= j <= fewest:
        raise ValueError(f"pass@{j} needs {j} samples of each question; one has {fewest}")
    of_question = samples.counts[:, None]
    num_wrong = (~samples.is_right & samples.is_sampled).sum(axis=1, keepdims=True)
    drawn = np.arange(j)
    return 1 - (np.clip(num_wrong - drawn, 0, None) / (of_question - drawn)).prod(axis=1)


def majority(samples: Samples) -> Floats:
    """Whether the most common answer of each question is right, (Q,): maj@K.

    Samples without an answer have no vote. Ties: the chance that one of the tied answers, drawn at random, is right.
    Nobody answered: 0.
    """
    votes = _votes(samples)
    is_winning = (votes == votes.max(axis=1, keepdims=True)) & (votes > 0)
    # Each tied answer has as many samples, so the mean over samples is the mean over answers.
    return (samples.is_right & is_winning).sum(axis=1) / np.maximum(is_winning.sum(axis=1), 1)


def consistency(samples: Samples) -> Floats:
    """Share of the samples of each question that give its most common answer, (Q,); 0 where nobody answered."""
    return _votes(samples).max(axis=1) / samples.counts


def no_answer_rate(samples: Samples) -> Floats:
    """Share of the samples of each question that give no answer, (Q,)."""
    return _mean(samples, samples.answer_ids == NO_ANSWER)


def mean_length(samples: Samples) -> Floats:
    """Mean length of the samples of each question, (Q,), tokens."""
    return _mean(samples, samples.lengths)


def _mean(samples: Samples, values: NDArray[np.generic]) -> Floats:
    return np.where(samples.is_sampled, values, 0).sum(axis=1) / samples.counts


def _votes(samples: Samples) -> NDArray[np.int64]:
    """How many samples of its question give the answer that a sample gives, (Q, K); 0 for no answer."""
    ids, can_vote = samples.answer_ids, samples.is_sampled & (samples.answer_ids != NO_ANSWER)
    votes = np.zeros(ids.shape, np.int64)
    for other in range(ids.shape[1]):
        votes += (ids == ids[:, other : other + 1]) & can_vote & can_vote[:, other : other + 1]
    return votes
