"""What each of several processes checks of the momentum model over an FSDP2 policy, for test_momentum_model.py."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from mgrpo.training.sampling.momentum_model import MomentumModel


def make_policy(dtype=torch.float32):
    """Of 3 rows and of 1: shards of 2 processes are uneven, and one is empty."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 1)).to(dtype)


def moved(policy):
    """The policy as training might have left it."""
    with torch.no_grad():
        for p in policy.parameters():
            p.mul_(1.5).add_(0.25)
    return policy


def check(dtype):
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    whole_q, whole_k = moved(make_policy(dtype)), make_policy(dtype).float()
    for k, q in zip(whole_k.parameters(), whole_q.parameters(), strict=True):
        k.data = 0.9 * k.data + 0.1 * q.data.float()
    flat_q, flat_k = (torch.cat([p.detach().float().flatten() for p in m.parameters()]) for m in (whole_q, whole_k))

    whole_k.to(dtype)
    policy = make_policy(dtype)
    fully_shard(policy[2], mesh=mesh)
    fully_shard(policy, mesh=mesh)
    shards = list(policy.parameters())
    inputs = torch.randn(4, 5, dtype=dtype)
    momentum = MomentumModel(policy, m=0.9)
    moved(policy)
    with torch.no_grad():
        policy(inputs)  # leaves the root's weights gathered: what is read next must not be these
    momentum.update()

    num_held = sum(weight.to_local().numel() for weight in momentum._weights.values())
    assert num_held <= 2 * 5 + 2 + 2 * 3 + 1 if dist.get_world_size() == 2 else num_held == 22
    for weight, k in zip(momentum._weights.values(), whole_k.parameters(), strict=True):
        torch.testing.assert_close(weight.full_tensor().to(dtype), k.detach())

    before = [p.to_local().clone() for p in shards]
    kept = [weight.to_local().clone() for weight in momentum._weights.values()]
    with torch.no_grad():
        for _ in range(2):
            with momentum.in_place_of_policy():
                torch.testing.assert_close(policy(inputs), whole_k(inputs))
            torch.testing.assert_close(policy(inputs), whole_q(inputs))
    assert all(torch.equal(p.to_local(), old) for p, old in zip(shards, before, strict=True))
    assert all(torch.equal(w.to_local(), old) for w, old in zip(momentum._weights.values(), kept, strict=True))

    assert abs(momentum.distance() - ((flat_k - flat_q).norm() / flat_q.norm()).item()) < 1e-6
    return momentum


def check_all(save_in, load_from):
    """Average, save in a directory, and load from it and others; 0 if all is as it must be."""
    dist.init_process_group("gloo")
    check(torch.bfloat16)
    momentum = check(torch.float32)
    is_main = dist.get_rank() == 0
    momentum.save(save_in, is_main=is_main)
    policy = make_policy()
    whole = MomentumModel(policy, m=0.9)
    moved(policy)
    whole.update()
    (save_in / "whole").mkdir(exist_ok=True)
    whole.save(save_in / "whole", is_main=is_main)
    dist.barrier()
    kept = [weight.to_local().clone() for weight in momentum._weights.values()]
    for directory in (save_in, save_in / "whole", *load_from):
        for weight in momentum._weights.values():
            weight.to_local().fill_(9.0)
        momentum.load(directory)
        assert all(torch.equal(w.to_local(), k) for w, k in zip(momentum._weights.values(), kept, strict=True))
    dist.destroy_process_group()
    return 0
