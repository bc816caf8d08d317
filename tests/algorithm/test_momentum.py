import math

import pytest
import torch

from mgrpo.algorithm import distance_squares, ema_update_, relative_distance, scheduled_momentum


@pytest.mark.parametrize(("m", "expected"), [(0.0, 4.0), (0.75, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_interpolates(m, expected, dtype):
    theta = torch.zeros(1)
    ema_update_([theta], [torch.tensor([4.0], dtype=dtype)], m)
    assert theta.item() == expected


def test_each_weight_follows_its_own_twin():
    thetas = [torch.zeros(2), torch.zeros(1)]
    ema_update_(thetas, [torch.tensor([1.0, 2.0]), torch.tensor([3.0])], 0.5)
    assert [theta.tolist() for theta in thetas] == [[0.5, 1.0], [1.5]]


def test_a_bfloat16_policy_is_followed_in_float32():
    # 1e-3 of the way to 1 + 1/128 (the next bfloat16 after 1), 100 times: bfloat16 would not have moved at all.
    theta, target = torch.ones(1), torch.tensor([1.0078125], dtype=torch.bfloat16)
    for _ in range(100):
        ema_update_([theta], [target], 0.999)
    assert theta.item() == pytest.approx(1.0078125 - 0.0078125 * 0.999**100, abs=1e-6)


def test_weights_of_two_kinds_in_one_call():
    thetas = [torch.zeros(2), torch.ones(2)]
    ema_update_(thetas, [torch.ones(2, dtype=torch.bfloat16), torch.full((2,), 3.0)], 0.75)
    assert [theta.tolist() for theta in thetas] == [[0.25, 0.25], [1.5, 1.5]]


def test_distance():
    def distance(momentum_weights, policy_weights):
        return relative_distance(distance_squares(momentum_weights, policy_weights))

    # |(3, 4) - (0, 0)| over |(0, 0), 10| = 5 / 10
    assert distance([torch.tensor([3.0, 4.0]), torch.tensor([10.0])], [torch.zeros(2), torch.tensor([10.0])]) == 0.5
    assert distance([], []) == 0
    assert math.isfinite(distance([torch.zeros(1)], [torch.zeros(1)]))


@pytest.mark.parametrize(
    ("momentum_weights", "m", "message"),
    [
        ([torch.ones(1, dtype=torch.bfloat16)], 0.99, "float32"),
        ([torch.ones(1)], 1.5, r"\[0, 1\], got 1.5"),
        ([], 0.99, "0 momentum weights but 1 policy weights"),
    ],
)
def test_refuses(momentum_weights, m, message):
    with pytest.raises(ValueError, match=message):
        ema_update_(momentum_weights, [torch.ones(1)], m)


def test_schedules():
    # cosine: 1 - 0.04 (cos(pi t) + 1) / 2 at t = 0, 1/3, 1/2, 1, with cos 1, 1/2, 0, -1
    cosine = [scheduled_momentum(0.96, "cosine", step, 6) for step in (0, 2, 3, 6)]
    assert cosine == pytest.approx([0.96, 0.97, 0.98, 1.0])
    assert [scheduled_momentum(0.96, "constant", step, 6) for step in (0, 6)] == [0.96, 0.96]
    with pytest.raises(ValueError, match="schedule must be one of"):
        scheduled_momentum(0.96, "linear", 0, 6)
