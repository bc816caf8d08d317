"""Extractors: read the answer out of a completion's text, or None where there is none."""

import importlib
import re
from collections.abc import Callable

from mgrpo.errors import UserError

Extractor = Callable[[str], str | None]

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")


def boxed(text: str) -> str | None:
    r"""Take what stands in the last complete `\boxed{...}` or `\fbox{...}`; braces may nest.

    None where there is no box, none was closed, or the last complete one is empty.
    """
    answer = None
    start = 0
    while box := _BOX.search(text, start):
        depth = 1
        for brace in _BRACE.finditer(text, box.end()):
            depth += {"{": 1, "}": -1}.get(brace.group(), 0)
            if depth == 0:
                answer = text[box.end() : brace.start()].strip()
                start = brace.end()
                break
        else:
            break  # cut off: nothing behind it can be complete at its level
    return answer or None


def number(text: str) -> str | None:
    """Take the last number, sign and decimals with it; thousands separators are removed. None without a number."""
    numbers = _NUMBER.findall(text)
    return numbers[-1].replace(",", "") if numbers else None


EXTRACTORS: dict[str, Extractor] = {"boxed": boxed, "number": number}


def get_extractor(name: str) -> Extractor:
    """Look an extractor up by name, or import the user's own from 'module:function'.

    Raises:
        UserError: if there is no such extractor, module or function.
    """
    if name in EXTRACTORS:
        return EXTRACTORS[name]
    module_name, _, function_name = name.partition(":")
    if not function_name:
        raise UserError(
            f"answer_extractor is {name!r}; set it to one of {', '.join(EXTRACTORS)}, or to your module:function."
        )
    try:
        return getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"answer_extractor is {name!r}, which cannot be imported ({error}).") from error
