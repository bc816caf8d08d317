r"""Extractors: read the answer out of a completion's text, or None where there is none.

The text is a model's and may be anything. None of the extractors here ever raises, and all take linear time but
`regex:`, which is stopped after a second: that is why so much in their patterns repeats possessively (`++`) or has a
bound.
"""

import collections
import difflib
import functools
import importlib
import os
import re
import sys
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import regex  # type: ignore[import-untyped]

from mgrpo.errors import UserError

_T = TypeVar("_T")
Extractor = Callable[[str], str | None]

MATCH_SECONDS = 1.0
"""What `regex:` may take for one completion: a pattern of the user's own may backtrack for ever."""


def _last(found: Iterable[_T]) -> _T | None:
    return next(iter(collections.deque(found, maxlen=1)), None)


# The lookahead keeps the two backslashes of `\\boxed{...}`, escaped once too often, from being read as one escape.
# Without braces a number or letter counts where it stands alone: what `\boxed 5x` means is not 5.
_BOX_OR_BRACE = re.compile(
    r"""\\(?:boxed|fbox) (?: \s*+(?P<open>\{)
          | [ \t]++(?P<token> [-+−]?\d++(?:[.,/]\d++)*+(?:\\?%)?+ (?! [\w{(^+*/=-] | \\[^)\]] )
                            | [A-Za-z] (?! [ \t]*+(?: [\w'’{(^+*/=-] | \\[^)\]] ) ) ) )
      | \\(?!\\(?:boxed|fbox)). | [{}]""",
    re.DOTALL | re.VERBOSE,
)


def boxed(text: str) -> str | None:
    r"""Take what stands in the last complete `\boxed{...}` or `\fbox{...}`; braces may nest.

    A number or letter without braces counts too: `\boxed 5`. None where there is no box, none was closed, or the last
    complete one is empty. A box in a box is part of the outer one's answer, if that was closed.
    """
    span = _last(_boxes(text))
    return text[slice(*span)].strip() or None if span else None


def _boxes(text: str) -> Iterator[tuple[int, int]]:
    """Where the contents of the boxes begin and end, in the order in which they were closed."""
    opened: list[int | None] = []  # for each open brace: where a box's content begins, or None
    for found in _BOX_OR_BRACE.finditer(text):
        kind = found.lastgroup
        if kind == "token":
            yield found.span("token")
        elif kind == "open":
            opened.append(found.end())
        elif found.group() == "{":
            opened.append(None)
        elif found.group() == "}" and opened:
            start = opened.pop()
            if start is not None:
                yield start, found.start()


# In 1,2345 there is no thousands separator, and none is looked for behind the first comma: that would be quadratic.
_TEN_TO_THE = r"(?:\\times|\\cdot|[×·*])[ ]?10(?:\^|\*\*)"
_UNSIGNED = rf"""(?:
    (?: (?<!\d[.,])[1-9]\d{{0,2}}(?:,\d{{3}})++(?!\d|,\d)(?:\.\d++)?+ | \d++(?:\.\d++)?+ | (?<![\w.])\.\d++ )
    (?: [eE][-+]?\d++(?!\w) | [ ]?{_TEN_TO_THE}(?:\{{[-+]?\d++\}}|[-+]?\d++) )?+
)"""
# A minus directly behind a digit, letter or bracket subtracts: the last number of 5-3 is 3.
_NUMBER = re.compile(
    rf"""(?P<sign> (?<![\w)\]}}%])- | (?<![\w)\]}}%$])-\$ )?
    (?: \\[dtc]?frac[ ]?(?:\{{[ ]?(?P<top>-?{_UNSIGNED})[ ]?\}}|(?P<top_digit>\d))
            [ ]?(?:\{{[ ]?(?P<bottom>{_UNSIGNED})[ ]?\}}|(?P<bottom_digit>\d))
      | (?P<plain>{_UNSIGNED}(?:/-?{_UNSIGNED})*+) )
    (?P<percent>[ ]?%)?+""",
    re.VERBOSE,
)
_HEADING = re.compile(r"[.:)]\s*+\w")
_SPELLINGS = {"\\!": "", "{,}": ",", "\\,": ",", "\\%": "%", "\\$": "$", "−": "-"}


def number(text: str) -> str | None:
    r"""Take the last number: '-1234.5', '3/4', '50%', '1.5e-3'; None without one.

    The number of the last line that has it as `#### 42` comes first. Thousands separators (`,`, `{,}`, `\,`) are taken
    out, `\frac{3}{4}` becomes 3/4 and `1.5 \times 10^{-3}` 1.5e-3. A mixed number is none: `2 1/2` gives 1/2.
    """
    for spelling, plain in _SPELLINGS.items():
        text = text.replace(spelling, plain)
    found = _marked_number(text) or _last(_NUMBER.finditer(text))
    return _plain_number(found) if found else None


def _marked_number(text: str) -> re.Match[str] | None:
    """The number of the last line with `#### 42`; a heading such as `#### 2. Add them` is none."""
    for text_line in reversed(text.splitlines()):
        _, mark, rest = text_line.rpartition("####")
        if mark:
            rest = rest.replace("\\(", "").lstrip(" \t$*(")
            found = _NUMBER.match(rest)
            if found and not _HEADING.match(rest, found.end()):
                return found
    return None


def _plain_number(found: re.Match[str]) -> str:
    sign = "-" if found["sign"] else ""
    if found["plain"]:
        parts = found["plain"].split("/")
    else:
        parts = [found["top"] or found["top_digit"], found["bottom"] or found["bottom_digit"]]
    if len(parts) > 2:  # a date
        sign, parts = "", parts[-1:]
    if sign and parts[0].startswith("-"):
        sign, parts[0] = "", parts[0][1:]
    answer = "/".join(parts).replace(",", "").replace(" ", "")
    answer = re.sub(_TEN_TO_THE + r"\{?([-+]?\d++)\}?", r"e\1", answer).lower().replace("e+", "e")
    if not answer.isascii():  # other scripts' digits
        answer = "".join(str(unicodedata.decimal(character, character)) for character in answer)
    return sign + answer + ("%" if found["percent"] else "")


def choice(text: str, options: str = "ABCDEFGHIJ") -> str | None:
    r"""Take a letter among the options offered, as a bare capital; None without one.

    `\boxed{B}`, `The answer is (b)` and `Answer: B` say it outright, in either case; the last of them counts. Only
    without them, and in capitals: `(B)`, `B)`, `**B**`, `\text{B}`, `option B`, `B.` where a line begins or ends, and
    a last line `B`; again the last. The article of `A man` and the pronoun of `I think` are none of these.
    """
    in_box, said, hinted = _choice_patterns(options)
    boxes = (match for start, end in _boxes(text) if (match := in_box.match(text, start, end)))
    outright = [match for match in (_last(boxes), _last(said.finditer(text))) if match]
    if outright:
        return max(outright, key=lambda match: match.start(1))[1].upper()
    alone = re.fullmatch(rf"[\W_]*+([{options}])[\W_]*+", line(text) or "")
    found = alone or _last(hinted.finditer(text))
    return found[found.lastindex or 0] if found else None


@functools.cache
def _choice_patterns(options: str) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Patterns of what stands in a box, of an answer that is said, and of one that is hinted at."""
    either = options + options.lower()
    command = r"(?:(?:text|math)[a-z]{0,6}\W{1,4})?"
    # Not the `a` of `a man` and `a-helix`, the `I` of `I think` and `I'm`, the C of `C = 5`, nor one of `A or B`.
    ends = r"""(?! ['’-]?\w | \s{0,2}[=^+/] | \s{1,2}or\s )
        (?: (?<![AaIi]) | (?![ \t]{1,4}(?!(?:because|since|as|with|and|but)\b)\w) )"""
    in_box = rf"""\W{{0,4}} {command} (?i:(?:option|choice)\W{{1,3}})? ([{either}])
        (?: \s{{0,2}}[.:)}}\]](?!\w) | \W{{0,6}}\Z )"""
    said = rf"""(?i: \b(?:answer | (?:correct|right|best)\s(?:option|choice)) (?:\s(?:choice|option|letter))?
        \W{{0,4}} (?:\bis\b|[:=]) ) \W{{0,10}} (?i:(?:option|choice|letter)\W{{1,4}})? {command} ([{either}]) {ends}"""
    hinted = rf"""(?<![\w\\])\(\s?([{options}])\s?\)
        | \*\*\s?\(?([{options}])(?:\)|\*\*|\.(?=[\s*]))
        | \\(?:text|math)[a-z]{{0,6}}\{{\s?\(?([{options}])[).]?\s?\}}
        | \b(?i:option|choice|answer)\s\(?([{options}]){ends}
        | ^[^\w\n]{{0,4}}([{options}])[.)](?=[\s*]|\Z)
        | (?<![\w(.'’-])([{options}])\)(?![\w)])
        | (?<![\w.'’-])(?!I)([{options}])\.(?=[^\w\n]{{0,4}}$)"""
    flags = re.VERBOSE | re.MULTILINE
    return re.compile(in_box, flags), re.compile(said, flags), re.compile(hinted, flags)


def tag(text: str, name: str = "answer") -> str | None:
    """Take what stands in the last complete `<answer>...</answer>`; None where there is none, or it is empty."""
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
    """Take the pattern's last match: its group `answer`, else its first group, else the whole.

    None without a match, where what is taken is blank, and where the search takes too much time or memory.

    Args:
        text: the completion's.
        pattern: compiled by `regex`.
    """
    try:
        last = _last(pattern.finditer(text, timeout=MATCH_SECONDS))
    except (TimeoutError, MemoryError):
        return None
    group = "answer" if "answer" in pattern.groupindex else min(pattern.groups, 1)
    return (last[group] or "").strip() or None if last else None


EXTRACTORS: dict[str, Extractor] = {"boxed": boxed, "number": number, "choice": choice, "tag": tag, "line": line}


def get_extractor(name: str) -> Extractor:
    r"""Look an extractor up by name, or import the user's own from 'module:function'.

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
        form, mend = _ARGUMENTS[kind]
        if not re.fullmatch(form, argument, re.DOTALL):
            raise UserError(f"answer_extractor is {name!r}; write {mend}.")
        if kind == "choice":
            return functools.partial(choice, options=argument)
        if kind == "tag":
            return functools.partial(tag, name=argument)
        return functools.partial(by_pattern, pattern=_compile(argument))
    if kind in EXTRACTORS:
        raise UserError(f"answer_extractor is {name!r}, but {kind} takes nothing behind a colon; write {kind}.")
    nearest = difflib.get_close_matches(kind.lower(), [*EXTRACTORS, "regex"], n=1)
    if not (kind and argument):
        known = f"{', '.join(EXTRACTORS)}, regex:PATTERN, or to your module:function"
        hint = f" (the nearest is {nearest[0]})" if nearest else ""
        raise UserError(f"answer_extractor is {name!r}; set it to one of {known}{hint}.")
    try:
        return import_function(name, "answer_extractor")
    except UserError as error:
        if nearest and isinstance(error.__cause__, ModuleNotFoundError):
            raise UserError(f"{str(error)[:-1]}; did you mean {nearest[0]}?") from error.__cause__
        raise


_ARGUMENTS = {
    "choice": (r"(?:([A-Z])(?!.*\1)){2,26}", "the capital letters offered, each once, such as choice:ABCD"),
    "tag": (r"[A-Za-z][A-Za-z0-9_-]*", "the tag as a plain word, such as tag:final"),
    "regex": (r".+", r"a pattern behind the colon, such as regex:Result: (\d+)"),
}
"""For each extractor that takes an argument: what it looks like, and how to mend it."""


def _compile(pattern: str) -> Any:
    try:
        return regex.compile(pattern)
    except Exception as error:  # of several kinds, RecursionError among them
        position = getattr(error, "pos", None)
        place = "" if position is None else f" at character {position} of the pattern, counted from 0"
        raise UserError(
            f"answer_extractor is {'regex:' + pattern!r}, which is no regular expression "
            f"({getattr(error, 'msg', None) or describe(error)}{place}); correct it there, and write a bracket, dot "
            r"or star that stands for itself as \(, \. or \*."
        ) from error


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
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{option} is {name!r}, which cannot be imported ({reason}).") from error
    if not callable(function):
        raise UserError(f"{option} is {name!r}, which is no function; name a function of {module_name}.")
    return function


def describe(error: Exception) -> str:
    """An error's type and message as one line."""
    return " ".join("".join(traceback.format_exception_only(error)).split())[:200]
