"""A recipe: one flat mapping of fields that says everything about a run.

The fields are those of `DataArguments` (data), `MGRPOConfig` (method and training) and `ModelArguments` (model and
adapter). TRL's and transformers' fields keep their names.
"""

from copy import copy
from dataclasses import dataclass, fields
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import yaml
from datasets import Dataset
from trl import ModelConfig, get_peft_config

from mgrpo.answers import get_equivalence, get_extractor
from mgrpo.errors import UserError, did_you_mean
from mgrpo.options import (
    COMMAND_LINE,
    NONE_WORDS,
    options_of,
    plain,
    read_value,
)
from mgrpo.recipes.fields import TEXTS, DataArguments, ModelArguments
from mgrpo.recipes.names import check_names
from mgrpo.recipes.paths import with_absolute_paths
from mgrpo.runs.files import CONFIG_FILE, DEFAULTS_HEADING, write_whole
from mgrpo.runs.metrics import EVAL_PREFIX, METRICS
from mgrpo.tasks.load import load_prompts
from mgrpo.tasks.read import NoColumnError
from mgrpo.tasks.task import Task
from mgrpo.training.checks import check_sharding, check_vllm
from mgrpo.training.config import MGRPOConfig
from mgrpo.training.library_checks import check_libraries

RECIPE_TYPES = (DataArguments, MGRPOConfig, ModelArguments)
Part = TypeVar("Part")


@dataclass(frozen=True)
class Recipe:
    """A recipe that was read and checked.

    Attributes:
        resolved: every field, before anything was derived from it; it runs again as it is.
        given: the names of the fields that the recipe or the command line set.
        env: environment variables that it sets.
    """

    data: DataArguments
    config: MGRPOConfig
    model: ModelConfig
    resolved: dict[str, Any]
    given: frozenset[str]
    env: dict[str, str]


def load_recipe(given: dict[str, Any], source: str, overrides: dict[str, Any] | None = None) -> Recipe:
    """Turn a flat mapping of fields into a checked recipe; arguments as for `load_fields`.

    Raises:
        UserError: for an unknown field (with the nearest one), a value that is not allowed, or settings that cannot
            work.
    """
    resolved = load_fields(given, source, overrides)
    every = given | (overrides or {})
    names = frozenset(every) - {"env"}
    for name in ("output_dir", "model_name_or_path", "task"):
        if not resolved.get(name):
            raise UserError(f"{source} does not set {name}; add it there, or pass --{name} VALUE.")
    if isinstance(resolved["deepspeed"], str) and not Path(resolved["deepspeed"]).is_file():
        raise UserError(f"deepspeed is {resolved['deepspeed']}, a file that does not exist; correct the path.")
    if resolved["deepspeed"] and find_spec("deepspeed") is None:
        raise UserError("deepspeed is set, but the package is not installed: pip install deepspeed, or remove it.")
    data = part_of(DataArguments, resolved, source)
    config = part_of(MGRPOConfig, resolved, source)
    model = part_of(ModelArguments, resolved, source)
    _check_together(data, config, model)
    if "use_peft" not in names:
        for name in names:
            if name.startswith("lora_") and resolved[name] != getattr(ModelArguments, name):
                raise UserError(f"{name} is set, but use_peft is not, so there is no adapter; add use_peft: true.")
    return Recipe(data, config, model, resolved, names, every.get("env") or {})


def load_fields(given: dict[str, Any], source: str, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """Every field of a mapping that need not be a complete recipe, each checked on its own.

    Args:
        given: fields, with values as YAML gives them.
        source: what messages call their origin.
        overrides: fields from the command line, which win.

    Raises:
        UserError: for an unknown field (with the nearest one), or a value that is not allowed.
    """
    overrides = overrides or {}
    options = options_of(*RECIPE_TYPES)
    places = dict.fromkeys(given, source) | dict.fromkeys(overrides, COMMAND_LINE)
    check_names(given, source, options)
    check_names(overrides, COMMAND_LINE, options)
    resolved = {name: copy(expected.default) for name, expected in options.items()}
    for name, value in (given | overrides).items():
        if name in TEXTS and value in NONE_WORDS:
            value = ""  # None would be the task's own
        if name != "env":
            resolved[name] = with_absolute_paths(name, read_value(name, value, options, places[name]))
    if resolved["resume_from_checkpoint"] is not None:
        raise UserError(
            f"{places['resume_from_checkpoint']} sets resume_from_checkpoint to "
            f"{resolved['resume_from_checkpoint']!r}, but the same command resumes a run from its output_dir; remove "
            "the field, or set resume to a checkpoint's directory."
        )
    return resolved


def revision_of(resolved: dict[str, Any]) -> str | None:
    """The commit, branch or tag that `model_revision` asks for; None for `main`, the default of TRL and the Hub."""
    return None if resolved["model_revision"] == "main" else resolved["model_revision"]


def part_of(type_: type[Part], resolved: dict[str, Any], source: str) -> Part:
    """One of `RECIPE_TYPES`, with its fields from all those of a recipe.

    Raises:
        UserError: for what the type refuses; it names the source.
    """
    try:
        return type_(**{f.name: resolved[f.name] for f in fields(type_) if f.init})  # type: ignore[arg-type]
    except UserError:
        raise
    except (ValueError, TypeError, ImportError, OSError, RuntimeError) as error:  # what TRL or transformers refuse
        raise UserError(f"{source}: {' '.join(str(error).split())}") from error


def _check_together(data: DataArguments, config: MGRPOConfig, model: ModelConfig) -> None:
    """Refuse what `mgrpo train` cannot do, before anything is loaded."""
    if config.eval_strategy != "no" and not data.eval_task:
        raise UserError(
            "eval_strategy is not 'no', but there is nothing to evaluate on; set eval_task, or eval_strategy to 'no'."
        )
    best = None if config.metric_for_best_model is None else config.metric_for_best_model.removeprefix(EVAL_PREFIX)
    if best is not None and best not in {*METRICS, "reward"} and not best.startswith("rewards/"):
        raise UserError(
            f"metric_for_best_model is {config.metric_for_best_model}, which an evaluation does not log"
            f"{did_you_mean(best, [*METRICS, 'reward'])}; set it to eval_gold/accuracy, and greater_is_better to true."
        )
    num_rewards = 1 + len(data.reward_funcs or [])
    if config.reward_weights is not None and len(config.reward_weights) != num_rewards:
        raise UserError(
            f"reward_weights has {len(config.reward_weights)} numbers, but there are {num_rewards} rewards: the "
            "vote's, then those of reward_funcs; give one number for each."
        )
    check_sharding(config, is_adapter=model.use_peft)
    for name in ("load_in_4bit", "load_in_8bit"):
        if getattr(model, name):
            raise UserError(f"{name} is on, but quantized weights cannot be trained; set it to false.")
    if config.model_init_kwargs:
        raise UserError("model_init_kwargs is set, but a recipe's model is loaded without them; remove it.")
    if config.use_vllm:
        check_vllm(config, get_peft_config(model))
    check_libraries(config)


def write_config(recipe: Recipe, run_directory: Path) -> None:
    """Write the resolved recipe: first what was set, then every default, so that it runs again as it is."""
    values = {name: plain(value) for name, value in recipe.resolved.items() if name != "resume_from_checkpoint"}
    given: dict[str, Any] = {name: values[name] for name in values if name in recipe.given}
    if recipe.env:
        given["env"] = recipe.env
    rest = {name: values[name] for name in sorted(values) if name not in recipe.given}
    # empty where config.yaml itself was run
    defaults = DEFAULTS_HEADING + yaml.safe_dump(rest) if rest else ""
    write_whole(run_directory / CONFIG_FILE, yaml.safe_dump(given, sort_keys=False) + defaults)


def load_data(
    data: DataArguments, name: str, split: str, size: int | None, *, is_held_out: bool = False
) -> tuple[Task, Dataset]:
    """Load a recipe's training task or its held-out one, and so many of its prompts (None: all).

    Fields of the recipe that are None leave the task unchanged. Where there is a held-out task, `answer_column` may be
    a column of that alone: the training prompts then have no answers.

    Raises:
        UserError: if the task, an extractor or an equivalence does not exist or does not fit the rest.
    """
    # Before what may be a long download.
    if data.answer_extractor is not None:
        get_extractor(data.answer_extractor)
    if data.answer_equivalence is not None:
        get_equivalence(data.answer_equivalence)
    prompt_column, answer_column = data.prompt_column, data.answer_column
    if is_held_out:
        prompt_column = data.eval_prompt_column or prompt_column
        answer_column = answer_column if data.eval_answer_column is None else data.eval_answer_column or None
    load = partial(
        load_prompts,
        name,
        split=split,
        size=size,
        seed=data.dataset_seed,
        options=data.task_options if name == data.task else None,
        dataset_config=data.dataset_config,
        prompt_column=prompt_column,
        prompt_template=data.prompt_template,
        system_prompt=data.system_prompt,
        conversational=data.conversational,
        extractor=data.answer_extractor,
        equivalence=data.answer_equivalence,
    )
    try:
        task, dataset = load(answer_column=answer_column)
    except NoColumnError as error:
        if is_held_out:  # the field of the training data keeps its value
            raise UserError(str(error).replace(error.field, f"eval_{error.field}")) from error
        if error.field != "answer_column" or not data.eval_task or data.eval_answer_column is not None:
            raise
        task, dataset = load(answer_column=None)
    get_extractor(task.extractor)
    get_equivalence(task.equivalence)
    return task, dataset
