import torch

from mgrpo.algorithm import match_reward, random_reward, soft_frequency_reward


def test_only_the_labels_answer_matches():
    ids = torch.tensor([[0, 1, -1], [0, 0, -1]])
    assert match_reward(ids, torch.tensor([1, -1])).tolist() == [[0, 1, 0], [0, 0, 0]]


def test_share_of_the_votes_for_ones_own_answer():
    # votes: 0, 0, 1 and one more 0 that may not vote; the last gives no answer. Shares of 3 votes: 2/3 and 1/3.
    ids = torch.tensor([[0, 0, 1, 0, -1]])
    votes = torch.tensor([[True, True, True, False, True]])
    expected = torch.tensor([[2 / 3, 2 / 3, 1 / 3, 2 / 3, 0]])
    torch.testing.assert_close(soft_frequency_reward(ids, votes), expected)


def test_nobody_votes():
    ids = torch.tensor([[0, -1]])
    assert soft_frequency_reward(ids, torch.tensor([[False, True]])).tolist() == [[0, 0]]


def test_a_coin_is_fair_and_repeatable():
    ids = torch.zeros(100, 100, dtype=torch.long)
    torch.manual_seed(0)
    first = random_reward(ids)
    torch.manual_seed(0)
    assert torch.equal(random_reward(ids), first)
    assert first.unique().tolist() == [0, 1]
    assert abs(first.mean().item() - 0.5) < 0.02  # 4 standard errors of 10,000 tosses
