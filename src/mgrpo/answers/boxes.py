r"""The extractor `boxed`: what is in a completion's last `\boxed{...}`."""

import collections
import re
from collections.abc import Iterable, Iterator
from typing import TypeVar

from mgrpo.answers.next_question import parts_to_read

_T = TypeVar("_T")


def last(found: Iterable[_T]) -> _T | None:
    """The last item, None without one."""
    return next(iter(collections.deque(found, maxlen=1)), None)


# The lookahead keeps the two backslashes of `\\boxed{...}`, escaped once too often, from being read as one escape.
# Without braces a number or letter counts only by itself: `\boxed 5x` does not mean 5.
_BOX_OR_BRACE = re.compile(
    r"""\\(?:boxed|fbox) (?: \s*+(?P<open>\{)
          | [ \t]++(?P<token> [-+−]?\d++(?:[.,/]\d++)*+(?:\\?%)?+ (?! [\w{(^+*/=-] | \\[^)\]] )
                            | [A-Za-z] (?! [ \t]*+(?: [\w'’{(^+*/=-] | \\[^)\]] ) ) ) )
      | \\(?!\\(?:boxed|fbox)). | [{}]""",
    re.DOTALL | re.VERBOSE,
)
_LAST_BACKSLASH = re.compile(r"(?<!\\)\\$")
"""What stripping leaves of a space at the end that is written as `\\ `."""


def boxed(text: str) -> str | None:
    r"""Take the content of the last complete `\boxed{...}` or `\fbox{...}`; braces may nest.

    A number or letter without braces counts too: `\boxed 5`. None where there is no box, none was closed, or the last
    complete one is empty. A box in a box is part of the outer one's answer, if that was closed. Boxes after the
    beginning of a next question count only where there are none before.
    """
    for part in parts_to_read(text):
        if span := last(boxes(part)):
            return _LAST_BACKSLASH.sub("", part[slice(*span)].strip()).strip() or None
    return None


def boxes(text: str) -> Iterator[tuple[int, int]]:
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
