"""Settings that do not suit the machine or TRL, refused before any model is loaded, and without importing vLLM."""

import os
import warnings
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from peft import PeftConfig, PeftModel
from torch import nn
from trl.import_utils import is_vllm_available

from mgrpo.embedded.starts import is_embedded
from mgrpo.errors import UserError
from mgrpo.models.source import find_model
from mgrpo.tasks.load import last_text
from mgrpo.tasks.task import is_known
from mgrpo.training.config import MGRPOConfig
from mgrpo.training.library_checks import check_libraries
from mgrpo.training.rewards import check_reward, listed

ENGINE_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks of adapters that vLLM reserves memory for."""
INITS_BESIDE_THE_BASE = (True, False, "gaussian", "eva", "orthogonal")
"""PEFT's `init_lora_weights` that leave the base as it is on disk, where vLLM reads it."""


def check_trainer(answer_fn: Any, config: Any, given: dict[str, Any], gold_column: str) -> None:
    """Refuse what `MGRPOTrainer` cannot work with.

    Args:
        answer_fn: as the trainer was given it.
        config: its `args`.
        given: TRL's arguments by name.
        gold_column: its column with right answers.

    Raises:
        UserError: for the first thing.
    """
    if answer_fn is None:
        raise UserError(
            "answer_fn is missing, and without answers there is no vote; pass the function that reads an answer from "
            "a completion, or train without a vote with TRL's own GRPOTrainer."
        )
    if not callable(answer_fn):
        raise UserError(
            f"answer_fn is {answer_fn!r}, which is no function; pass mgrpo.answers.get_extractor({answer_fn!r}), or a "
            "function of your own."
        )
    if not isinstance(config, MGRPOConfig):
        name = type(config).__name__
        raise UserError(f"args is a {name}, but the vote needs the fields of an MGRPOConfig; pass one.")
    model = given["model"]
    adapter = model.active_peft_config if isinstance(model, PeftModel) else given.get("peft_config")
    check_sharding(config, is_adapter=adapter is not None)
    if config.use_vllm:
        check_vllm(config, adapter)
    for name in ("tools", "rollout_func", "environment_factory"):
        if given.get(name):
            raise UserError(f"{name} is given, but the vote samples single completions; leave it out.")
    check_libraries(config)
    train: Any = given.get("train_dataset")
    held_out: Any = given.get("eval_dataset")
    check_dataset(train, "train_dataset")
    for name, dataset in held_out.items() if isinstance(held_out, dict) else [("", held_out)]:
        if dataset is not None:
            check_dataset(dataset, f"eval_dataset[{name!r}]" if name else "eval_dataset")
    if config.label_source == "gold" and not has_answers(train, gold_column):
        raise UserError(
            f"label_source is gold, but train_dataset has no right answers in the column {gold_column!r} "
            "(gold_column); add them, or choose another label_source."
        )
    for reward in listed(given.get("reward_funcs")):
        check_reward(reward, set(train.column_names or ()) - {"prompt", gold_column})
    if isinstance(model, str) and (is_embedded(model) or not find_model(model).is_plain):
        raise UserError(
            f"model is {model!r}, a name that TRL cannot load; load it with model, tokenizer = "
            f"mgrpo.models.load.load_model({model!r}), and pass them as model and processing_class."
        )


def check_dataset(dataset: Any, name: str) -> None:
    """Refuse data that are no data set, or have no prompts, or empty ones.

    Args:
        dataset: the data; of a stream no rows are read.
        name: the argument that they are.

    Raises:
        UserError: for the first fault.
    """
    if not isinstance(dataset, Dataset | IterableDataset):
        raise UserError(
            f"{name} is a {type(dataset).__name__}; pass a datasets.Dataset, such as "
            "Dataset.from_list([{'prompt': ...}, ...])."
        )
    columns = dataset.column_names
    if columns is not None and "prompt" not in columns:
        raise UserError(
            f"{name} has no column 'prompt', only {', '.join(columns) or 'none'}; pass "
            f"{name}.rename_column({columns[0] if columns else '...'!r}, 'prompt')."
        )
    rows = enumerate(dataset["prompt"]) if isinstance(dataset, Dataset) else ()
    empty = [row for row, prompt in rows if isinstance(text := last_text(prompt), str) and not text.strip()]
    if empty:
        raise UserError(
            f"the prompt in row {empty[0]} (counted from 0) of {name} is empty, and {len(empty)} are in all; fill it "
            "in, or leave such rows out."
        )


def has_answers(dataset: Dataset | IterableDataset, column: str = "answer") -> bool:
    """Whether a column has any right answer, as far as can be seen without reading a stream."""
    if column not in (dataset.column_names or ()):
        return dataset.column_names is None
    return not isinstance(dataset, Dataset) or any(map(is_known, dataset[column]))


def rounding_warning(model: nn.Module, config: MGRPOConfig) -> str | None:
    """What to tell the user where the trained weights are too coarse for their steps; None: they are not."""
    coarse = {p.dtype for p in model.parameters() if p.requires_grad} & {torch.bfloat16, torch.float16}
    if not coarse or config.deepspeed_plugin is not None:  # DeepSpeed steps in float32 copies
        return None
    dtype = coarse.pop()
    # between two neighbouring numbers lie eps / 2 to eps of them; half of that is rounded away
    return (
        f"the trained weights are {str(dtype).removeprefix('torch.')}, in which a change of a weight by less than "
        f"{torch.finfo(dtype).eps / 4:.2%} of it is rounded away: much of what a step with a small learning_rate "
        f"changes (it is {config.learning_rate:g}). Set dtype to float32, and bf16 to true to compute in bfloat16."
    )


def uses_fsdp(config: MGRPOConfig) -> bool:
    """Whether FSDP trains, by `accelerate launch` or by the recipe."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true" or bool(config.fsdp_plugin_args)


def shards_weights(config: MGRPOConfig) -> bool:
    """Whether each process holds a part of the weights alone: FSDP, DeepSpeed ZeRO-3."""
    plugin = config.deepspeed_plugin
    return uses_fsdp(config) or (plugin is not None and plugin.zero_stage == 3)


def may_shard(config: MGRPOConfig) -> bool:
    """Whether FSDP or DeepSpeed trains: the model's parts then work within the whole alone."""
    return uses_fsdp(config) or config.deepspeed_plugin is not None


def check_sharding(config: MGRPOConfig, *, is_adapter: bool) -> None:
    """Refuse settings that need what FSDP or DeepSpeed splits over the processes.

    Args:
        config: the run's.
        is_adapter: whether an adapter is trained.

    Raises:
        UserError: for the first of them.
    """
    if config.share_prompts == "true" and may_shard(config):
        raise UserError("share_prompts is on, but FSDP or DeepSpeed may shard the parameters; set it to auto.")
    if not shards_weights(config):
        return
    if config.momentum_cpu_offload:
        raise UserError(
            "momentum_cpu_offload is on, but FSDP or DeepSpeed ZeRO-3 shards the momentum model over the processes; "
            "set it to false."
        )
    if is_adapter and config.use_vllm and config.vllm_mode == "colocate":
        raise UserError(
            "use_vllm is on with an adapter, but FSDP or DeepSpeed ZeRO-3 shards its weights, and vLLM needs them "
            "whole; launch by DDP or ZeRO-2, or set use_vllm to false."
        )


def check_vllm(config: MGRPOConfig, adapter: PeftConfig | None) -> None:
    """Refuse what cannot be sampled through vLLM.

    Raises:
        UserError: if vLLM is missing or of a version that TRL does not take, cannot be split as asked, or cannot take
            the adapter.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if not is_vllm_available():
            raise UserError(
                "use_vllm is on, but vLLM is not installed: pip install 'mgrpo[vllm]', or set use_vllm to false."
            )
    if caught:  # TRL takes any version, and fails later
        reason = str(caught[0].message).split(" We recommend")[0]
        raise UserError(f"use_vllm is on, but {reason} pip install 'mgrpo[vllm]', or set use_vllm to false.")
    if config.vllm_mode == "server":
        if config.device.type != "cuda":
            raise UserError(
                f"vllm_mode is server, but training runs on {config.device.type}, and only a CUDA device can send "
                "weights to a server; set vllm_mode to colocate."
            )
        return
    if config.world_size % config.vllm_tensor_parallel_size:
        raise UserError(
            f"vllm_tensor_parallel_size is {config.vllm_tensor_parallel_size}, which does not divide the "
            f"{config.world_size} process{'es' * (config.world_size > 1)}; set it to a divisor."
        )
    if adapter is None:
        return
    unfit = _unfit(adapter)
    if unfit is not None:
        raise UserError(f"use_vllm is on, but {unfit}; change the adapter, or set use_vllm to false.")
    if config.vllm_enable_sleep_mode:
        raise UserError(
            "vllm_enable_sleep_mode is on, but vLLM then forgets the base model, which an adapter's run does not send "
            "again; set it to false."
        )


def _unfit(adapter: PeftConfig) -> str | None:
    if adapter.peft_type != "LORA":
        return f"vLLM takes LoRA adapters alone, not {adapter.peft_type.value}"
    if adapter.r > ENGINE_RANKS[-1]:
        return f"the adapter's rank is {adapter.r} (lora_r), and vLLM takes {ENGINE_RANKS[-1]} at most"
    for name in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "trainable_token_indices"):
        if getattr(adapter, name):
            return f"the adapter has {name}, which vLLM does not take"
    if adapter.bias != "none":
        return f"the adapter's bias is {adapter.bias}, and vLLM takes none"
    if adapter.init_lora_weights not in INITS_BESIDE_THE_BASE:
        return f"the adapter's init_lora_weights is {adapter.init_lora_weights}, which changes the base in memory"
    return None
