"""A decoder's measures and parameter counts, from its configuration alone; no weights are read or made."""

from dataclasses import dataclass

import torch
from peft import PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
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
    model = _without_weights(config)
    embeddings = {p for m in (model.get_input_embeddings(), model.get_output_embeddings()) for p in m.parameters()}
    measures = config.get_text_config()
    num_heads = measures.num_attention_heads
    return Shape(
        parameters=sum(p.numel() for p in model.parameters()),
        embeddings=sum(p.numel() for p in embeddings),
        has_query_norm=any(name.endswith("q_norm") for name, _ in model.named_modules()),
        adapter=_with_adapter(model, adapter).get_nb_trainable_parameters()[0] if adapter.use_peft else 0,
        hidden_size=measures.hidden_size,
        num_layers=measures.num_hidden_layers,
        num_heads=num_heads,
        num_kv_heads=getattr(measures, "num_key_value_heads", None) or num_heads,
        head_dim=getattr(measures, "head_dim", None) or measures.hidden_size // num_heads,
        intermediate_size=getattr(measures, "intermediate_size", None) or 4 * measures.hidden_size,
        vocab_size=measures.vocab_size,
    )


def check_adapter(config: PreTrainedConfig, adapter: ModelConfig) -> None:
    """Refuse an adapter that does not fit a model, without its weights.

    Args:
        config: the model's.
        adapter: the fields that describe the adapter.

    Raises:
        UserError: if a module or parameter that it names is not there, or PEFT refuses it otherwise.
    """
    _with_adapter(_without_weights(config), adapter)


def _without_weights(config: PreTrainedConfig) -> PreTrainedModel:
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except (ValueError, TypeError, AttributeError, KeyError, RuntimeError) as error:
        raise UserError(
            f"no causal language model can be made of the model's config.json ({first_line(error)}); give another "
            "model"
        ) from error


def _with_adapter(model: PreTrainedModel, adapter: ModelConfig) -> PeftModel:
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    linear = {
        name.rpartition(".")[2]: module for name, module in modules.items() if isinstance(module, torch.nn.Linear)
    }
    fit = ", ".join(sorted(name for name, module in linear.items() if module is not model.get_output_embeddings()))
    known = {"lora_target_modules": modules, "lora_modules_to_save": modules, "lora_target_parameters": parameters}
    for field, names in known.items():
        given = getattr(adapter, field)
        for wanted in given if isinstance(given, list) else ():  # one text is a pattern, or all-linear
            # PEFT takes what it finds, and leaves out the rest
            if not any(f".{name}".endswith(f".{wanted}") for name in names):
                raise UserError(f"{field} names {wanted}, which the model does not have; its linear layers: {fit}.")
    try:
        with torch.device("meta"):
            adapted = get_peft_model(model, get_peft_config(adapter))
    except Exception as error:  # PEFT has types of its own
        raise UserError(
            f"lora_target_modules is {adapter.lora_target_modules}, and PEFT can make no adapter of the model "
            f"({first_line(error)}); set it to all-linear, or to some of its linear layers: {fit}."
        ) from error
    if isinstance(adapted.get_output_embeddings(), BaseTunerLayer):
        raise UserError(
            f"lora_target_modules is {adapter.lora_target_modules}, with the output layer, whose adapter TRL does not "
            f"train; set it to all-linear, or to some of {fit}."
        )
    return adapted
