"""The momentum model: a float32 average of the policy's trainable weights, put in the policy's place to sample.

It has no forward pass of its own. For as long as it samples, its weights stand in the policy's modules, so that
whatever engine reads those modules samples from it; afterwards the policy's weights are back to the bit. Under LoRA
only the adapter's A and B are averaged (not their product), and the base is shared. Where the policy is sharded
(FSDP2, DeepSpeed ZeRO-3) each process averages its own shards, and none ever holds a second whole model. On request
the average lies in the CPU's memory, and changes places with the policy's weights on the GPU one by one.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel
from torch.distributed.tensor import DTensor, Partial, distribute_tensor

from mgrpo.algorithm import distance_squares, ema_update_, relative_distance
from mgrpo.errors import UserError
from mgrpo.models import shards

FILE_NAME = "momentum.safetensors"
"""The momentum weights in a checkpoint: float32, by parameter name."""
SHARDS_NAME = "momentum_shards"
"""The same where they are sharded: a directory of torch.distributed.checkpoint, a file a process."""


class MomentumModel:
    """The weights theta_k that follow a policy's theta_q.

    Args:
        policy: the model that is trained, in its final place (after sharding, resuming and adapters).
        m: the paper's m, in [0, 1]; 1 keeps it where it starts.
        on_cpu: keep them in the CPU's memory (pinned where there is a GPU), wherever the policy is.

    Raises:
        UserError: if the policy's parameters are sharded in a way that cannot be followed.
    """

    def __init__(self, policy: nn.Module, m: float, *, on_cpu: bool = False) -> None:
        self.m = m
        self._on_cpu = on_cpu
        self._policy = policy
        self._reshard()  # else what `named_parameters` gives may be gathered, and freed a moment later
        self._parameters = {name: p for name, p in policy.named_parameters() if p.requires_grad}
        if any(isinstance(module, FullyShardedDataParallel) for module in policy.modules()):
            raise UserError(
                "the policy's parameters are sharded by FSDP1, which flattens them, so that the momentum model cannot "
                "follow them; set fsdp_version to 2."
            )
        if on_cpu and any(isinstance(shards.held(p), DTensor) for p in self._parameters.values()):
            raise UserError(
                "momentum_cpu_offload is on, but the policy's parameters are sharded, and the momentum model with "
                "them; set it to false."
            )
        copy = _on_cpu if on_cpu else _copied
        self._weights = {name: copy(shards.held(p)) for name, p in self._parameters.items()}

    @property
    def _is_sharded(self) -> bool:
        return any(isinstance(weight, DTensor) for weight in self._weights.values())

    @property
    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Each of the policy's trained parameters, with the momentum weight that follows it."""
        return list(zip(self._parameters.values(), self._weights.values(), strict=True))

    def update(self, m: float | None = None) -> None:
        """Move one step towards the policy: theta_k <- m theta_k + (1 - m) theta_q, with this step's m if given."""
        names = list(self._weights)
        ema_update_(self._local_weights(names), self._local_policy_weights(names), self.m if m is None else m)

    def distance(self) -> float:
        """Relative L2 distance from the policy, |theta_k - theta_q| / |theta_q|; to be asked for on all processes."""
        alike: dict[tuple, list[str]] = {}
        for name, weight in self._weights.items():
            placed = (weight.device_mesh, weight.placements) if isinstance(weight, DTensor) else ()
            alike.setdefault(placed, []).append(name)
        total = torch.zeros(2)
        for placed, names in alike.items():
            squares = distance_squares(self._local_weights(names), self._local_policy_weights(names))
            if placed:  # the shards' squares add up; a dimension of copies is counted once
                mesh, placements = placed
                summed = [placement if placement.is_replicate() else Partial() for placement in placements]
                squares = DTensor.from_local(squares.to(mesh.device_type), mesh, summed).full_tensor()
            total = total.to(squares.device) + squares
        return relative_distance(total).item()

    @contextmanager
    def in_place_of_policy(self) -> Iterator[None]:
        """Within the block the policy's modules hold the momentum weights (rounded to the policy's dtype).

        Nothing may write to them within it. Whole parameters are pointed at other memory, and back: where the policy
        is float32 too, nothing is copied. Shards change places with the momentum weights, one by one, since they are
        gathered from where they lie; so do parameters whose momentum weights lie in the CPU's memory, which then
        holds the policy's.
        """
        names = [name for name, weight in self._weights.items() if self._on_cpu or isinstance(weight, DTensor)]
        policy_parts = self._local_policy_weights(names)
        # in float32 the momentum weights themselves, which then hold the policy for the time being
        stand_ins = [w.to(s.dtype) for w, s in zip(self._local_weights(names), policy_parts, strict=True)]
        whole = {name: p for name, p in self._parameters.items() if name not in names}
        kept = {name: p.data for name, p in whole.items()}
        self._exchange(policy_parts, stand_ins)
        try:
            for name, p in whole.items():
                p.data = self._weights[name].to(p.dtype)
            yield
        finally:
            for name, p in whole.items():
                p.data = kept[name]
            self._exchange(policy_parts, stand_ins)

    def save(self, directory: Path, *, is_main: bool = True) -> None:
        """Write the weights to `directory`, next to what it holds; to be called on all processes.

        Args:
            directory: a checkpoint's.
            is_main: whether this process writes what all have.
        """
        if is_main:  # a run that is resumed with other shards may write into a checkpoint that is there
            (directory / FILE_NAME).unlink(missing_ok=True)
        if self._is_sharded:
            dcp.save(dict(self._weights), checkpoint_id=directory / SHARDS_NAME)
        elif is_main:
            shutil.rmtree(directory / SHARDS_NAME, ignore_errors=True)
            save_file(self._weights, directory / FILE_NAME)

    def load(self, directory: Path) -> None:
        """Take the weights from a checkpoint's `directory`, however many processes wrote it; to be called on all.

        Raises:
            UserError: if they are not there, are another model's, or are not finite.
        """
        path = directory / FILE_NAME
        if (directory / SHARDS_NAME).is_dir():
            path = directory / SHARDS_NAME
            saved = dcp.FileSystemReader(path).read_metadata().state_dict_metadata
            self._check_shapes(path, {name: tuple(getattr(entry, "size", ())) for name, entry in saved.items()})
            dcp.load(dict(self._weights), checkpoint_id=path)
            self._check_finite(path)
            return
        if not path.exists():
            raise UserError(
                f"{directory} has no {FILE_NAME}, so it is no checkpoint of a run with a momentum model; resume from "
                "another one, or set num_momentum_generations to 0."
            )
        with safe_open(path, "pt") as file:  # read one by one: no process holds them all where they are sharded
            saved_names = file.keys()
            self._check_shapes(path, {name: tuple(file.get_slice(name).get_shape()) for name in saved_names})
            for name, weight in self._weights.items():
                whole = file.get_tensor(name)
                if isinstance(weight, DTensor):
                    # None: each process cuts its own part out of what it has read itself
                    part = distribute_tensor(whole, weight.device_mesh, weight.placements, src_data_rank=None)
                    weight.to_local().copy_(part.to_local())
                else:
                    weight.copy_(whole)
        self._check_finite(path)

    def _check_finite(self, path: Path) -> None:
        for name, weight in self._weights.items():
            if not shards.local(weight).isfinite().all():
                raise UserError(
                    f"{path} holds weights that are not finite ({name}); resume from an earlier checkpoint."
                )

    def _check_shapes(self, path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
        if shapes != {name: tuple(weight.shape) for name, weight in self._weights.items()}:
            raise UserError(
                f"{path} holds other parameters than this model's; resume with the model it was saved from."
            )

    def _local_weights(self, names: list[str]) -> list[Tensor]:
        return [shards.local(self._weights[name]) for name in names]

    def _local_policy_weights(self, names: list[str]) -> list[Tensor]:
        return [shards.local(shards.held(self._parameters[name])) for name in names]

    def _exchange(self, parts: list[Tensor], others: list[Tensor]) -> None:
        with torch.no_grad():
            for one, other in zip(parts, others, strict=True):
                kept = one.clone()
                one.copy_(other)
                other.copy_(kept)
        # else the next forward pass may read what was gathered before
        self._reshard()
        shards.gather_again(self._parameters.values())

    def _reshard(self) -> None:
        for module in self._policy.modules():
            if isinstance(module, FSDPModule):
                module.reshard()


def _copied(weight: Tensor) -> Tensor:
    return weight.to(torch.float32, copy=True)


def _on_cpu(weight: Tensor) -> Tensor:
    # pinned memory is copied to and from a GPU at the full speed of the bus
    kept = torch.empty(weight.shape, dtype=torch.float32, device="cpu", pin_memory=torch.cuda.is_available())
    return kept.copy_(weight)
