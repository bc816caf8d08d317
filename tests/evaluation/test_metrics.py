from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgrpo.evaluation.metrics import (
    Samples,
    average,
    consistency,
    majority,
    mean_length,
    measure,
    no_answer_rate,
    pad,
    pass_at,
    scores,
)


def samples(right, ids=None, lengths=None, num_samples=None):
    right = np.array(right, bool)
    ids = np.where(right, 0, 1) if ids is None else np.array(ids)
    lengths = np.ones(right.shape, int) if lengths is None else np.array(lengths)
    return Samples(right, ids, lengths, num_samples)


def test_every_metric_by_hand():
    # Question 1: answers 7 7 2 -, the sevens right. Question 2: 4 5 5 4, the fours right.
    # Question 3: 0 3 3 3, the zero right. Question 4: nobody answered.
    found = samples(
        [[1, 1, 0, 0], [1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]],
        [[7, 7, 2, -1], [4, 5, 5, 4], [0, 3, 3, 3], [-1, -1, -1, -1]],
        [[1, 2, 3, 4], [5, 5, 5, 5], [0, 0, 0, 8], [9, 9, 9, 9]],
    )
    assert average(found).tolist() == [0.5, 0.5, 0.25, 0.0]
    # 1 - C(2,2)/C(4,2) = 5/6; c = 1: 1 - C(3,2)/C(4,2) = 1/2
    assert pass_at(found, 2) == pytest.approx([5 / 6, 5 / 6, 0.5, 0.0])
    assert pass_at(found, 4).tolist() == [1.0, 1.0, 1.0, 0.0]
    # 7 wins and is right; 4 and 5 are tied, one of them right; 3 wins and is wrong
    assert majority(found).tolist() == [1.0, 0.5, 0.0, 0.0]
    assert consistency(found).tolist() == [0.5, 0.5, 0.75, 0.0]
    assert no_answer_rate(found).tolist() == [0.25, 0.0, 0.0, 1.0]
    assert mean_length(found).tolist() == [2.5, 5.0, 2.0, 9.0]
    means = {name: estimate.value for name, estimate in measure(found).items()}
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
    assert pass_at(samples([right]), j)[0] == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize(("n", "j"), [(32, 8), (256, 100), (1000, 500)])
def test_pass_at_against_scipy(n, j):
    comb = pytest.importorskip("scipy.special").comb
    right = np.arange(n) < np.arange(n + 1)[:, None]  # 0 to n of n are right
    expected = [1 - comb(n - c, j, exact=True) / comb(n, j, exact=True) for c in range(n + 1)]
    assert pass_at(samples(right), j) == pytest.approx(expected, abs=1e-12)


def test_pass_at_1_is_the_average():
    right = np.random.default_rng(0).random((20, 5)) < 0.3
    assert pass_at(samples(right), 1) == pytest.approx(average(samples(right)))


def test_a_tie_of_several_answers_is_drawn_from():
    # Three answers with two votes each, one of them right; the one with a single vote is not in it
    assert majority(samples([[0, 0, 1, 1, 0, 0, 1]], [[5, 5, 6, 6, 9, 9, 2]])) == pytest.approx([1 / 3])


def test_ids_are_equal_within_a_question_alone():
    found = samples([[1, 0, 0], [0, 0, 1]], [[0, 1, 1], [1, 1, 0]])
    assert majority(found).tolist() == [0.0, 0.0]
    assert consistency(found) == pytest.approx([2 / 3, 2 / 3])


def test_one_sample_of_each_question():
    found = samples([[1], [0], [0]], [[3], [-1], [2]])
    # No pass@1 beside avg@1, and no majority of one
    assert list(scores(found)) == ["avg@1", "no_answer_rate", "mean_length"]
    assert scores(found)["avg@1"].tolist() == [1.0, 0.0, 0.0]
    assert majority(found).tolist() == average(found).tolist()


def test_names_of_pass():
    assert [name for name in scores(samples(np.ones((2, 6)))) if name.startswith("pass")] == [
        *("pass@2", "pass@4", "pass@6")
    ]
    assert "pass@8" in scores(samples(np.ones((2, 8))))


def test_questions_with_fewer_samples():
    # As an evaluation leaves it that was interrupted: 4, 1 and 2 samples
    found = pad(
        [[True, False, False, False], [True], [False, True]], [[2, 3, 3, 3], [0], [-1, 4]], [[1, 1, 1, 1], [4], [2, 4]]
    )
    assert found.counts.tolist() == [4, 1, 2]
    assert average(found).tolist() == [0.25, 1.0, 0.5]  # each of its own samples; questions weigh the same
    assert majority(found).tolist() == [0.0, 1.0, 1.0]
    assert consistency(found).tolist() == [0.75, 1.0, 0.5]
    assert no_answer_rate(found).tolist() == [0.0, 0.0, 0.5]
    assert mean_length(found).tolist() == [1.0, 4.0, 3.0]
    assert not [name for name in scores(found) if name.startswith("pass")]  # one has no second sample
    with pytest.raises(ValueError, match="pass@2 needs 2 samples of each question; one has 1"):
        pass_at(found, 2)
    two = pad([[True, False, False], [False, True]], [[0, 1, 1], [1, 0]], [[1] * 3, [1] * 2])
    # 1 - C(2,2)/C(3,2) = 2/3 of three samples, 1 of two: what stands behind a short row does not count as wrong
    assert pass_at(two, 2) == pytest.approx([2 / 3, 1.0])
    assert [name for name in scores(two) if name.startswith("pass")] == ["pass@2"]


def test_what_stands_behind_a_short_row_does_not_count():
    right, ids = np.array([[1, 0, 0], [0, 1, 1]], bool), np.array([[0, 5, 5], [3, 0, 0]])
    short = Samples(right, ids, np.full((2, 3), 9), np.array([1, 2]))
    same = pad([[True], [False, True]], [[0], [3, 0]], [[9], [9, 9]])
    for name, of_questions in scores(same).items():
        assert scores(short)[name.replace("@2", "@3")].tolist() == of_questions.tolist()


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="at least; they are"):
        Samples(np.ones((2, 3), bool), np.zeros((2, 2), int), np.ones((2, 3), int))
    with pytest.raises(ValueError, match="at least; they are"):
        pad([], [], [])
    with pytest.raises(ValueError, match="each from 1 to 2"):
        pad([[True, True], []], [[0, 0], []], [[1, 1], []])
    with pytest.raises(ValueError, match="as many samples of each question"):
        pad([[True, True]], [[0]], [[1, 1]])
    with pytest.raises(ValueError, match="-1 or above"):
        samples([[1, 0]], [[0, -2]])
