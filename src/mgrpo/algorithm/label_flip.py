"""How much groups count whose label keeps changing from one visit of the prompt to the next."""

from jaxtyping import Float, Int
from torch import Tensor


def flip_weight(num_flips: Int[Tensor, " P"], patience: int) -> Float[Tensor, " P"]:
    """The factor on a group's advantages.

        w = min(1, patience / f),    f = label flips in a row, this visit's included

    A label that stays once sets f back to 0. The rule is ours; TTRL-Guard (arXiv 2605.19444), which has the idea,
    halves the advantages of a group whose label flipped since the last visit.

    Args:
        num_flips: f of each group.
        patience: flips in a row that cost nothing; >= 1.

    Raises:
        ValueError: if patience is below 1.
    """
    if patience < 1:
        raise ValueError(f"patience must be >= 1, got {patience}")
    return patience / num_flips.clamp(min=patience).float()
