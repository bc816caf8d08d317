import pytest
import torch
from torch import nn

from mgrpo.errors import UserError
from mgrpo.training.momentum_model import FILE_NAME, MomentumModel


def linear(value, dtype=torch.float32):
    model = nn.Linear(2, 1, bias=False, dtype=dtype)
    nn.init.constant_(model.weight, value)
    return model


def test_starts_at_the_policy_and_follows_it_slowly():
    policy = linear(1.0)
    momentum = MomentumModel(policy, m=0.75)
    assert momentum.distance() == 0
    nn.init.constant_(policy.weight, 5.0)
    momentum.update()
    with momentum.in_place_of_policy():
        assert policy.weight.tolist() == [[2.0, 2.0]]  # 0.75 * 1 + 0.25 * 5
    assert momentum.distance() == pytest.approx(3 / 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_policy_comes_back_to_the_bit(dtype):
    policy = nn.Linear(7, 5, dtype=dtype)
    before = [p.detach().clone() for p in policy.parameters()]
    momentum = MomentumModel(policy, m=0.9)
    nn.init.normal_(policy.weight)
    changed = policy.weight.detach().clone()
    with pytest.raises(RuntimeError, match="sampling broke"), momentum.in_place_of_policy():
        assert torch.equal(policy.weight, before[0])
        raise RuntimeError("sampling broke")
    assert torch.equal(policy.weight, changed)
    assert policy.weight.dtype == dtype


def test_frozen_weights_are_shared():
    policy = nn.Sequential(linear(1.0), linear(2.0))
    policy[0].weight.requires_grad_(False)
    momentum = MomentumModel(policy, m=0.0)
    nn.init.constant_(policy[0].weight, 9.0)
    with momentum.in_place_of_policy():
        assert policy[0].weight.tolist() == [[9.0, 9.0]]


def test_saved_and_loaded(tmp_path):
    momentum = MomentumModel(linear(3.0), m=0.9)
    momentum.save(tmp_path)
    other = MomentumModel(linear(0.0), m=0.9)
    other.load(tmp_path)
    assert other._weights["weight"].tolist() == [[3.0, 3.0]]


def test_refuses_a_checkpoint_without_or_of_another_model(tmp_path):
    momentum = MomentumModel(linear(3.0), m=0.9)
    with pytest.raises(UserError, match=f"has no {FILE_NAME}"):
        momentum.load(tmp_path)
    MomentumModel(nn.Linear(3, 1), m=0.9).save(tmp_path)
    with pytest.raises(UserError, match="other parameters"):
        momentum.load(tmp_path)


def test_refuses_sharded_parameters():
    policy = linear(1.0)
    policy.weight.ds_id = 0  # DeepSpeed ZeRO-3's mark
    with pytest.raises(UserError, match="sharded"):
        MomentumModel(policy, m=0.9)
