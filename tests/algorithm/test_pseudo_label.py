from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mgrpo.algorithm import majority_vote


def vote(rows, num_policy, keep=None):
    ids = torch.tensor(rows)
    is_momentum = torch.arange(ids.shape[1]) >= num_policy
    return majority_vote(ids, is_momentum, None if keep is None else torch.tensor(keep))


def test_majority_wins_whoever_voted():
    result = vote([[0, 1, 1, 0, 1]], num_policy=4)
    assert (result.pseudo_label.tolist(), result.num_votes.tolist(), result.is_tie.tolist()) == ([1], [3], [False])


def test_no_answer_is_no_vote():
    result = vote([[-1, -1, -1, 0], [-1, -1, -1, -1]], num_policy=3)
    assert (result.pseudo_label.tolist(), result.num_votes.tolist()) == ([0, -1], [1, 0])
    assert not result.is_tie.any()


def test_tie_goes_to_the_answer_with_more_momentum_votes():
    # 0 and 1 have two votes each; 1 has one from the momentum model, 0 has none.
    result = vote([[0, 0, 1, 1]], num_policy=3)
    assert (result.pseudo_label.tolist(), result.is_tie.tolist()) == ([1], [True])


def test_tie_between_equal_momentum_votes_goes_to_the_one_sampled_first():
    # ids need not be in order of appearance: 2 stands first
    result = vote([[2, 1, 1, 2], [0, 1, 0, 1]], num_policy=4)
    assert (result.pseudo_label.tolist(), result.is_tie.tolist()) == ([2, 0], [True, True])


def test_dropped_completions_do_not_vote_nor_come_first():
    # without the first 0 and the last: 1 has two, 0 has one
    result = vote([[0, 1, 1, 0, 0]], num_policy=4, keep=[[False, True, True, True, False]])
    assert (result.pseudo_label.tolist(), result.num_votes.tolist()) == ([1], [2])
    # the tie of 0 and 1 goes to 1: the dropped 0 is not "sampled first"
    assert vote([[0, 1, 0]], num_policy=3, keep=[[False, True, True]]).pseudo_label.tolist() == [1]


@given(
    st.lists(st.integers(-1, 7), min_size=8, max_size=8),
    st.integers(1, 8),
    st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_same_as_counting_by_hand(ids, num_policy, keep):
    voters = [(place, answer) for place, answer in enumerate(ids) if keep[place] and answer >= 0]
    result = vote([ids], num_policy, [keep])
    if not voters:
        assert result.pseudo_label.item() == -1
        return
    votes = Counter(answer for _, answer in voters)
    momentum_votes = Counter(answer for place, answer in voters if place >= num_policy)
    first = {answer: place for place, answer in reversed(voters)}
    best = max(votes, key=lambda answer: (votes[answer], momentum_votes[answer], -first[answer]))
    assert result.pseudo_label.item() == best
    assert result.num_votes.item() == votes[best]
    assert result.is_tie.item() == (list(votes.values()).count(votes[best]) > 1)


@pytest.mark.parametrize("bad", [[[0, 3, 0]], [[-2, 0, 0]]])
def test_refuses_ids_outside_the_group(bad):
    with pytest.raises(ValueError, match=r"answer ids must be in \[-1, 3\)"):
        vote(bad, num_policy=3)
