import torch

from mgrpo.algorithm import group_advantage


def test_by_hand():
    # rewards 1 0 0 1: mean 0.5, deviations +-0.5, Bessel-corrected std sqrt(4 * 0.25 / 3) = 0.577350
    value = 0.5 / (0.5773503 + 1e-4)
    expected = torch.tensor([[value, -value, -value, value]])
    torch.testing.assert_close(group_advantage(torch.tensor([[1.0, 0.0, 0.0, 1.0]])), expected)


def test_dropped_ones_are_in_neither_mean_nor_std():
    reward = torch.tensor([[1.0, 0.0, 0.0, 1.0, 1.0]])
    keep = torch.tensor([[True, True, True, True, False]])
    with_dropped = group_advantage(reward, keep)
    torch.testing.assert_close(with_dropped[:, :4], group_advantage(reward[:, :4]))
    assert with_dropped[0, 4] == 0


def test_equal_rewards_teach_nothing():
    # 0.1 is no binary fraction: its mean over 3 is one rounding error off
    assert group_advantage(torch.full((1, 3), 0.1)).tolist() == [[0, 0, 0]]


def test_one_survivor_teaches_nothing():
    keep = torch.tensor([[True, False, False], [False, False, False]])
    assert not group_advantage(torch.tensor([[1.0, 0.0, 0.0]] * 2), keep).any()
