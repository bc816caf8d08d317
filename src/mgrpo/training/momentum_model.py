"""The momentum model: a float32 average of the policy's trainable weights, put in the policy's place to sample.

It has no forward pass of its own. For as long as it samples, its weights stand in the policy's modules, so that
whatever engine reads those modules samples from it; afterwards the policy's weights are back to the bit. Under LoRA
only the adapter's A and B are averaged (not their product), and the base is shared.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mgrpo.algorithm import ema_update_, relative_distance
from mgrpo.errors import UserError

FILE_NAME = "momentum.safetensors"
"""The momentum weights in a checkpoint: float32, by parameter name."""


class MomentumModel:
    """The weights theta_k that follow a policy's theta_q.

    Args:
        policy: the model that is trained, in its final place (after sharding, resuming and adapters).
        m: the paper's m, in [0, 1]; 1 keeps it where it starts.

    Raises:
        UserError: if the policy's parameters are sharded.
    """

    def __init__(self, policy: nn.Module, m: float) -> None:
        self.m = m
        self._parameters = {name: p for name, p in policy.named_parameters() if p.requires_grad}
        if any(hasattr(p, "to_local") or hasattr(p, "ds_id") for p in self._parameters.values()):
            raise UserError(
                "the policy's parameters are sharded (FSDP or DeepSpeed ZeRO-3), which the momentum model of this "
                "version cannot follow; launch with DDP or DeepSpeed ZeRO-1/2, or train a LoRA adapter."
            )
        self._weights = {name: p.detach().to(torch.float32, copy=True) for name, p in self._parameters.items()}

    @property
    def _policy_weights(self) -> list[Tensor]:
        return [p.detach() for p in self._parameters.values()]

    @property
    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Each of the policy's trained parameters, with the momentum weight that follows it."""
        return list(zip(self._parameters.values(), self._weights.values(), strict=True))

    def update(self, m: float | None = None) -> None:
        """Move one step towards the policy: theta_k <- m theta_k + (1 - m) theta_q, with this step's m if given."""
        ema_update_(list(self._weights.values()), self._policy_weights, self.m if m is None else m)

    def distance(self) -> float:
        """Relative L2 distance from the policy, |theta_k - theta_q| / |theta_q|."""
        return relative_distance(list(self._weights.values()), self._policy_weights).item()

    @contextmanager
    def in_place_of_policy(self) -> Iterator[None]:
        """Within the block the policy's modules hold the momentum weights (rounded to the policy's dtype)."""
        policy_weights = self._policy_weights
        kept = [weight.clone() for weight in policy_weights]
        try:
            _copy_(policy_weights, list(self._weights.values()))
            yield
        finally:
            _copy_(policy_weights, kept)

    def save(self, directory: Path) -> None:
        """Write the weights to `directory`, beside what is there."""
        save_file(self._weights, directory / FILE_NAME)

    def load(self, directory: Path) -> None:
        """Take the weights from a checkpoint's `directory`.

        Raises:
            UserError: if they are not there, or are another model's.
        """
        path = directory / FILE_NAME
        if not path.exists():
            raise UserError(
                f"{directory} has no {FILE_NAME}, so it is no checkpoint of a run with a momentum model; resume from "
                "another one, or set num_momentum_generations to 0."
            )
        saved = load_file(path)
        if {name: weight.shape for name, weight in saved.items()} != {n: w.shape for n, w in self._weights.items()}:
            raise UserError(
                f"{path} holds other parameters than this model's; resume with the model it was saved from."
            )
        for name, weight in self._weights.items():
            weight.copy_(saved[name])


@torch.no_grad()
def _copy_(targets: list[Tensor], sources: list[Tensor]) -> None:
    if targets:
        torch._foreach_copy_(targets, sources)
