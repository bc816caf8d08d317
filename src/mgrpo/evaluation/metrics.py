"""The metrics of a benchmark: each is the mean over questions of a score that a question gets from its own samples.

All arrays are (Q, K): Q questions, K samples of each. `is_right` says which samples are right. `answer_ids` are as
`mgrpo.answers.answer_ids` gives them: equal ids within a row are equal answers, and -1 is no answer. Scores are (Q,).
"""

import numpy as np
from numpy.typing import NDArray

from mgrpo.evaluation.statistics import Estimate, Floats, estimate

CONSISTENCY = "consistency"
NO_ANSWER_RATE = "no_answer_rate"
MEAN_LENGTH = "mean_length"

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


def measure(is_right: Bools, answer_ids: Ints, lengths: Ints) -> dict[str, Estimate]:
    """Every metric with its interval, by name: the means of `scores`."""
    by_name = scores(is_right, answer_ids, lengths)
    return {name: estimate(of_questions, is_share=name != MEAN_LENGTH) for name, of_questions in by_name.items()}


def scores(is_right: Bools, answer_ids: Ints, lengths: Ints) -> dict[str, Floats]:
    """The score of each question, (Q,), by the name of the metric that is their mean.

    `pass@j` is given for j = 2, 4, 8, ... and K; `pass@1` is `avg@K`. With K = 1 there is no majority and no
    consistency.

    Args:
        is_right: whether each sample is right.
        answer_ids: what each sample answers.
        lengths: tokens of the completions, end-of-text included.

    Raises:
        ValueError: if the arrays are not all (Q, K) with at least one question and one sample, or an id is below -1.
    """
    shape = is_right.shape
    if len(shape) != 2 or 0 in shape or {answer_ids.shape, lengths.shape} != {shape}:
        raise ValueError(
            "is_right, answer_ids and lengths must all be (Q, K) with at least one question and one sample; they are "
            f"{shape}, {answer_ids.shape} and {lengths.shape}"
        )
    if answer_ids.min() < -1:
        raise ValueError("answer ids must be -1 or above")
    k = shape[1]
    powers = [2**power for power in range(1, k.bit_length())]
    found = {f"avg@{k}": average(is_right)} | {f"pass@{j}": pass_at(is_right, j) for j in sorted({*powers, k} - {1})}
    if k > 1:
        found |= {f"maj@{k}": majority(is_right, answer_ids), CONSISTENCY: consistency(answer_ids)}
    return found | {NO_ANSWER_RATE: no_answer_rate(answer_ids), MEAN_LENGTH: lengths.mean(axis=1)}


def average(is_right: Bools) -> Floats:
    """Share of right samples of each question, (Q,): avg@K."""
    return is_right.mean(axis=1)


def pass_at(is_right: Bools, j: int) -> Floats:
    """Chance that at least one of j samples of a question is right, (Q,): pass@j, estimated without bias.

    1 - C(K - c, j) / C(K, j), where c of the K samples are right (Chen et al. 2021, arXiv 2107.03374, eq. 1), computed
    as a product of j factors in [0, 1], so that no binomial coefficient overflows.

    Raises:
        ValueError: if j is not in 1, ..., K.
    """
    k = is_right.shape[1]
    if not 1 <= j <= k:
        raise ValueError(f"pass@{j} needs {j} samples of each question; there are {k}")
    num_wrong = (~is_right).sum(axis=1, keepdims=True)
    drawn = np.arange(j)
    return 1 - (np.clip(num_wrong - drawn, 0, None) / (k - drawn)).prod(axis=1)


def majority(is_right: Bools, answer_ids: Ints) -> Floats:
    """Whether the most common answer of each question is right, (Q,): maj@K.

    Samples without an answer have no vote. Ties: the chance that one of the tied answers, drawn at random, is right.
    Nobody answered: 0.
    """
    votes = count_votes(answer_ids)
    is_winning = (votes == votes.max(axis=1, keepdims=True)) & (votes > 0)
    # Tied answers have equally many samples, so the mean over samples is the mean over answers.
    return (is_right & is_winning).sum(axis=1) / np.maximum(is_winning.sum(axis=1), 1)


def consistency(answer_ids: Ints) -> Floats:
    """Share of the samples of each question that give its most common answer, (Q,); 0 where nobody answered."""
    return count_votes(answer_ids).max(axis=1) / answer_ids.shape[1]


def no_answer_rate(answer_ids: Ints) -> Floats:
    """Share of the samples of each question that give no answer, (Q,)."""
    return (answer_ids < 0).mean(axis=1)


def count_votes(answer_ids: Ints) -> Ints:
    """How many samples of the same question give the answer that a sample gives, (Q, K); 0 for no answer."""
    # One column at a time: comparing all pairs at once would need Q * K * K numbers.
    votes = sum((answer_ids == answer_ids[:, j : j + 1]).astype(np.int64) for j in range(answer_ids.shape[1]))
    return np.where(answer_ids < 0, 0, votes)
