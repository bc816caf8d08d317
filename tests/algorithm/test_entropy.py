import math

import pytest
import torch

from mgrpo.algorithm import token_entropy, token_self_certainty, trajectory_mean


def test_uniform_and_certain():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, -math.inf, -math.inf, -math.inf]])
    torch.testing.assert_close(token_entropy(logits, 1.0), torch.tensor([math.log(4), 0.0]))


def test_temperature_flattens():
    # logits (2, 0) at T = 2 are (1, 0): p = e / (e + 1) = 0.731059, H = 0.582203 nats
    torch.testing.assert_close(token_entropy(torch.tensor([2.0, 0.0]), 2.0), torch.tensor(0.582203))


def test_mean_stops_at_the_last_token():
    values = torch.tensor([[1.0, 3.0, 100.0], [2.0, 2.0, 5.0], [7.0, 7.0, 7.0]])
    assert trajectory_mean(values, torch.tensor([2, 3, 0])).tolist() == [2.0, 3.0, 0.0]


def test_what_stands_behind_the_last_token_does_not_matter():
    assert trajectory_mean(torch.tensor([[1.0, float("nan")]]), torch.tensor([1])).tolist() == [1.0]


def test_refuses_temperature_zero():
    with pytest.raises(ValueError, match="temperature must be > 0"):
        token_entropy(torch.zeros(2), 0.0)


def test_self_certainty_is_the_distance_from_a_uniform_distribution():
    # logits (2, 0) at T = 2: p = (0.731059, 0.268941); -log 2 - (log 0.731059 + log 0.268941) / 2 = 0.120115 nats
    logits = torch.tensor([[2.0, 0.0], [3.0, 3.0]])
    torch.testing.assert_close(token_self_certainty(logits, 2.0), torch.tensor([0.120115, 0.0]), atol=1e-6, rtol=0)
