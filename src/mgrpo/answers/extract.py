"""Extractors: read the answer out of a completion's text, or None where there is none."""

import importlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from mgrpo.errors import UserError

Extractor = Callable[[str], str | None]

# The lookahead keeps the two backslashes of `\\boxed{...}`, escaped once too often, from being read as one escape.
_BOX_OR_BRACE = re.compile(r"(?P<box>\\(?:boxed|fbox)\s*\{)|\\(?!\\(?:boxed|fbox)).|[{}]", re.DOTALL)
# A minus directly behind a digit, letter or bracket subtracts: the last number of 5-3 is 3. In 1,2345 there is no
# thousands separator.
_NUMBER = re.compile(r"(?:(?<![\w)])[-−])?(?:\d{1,3}(?:,\d{3})+(?!\d|,\d)(?:\.\d+)?|\d+(?:\.\d+)?|(?<![\w.])\.\d+)")


def boxed(text: str) -> str | None:
    r"""Take what stands in the last complete `\boxed{...}` or `\fbox{...}`; braces may nest.

    None where there is no box, none was closed, or the last complete one is empty. A box in a box is part of the
    outer one's answer, if that was closed.
    """
    answer = None
    opened: list[int | None] = []  # for each open brace: where a box's content begins, or None
    for token in _BOX_OR_BRACE.finditer(text):
        if token["box"]:
            opened.append(token.end())
        elif token.group() == "{":
            opened.append(None)
        elif token.group() == "}" and opened:
            start = opened.pop()
            if start is not None:
                answer = text[start : token.start()].strip()
    return answer or None


def number(text: str) -> str | None:
    """Take the last number, sign and decimals with it; thousands separators are removed. None without a number."""
    numbers = _NUMBER.findall(text)
    return numbers[-1].replace(",", "").replace("−", "-") if numbers else None


EXTRACTORS: dict[str, Extractor] = {"boxed": boxed, "number": number}


def get_extractor(name: str) -> Extractor:
    """Look an extractor up by name, or import the user's own from 'module:function'.

    Raises:
        UserError: if there is no such extractor, module or function.
    """
    if name in EXTRACTORS:
        return EXTRACTORS[name]
    if not all(name.partition(":")):
        raise UserError(
            f"answer_extractor is {name!r}; set it to one of {', '.join(EXTRACTORS)}, or to your module:function."
        )
    return import_function(name, "answer_extractor")


def import_function(name: str, option: str) -> Callable[..., Any]:
    """Import a user's own function from 'module:function'; a module in the working directory is found too.

    Args:
        name: of the function.
        option: the recipe's field that names it, for messages.

    Raises:
        UserError: if it cannot be imported, or is no function.
    """
    module_name, _, function_name = name.partition(":")
    if not all(name.partition(":")):
        raise UserError(f"{option} is {name!r}; write it as module:function.")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # behind the rest, so that nothing installed is covered
        importlib.invalidate_caches()
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # the user's module runs here and may raise anything
        raise UserError(f"{option} is {name!r}, which cannot be imported ({error}).") from error
    if not callable(function):
        raise UserError(f"{option} is {name!r}, which is no function; name a function of {module_name}.")
    return function
