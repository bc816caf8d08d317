import pytest
import torch

from mgrpo.algorithm import iqr_fence


def keep_mask(entropy, *settings, **more):
    return entropy >= iqr_fence(entropy, *settings, **more)


def test_drops_only_the_low_outlier():
    # Q1 = 1.0, Q3 = 1.2, fence = 1.0 - 0.75 * 0.2 = 0.85; the high outlier stays.
    entropy = torch.tensor([[0.1, 1.0, 1.1, 1.2, 9.0]])
    assert keep_mask(entropy, multiplier=0.75).tolist() == [[False, True, True, True, True]]


def test_quartiles_are_interpolated_linearly():
    # Four values: Q1 = 1.75, Q3 = 3.25 (NumPy's default); k = 0.4 puts the fence at 1.15, k = 0.5 at 1.0.
    entropy = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert keep_mask(entropy, multiplier=0.4).tolist() == [[False, True, True, True]]
    assert keep_mask(entropy, multiplier=0.5).all()


def test_groups_are_judged_separately():
    entropy = torch.tensor([[1.0, 1.0, 1.0, 0.5], [0.1, 0.1, 0.1, 0.1]])
    # first row: Q1 = 0.875, Q3 = 1, fence 0.78125; second row: all equal, fence 0.1
    assert keep_mask(entropy, multiplier=0.75).tolist() == [[True, True, True, False], [True] * 4]


def test_floor_widens_the_fence():
    # Q1 = Q3 = 1: without a floor the fence is 1 itself, with 0.2 it is 0.85.
    entropy = torch.tensor([[0.9, 1.0, 1.0, 1.0, 1.0]])
    assert keep_mask(entropy, 0.75).tolist() == [[False, True, True, True, True]]
    assert keep_mask(entropy, 0.75, iqr_floor=0.2).all()


@pytest.mark.parametrize("seed", range(20))
def test_every_group_keeps_a_completion(seed):
    entropy = torch.rand(8, 5, generator=torch.Generator().manual_seed(seed))
    assert keep_mask(entropy, multiplier=0.0).any(dim=1).all()


@pytest.mark.parametrize(
    ("entropy", "settings", "message"),
    [
        ([[float("nan"), 1.0]], {"multiplier": 0.75}, "finite"),
        ([[0.0, 1.0]], {"multiplier": -1.0}, "multiplier must be >= 0, got -1.0"),
        ([[0.0, 1.0]], {"multiplier": 1.0, "iqr_floor": -0.1}, "iqr_floor must be >= 0"),
    ],
)
def test_refuses(entropy, settings, message):
    with pytest.raises(ValueError, match=message):
        keep_mask(torch.tensor(entropy), **settings)
