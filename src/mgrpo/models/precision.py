"""Products in bfloat16 on a CPU: which CPUs have them, and what they ask of the weights that are trained.

A product rounds both its factors to bfloat16 and adds up in float32; weights, activations and gradients stay float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

SEED = 0
"""Of what `spread_within_rounding_` adds: the same for each model and in each session."""


def bfloat16_unit() -> str | None:
    """What this CPU multiplies bfloat16 with, or None: float32 is then as fast."""
    if torch.cpu._is_amx_tile_supported():
        return "AMX"
    return "AVX512_BF16" if torch.cpu._is_avx512_bf16_supported() else None


def uses_bfloat16(cpu_precision: str) -> bool:
    """Whether a CPU's products are in bfloat16: as set, or with `auto` where that is faster."""
    return cpu_precision == "bfloat16" or (cpu_precision == "auto" and bfloat16_unit() is not None)


def describe_precision(cpu_precision: str) -> str:
    """The choice in one line: "bfloat16, 2 threads: this CPU has AVX512_BF16"."""
    unit, threads = bfloat16_unit(), torch.get_num_threads()
    name = "bfloat16" if uses_bfloat16(cpu_precision) else "float32"
    reason = f"this CPU has {unit}" if unit else "this CPU has neither AMX nor AVX512_BF16"
    return f"{name}, {threads} thread{'s' * (threads > 1)}: {reason}"


@contextmanager
def rounding_factors() -> Iterator[None]:
    """Within the block the factors of float32 products are rounded to bfloat16; a decorator too."""
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    kept = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = kept


@torch.no_grad()
def spread_within_rounding_(model: nn.Module) -> None:
    """Move each float32 weight of a matrix by up to half a bfloat16 spacing, at random and always alike.

    Weights from a quantized or bfloat16 file lie on a grid. Of SmolLM2's, 8% lie exactly between two bfloat16 numbers.
    The first optimizer step, however small, takes all of these to the next number in the direction of the gradient: 8
    times as far in all as it should, and the KL with them. Spread over the spacing, as many weights cross to the next
    number as the size of a step asks, so that the rounded model follows the exact one. The change is no larger than
    what rounding makes of the weights anyway.
    """
    generator = torch.Generator().manual_seed(SEED)
    for weight in model.parameters():
        if weight.ndim > 1 and weight.dtype == torch.float32:
            shift = torch.rand(weight.shape, generator=generator).sub_(0.5).to(weight.device)
            weight.add_(shift.mul_(bfloat16_spacing(weight)))


def bfloat16_spacing(weight: Tensor) -> Tensor:
    """Distance between the bfloat16 numbers around each float32 number; 0 for 0."""
    # |w| without its mantissa is the power of two at or below it; bfloat16 keeps 7 bits behind it
    return (weight.view(torch.int32) & 0x7F800000).view(torch.float32) * 2.0**-7
