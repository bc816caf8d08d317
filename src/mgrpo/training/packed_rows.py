"""Log-probabilities of completions that share a prompt: a row holds the prompt once, then several of its completions.

    prompt without its last token | its last token, completion 1 | its last token, completion 2 | ...

A token sees the prompt and its own completion up to itself, and has the position that it would have in a row of its
own. So the numbers are those of whole rows, up to rounding. It is one ordinary pass of the model without a cache, so
adapters, gradient checkpointing and sharded weights need nothing else. Attention is computed over whole rows, most of
which a token does not see: completions are packed up to `PACKED_TOKENS` only, and long ones have rows of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mgrpo.training.patches import watched
from mgrpo.training.sampling.shared_prompts import can_share_prompts, score_with_shared_prompts

PACKED_TOKENS = 256
"""Completion tokens in a row, at which attention costs a tenth of the products in a model of SmolLM2's shape."""


def score_once(
    model: Callable[..., Any], bare_model: PreTrainedModel, row_tokens: int, num_tokens: int, *, keeps_prompts: bool
) -> Callable[..., Any]:
    """Make a stand-in for a `model` with TRL's fused head that computes a prompt once, where it is less work.

    Args:
        model: what TRL would call; it may be wrapped.
        bare_model: the model within, whose output the head reads.
        row_tokens: in a row, prompt and completion with their padding.
        num_tokens: in the longest completion.
        keeps_prompts: whether completions continue from their prompts' keys and values, rather than in packed rows.
    """
    if keeps_prompts:
        return score_with_shared_prompts(model, bare_model, num_tokens)
    is_less_work = 2 * num_tokens <= PACKED_TOKENS and 4 * (row_tokens - num_tokens) >= num_tokens
    # other attention takes no mask of all pairs of tokens
    can_pack = bare_model.config._attn_implementation == "sdpa" and can_share_prompts(bare_model)
    return score_packed(model, bare_model, num_tokens) if is_less_work and can_pack else model


def score_packed(model: Callable[..., Any], bare_model: PreTrainedModel, num_tokens: int) -> Callable[..., Any]:
    """The stand-in that packs rows; arguments as in `score_once`."""

    def score(input_ids: Tensor, attention_mask: Tensor, labels: Tensor, **settings: Any) -> Any:
        prompt_tokens = input_ids.shape[1] - num_tokens - 1  # the last one gives the first of its completion
        places = pack(input_ids[:, :prompt_tokens], attention_mask[:, :prompt_tokens], PACKED_TOKENS // num_tokens)
        ids, is_token = (
            torch.cat([x[places.source, :prompt_tokens], places.packed(x[:, prompt_tokens:-1])], dim=1)
            for x in (input_ids, attention_mask)
        )
        block = torch.arange(places.per_row, device=ids.device).repeat_interleave(num_tokens) + 1
        block = torch.cat([block.new_zeros(prompt_tokens), block])
        positions = torch.arange(prompt_tokens + num_tokens, device=ids.device)  # as TRL counts them
        positions = torch.cat([positions[:prompt_tokens], positions[prompt_tokens:].repeat(places.per_row)])
        with watched(bare_model.base_model, _without_prompts(prompt_tokens)):
            output = model(
                input_ids=ids,
                attention_mask=visible(block, is_token.bool()),
                position_ids=positions.expand(len(ids), -1),
                shift_labels=places.packed(labels[:, -num_tokens:], fill=-100),
                **settings,
            )
        for name in ("log_probs", "entropy"):
            if (values := getattr(output, name)) is not None:
                setattr(output, name, places.unpacked(values, num_tokens))
        return output

    return score


@dataclass(frozen=True)
class Places:
    """Where each of B rows is in R packed ones.

    Attributes:
        source: for each packed row, a row that has its prompt, (R,).
        row: the packed row of each, (B,).
        slot: its place among the completions there, (B,).
        per_row: completions that fit in a packed row.
    """

    source: Tensor
    row: Tensor
    slot: Tensor
    per_row: int

    def packed(self, values: Tensor, fill: int = 0) -> Tensor:
        """Values of B completions, (B, T), side by side in packed rows, (R, per_row T)."""
        rows = values.new_full((len(self.source), self.per_row, values.shape[1]), fill)
        rows[self.row, self.slot] = values
        return rows.flatten(1)

    def unpacked(self, values: Tensor, num_tokens: int) -> Tensor:
        """The inverse of `packed`."""
        return values.view(len(self.source), self.per_row, num_tokens)[self.row, self.slot]


def pack(prompt_ids: Tensor, attention_mask: Tensor, most: int) -> Places:
    """Put rows with the same prompt, in whatever order, into as few packed rows as hold `most` each."""
    _, prompt_of, sizes = torch.unique(
        torch.cat([prompt_ids, attention_mask], dim=1), dim=0, return_inverse=True, return_counts=True
    )
    per_row = max(1, min(most, int(sizes.max())))
    order = prompt_of.argsort(stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    _, row = torch.unique(torch.stack([prompt_of, rank // per_row]), dim=1, return_inverse=True)
    source = torch.empty(int(row.max()) + 1, dtype=torch.long, device=row.device)
    source[row] = torch.arange(len(row), device=row.device)
    return Places(source, row, rank % per_row, per_row)


def visible(block: Tensor, is_token: Tensor) -> Tensor:
    """Which token sees which, (R, 1, L, L): those before it that are of its own block, or of block 0, the prompt.

    Args:
        block: of each place, (L,).
        is_token: (R, L), false for padding, which itself alone sees.
    """
    length = len(block)
    seen = ((block[:, None] == block) | (block == 0)).tril()
    alone = torch.eye(length, dtype=torch.bool, device=block.device)
    return ((seen & is_token[:, None, :]) | alone)[:, None]


def _without_prompts(prompt_tokens: int) -> Callable[..., Any]:
    def hook(_: Any, __: tuple, ___: dict, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[:, prompt_tokens:]  # the head would score prompts too
        return output

    return hook
