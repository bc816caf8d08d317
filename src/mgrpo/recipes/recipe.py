"""A recipe: one flat mapping of fields that says everything about a run.

The fields are those of `DataArguments` (here), `MGRPOConfig` (method and training) and TRL's `ModelConfig` (model and
adapter). TRL's and transformers' fields keep their names.
"""

from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from trl import ModelConfig, get_peft_config

from mgrpo.errors import UserError
from mgrpo.recipes.fields import COMMAND_LINE, Field, convert, known_fields
from mgrpo.runs.files import CONFIG_FILE, DEFAULTS_HEADING, write_whole
from mgrpo.training.config import MGRPOConfig, check_loss_type
from mgrpo.training.sharding import check_sharding_suits
from mgrpo.training.vllm_check import check_vllm

_NAMED_AS_PACKAGE = "clearml codecarbon comet_ml dagshub dvclive mlflow neptune swanlab tensorboard trackio wandb"
REPORTERS = {name: name for name in _NAMED_AS_PACKAGE.split()} | {"azure_ml": "azureml", "flyte": "flytekit"}
"""The package that a value of `report_to` needs."""


@dataclass
class DataArguments:
    """What the model is asked, and how its answers are read."""

    task: str | None = field(
        default=None, metadata={"help": "NAME or NAME:ARGUMENT, as `mgrpo tasks` lists them, or your module:function."}
    )
    task_options: dict | None = field(default=None, metadata={"help": "Options of the task's generator."})
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a Hub data set."})
    dataset_train_split: str = field(default="train", metadata={"help": "Split to train on."})
    dataset_size: int | None = field(
        default=None, metadata={"help": "Number of prompts: drawn from a data set, or as many as a task makes."}
    )
    dataset_seed: int = field(default=0, metadata={"help": "Which prompts are drawn or made."})
    eval_task: str | None = field(
        default=None,
        metadata={"help": "Held-out prompts, named like task. task_options hold for it too if it is the same task."},
    )
    eval_dataset_split: str = field(default="test", metadata={"help": "Split to evaluate on."})
    eval_dataset_size: int | None = field(default=None, metadata={"help": "Number of held-out prompts."})
    eval_benchmarks: list[str] | None = field(
        default=None,
        metadata={"help": "Benchmarks (docs/evaluation.md) to measure both models on while the run trains, greedily."},
    )
    eval_benchmarks_steps: int = field(
        default=100, metadata={"help": "Optimizer steps from one time to the next; the ends are measured anyway."}
    )
    eval_benchmarks_limit: int = field(
        default=64, metadata={"help": "Questions of each benchmark: the first ones, always the same."}
    )
    eval_benchmarks_data: str | None = field(
        default=None, metadata={"help": "A benchmark's local copy, or a directory of them; null: from the Hub."}
    )
    prompt_column: str | None = field(
        default=None, metadata={"help": "Column with the question; null: the task's own."}
    )
    answer_column: str | None = field(
        default=None,
        metadata={"help": "Column with the right answer, for measurement only; no reward sees it. null: the task's."},
    )
    prompt_template: str | None = field(
        default=None,
        metadata={"help": "Text in which {prompt} is replaced by the question; null: the task's own, '': no text."},
    )
    system_prompt: str | None = field(
        default=None, metadata={"help": "System message of a conversation; null: the task's own, '': no message."}
    )
    conversational: bool | None = field(
        default=None, metadata={"help": "Ask through the model's chat template; null: the task's own."}
    )
    max_prompt_length: int | None = field(default=None, metadata={"help": "Most tokens in a prompt."})
    on_bad_prompt: Literal["drop", "refuse"] = field(
        default="drop", metadata={"help": "Empty or too long prompts: 'drop' and count them, or 'refuse' the data."}
    )
    answer_extractor: str | None = field(
        default=None,
        metadata={"help": "How an answer is read: boxed, number, ..., or your module:function; null: the task's own."},
    )
    answer_equivalence: str | None = field(
        default=None,
        metadata={"help": "When answers are equal: math, text, ..., or your module:function; null: the task's own."},
    )
    reward_funcs: list[str] | None = field(
        default=None, metadata={"help": "Rewards beside the vote, as module:function; reward_weights: vote's first."}
    )
    pad_token: str | None = field(default=None, metadata={"help": "Padding token of a tokenizer that has none."})

    def __post_init__(self) -> None:
        """Check what can be checked without the data."""
        limits = ("dataset_size", "eval_dataset_size", "max_prompt_length")
        for name in (*limits, "eval_benchmarks_steps", "eval_benchmarks_limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; set it to 1 or more, or leave it out for no limit.")


RECIPE_TYPES = (DataArguments, MGRPOConfig, ModelConfig)
Part = TypeVar("Part")


@dataclass(frozen=True)
class Recipe:
    """A recipe that was read and checked.

    Attributes:
        data: what is asked, and how answers are read.
        config: method and training.
        model: model and adapter.
        resolved: every field as it was before anything was derived from it; runs again as it is.
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
    """Turn a flat mapping of fields into a checked recipe.

    Args:
        given: fields, with values as YAML gives them.
        source: what to call their origin in a message.
        overrides: fields from the command line, which win.

    Raises:
        UserError: for an unknown field (with the nearest one), a value of the wrong type, or settings that cannot
            work.
    """
    known = known_fields(RECIPE_TYPES)
    env = {**given, **(overrides or {})}.get("env") or {}
    values = _values(given, source, overrides, known)
    resolved = {**{name: field_.default for name, field_ in known.items()}, **values}
    for name in ("output_dir", "model_name_or_path", "task"):
        if not resolved.get(name):
            raise UserError(f"{source} does not set {name}; add it there, or pass --{name} VALUE.")
    data = part_of(DataArguments, resolved, source)
    config = part_of(MGRPOConfig, resolved, source)
    model = part_of(ModelConfig, resolved, source)
    _check_together(data, config, model)
    if "use_peft" not in values:
        for name in values:
            if name.startswith("lora_") and values[name] != known[name].default:
                raise UserError(f"{name} is set, but use_peft is not, so there is no adapter; add use_peft: true.")
    return Recipe(data, config, model, resolved, frozenset(values), env)


def load_fields(given: dict[str, Any], source: str, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """Every field of a mapping that need not be a whole recipe, each checked by itself alone.

    Raises:
        UserError: for an unknown field (with the nearest one), or a value of the wrong type.
    """
    known = known_fields(RECIPE_TYPES)
    defaults = {name: field_.default for name, field_ in known.items()}
    return defaults | _values(given, source, overrides, known)


def part_of(type_: type[Part], resolved: dict[str, Any], source: str) -> Part:
    """The part of every field that is one of `RECIPE_TYPES`'s.

    Args:
        type_: which one.
        resolved: every field.
        source: what to call their origin in a message.

    Raises:
        UserError: for what the type refuses.
    """
    try:
        return type_(**{f.name: resolved[f.name] for f in fields(type_) if f.init})  # type: ignore[arg-type]
    except UserError:
        raise
    except (ValueError, TypeError, ImportError, OSError, RuntimeError) as error:  # what TRL or transformers refuse
        raise UserError(f"{source}: {' '.join(str(error).split())}") from error


def _values(
    given: dict[str, Any], source: str, overrides: dict[str, Any] | None, known: dict[str, Field]
) -> dict[str, Any]:
    sources = {**dict.fromkeys(given, source), **dict.fromkeys(overrides or {}, COMMAND_LINE)}
    fields_given = {**given, **(overrides or {})}
    return {n: convert(n, value, known, sources[n]) for n, value in fields_given.items() if n != "env"}


def _check_together(data: DataArguments, config: MGRPOConfig, model: ModelConfig) -> None:
    """Refuse what a run of the command line cannot do, before anything is loaded."""
    check_loss_type(config)
    if config.eval_strategy != "no" and not data.eval_task:
        raise UserError(
            "eval_strategy is not 'no', but there is nothing to evaluate on; set eval_task, or eval_strategy to 'no'."
        )
    num_rewards = 1 + len(data.reward_funcs or [])
    if config.reward_weights is not None and len(config.reward_weights) != num_rewards:
        raise UserError(
            f"reward_weights has {len(config.reward_weights)} numbers, but there are {num_rewards} rewards: the "
            "vote's, and then those of reward_funcs; give one number for each."
        )
    if config.share_prompts and model.use_peft:
        raise UserError("share_prompts is on, but the policy is an adapter (use_peft); set share_prompts to false.")
    check_sharding_suits(config, is_adapter=model.use_peft)
    for name in ("load_in_4bit", "load_in_8bit"):
        if getattr(model, name):
            raise UserError(f"{name} is on, but a policy is not trained in quantized weights here; set it to false.")
    if config.model_init_kwargs:
        raise UserError("model_init_kwargs is set, but a recipe's model is loaded without them; remove it.")
    if config.use_vllm:
        check_vllm(config, get_peft_config(model))
    for name in config.report_to:
        if name in REPORTERS and find_spec(REPORTERS[name]) is None:
            raise UserError(
                f"report_to is {name}, which is not installed: pip install {REPORTERS[name]}, or set it to none."
            )


def write_config(recipe: Recipe, run_directory: Path) -> None:
    """Write the resolved recipe, what was set first and then every default, so that it runs again as it is."""
    plain = {name: _plain(value) for name, value in recipe.resolved.items() if name != "resume_from_checkpoint"}
    given: dict[str, Any] = {name: plain[name] for name in plain if name in recipe.given}
    if recipe.env:
        given["env"] = recipe.env
    rest = {name: plain[name] for name in sorted(plain) if name not in recipe.given}
    text = yaml.safe_dump(given, sort_keys=False)
    if rest:  # all are given where config.yaml itself was run
        text += DEFAULTS_HEADING + yaml.safe_dump(rest)
    write_whole(run_directory / CONFIG_FILE, text)


def _plain(value: Any) -> Any:
    value = getattr(value, "value", value)  # an enum's
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str | dict) else str(value)
