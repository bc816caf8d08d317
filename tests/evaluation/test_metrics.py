from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgrpo.evaluation.metrics import (
    average,
    consistency,
    count_votes,
    majority,
    measure,
    no_answer_rate,
    pass_at,
    scores,
)


def bools(right):
    return np.array(right, bool)


def scores_of(right):
    """The scores where all right samples give one answer, and all wrong ones another."""
    return scores(bools(right), np.where(bools(right), 0, 1), np.ones(np.shape(right), int))


def test_every_metric_by_hand():
    # Question 1: answers 7 7 2 -, the sevens right. Question 2: 4 5 5 4, the fours right.
    # Question 3: 0 3 3 3, the zero right. Question 4: nobody answered.
    right = bools([[1, 1, 0, 0], [1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
    ids = np.array([[7, 7, 2, -1], [4, 5, 5, 4], [0, 3, 3, 3], [-1, -1, -1, -1]])
    lengths = np.array([[1, 2, 3, 4], [5, 5, 5, 5], [0, 0, 0, 8], [9, 9, 9, 9]])
    assert average(right).tolist() == [0.5, 0.5, 0.25, 0.0]
    # 1 - C(2,2)/C(4,2) = 5/6; c = 1: 1 - C(3,2)/C(4,2) = 1/2
    assert pass_at(right, 2) == pytest.approx([5 / 6, 5 / 6, 0.5, 0.0])
    assert pass_at(right, 4).tolist() == [1.0, 1.0, 1.0, 0.0]
    # 7 wins and is right; 4 and 5 are tied, one of them right; 3 wins and is wrong
    assert majority(right, ids).tolist() == [1.0, 0.5, 0.0, 0.0]
    assert consistency(ids).tolist() == [0.5, 0.5, 0.75, 0.0]
    assert no_answer_rate(ids).tolist() == [0.25, 0.0, 0.0, 1.0]
    assert scores(right, ids, lengths)["mean_length"].tolist() == [2.5, 5.0, 2.0, 9.0]
    means = {name: estimate.value for name, estimate in measure(right, ids, lengths).items()}
    assert means == pytest.approx(
        {
            "avg@4": 1.25 / 4,
            "pass@2": (5 / 6 + 5 / 6 + 1 / 2) / 4,
            "pass@4": 0.75,
            "maj@4": 0.375,
            "consistency": 1.75 / 4,
            "no_answer_rate": 0.3125,
            "mean_length": 18.5 / 4,
        }
    )


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_pass_at_is_the_mean_over_all_subsets(right, data):
    j = data.draw(st.integers(1, len(right)))
    subsets = list(combinations(right, j))
    assert pass_at(bools([right]), j)[0] == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize(("n", "j"), [(32, 8), (256, 100), (1000, 500)])
def test_pass_at_against_scipy(n, j):
    comb = pytest.importorskip("scipy.special").comb
    right = np.arange(n) < np.arange(n + 1)[:, None]  # 0 to n of n are right
    expected = [1 - comb(n - c, j, exact=True) / comb(n, j, exact=True) for c in range(n + 1)]
    assert pass_at(right, j) == pytest.approx(expected, abs=1e-12)


def test_pass_at_1_is_the_average():
    right = np.random.default_rng(0).random((20, 5)) < 0.3
    assert pass_at(right, 1) == pytest.approx(average(right))


@pytest.mark.parametrize("j", [0, 3])
def test_pass_at_needs_as_many_samples(j):
    with pytest.raises(ValueError, match=f"pass@{j} .* there are 2"):
        pass_at(bools([[1, 0]]), j)


def test_a_tie_of_several_answers_is_drawn_from():
    # Three answers with two votes each, one of them right; the one with a single vote is not among them
    right, ids = [[0, 0, 1, 1, 0, 0, 1]], [[5, 5, 6, 6, 9, 9, 2]]
    assert majority(bools(right), np.array(ids)) == pytest.approx([1 / 3])


def test_votes_count_equal_answers_of_the_same_question():
    assert count_votes(np.array([[4, 5, 4, 4], [4, -1, -1, 2]])).tolist() == [[3, 1, 3, 3], [1, 0, 0, 1]]


def test_ids_are_equal_within_a_question_alone():
    right, ids = bools([[1, 0, 0], [0, 0, 1]]), np.array([[0, 1, 1], [1, 1, 0]])
    assert majority(right, ids).tolist() == [0.0, 0.0]
    assert consistency(ids) == pytest.approx([2 / 3, 2 / 3])


def test_one_sample_of_each_question():
    right, ids = bools([[1], [0], [0]]), np.array([[3], [-1], [2]])
    found = scores(right, ids, np.ones((3, 1), int))
    # No pass@1 next to avg@1, and no majority of one
    assert list(found) == ["avg@1", "no_answer_rate", "mean_length"]
    assert found["avg@1"].tolist() == [1.0, 0.0, 0.0]
    assert majority(right, ids).tolist() == average(right).tolist()


def test_names_of_pass():
    assert [name for name in scores_of(np.ones((2, 6))) if name.startswith("pass")] == ["pass@2", "pass@4", "pass@6"]
    assert "pass@8" in scores_of(np.ones((2, 8)))


def test_other_shapes_are_refused():
    ones = np.ones((2, 3), int)
    for shape in ((2, 2), (2,)):
        with pytest.raises(ValueError, match="at least one question and one sample"):
            scores(bools(ones), np.zeros(shape, int), ones)
    with pytest.raises(ValueError, match="at least one question and one sample"):
        scores_of(np.ones((0, 2)))
    with pytest.raises(ValueError, match="-1 or above"):
        scores(bools([[1, 0]]), np.array([[0, -2]]), np.ones((1, 2), int))
