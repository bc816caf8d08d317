"""A prompt of many rows of a batch goes through the model once: in sampling, and by its cache in log-probabilities.

A batch of groups holds each prompt M times. Here the keys and values of each distinct prompt are computed once, every
row continues from those of its prompt, and gradients flow back into them. The numbers are those of whole rows, up to
rounding.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from mgrpo.errors import UserError
from mgrpo.training.checks import may_shard
from mgrpo.training.config import MGRPOConfig
from mgrpo.training.patches import replaced


def can_share_prompts(model: PreTrainedModel) -> bool:
    """Whether each of the model's layers attends to all that came before: nothing else about a prompt is kept."""
    if model.config.is_encoder_decoder or model.base_model is model:
        return False
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)


def samples_with_shared_prompts(config: MGRPOConfig, model: PreTrainedModel) -> bool:
    """Whether prompts go through the model once in sampling: as set, or with `auto` where that works."""
    if config.share_prompts != "auto":
        return config.share_prompts == "true"
    return can_share_prompts(model) and not (may_shard(config) or config.cache_implementation)


def keeps_prompts(config: MGRPOConfig, model: PreTrainedModel) -> bool:
    """Whether log-probabilities are computed from the keys and values of prompts, whatever the completions' length.

    Raises:
        UserError: if `share_prompts` is true and the model keeps more of a prompt than keys and values.
    """
    if config.share_prompts != "true":
        return False
    if not can_share_prompts(model):
        raise UserError(
            f"share_prompts is on, but {model.config.model_type} models keep more of a prompt than its keys and "
            "values; set share_prompts to auto or false."
        )
    # layers that are computed again have no cache
    return not config.gradient_checkpointing


def generate_with_shared_prompts(model: PreTrainedModel) -> AbstractContextManager:
    """Within the block `model.generate` is given the keys and values of the prompts, up to their last token."""
    generate = model.generate

    def generate_on(input_ids: Tensor, attention_mask: Tensor, **settings: Any) -> Tensor:
        positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)  # as `generate` counts them
        cache = prefill(model, input_ids[:, :-1], attention_mask[:, :-1], positions[:, :-1])
        return generate(input_ids=input_ids, attention_mask=attention_mask, past_key_values=cache, **settings)

    return replaced(model, "generate", generate_on)


def score_with_shared_prompts(model: Callable[..., Any], bare_model: PreTrainedModel, num_tokens: int) -> Callable:
    """Make a stand-in for a `model` with TRL's fused head that scores the last `num_tokens` tokens of each row.

    Args:
        model: what TRL would call; it may be wrapped.
        bare_model: the model within.
        num_tokens: in the longest completion.
    """

    def score(input_ids: Tensor, attention_mask: Tensor, labels: Tensor, **settings: Any) -> Any:
        # the last token of a prompt gives the distribution of the first of its completion; the very last token none
        start = input_ids.shape[1] - num_tokens - 1
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)  # as TRL counts them, padding included
        return model(
            input_ids=input_ids[:, start:-1],
            attention_mask=attention_mask[:, :-1],
            position_ids=positions[None, start:-1],
            past_key_values=prefill(
                bare_model,
                input_ids[:, :start],
                attention_mask[:, :start],
                positions[:start].expand(len(input_ids), -1),
            ),
            shift_labels=labels[:, -num_tokens:],
            **settings,
        )

    return score


def prefill(model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor) -> DynamicCache:
    """Keys and values of all rows, from a pass over the distinct ones; all three (B, T)."""
    cache = DynamicCache(config=model.config)
    if input_ids.shape[1]:
        rows = torch.stack([input_ids, attention_mask, position_ids])
        distinct, row_of = torch.unique(rows, dim=1, return_inverse=True)
        ids, mask, positions = distinct
        model.base_model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        cache.batch_select_indices(row_of)
    return cache
