"""The part of a parameter that a process holds: whole, an FSDP2 `DTensor`, or a DeepSpeed ZeRO-3 shard read as one.

ZeRO-3 flattens a parameter, pads it, and cuts it into equal parts, one a process: except for the padding, those of a
`DTensor` sharded on its first dimension. DeepSpeed is not imported: its parameters have all that is needed.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard


def is_sharded(parameter: Tensor) -> bool:
    """Whether ZeRO-3 has sharded it."""
    return hasattr(parameter, "ds_id")


def shard_of(parameter: Any) -> DTensor:
    """The flattened parameter; its local part shares memory with what this process holds of it."""
    size, padded = parameter.ds_numel, parameter.ds_tensor.detach()
    start = dist.get_rank() * padded.numel()
    assert padded.numel() == -(-size // dist.get_world_size()), "parameters are divided among all processes"
    part = padded[: max(min(size - start, padded.numel()), 0)]
    mesh, shape = _mesh(part.device.type), torch.Size([size])
    return DTensor.from_local(part, mesh, [Shard(0)], run_check=False, shape=shape, stride=(1,))


def gather_again(parameters: Iterable[Any]) -> None:
    """Gather again those that are whole on each process (small ones are), since their parts were written to."""
    whole = [p for p in parameters if is_sharded(p) and p.ds_status.name == "AVAILABLE"]
    if whole:
        whole[0].partition(whole)
        whole[0].all_gather(whole)


def held(parameter: Tensor) -> Tensor:
    """A parameter as this process holds it: whole, or a `DTensor`."""
    return shard_of(parameter) if is_sharded(parameter) else parameter.detach()


def local(weight: Tensor) -> Tensor:
    """The part of a weight that this process holds."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


@cache
def _mesh(device_type: str) -> DeviceMesh:
    return init_device_mesh(device_type, (dist.get_world_size(),))
