"""Rows that teach nothing are taken out of a batch before it goes through the model.

A row none of whose tokens is in the loss adds nothing to it, nor to the count of tokens that the loss is divided by.
So the rest alone goes forward and backward, and through the reference model. Passes stay as many as before, and
processes take the same number of rows in each: what they do together, in DDP, sharded models and TRL's metrics, needs
both. A pass keeps the rows that TRL dealt it, so that each optimizer step learns from the same rows as without.
"""

from typing import Any

import torch
from accelerate.utils import gather
from torch import Tensor

from mgrpo.training.config import MGRPOConfig


def rows_to_compute(batch: dict[str, Any]) -> Tensor:
    """Indices of the rows that go through the model, in the batch's order.

    Those with a token in the loss, and of the others as many as bring each process to the one with most rows, 1 at
    least: a pass without rows would leave no gradient, and the optimizer would not step as it does on a gradient of 0.
    """
    is_learnt = (batch["completion_mask"] * batch.get("tool_mask", 1)).any(dim=1)
    num_rows = int(gather(is_learnt.sum()).max().clamp(min=1))
    return torch.argsort(~is_learnt, stable=True)[:num_rows].sort().values


def take_rows(batch: dict[str, Any], rows: Tensor) -> dict[str, Any]:
    """Some of a batch's rows; what has none, as the count of all tokens, stays."""
    return {
        name: value[rows] if isinstance(value, Tensor) and value.ndim > 0 else value for name, value in batch.items()
    }


def skips_zero_advantage(config: MGRPOConfig) -> bool:
    """Whether rows with advantage 0 are left out: as set, else where no other term of the loss includes them."""
    if config.skip_zero_advantage is not None:
        return config.skip_zero_advantage
    has_entropy_term = config.entropy_coef != 0 or config.use_adaptive_entropy or config.top_entropy_quantile < 1
    # bnpo divides by the tokens of a pass, theirs included; the others by those of the batch, counted before
    return config.beta == 0 and config.loss_type != "bnpo" and not has_entropy_term
