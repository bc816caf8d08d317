import pytest
import torch

from mgrpo.algorithm import KnownLabels, label_group

SEVEN, FOUR = 0, 1


def test_filter_then_vote_then_reward():
    # M = 4, N = 1. Quartiles of the entropies: Q1 = 1.0, Q3 = 1.2, fence 0.85: the over-confident first one goes.
    # With it the vote would be 7 (3 of 5); without it 7 and 4 have two votes each, and 4 has the momentum model's.
    answers = torch.tensor([[SEVEN, SEVEN, FOUR, SEVEN, FOUR]])
    entropy = torch.tensor([[0.1, 1.0, 1.1, 1.2, 9.0]])
    result = label_group(answers, 4, entropy, iqr_multiplier=0.75)
    assert result.keep.tolist() == [[False, True, True, True, True]]
    assert result.vote.pseudo_label.tolist() == [FOUR]
    assert result.vote.is_tie.tolist() == [True]
    assert result.reward.tolist() == [[0, 0, 1, 0, 1]]
    assert result.loss_mask.tolist() == [[False, True, True, True]]
    assert label_group(answers, 4).vote.pseudo_label.tolist() == [SEVEN]


def test_momentum_model_may_answer_alone():
    result = label_group(torch.tensor([[-1, -1, 0]]), 2)
    assert result.vote.pseudo_label.tolist() == [0]
    assert result.loss_mask.all()  # silence stays in the baseline


def test_groups_without_a_signal_leave_the_loss():
    nobody_answered = [-1, -1, -1]
    assert not label_group(torch.tensor([nobody_answered]), 2).loss_mask.any()
    # one kept policy completion of two: Q1 = 0.55, Q3 = 1, k = 0: the first goes
    one_left = label_group(torch.tensor([[0, 0, 0]]), 2, torch.tensor([[0.1, 1.0, 1.0]]), iqr_multiplier=0.0)
    assert one_left.keep.tolist() == [[False, True, True]]
    assert not one_left.loss_mask.any()


def test_without_momentum_and_filter_it_is_plain_majority_voting():
    result = label_group(torch.tensor([[0, 1, 1, -1]]), 4)
    assert result.reward.tolist() == [[0, 1, 1, 0]]
    assert result.loss_mask.all()


@pytest.mark.parametrize(("label_source", "label"), [("joined", SEVEN), ("policy", SEVEN), ("momentum", FOUR)])
def test_who_votes(label_source, label):
    # M = 3 with two votes for 7, N = 2 with one for 4 and one for 7, of which 4 stands first
    answers = torch.tensor([[SEVEN, FOUR, SEVEN, FOUR, SEVEN]])
    result = label_group(answers, 3, label_source=label_source)
    assert result.vote.pseudo_label.tolist() == [label]
    assert result.reward.tolist() == [(answers[0] == label).float().tolist()]
    assert result.loss_mask.all()


def test_the_policys_vote_is_not_broken_by_the_momentum_models():
    # one vote each among the policy's; both of the momentum model's are for 4, and do not count
    answers = torch.tensor([[SEVEN, FOUR, FOUR, FOUR]])
    assert label_group(answers, 2, label_source="policy").vote.pseudo_label.tolist() == [SEVEN]
    assert label_group(answers, 2).vote.pseudo_label.tolist() == [FOUR]


def test_a_momentum_model_that_does_not_answer_leaves_no_label():
    result = label_group(torch.tensor([[0, 0, -1]]), 2, label_source="momentum")
    assert result.vote.pseudo_label.tolist() == [-1]
    assert not result.loss_mask.any()


@pytest.mark.parametrize(
    ("filter_scope", "label", "learnt"),
    [("both", FOUR, [0, 1, 1, 1]), ("vote", FOUR, [1] * 4), ("loss", SEVEN, [0, 1, 1, 1])],
)
def test_what_the_filter_is_on(filter_scope, label, learnt):
    # the batch of the first test: the filter drops the first completion
    answers = torch.tensor([[SEVEN, SEVEN, FOUR, SEVEN, FOUR]])
    entropy = torch.tensor([[0.1, 1.0, 1.1, 1.2, 9.0]])
    result = label_group(answers, 4, entropy, iqr_multiplier=0.75, filter_scope=filter_scope)
    assert result.keep.tolist() == [[False, True, True, True, True]]
    assert result.vote.pseudo_label.tolist() == [label]
    assert result.loss_mask.int().tolist() == [learnt]


@pytest.mark.parametrize("names", [{"label_source": "oracle"}, {"filter_scope": "none"}, {"reward": "length"}])
def test_refuses_unknown_names(names):
    with pytest.raises(ValueError, match=rf"{next(iter(names))} must be one of"):
        label_group(torch.zeros(1, 3, dtype=torch.long), 2, **names)


@pytest.mark.parametrize("num_policy", [0, 4])
def test_refuses_a_policy_share_outside_the_group(num_policy):
    with pytest.raises(ValueError, match=r"num_policy must be in \[1, 3\]"):
        label_group(torch.zeros(1, 3, dtype=torch.long), num_policy)


def test_refuses_a_filter_without_entropies():
    with pytest.raises(ValueError, match="needs the entropies"):
        label_group(torch.zeros(1, 3, dtype=torch.long), 2, iqr_multiplier=0.75)


def test_known_labels_take_the_place_of_the_vote():
    # the group's majority is 7, the label 4; nobody knows the second group's label
    known = KnownLabels(torch.tensor([[False, True, False], [False] * 3]), torch.tensor([True, False]))
    ids = torch.tensor([[SEVEN, FOUR, SEVEN]] * 2)
    result = label_group(ids, 3, label_source="gold", known_labels=known)
    assert result.vote is None
    assert result.reward.tolist() == [[0, 1, 0], [0, 0, 0]]
    torch.testing.assert_close(result.agreement, torch.tensor([1 / 3, 0.0]))
    assert result.loss_mask.tolist() == [[True] * 3, [False] * 3]


@pytest.mark.parametrize("label_source", ["frozen", "gold"])
def test_refuses_known_labels_that_are_not_given(label_source):
    with pytest.raises(ValueError, match="needs its labels: pass known_labels"):
        label_group(torch.zeros(1, 2, dtype=torch.long), 2, label_source=label_source)


@pytest.mark.parametrize(
    ("min_agreement", "max_agreement", "learnt"),
    [(0.0, 1.0, [1, 1, 1]), (0.5, 0.75, [0, 1, 1]), (0.0, 0.7, [1, 1, 0])],
)
def test_only_groups_in_the_band_are_learnt_from(min_agreement, max_agreement, learnt):
    # 1, 2 and 3 of 4 completions agree with the label; those without an answer count among the 4
    ids = torch.tensor([[0, -1, -1, -1], [0, 0, 1, -1], [0, 0, 0, 1]])
    result = label_group(ids, 4, min_agreement=min_agreement, max_agreement=max_agreement)
    assert result.agreement.tolist() == [0.25, 0.5, 0.75]
    assert result.loss_mask.all(dim=1).int().tolist() == learnt


def test_rewards_that_need_no_label():
    # nobody answers, and yet there is something to learn
    ids, values = torch.full((1, 3), -1), torch.tensor([[0.1, 0.2, 0.3]])
    entropy = label_group(ids, 3, values, reward="negative_entropy")
    certainty = label_group(ids, 3, reward="self_certainty", self_certainty=values)
    assert torch.equal(entropy.reward, -values)
    assert torch.equal(certainty.reward, values)
    assert entropy.loss_mask.all() and certainty.loss_mask.all()
    assert entropy.match.tolist() == [[0, 0, 0]]
    assert not label_group(ids, 3, reward="soft_frequency").loss_mask.any()


@pytest.mark.parametrize("reward", ["negative_entropy", "self_certainty"])
def test_refuses_a_reward_without_its_values(reward):
    with pytest.raises(ValueError, match=f"the reward '{reward}' needs its values"):
        label_group(torch.zeros(1, 2, dtype=torch.long), 2, reward=reward)
