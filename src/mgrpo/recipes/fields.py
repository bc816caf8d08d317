"""The fields that a recipe may set, and values for them as YAML and command lines give them."""

import argparse
import difflib
import json
import math
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from transformers import SchedulerType
from transformers.hf_argparser import string_to_bool
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from mgrpo.errors import UserError

COMMAND_LINE = "the command line"
CHOICES = {
    "lr_scheduler_type": [option.value for option in SchedulerType],
    "scale_rewards": ["group", "batch", "none"],
    "importance_sampling_level": ["token", "sequence"],
    "multi_objective_aggregation": ["sum_then_normalize", "normalize_then_sum"],
    "vllm_mode": ["colocate", "server"],
    "report_to": ["none", "all", *INTEGRATION_TO_CALLBACK],
}
"""Of text fields whose values TRL and transformers check late, when the model is loaded."""


@dataclass(frozen=True)
class Field:
    """What a field of a recipe accepts.

    transformers' own parser is not used: it keeps one type of a union, reads `--gradient_checkpointing false` as text,
    and its messages know no place and no mend.
    """

    default: Any
    types: tuple[Any, ...]
    is_optional: bool
    choices: tuple[str, ...] | None

    @property
    def kind(self) -> str:
        """What a value of it is, in words."""
        if self.choices is not None:
            return f"one of {', '.join(self.choices)}"
        if self.is_mapping:
            return "a mapping, {NAME: value}"
        kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
        return next((kind for type_, kind in kinds.items() if type_ in self.types), "a list")

    @property
    def list_type(self) -> Any:
        """The type of a list of values, or None if it takes no list."""
        return next((type_ for type_ in self.types if list in (type_, get_origin(type_))), None)

    @property
    def is_mapping(self) -> bool:
        """Whether it takes a mapping."""
        return any(dict in (type_, get_origin(type_)) for type_ in self.types)


def known_fields(types_of_fields: Sequence[type]) -> dict[str, Field]:
    """The fields of dataclasses by name; of a name that several have, the last one's."""
    known = {}
    for type_ in types_of_fields:
        hints = get_type_hints(type_)
        for f in fields(type_):
            if f.init:
                default = f.default_factory() if f.default_factory is not MISSING else f.default
                hint = hints[f.name]
                members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
                types = tuple(member for member in members if member is not NoneType)
                choices = CHOICES.get(f.name) or f.metadata.get("choices")
                for member in types:
                    if get_origin(member) is Literal:
                        choices = get_args(member)
                    elif isinstance(member, type) and issubclass(member, Enum):
                        choices = [option.value for option in member]
                choices = None if choices is None else tuple(choices)
                known[f.name] = Field(default, types, len(types) < len(members) or default is None, choices)
    return known


def convert(name: str, value: Any, known: dict[str, Field], source: str) -> Any:
    """Give a value the type of its field; text as it comes from a command line included.

    Raises:
        UserError: if there is no such field, or the value cannot be one of its values; it names `source`.
    """
    if name not in known:
        nearest = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "docs/recipes.md lists them."
        raise UserError(f"{source} sets {name}, but there is no such field; {hint}")
    field_ = known[name]
    if isinstance(value, str) and "\0" in value:  # no path can have one
        raise UserError(f"{source} sets {name} to {value!r}, which holds a NUL byte; remove it.")
    if type(value) is type(field_.default) and value == field_.default:
        return value
    # 'none' is a word of its own for some text fields (report_to), and nothing for a number.
    is_none_text = value == "none" and (str not in field_.types or field_.is_mapping)
    if value is None or value == "null" or is_none_text:
        if not field_.is_optional:
            raise UserError(f"{source} sets {name} to none, but it must be {field_.kind}; give it a value.")
        return None
    if name == "resume_from_checkpoint":
        raise UserError(
            f"{source} sets resume_from_checkpoint to {value!r}, but a run goes on by itself where its output_dir "
            "holds it; leave the field out, or name a checkpoint's directory by resume."
        )
    try:
        converted = _converted(value, field_)
    except (ValueError, TypeError, argparse.ArgumentTypeError):
        if value is True and source == COMMAND_LINE:
            raise UserError(
                f"--{name} stands on the command line without a value; it must be {field_.kind}."
            ) from None
        quotes = " (in quotes)" if isinstance(value, bool) and str in field_.types else ""
        raise UserError(f"{source} sets {name} to {value!r}, but it must be {field_.kind}{quotes}.") from None
    values = converted if isinstance(converted, list) else [converted]
    if field_.choices is not None and any(item not in field_.choices for item in values):
        longer = [choice for choice in field_.choices if choice.startswith(str(converted))]
        nearest = longer or difflib.get_close_matches(str(converted), field_.choices, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"it must be {field_.kind}."
        raise UserError(f"{source} sets {name} to {value!r}; {hint}")
    return converted


def _converted(value: Any, field_: Field) -> Any:
    if field_.is_mapping and isinstance(value, str) and value.startswith("{"):
        value = json.loads(value)
    if field_.is_mapping and isinstance(value, dict):
        return value
    if isinstance(value, list) or field_.types == (field_.list_type,):
        if field_.list_type is None:
            raise ValueError
        values = value if isinstance(value, list) else [value]
        return [_scalar(item, get_args(field_.list_type) or (str,)) for item in values]
    if field_.choices is not None and not isinstance(value, dict):
        return "no" if value is False and "no" in field_.choices else str(value)  # YAML 1.1 reads no as false
    return _scalar(value, field_.types)


def _scalar(value: Any, types: tuple[Any, ...]) -> Any:
    if isinstance(value, dict | list) or isinstance(value, bool) and bool not in types:
        raise ValueError
    if type(value) not in types:
        # YAML 1.1 reads 1e-6 as text, and an int where a float is meant.
        if str in types:
            value = str(value)
        elif bool in types:
            value = string_to_bool(str(value))
        elif int in types:
            value = int(value) if isinstance(value, float) and value.is_integer() else int(str(value))
        elif float in types:
            value = float(str(value))
        else:
            raise ValueError
    if isinstance(value, float) and math.isnan(value):
        raise ValueError
    return value
