"""A recipe: one flat mapping of fields that says everything about a run.

The fields are those of `DataArguments` (here), `MGRPOConfig` (method and training) and TRL's `ModelConfig` (model and
adapter). TRL's and transformers' fields keep their names.
"""

import argparse
import difflib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml
from trl import ModelConfig, TrlParser

from mgrpo.errors import UserError
from mgrpo.training.config import MGRPOConfig

CONFIG_FILE = "config.yaml"


@dataclass
class DataArguments:
    """What the model is asked, and how its answers are read."""

    dataset_name: str | None = field(
        default=None, metadata={"help": "Hub name, local .jsonl, .json, .parquet or .csv file, or built-in task:NAME."}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a Hub data set."})
    dataset_train_split: str = field(default="train", metadata={"help": "Split to train on."})
    dataset_size: int | None = field(
        default=None, metadata={"help": "Number of prompts: the first ones, or as many as a built-in task makes."}
    )
    dataset_seed: int = field(default=0, metadata={"help": "Seed of a built-in task."})
    eval_dataset_name: str | None = field(
        default=None, metadata={"help": "Held-out prompts, named like dataset_name."}
    )
    eval_dataset_split: str = field(default="test", metadata={"help": "Split to evaluate on."})
    eval_dataset_size: int | None = field(default=None, metadata={"help": "Number of held-out prompts."})
    prompt_column: str = field(default="prompt", metadata={"help": "Column with the question."})
    answer_column: str | None = field(
        default=None, metadata={"help": "Column with the right answer, for measurement only; no reward sees it."}
    )
    prompt_template: str | None = field(
        default=None, metadata={"help": "Text in which {prompt} is replaced by the question."}
    )
    system_prompt: str | None = field(default=None, metadata={"help": "System message of a conversational prompt."})
    conversational: bool = field(default=False, metadata={"help": "Ask through the model's chat template."})
    max_prompt_length: int | None = field(default=None, metadata={"help": "Most tokens in a prompt."})
    on_bad_prompt: Literal["drop", "refuse"] = field(
        default="drop", metadata={"help": "Empty or too long prompts: 'drop' and count them, or 'refuse' the data."}
    )
    answer_extractor: str = field(
        default="boxed", metadata={"help": "How an answer is read: boxed, number, or your own module:function."}
    )
    answer_equivalence: str = field(
        default="math", metadata={"help": "When answers are equal: math (1/2 = 0.5; needs mgrpo[math]) or text."}
    )
    reward_funcs: list[str] | None = field(
        default=None, metadata={"help": "Rewards beside the vote, as module:function; reward_weights: vote's first."}
    )
    pad_token: str | None = field(default=None, metadata={"help": "Padding token of a tokenizer that has none."})


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


def load_recipe(given: dict[str, Any], source: str) -> Recipe:
    """Turn a flat mapping of fields into a checked recipe.

    Args:
        given: fields, with values as YAML or a command line gives them.
        source: what to call their origin in a message.

    Raises:
        UserError: for an unknown field (with the nearest one), a value of the wrong type, or settings that cannot
            work.
    """
    given = dict(given)
    env = given.pop("env", None) or {}
    parser = TrlParser((DataArguments, MGRPOConfig, ModelConfig), conflict_handler="resolve")
    actions = {action.dest: action for action in parser._actions if action.dest != "help"}
    values = {name: _convert(name, value, actions, source) for name, value in given.items()}
    resolved = {**_defaults(), **values}
    for name in ("output_dir", "model_name_or_path", "dataset_name"):
        if not resolved.get(name):
            raise UserError(f"{source} does not set {name}; add it there, or pass --{name} VALUE.")
    try:
        data = DataArguments(**_fields_of(DataArguments, resolved))
        config = MGRPOConfig(**_fields_of(MGRPOConfig, resolved))
        model = ModelConfig(**_fields_of(ModelConfig, resolved))
    except UserError:
        raise
    except (ValueError, TypeError) as error:  # settings that TRL or transformers refuse
        raise UserError(f"{source}: {error}") from error
    return Recipe(data, config, model, resolved, frozenset(values), env)


def _fields_of(type_: type, resolved: dict[str, Any]) -> dict[str, Any]:
    return {f.name: resolved[f.name] for f in fields(type_) if f.init}


def _defaults() -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    for type_ in (ModelConfig, MGRPOConfig, DataArguments):
        for f in fields(type_):
            if f.init:
                defaults[f.name] = f.default_factory() if f.default_factory is not MISSING else f.default
    return {**defaults, "output_dir": None}


def _convert(name: str, value: Any, actions: dict[str, argparse.Action], source: str) -> Any:
    """Give a value the type of its field; text as it comes from a command line included."""
    if name not in actions:
        nearest = difflib.get_close_matches(name, actions, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "docs/recipes.md lists them."
        raise UserError(f"{source} sets {name}, but there is no such field; {hint}")
    action = actions[name]
    convert = action.type if callable(action.type) else str
    # 'none' is a word of its own for some text fields (report_to), and nothing for a number.
    if value is None or value == "null" or value == "none" and convert is not str:
        return None
    try:
        if action.nargs in ("+", "*"):
            values = value if isinstance(value, list) else [value]
            return [convert(item) if isinstance(item, str) else item for item in values]
        # YAML 1.1 reads 1e-6 as text, and an int where a float is meant.
        if isinstance(value, str) or convert in (int, float) and not isinstance(value, dict):
            if isinstance(value, bool) or convert is int and isinstance(value, float) and not value.is_integer():
                raise ValueError
            value = convert(value)
    except (ValueError, TypeError, argparse.ArgumentTypeError):
        kind = "a whole number" if convert is int else "a number" if convert is float else "true or false"
        raise UserError(f"{source} sets {name} to {value!r}, but it must be {kind}.") from None
    if action.choices is not None and value not in action.choices:
        raise UserError(f"{source} sets {name} to {value!r}; it must be one of {', '.join(map(str, action.choices))}.")
    return value


def write_config(recipe: Recipe, run_directory: Path) -> None:
    """Write the resolved recipe, what was set first and then every default, so that it runs again as it is."""
    plain = {name: _plain(value) for name, value in recipe.resolved.items()}
    given: dict[str, Any] = {name: plain[name] for name in plain if name in recipe.given}
    if recipe.env:
        given["env"] = recipe.env
    rest = {name: plain[name] for name in sorted(plain) if name not in recipe.given}
    text = yaml.safe_dump(given, sort_keys=False) + "\n# defaults of this version\n" + yaml.safe_dump(rest)
    (run_directory / CONFIG_FILE).write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    value = getattr(value, "value", value)  # an enum's
    return value if value is None or isinstance(value, bool | int | float | str | list | dict) else str(value)
