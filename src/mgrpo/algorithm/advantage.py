"""The group-relative advantage of GRPO, over the completions that the filter kept."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

EPSILON = 1e-4
"""Added to the standard deviation; TRL's value."""


def group_advantage(reward: Float[Tensor, "P M"], keep: Bool[Tensor, "P M"] | None = None) -> Float[Tensor, "P M"]:
    """How much better than its group's kept policy completions each one did.

        A_i = (r_i - mean r) / (std r + epsilon),    mean and Bessel-corrected std over the kept ones

    0 for dropped completions, where all kept rewards are equal, and where fewer than two are kept. In training TRL
    computes this; a contract test holds the two to each other.
    """
    if keep is None:
        keep = torch.ones_like(reward, dtype=torch.bool)
    num_kept = keep.sum(dim=1, keepdim=True)
    mean = torch.where(keep, reward, 0.0).sum(dim=1, keepdim=True) / num_kept.clamp(min=1)
    deviation = torch.where(keep, reward - mean, 0.0)
    std = (deviation.square().sum(dim=1, keepdim=True) / (num_kept - 1).clamp(min=1)).sqrt()

    largest = torch.where(keep, reward, -torch.inf).amax(dim=1, keepdim=True)
    smallest = torch.where(keep, reward, torch.inf).amin(dim=1, keepdim=True)
    # Equal rewards leave a deviation of one rounding error, which epsilon alone would blow up 1e4 times.
    return torch.where(largest > smallest, deviation / (std + EPSILON), 0.0)
