"""Every change to what mgrpo does not own (TRL, transformers, vLLM, torch), each undone when its block ends.

Nothing else in mgrpo assigns to what it does not own, so that a plain TRL trainer in the same process stays plain.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from trl.kernels import ChunkedLogProbFunction
from trl.trainer import utils as trl_utils

from mgrpo.models.precision import rounding_factors

LARGE_VOCABULARY = 4096
"""Tokens from which on what is done for large vocabularies pays."""
HEAD_BUFFER = 2**20
"""Logits at a time of TRL's fused head on a CPU: 4 MiB."""


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Within the block `owner.name` is `value`; afterwards what it was, the class's where the owner had none."""
    is_own, kept = name in vars(owner), getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if is_own:
            setattr(owner, name, kept)
        else:
            delattr(owner, name)


@contextmanager
def watched(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    """Within the block `hook(module, args, kwargs, output)` sees each forward pass, and may replace its output."""
    handle = module.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def fitted_fused_head(vocabulary: int, tokens: Tensor) -> AbstractContextManager:
    """Within the block TRL's fused head has a buffer that fits vocabulary, `tokens` and CPU, not 32,768 columns.

    In one no wider than the vocabulary the numbers stay the same to the bit. On a CPU the 17 logits of an embedded
    model's token would otherwise lie 128 kB from the next token's, each on a memory page of its own: of 8 x 16
    completions, 20 ms a step. A buffer of more than 32 MiB is new memory in each pass, and in no cache.
    """
    columns = min(vocabulary, trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE)
    if tokens.device.type == "cpu" and vocabulary >= LARGE_VOCABULARY:
        columns = min(columns, max(1024, HEAD_BUFFER // max(tokens.numel(), 1)))
    return replaced(trl_utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", columns)


def bfloat16_products(*, is_on: bool) -> AbstractContextManager:
    """Within the block, where it is on, linear layers and TRL's fused head round factors to bfloat16.

    Attention does not: its many small products would each pay for the rounding, in all 7 times the time of float32.
    """
    if not is_on:
        return nullcontext()
    around = ExitStack()
    around.enter_context(replaced(F, "linear", _linear_in_bfloat16))
    around.enter_context(replaced(trl_utils, "_ChunkedLogProbFunction", _HeadInBFloat16))
    return around


def _linear_in_bfloat16(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    is_float32 = x.dtype == weight.dtype == torch.float32
    return _LinearInBFloat16.apply(x, weight, bias) if is_float32 else torch._C._nn.linear(x, weight, bias)


def weights_cast_once() -> AbstractContextManager:
    """Within the block, where products are in bfloat16, each weight is cast once.

    For sampling: a pass of one token a row takes as long as reading the weights. Results are rounded too, and enter no
    loss and no KL.
    """
    if F.linear is not _linear_in_bfloat16:
        return nullcontext()
    casts: dict[int, tuple[Tensor, Tensor]] = {}

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if not x.dtype == weight.dtype == torch.float32:
            return torch._C._nn.linear(x, weight, bias)
        place = weight.data_ptr()  # the momentum model's weights are in the policy's parameters, in other places
        if place not in casts:
            casts[place] = weight, weight.bfloat16()  # kept, so that nothing else is put in its place
        result = torch._C._nn.linear(x.bfloat16(), casts[place][1]).float()
        return result if bias is None else result + bias

    return replaced(F, "linear", linear)


class _LinearInBFloat16(torch.autograd.Function):
    @staticmethod
    @rounding_factors()
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch._C._nn.linear(x, weight, bias)

    @staticmethod
    @rounding_factors()
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        rows = gradient.flatten(0, -2)
        return (
            (rows @ weight).view_as(x) if needs_x else None,
            rows.T @ x.flatten(0, -2) if needs_weight else None,
            rows.sum(dim=0) if needs_bias else None,
        )


class _HeadInBFloat16(ChunkedLogProbFunction):
    forward = staticmethod(rounding_factors()(ChunkedLogProbFunction.forward))
    backward = staticmethod(rounding_factors()(ChunkedLogProbFunction.backward))


def fast_draws() -> AbstractContextManager:
    """Within the block a CPU draws from a large vocabulary with one random number a row.

    `torch.multinomial` draws one for each token of the vocabulary: of 128 rows over 49,152 tokens 160 ms, not 6.
    """
    multinomial = torch.multinomial

    def draw(probabilities: Tensor, num_samples: int, *args: Any, **kwargs: Any) -> Tensor:
        if num_samples > 1 or probabilities.shape[-1] < LARGE_VOCABULARY or probabilities.device.type != "cpu":
            return multinomial(probabilities, num_samples, *args, **kwargs)
        sums = probabilities.cumsum(dim=-1)
        drawn = 1 - torch.rand(*sums.shape[:-1], 1, dtype=sums.dtype)  # above 0, so that no token of probability 0 is
        return torch.searchsorted(sums, drawn * sums[..., -1:])

    return replaced(torch, "multinomial", draw)


@contextmanager
def own_random_state(seed: int, device: torch.device) -> Iterator[None]:
    """Within the block torch's random state is a new one; afterwards it is what it was."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
