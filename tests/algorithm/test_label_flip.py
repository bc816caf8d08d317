import pytest
import torch

from mgrpo.algorithm import flip_weight


def test_flips_in_a_row_beyond_patience_cost():
    assert flip_weight(torch.tensor([0, 1, 2, 4, 8]), 2).tolist() == [1, 1, 1, 0.5, 0.25]


def test_refuses_patience_0():
    with pytest.raises(ValueError, match="patience must be >= 1"):
        flip_weight(torch.tensor([1]), 0)
