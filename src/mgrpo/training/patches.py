"""Every change to what mgrpo does not own (TRL, transformers, vLLM, torch), each undone when its block ends.

Nothing else in mgrpo assigns to what it does not own, so that a plain TRL trainer in the same process stays plain.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn
from trl.trainer import utils as trl_utils


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


def fitted_fused_head(vocabulary: int) -> AbstractContextManager:
    """Within the block TRL's fused head has a buffer no wider than the vocabulary, instead of 32,768 columns.

    The numbers stay the same to the bit. On a CPU the 17 logits of an embedded model's token would otherwise lie
    128 kB from the next token's, each on a memory page of its own: of 8 x 16 completions, 20 ms a step.
    """
    columns = min(vocabulary, trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE)
    return replaced(trl_utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", columns)


@contextmanager
def own_random_state(seed: int, device: torch.device) -> Iterator[None]:
    """Within the block torch's random state is a new one; afterwards it is what it was."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
