"""Drop the completions whose entropy is an outlier below their group."""

import torch
from jaxtyping import Float
from torch import Tensor


def iqr_fence(entropy: Float[Tensor, "P G"], multiplier: float, iqr_floor: float = 0.0) -> Float[Tensor, "P 1"]:
    """The lowest entropy that is no outlier in its own group, in nats per token: whatever is below is dropped.

        fence = Q1 - k * max(Q3 - Q1, iqr_floor)        keep_i = H_i >= fence

    Q1 and Q3 are the quartiles over the group, linearly interpolated (paper, section on the IQR filter). Only the low
    side is cut. At least one completion is kept, since max >= Q1; a group of equal entropies is kept whole. Where
    Q3 - Q1 is nearly 0, in the paper's form any completion a hair below Q1 is dropped; `iqr_floor` keeps such
    near-equals.

    Args:
        entropy: trajectory entropies H_i, in nats per token.
        multiplier: the paper's k = 0.75; >= 0.
        iqr_floor: smallest interquartile range the fence is built from, in nats per token; >= 0.

    Raises:
        ValueError: if multiplier or iqr_floor is negative, or any entropy is not finite.
    """
    if multiplier < 0:
        raise ValueError(f"multiplier must be >= 0, got {multiplier}")
    if iqr_floor < 0:
        raise ValueError(f"iqr_floor must be >= 0, got {iqr_floor}")
    if not entropy.isfinite().all():
        raise ValueError("entropy must be finite")

    quartiles = torch.tensor([0.25, 0.75], dtype=entropy.dtype, device=entropy.device)
    q1, q3 = torch.quantile(entropy, quartiles, dim=1, keepdim=True)
    return q1 - multiplier * (q3 - q1).clamp(min=iqr_floor)
