r"""Extractors: read the answer out of a completion's text, or None where there is none.

The text is a model's and may be anything. None of the extractors ever raises, and all take linear time but `regex:`,
which is stopped after a second: that is why so much in their patterns repeats possessively (`++`) or has a bound.
"""

import functools
import re
from collections.abc import Callable
from typing import Any

import regex  # type: ignore[import-untyped]

from mgrpo.answers.boxes import boxed, last
from mgrpo.answers.choice_letter import choice
from mgrpo.answers.last_number import number
from mgrpo.answers.user_functions import describe, import_function
from mgrpo.errors import UserError, did_you_mean

Extractor = Callable[[str], str | None]

MATCH_SECONDS = 1.0
"""What `regex:` may take for one completion: a user's own pattern may backtrack for ever."""


def tag(text: str, name: str = "answer") -> str | None:
    """Take the content of the last complete `<answer>...</answer>`; None where there is none, or it is empty."""
    span, start = None, None
    for mark in re.finditer(f"<(/?){name}>", text):
        if not mark[1]:
            start = mark.end()
        elif start is not None:
            span, start = (start, mark.start()), None
    return text[slice(*span)].strip() or None if span else None


def line(text: str) -> str | None:
    """Take the last line that is not blank; None without one."""
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else None


def by_pattern(text: str, pattern: Any) -> str | None:
    """Take the last match of a pattern of `regex`: its group `answer`, else its first group, else the whole.

    None without a match, where what is taken is blank, and where the search takes too much time or memory.
    """
    try:
        found = last(pattern.finditer(text, timeout=MATCH_SECONDS))
    except (TimeoutError, MemoryError):
        return None
    group = "answer" if "answer" in pattern.groupindex else min(pattern.groups, 1)
    return (found[group] or "").strip() or None if found else None


EXTRACTORS: dict[str, Extractor] = {"boxed": boxed, "number": number, "choice": choice, "tag": tag, "line": line}


def get_extractor(name: str) -> Extractor:
    r"""Find an extractor by name, or import the user's own from 'module:function'.

    Args:
        name: from `EXTRACTORS`; or with an argument: `choice:ABCD`, the letters offered; `tag:final`, the tag;
            `regex:Result: (\d+)`, a pattern of the `regex` package; or `module:function`.

    Raises:
        UserError: if there is no such extractor, module or function, or the argument is impossible.
    """
    if name in EXTRACTORS:
        return EXTRACTORS[name]
    kind, _, argument = name.partition(":")
    if kind in _ARGUMENTS:
        form, correction = _ARGUMENTS[kind]
        if not re.fullmatch(form, argument, re.DOTALL):
            raise UserError(f"answer_extractor is {name!r}; write {correction}.")
        if kind == "choice":
            return functools.partial(choice, options=argument)
        if kind == "tag":
            return functools.partial(tag, name=argument)
        return functools.partial(by_pattern, pattern=_compile(argument))
    if kind in EXTRACTORS:
        raise UserError(f"answer_extractor is {name!r}, but {kind} takes nothing after a colon; write {kind}.")
    nearest = did_you_mean(kind.lower(), [*EXTRACTORS, "regex"])
    if not (kind and argument):
        known = f"{', '.join(EXTRACTORS)}, regex:PATTERN, or to your module:function"
        raise UserError(f"answer_extractor is {name!r}; set it to one of {known}{nearest}.")
    try:
        return import_function(name, "answer_extractor")
    except UserError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            raise UserError(f"{str(error)[:-1]}{nearest}.") from error.__cause__
        raise


_ARGUMENTS = {
    "choice": (r"(?:([A-Z])(?!.*\1)){2,26}", "the capital letters offered, each once, such as choice:ABCD"),
    "tag": (r"[A-Za-z][A-Za-z0-9_-]*", "the tag as a plain word, such as tag:final"),
    "regex": (r".+", r"a pattern after the colon, such as regex:Result: (\d+)"),
}
"""For each extractor that takes an argument: the form that it must have, and how to correct it."""


def _compile(pattern: str) -> Any:
    try:
        return regex.compile(pattern)
    except Exception as error:  # of several kinds, RecursionError among them
        position = getattr(error, "pos", None)
        place = "" if position is None else f" at character {position} of the pattern, counted from 0"
        raise UserError(
            f"answer_extractor is {'regex:' + pattern!r}, which is not a regular expression "
            f"({getattr(error, 'msg', None) or describe(error)}{place}); correct it there, and write a literal "
            r"bracket, dot or star as \(, \. or \*."
        ) from error
