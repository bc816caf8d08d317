"""The momentum model's weights: a slow average of the policy's."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MOMENTUM_SCHEDULES = ("constant", "cosine")
"""How m changes in training: not at all (the paper), or rising to 1 (BYOL; Co-rewarding-II, to 0.99999)."""


def scheduled_momentum(m: float, schedule: str, step: int, num_steps: int) -> float:
    """The m of one optimizer step.

        constant:  m
        cosine:    1 - (1 - m) (cos(pi step / num_steps) + 1) / 2,    from m at step 0 to 1 at the last

    Args:
        m: at the start, in [0, 1].
        schedule: one of `MOMENTUM_SCHEDULES`.
        step: optimizer steps made before this one, from 0.
        num_steps: optimizer steps of the whole run; >= 1.

    Raises:
        ValueError: if there is no such schedule.
    """
    if schedule not in MOMENTUM_SCHEDULES:
        raise ValueError(f"schedule must be one of {MOMENTUM_SCHEDULES}, got {schedule!r}")
    if schedule == "constant":
        return m
    return 1 - (1 - m) * (math.cos(math.pi * min(step / num_steps, 1)) + 1) / 2


@torch.no_grad()
def ema_update_(momentum_weights: Sequence[Tensor], policy_weights: Sequence[Tensor], m: float) -> None:
    """Move the momentum model towards the policy, in place.

        theta_k <- m * theta_k + (1 - m) * theta_q

    m = 0 copies the policy to the bit, m = 1 leaves the momentum model where it is.

    Args:
        momentum_weights: float32 tensors. In bfloat16 with m = 0.99 most weights would never move: one step's
            change is below half of the format's spacing, and is rounded away.
        policy_weights: tensors of any float dtype and on any device, in the same order and of the same shapes.
        m: in [0, 1].

    Raises:
        ValueError: if m is outside [0, 1], the two sequences differ in length, or a momentum weight is not float32.
    """
    if not 0 <= m <= 1:
        raise ValueError(f"m must be in [0, 1], got {m}")
    if len(momentum_weights) != len(policy_weights):
        raise ValueError(f"{len(momentum_weights)} momentum weights but {len(policy_weights)} policy weights")
    if not_fp32 := {weight.dtype for weight in momentum_weights} - {torch.float32}:
        raise ValueError(f"momentum weights must be float32, got {not_fp32}")
    if not momentum_weights:
        return
    alike: list[tuple[Tensor, Tensor]] = []
    for theta_k, theta_q in zip(momentum_weights, policy_weights, strict=True):
        if theta_q.dtype == torch.float32 and theta_q.device == theta_k.device:
            alike.append((theta_k, theta_q))
        else:  # widened or brought over one at a time: at most one copy is alive
            theta_k.lerp_(theta_q.to(theta_k), 1 - m)
    if alike:
        thetas_k, thetas_q = zip(*alike, strict=True)
        torch._foreach_lerp_(list(thetas_k), list(thetas_q), 1 - m)


@torch.no_grad()
def distance_squares(momentum_weights: Sequence[Tensor], policy_weights: Sequence[Tensor]) -> Tensor:
    """|theta_k - theta_q|^2 and |theta_q|^2, squared L2 norms, which add up over parts of a model.

    Returns:
        A float32 tensor of shape (2,); zeros where there are no weights.
    """
    squares = torch.zeros(2)
    for theta_k, theta_q in zip(momentum_weights, policy_weights, strict=True):
        theta_q = theta_q.to(theta_k)  # float32, and brought over where it lies elsewhere
        squares = squares.to(theta_k.device) + torch.stack(
            [(theta_k - theta_q).square().sum(), theta_q.square().sum()]
        )
    return squares


def relative_distance(squares: Tensor) -> Tensor:
    """How far apart the two models are: |theta_k - theta_q| / |theta_q|, of their `distance_squares`; scalar."""
    return (squares[0] / squares[1].clamp(min=torch.finfo(squares.dtype).tiny)).sqrt()
