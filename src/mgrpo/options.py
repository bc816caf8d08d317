"""Options: fields of dataclasses that carry their help and allowed values, and the one way to read and check them.

Recipes, the command line and `mgrpo evaluate` all read values here. TRL's TrlParser cannot replace this file. argparse
converts text only, so a recipe's `max_prompt_length: 1.5` or `beta: [1, 2]` would pass. It keeps one type of a union
(`report_to` would take one name, `pad_to_multiple_of: 8` would become text), reads one `--config`, refuses `--bf16`
without a value, and its messages name neither the recipe nor the nearest field.
"""

import difflib
import math
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import Enum
from functools import cache
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mgrpo.errors import UserError
from mgrpo.yaml_text import read_flow

COMMAND_LINE = "the command line"
FIELD_WORD = re.compile(r"--[A-Za-z_][\w-]*(=.*)?", re.DOTALL)
"""A word of a command line that names a field; `--- {prompt}` is a value."""
NONE_WORDS = ("none", "None")
BOOLEANS = dict.fromkeys(["yes", "true", "t", "y", "1"], True) | dict.fromkeys(["no", "false", "f", "n", "0"], False)


@dataclass(frozen=True)
class Range:
    """The numbers an option accepts; nan and the infinities are in no range.

    It is given as `choices`, because argparse (and so TrlParser on our dataclasses) accepts there whatever knows `in`.
    """

    min: float | None = None
    max: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        """Whether a number is allowed."""
        return (
            math.isfinite(value)
            and (self.min is None or value >= self.min)
            and (self.max is None or value <= self.max)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __iter__(self) -> Iterator[str]:
        """The description, which argparse prints."""
        yield str(self)

    def __str__(self) -> str:
        """The range in words: "0 or more and below 1"."""
        if self.min is not None and self.max is not None:
            return f"from {self.min:g} to {self.max:g}"
        bounds = {"{} or more": self.min, "above {}": self.above, "at most {}": self.max, "below {}": self.below}
        return " and ".join(text.format(f"{bound:g}") for text, bound in bounds.items() if bound is not None)


def option(default: Any, help: str, choices: Range | Sequence[str] | None = None) -> Any:
    """A dataclass field that is an option.

    Args:
        default: its value where nothing sets it.
        help: what it does, in one or two sentences.
        choices: the numbers or the words it accepts; None: all of its type.
    """
    metadata = {"help": help} if choices is None else {"help": help, "choices": choices}
    return field(default=default, metadata=metadata)


def inherited(from_: type, name: str, choices: Range | Sequence[str] | None = None) -> Any:
    """A field of another dataclass with its default and help, and values that its library checks late or never."""
    of = next(of for of in fields(from_) if of.name == name)
    return option(of.default, of.metadata.get("help", ""), choices)


@dataclass(frozen=True)
class Option:
    """What an option accepts, from its dataclass field; choices of None: all of its types."""

    default: Any
    types: tuple[Any, ...]  # the members of its type, without None
    is_optional: bool
    choices: Range | tuple[Any, ...] | None
    help: str

    def __str__(self) -> str:
        """What a value must be, in words."""
        if isinstance(self.choices, tuple):
            return f"one of {', '.join(map(str, self.choices))}"
        if self.is_mapping:
            return "a mapping, {NAME: value}"
        kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
        kind = next((kind for type_, kind in kinds.items() if type_ in self.types), "a list")
        return kind if self.choices is None else f"{kind}, {self.choices}"

    @property
    def list_type(self) -> Any:
        """The type of a list of values, or None if it takes no list."""
        return next((type_ for type_ in self.types if list in (type_, get_origin(type_))), None)

    @property
    def is_mapping(self) -> bool:
        """Whether it takes a mapping."""
        return any(dict in (type_, get_origin(type_)) for type_ in self.types)


@cache
def options_of(*dataclasses_: type) -> dict[str, Option]:
    """The options of dataclasses by name; of a name that several have, the last one's."""
    options: dict[str, Option] = {}
    for dataclass_ in dataclasses_:
        hints = get_type_hints(dataclass_)
        options |= {f.name: _option_of(f, hints[f.name]) for f in fields(dataclass_) if f.init}
    return options


def _option_of(of: Field, hint: Any) -> Option:
    default = of.default if of.default_factory is MISSING else of.default_factory()
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    types = tuple(member for member in members if member is not NoneType)
    choices = of.metadata.get("choices")
    if get_origin(types[0]) is Literal:
        choices = get_args(types[0])
    elif isinstance(types[0], type) and issubclass(types[0], Enum):
        choices = [member.value for member in types[0]]
    if choices is not None and not isinstance(choices, Range):
        choices = tuple(choices)
    is_optional = len(types) < len(members) or default is None
    return Option(default, types, is_optional, choices, of.metadata.get("help", ""))


def read_words(words: Sequence[str]) -> dict[str, Any]:
    """Read `--name value ...` and `--name=value`; several values become a list, none means true.

    Raises:
        UserError: for a value without an option.
    """
    read: dict[str, list[str]] = {}
    name = None
    for word in words:
        if FIELD_WORD.fullmatch(word):
            name, equals, value = word[2:].partition("=")
            read[name] = [value] if equals else []
        elif name is None:
            raise UserError(f"the command line has {word!r} without a field; write --FIELD {word}.")
        else:
            read[name].append(word)
    return {name: values[0] if len(values) == 1 else values or True for name, values in read.items()}


def read_value(name: str, value: Any, options: dict[str, Option], source: str) -> Any:
    """Give a value the type of its option.

    Args:
        name: the option's.
        value: as YAML gives it, or text from a command line. "null" is None, and so are "none" and "None" where the
            option may be None and has no choice of that name.
        options: all that there are, this one included.
        source: where the value was set, for messages.

    Raises:
        UserError: if the value is not allowed.
    """
    expected = options[name]
    if isinstance(value, str) and "\0" in value:  # no path can have one
        raise UserError(f"{source} sets {name} to {value!r}, which holds a NUL byte; remove it.")
    if type(value) is type(expected.default) and value == expected.default:
        return value
    if value in NONE_WORDS and isinstance(expected.choices, tuple) and "none" in expected.choices:
        return "none"  # a value of its own (report_to)
    is_none_word = value in NONE_WORDS and (expected.is_optional or str not in expected.types)
    if value is None or value == "null" or is_none_word:
        if not expected.is_optional:
            raise UserError(f"{source} sets {name} to none, but it must be {expected}; give it a value.")
        return None
    try:
        read = _converted(value, expected)
    except (ValueError, TypeError, KeyError):
        if value is True and source == COMMAND_LINE:
            raise UserError(f"{source} has --{name} without a value; it must be {expected}.") from None
        quotes = " (in quotes)" if isinstance(value, bool) and str in expected.types else ""
        raise UserError(f"{source} sets {name} to {value!r}, but it must be {expected}{quotes}.") from None
    if expected.choices is not None and not _is_allowed(read, expected.choices):
        words = expected.choices if isinstance(expected.choices, tuple) else ()
        hint = nearest(str(read), words) or _must_be(expected)
        raise UserError(f"{source} sets {name} to {value!r}; {hint}")
    return read


def absolute_path(path: str) -> str:
    """A path that a user gave, from the root of the file system: `~` and the working directory are put in front.

    Raises:
        UserError: for the home directory of a user who does not exist.
    """
    try:
        return os.path.abspath(Path(path).expanduser()) if path else path
    except RuntimeError:
        raise UserError(f"the path {path} names no home directory; write it from the root") from None


def nearest(word: str, known: Collection[str]) -> str | None:
    """Ask for the known word that begins so, or else the one that is spelt most alike; None: there is none."""
    longer = [name for name in known if word and name.startswith(word)]
    similar = longer or difflib.get_close_matches(word, known, n=1)
    return f"did you mean {similar[0]}?" if similar else None


def _must_be(expected: Option) -> str:
    return f"it must be {expected}{', or none' if expected.is_optional else ''}."


def _is_allowed(value: Any, choices: Any) -> bool:
    return all(item in choices for item in (value if isinstance(value, list) else [value]))


def _converted(value: Any, expected: Option) -> Any:
    if isinstance(value, str) and (
        value[:1] == "{" and expected.is_mapping or value[:1] == "[" and expected.list_type
    ):
        value = read_flow(value)
    if expected.is_mapping and isinstance(value, dict):
        return value
    if isinstance(value, list) or expected.types == (expected.list_type,):
        if expected.list_type is None:
            raise ValueError
        values = value if isinstance(value, list) else [value]
        return [_scalar(item, get_args(expected.list_type) or (str,)) for item in values]
    if isinstance(expected.choices, tuple) and not isinstance(value, dict):
        if value is False and "no" in expected.choices:  # YAML 1.1 reads no as false
            return "no"
        return str(value).lower() if isinstance(value, bool) else str(value)
    return _scalar(value, expected.types)


def _scalar(value: Any, types: tuple[Any, ...]) -> Any:
    if isinstance(value, dict | list) or isinstance(value, bool) and bool not in types:
        raise ValueError
    if type(value) not in types:
        # YAML 1.1 reads 1e-6 as text, and an int where a float is meant.
        if str in types:
            return str(value)
        if bool in types:
            return BOOLEANS[str(value).lower()]
        if int in types:
            return int(value) if isinstance(value, float) and value.is_integer() else int(str(value))
        if float not in types:
            raise ValueError
        value = float(str(value))
    if isinstance(value, float) and math.isnan(value):
        raise ValueError
    return value


def check_choices(settings: Any) -> None:
    """Refuse values of another type or outside their options' choices, in a dataclass made without `read_value`.

    Raises:
        UserError: for the first such value.
    """
    for name, expected in options_of(settings.__class__).items():
        value = plain(getattr(settings, name))
        choices = expected.choices
        if value is None:
            is_right = expected.is_optional or choices is None
        else:
            is_right = _is_of_type(value, expected) and (choices is None or _is_allowed(value, choices))
        if not is_right:
            raise UserError(f"{name} is {value!r}; {_must_be(expected)}")


def _is_of_type(value: Any, expected: Option) -> bool:
    """Whether a value has the type of its option; always, where that is more than numbers, texts and lists of them."""
    if expected.list_type is not None and isinstance(value, list | tuple):
        return True
    types = set(expected.types) - {expected.list_type}
    if types - {bool, int, float, str} or isinstance(value, str) and isinstance(expected.choices, tuple):
        return True
    kinds = {int: Integral, float: Real, str: str | PathLike}
    return type(value) in types or type(value) is not bool and any(isinstance(value, kinds.get(t, t)) for t in types)


def plain(value: Any) -> Any:
    """An option's value as YAML holds it."""
    value = getattr(value, "value", value)  # an enum's
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str | dict) else str(value)
