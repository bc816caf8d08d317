"""Numbers that have to be finite: a model's weights, its logits while it samples, rewards."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from mgrpo.errors import UserError
from mgrpo.models.shards import held, local


def broken_weight(parameters: Iterable[tuple[str, Tensor]]) -> str | None:
    """Name of the first parameter that holds nan or an infinity; None where all are finite.

    Of sharded parameters this process's part is checked. Those of less than 16 bits and whole numbers are skipped.
    """
    named = [(name, local(held(p))) for name, p in parameters if p.is_floating_point() and p.itemsize > 1]
    parts = {name: part for name, part in named if part.numel()}
    if not parts:
        return None
    # A parameter's largest magnitude is nan if one of its numbers is: no copy is made, and the GPU is waited for once.
    largest = [size.float() for size in torch._foreach_norm(list(parts.values()), torch.inf)]
    is_finite = torch.stack([size.to(largest[0].device) for size in largest]).isfinite().tolist()
    return next((name for name, finite in zip(parts, is_finite, strict=True) if not finite), None)


def check_weights(model: nn.Module, name: str) -> None:
    """Refuse a model that was loaded with broken weights.

    Raises:
        UserError: if there are any.
    """
    broken = broken_weight(model.named_parameters())
    if broken is not None:
        raise UserError(f"the weights of {name} are not finite ({broken} holds nan or infinity); give an intact copy")


def check_logits(per_completion: Tensor, token: int) -> None:
    """Refuse to sample a token from logits that give no distribution.

    Args:
        per_completion: of each completion's next token a number that is nan where a logit is nan or +inf, (B,).
        token: which token it is, from 1.

    Raises:
        UserError: if any is not finite.
    """
    is_broken = ~per_completion.isfinite()
    if is_broken.any():
        raise UserError(
            f"the model's logits are not finite (token {token} of {int(is_broken.sum())} of {len(is_broken)} "
            "completions), so nothing can be sampled from it: its numbers overflow; set dtype to float32 or "
            "bfloat16, or resume from an earlier checkpoint with a lower learning_rate"
        )


def check_rewards(rewards: Tensor, names: Sequence[str]) -> None:
    """Refuse infinite rewards, which would silently destroy the signal of their whole group.

    Args:
        rewards: (B, R); nan where a function has no reward to give.
        names: of the reward functions.

    Raises:
        UserError: if any is infinite.
    """
    for name, is_infinite in zip(names, rewards.isinf().T, strict=True):
        if is_infinite.any():
            raise UserError(
                f"the reward {name} is infinite for {int(is_infinite.sum())} of {len(is_infinite)} completions; give "
                "finite numbers, or None where a completion has no reward"
            )
