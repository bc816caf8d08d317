"""A decoder's measures and parameter counts, from its configuration alone; no weights are read or made."""

from dataclasses import dataclass

import torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedConfig
from trl import ModelConfig, get_peft_config

from mgrpo.errors import UserError, first_line


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A decoder's measures, as its config.json gives them.

    Attributes:
        parameters: of the whole model, tied ones counted once.
        adapter: trainable parameters of its LoRA adapter; 0 without one.
        embeddings: parameters of its input embedding and its head, once if they are tied.
        intermediate_size: width inside the MLP.
        has_query_norm: whether queries and keys are normalised (Qwen3).
    """

    parameters: int
    adapter: int
    embeddings: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    has_query_norm: bool = False

    @property
    def layer(self) -> float:
        """Parameters of a decoder layer."""
        return (self.parameters - self.embeddings) / self.num_layers


def read_shape(config: PreTrainedConfig, adapter: ModelConfig) -> Shape:
    """A model's measures, its parameters counted without memory for them.

    Args:
        config: the model's.
        adapter: the fields that describe its LoRA adapter; none is counted without `use_peft`.

    Raises:
        UserError: if transformers has no causal language model for it, or the adapter does not fit it.
    """
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (ValueError, TypeError, AttributeError, KeyError, RuntimeError) as error:
        raise UserError(
            f"no causal language model can be made of the model's config.json ({first_line(error)}); give another "
            "model"
        ) from error
    embeddings = {p for m in (model.get_input_embeddings(), model.get_output_embeddings()) for p in m.parameters()}
    measures = config.get_text_config()
    num_heads = measures.num_attention_heads
    return Shape(
        parameters=sum(p.numel() for p in model.parameters()),
        embeddings=sum(p.numel() for p in embeddings),
        has_query_norm=any(name.endswith("q_norm") for name, _ in model.named_modules()),
        adapter=_adapter_size(model, adapter) if adapter.use_peft else 0,
        hidden_size=measures.hidden_size,
        num_layers=measures.num_hidden_layers,
        num_heads=num_heads,
        num_kv_heads=getattr(measures, "num_key_value_heads", None) or num_heads,
        head_dim=getattr(measures, "head_dim", None) or measures.hidden_size // num_heads,
        intermediate_size=getattr(measures, "intermediate_size", None) or 4 * measures.hidden_size,
        vocab_size=measures.vocab_size,
    )


def _adapter_size(model: torch.nn.Module, adapter: ModelConfig) -> int:
    try:
        with torch.device("meta"):
            adapted = get_peft_model(model, get_peft_config(adapter))
    except ValueError as error:
        raise UserError(
            f"lora_target_modules is {adapter.lora_target_modules}, which does not fit the model "
            f"({first_line(error)}); set it to all-linear, or to names of its modules"
        ) from error
    return sum(p.numel() for p in adapted.parameters() if p.requires_grad)
