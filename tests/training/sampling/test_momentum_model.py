import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

sys.path.append(str(Path(__file__).parent))
from sharded_momentum import check_all  # noqa: E402

from mgrpo.errors import UserError  # noqa: E402
from mgrpo.training.sampling.momentum_model import FILE_NAME, SHARDS_NAME, MomentumModel  # noqa: E402


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


def test_a_float32_policy_is_pointed_at_the_momentum_weights_and_nothing_is_copied():
    policy = linear(1.0)
    momentum = MomentumModel(policy, m=0.9)
    optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
    address = policy.weight.data_ptr()
    with momentum.in_place_of_policy():
        assert policy.weight.data_ptr() == momentum._weights["weight"].data_ptr()
    assert policy.weight.data_ptr() == address
    policy(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert policy.weight.tolist() == [[0.0, 0.0]] and momentum._weights["weight"].tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_the_cpus_memory_it_changes_places_with_the_policy(dtype):
    torch.manual_seed(0)
    policy, other = nn.Linear(7, 5, dtype=dtype), nn.Linear(7, 5, dtype=dtype)
    other.load_state_dict(policy.state_dict())
    momentum, expected = MomentumModel(policy, m=0.9, on_cpu=True), MomentumModel(other, m=0.9)
    for model in (policy, other):
        nn.init.constant_(model.weight, 0.3)
    changed = policy.weight.detach().clone()
    addresses = [p.data_ptr() for p in policy.parameters()]
    for one in (momentum, expected):
        one.update()
    assert momentum.distance() == expected.distance() > 0
    kept = {name: weight.clone() for name, weight in momentum._weights.items()}
    with pytest.raises(RuntimeError, match="broke"), momentum.in_place_of_policy(), expected.in_place_of_policy():
        # in the memory that the GPU has for them already: nothing more is taken there
        assert [p.data_ptr() for p in policy.parameters()] == addresses
        assert torch.equal(policy.weight, other.weight) and not torch.equal(policy.weight, changed)
        raise RuntimeError("sampling broke")
    assert torch.equal(policy.weight, changed)
    assert all(weight.device.type == "cpu" for weight in momentum._weights.values())
    assert all(torch.equal(weight, kept[name]) for name, weight in momentum._weights.items())


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


def test_shards_are_averaged_put_in_place_and_saved_where_they_are(tmp_path, in_process_group):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    in_process_group(partial(check_all, one, []), num_processes=1)
    in_process_group(partial(check_all, two, [one]), num_processes=2)
    assert {path.name for path in (two / SHARDS_NAME).iterdir()} == {".metadata", "__0_0.distcp", "__1_0.distcp"}
    # without any process group
    plain = MomentumModel(nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 1)), m=0.9)
    plain.load(two)
    saved = load_file(two / "whole" / FILE_NAME)
    assert all(torch.equal(weight, saved[name]) for name, weight in plain._weights.items())
    with pytest.raises(UserError, match="other parameters"):
        MomentumModel(nn.Linear(5, 3), m=0.9).load(two)


def test_a_checkpoint_holds_one_kind(tmp_path):
    (tmp_path / SHARDS_NAME).mkdir()
    momentum = MomentumModel(linear(3.0), m=0.9)
    momentum.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_run_does_not_depend_on_whose_memory_it_lies_in(make_trainer, weights_of):
    def run(**settings):
        trainer = make_trainer(max_steps=2, **settings)
        trainer.train()
        return {**weights_of(trainer), **{f"k.{n}": w for n, w in trainer.momentum_model._weights.items()}}

    expected, found = run(), run(momentum_cpu_offload=True)
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
