"""From a recipe to a trainer: data first, then the model, so that mistakes are found before a model is loaded."""

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import transformers
from datasets import Dataset
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProgressCallback,
    Trainer,
)
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from trl import get_peft_config

from mgrpo.answers import get_extractor, import_function
from mgrpo.commands.benchmark_callback import BenchmarkEvaluation, BenchmarkPlan, plan_benchmarks
from mgrpo.commands.model_shape import check_adapter
from mgrpo.embedded.starts import is_embedded
from mgrpo.errors import UserError
from mgrpo.models.base_model import COPY_DIRECTORY, base_model_record, read_base_model
from mgrpo.models.cpu_allocator import keep_freed_memory
from mgrpo.models.load import load_config, load_model, room_for_prompt
from mgrpo.models.source import ModelSource, find_model
from mgrpo.recipes.paths import FORCE
from mgrpo.recipes.recipe import Recipe, load_data, revision_of
from mgrpo.tasks.check import check_prompts
from mgrpo.tasks.task import Task, equivalent_to_gold
from mgrpo.training.checks import has_answers, uses_fsdp
from mgrpo.training.config import MGRPOConfig, check_enough_prompts, has_momentum_model
from mgrpo.training.rewards import check_reward
from mgrpo.training.trainer import MGRPOTrainer


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from and is measured on: its prompts, held-out ones, benchmarks, and additional rewards."""

    task: Task
    train: Dataset
    eval_task: Task
    eval: Dataset | None
    reward_funcs: list[Callable]
    benchmarks: BenchmarkPlan | None


def load_training_data(recipe: Recipe) -> TrainingData:
    """Load all that a run needs except its model, and check what can be checked before that.

    Raises:
        UserError: for what cannot work.
    """
    config, data = recipe.config, recipe.data
    reward_funcs = check_before_data(recipe)
    assert data.task is not None
    task, train = load_data(data, data.task, data.dataset_train_split, data.dataset_size)
    check_enough_prompts(len(train), config)
    if config.label_source == "gold":
        if not has_answers(train):
            raise UserError(
                f"label_source is gold, but task {data.task} has no right answers; set answer_column to a column that "
                "has, or choose another label_source."
            )
        if config.process_index == 0:
            print("label_source is gold: this run trains on the right answers, it is not label-free.", file=sys.stderr)
    eval_task, eval_prompts = task, None
    if config.eval_strategy != "no":
        assert data.eval_task is not None
        split, size = data.eval_dataset_split, data.eval_dataset_size
        eval_task, eval_prompts = load_data(data, data.eval_task, split, size, is_held_out=True)
        if config.process_index == 0:
            _warn_of_held_out(train, eval_prompts, data.eval_task)
    return TrainingData(task, train, eval_task, eval_prompts, reward_funcs, plan_benchmarks(data, config))


def _warn_of_held_out(train: Dataset, held_out: Dataset, name: str) -> None:
    """Report what makes held-out prompts a poor measure: no right answers, or prompts that are trained on."""
    if not has_answers(held_out):
        print(
            f"the held-out prompts of {name} have no right answers, so that their accuracy is not measured; where the "
            "data hold them, set eval_answer_column to their column.",
            file=sys.stderr,
        )
    trained = {repr(prompt) for prompt in train["prompt"] if prompt}
    num_shared = sum(repr(prompt) in trained for prompt in held_out["prompt"])
    if num_shared:
        print(
            f"{num_shared} of the {len(held_out)} held-out prompts of {name} are training prompts too, so that they "
            "do not show what was learned beyond these; set eval_task or eval_dataset_split to other prompts.",
            file=sys.stderr,
        )


def check_before_data(recipe: Recipe) -> list[Callable]:
    """Refuse what can be known without data and without the model, of which no more than its configuration is read.

    Returns:
        The reward functions.

    Raises:
        UserError: if a reward function cannot be called, or the model is not there, has too short a context, cannot be
            launched so, or has no such layers to adapt.
    """
    model = recipe.model
    reward_funcs = [import_function(name, "reward_funcs") for name in recipe.data.reward_funcs or []]
    for reward in reward_funcs:
        check_reward(reward)
    source = find_model(model.model_name_or_path)
    check_launch(recipe.config, source)
    is_unbuilt = is_embedded(model.model_name_or_path) and not Path(source.location).exists()
    if source.kind == "gguf" or is_unbuilt:  # whose configuration takes as long as the whole model
        return reward_funcs
    config = load_config(
        model.model_name_or_path,
        revision=revision_of(recipe.resolved),
        trust_remote_code=recipe.config.trust_remote_code,
        needs_measures=False,
    )
    room_for_prompt(config, recipe.config.max_completion_length)
    if model.use_peft and not recipe.config.trust_remote_code:  # whose code would have to run
        check_adapter(config, model)
    return reward_funcs


def check_launch(config: MGRPOConfig, source: ModelSource) -> None:
    """Refuse ways of sharding under which the models could not be averaged, loaded or saved.

    Raises:
        UserError: for FSDP1, and for ZeRO-3 with a model or settings that do not suit it.
    """
    fsdp_version = (config.fsdp_plugin_args or {}).get("fsdp_version") or os.environ.get("FSDP_VERSION", "1")
    if uses_fsdp(config) and int(fsdp_version) == 1 and has_momentum_model(config):
        raise UserError(
            "fsdp_version is 1, which flattens parameters, so that the momentum model cannot follow them; set "
            "fsdp_version to 2."
        )
    plugin = config.deepspeed_plugin
    if plugin is None or plugin.zero_stage != 3:
        return
    if not plugin.zero3_save_16bit_model:
        raise UserError(
            "zero3_save_16bit_model is false, so the complete models could not be saved at the end; launch with "
            "--zero3_save_16bit_model true."
        )
    if not source.is_plain:
        raise UserError(
            f"the model {source.location} is not in transformers' plain format, and under DeepSpeed ZeRO-3 it cannot "
            "be converted; save it with save_pretrained first, or launch with FSDP2."
        )


def build_trainer(
    recipe: Recipe, data: TrainingData, checkpoint: Path | None, changed: dict[str, float]
) -> MGRPOTrainer:
    """Load the model and build the trainer around it, with the settings that a rollback has changed.

    Raises:
        UserError: if the model cannot be loaded, or its tokenizer does not suit the prompts.
    """
    config = copy(recipe.config)  # the recipe stays as it was given, and leads to the same rollbacks again
    config.eval_on_start = config.eval_on_start and data.eval is not None and checkpoint is None
    for name, value in changed.items():
        setattr(config, name, value)
    model, tokenizer = _load_policy(recipe, config, checkpoint)
    trainer = MGRPOTrainer(
        model,
        reward_funcs=list(data.reward_funcs),
        args=config,
        train_dataset=_without_bad_prompts(data.train, tokenizer, recipe, model.config),
        eval_dataset=None if data.eval is None else _without_bad_prompts(data.eval, tokenizer, recipe, model.config),
        processing_class=tokenizer,
        peft_config=get_peft_config(recipe.model),
        answer_fn=get_extractor(data.task.extractor),
        equivalence=data.task.equivalence,
        gold_scorer=data.task.score,
        eval_gold_scorer=data.eval_task.score or partial(equivalent_to_gold, equivalence=data.task.equivalence),
    )
    trainer.base_model, trainer.task = recipe.model.model_name_or_path, recipe.data.task
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    if data.benchmarks is not None:
        # Not TRL's `log`, which would take its mean over a part of the batches since the last row.
        log = partial(Trainer.log, trainer)
        trainer.add_callback(
            BenchmarkEvaluation(data.benchmarks, trainer.model, tokenizer, lambda: trainer.momentum_model, log)
        )
    return trainer


def _load_policy(
    recipe: Recipe, config: MGRPOConfig, checkpoint: Path | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    revision = revision_of(recipe.resolved)
    if revision is not None:
        config.model_init_kwargs = {"revision": revision}  # TRL loads the reference model by name, with these
    transformers.utils.logging.disable_progress_bar()
    if config.device.type == "cpu":
        keep_freed_memory()
    run_directory = Path(config.output_dir)
    run_directory.mkdir(parents=True, exist_ok=True)
    # ZeRO-3 loads on all processes together
    takes_turns = not is_deepspeed_zero3_enabled()
    with config.main_process_first(local=False, desc="loading the model") if takes_turns else nullcontext():
        source = find_model(str(recipe.model.model_name_or_path))
        if source.kind == "directory" and Path(source.location).is_dir():  # else it is built now
            _check_same_base(recipe, source.location, None, checkpoint)
        model, tokenizer = load_model(
            recipe.model.model_name_or_path,
            dtype=recipe.model.dtype or "float32",
            attn_implementation=recipe.model.attn_implementation,
            revision=revision,
            trust_remote_code=config.trust_remote_code,
            pad_token=recipe.data.pad_token,
            copy_dir=run_directory / COPY_DIRECTORY,
        )
    _check_same_base(recipe, *loaded_from(model), checkpoint)
    return model, tokenizer


def loaded_from(model: Any) -> tuple[str, str | None]:
    """Where a model's weights, or its base's, were loaded from: a directory or a name on the Hub, and the commit."""
    return model.config.name_or_path, getattr(model.config, "_commit_hash", None)


def _check_same_base(recipe: Recipe, location: str, commit: str | None, checkpoint: Path | None) -> None:
    """Refuse to resume on another base model than the one that a run began with."""
    if checkpoint is None or recipe.config.resume == FORCE:
        return
    name, then = str(recipe.model.model_name_or_path), read_base_model(checkpoint.parent)
    now = base_model_record(name, location, commit, Path(recipe.config.output_dir))
    if any(then.get(key) not in (None, now[key]) for key in ("commit", "digest")):
        raise UserError(
            f"model_name_or_path is {name}, which is not the model that the run in {checkpoint.parent} began with: "
            f"its weights differ from {then['name']} then; give that model, or start anew in another output_dir."
        )


def _without_bad_prompts(dataset: Dataset, tokenizer: Any, recipe: Recipe, model_config: PreTrainedConfig) -> Dataset:
    kept, dropped = check_prompts(
        dataset,
        tokenizer,
        max_prompt_length=recipe.data.max_prompt_length,
        room=room_for_prompt(model_config, recipe.config.max_completion_length),
        on_bad_prompt=recipe.data.on_bad_prompt,
        chat_template_kwargs=recipe.config.chat_template_kwargs,
    )
    if any(dropped.values()) and recipe.config.process_index == 0:
        what = " and ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in dropped.items() if count)
        print(f"dropped {what} of {len(dataset)} prompts", file=sys.stderr)
    return kept
