r"""Which answers are the same: classes of equal answers within a group, as integer ids.

`text` compares stripped text. `math` compares values: 1/2, 0.5 and \frac12 are one answer. Plain numbers and
fractions are compared by exact arithmetic; what is left goes to math-verify, which the extra [math] installs.
"""

import re
from collections.abc import Callable
from fractions import Fraction

from mgrpo.errors import UserError

MAX_LENGTH = 512
"""Longer answers, in characters, are compared as text: a parser's time grows with them, and no answer is so long."""

_DECIMAL = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
_VALUE = re.compile(rf"({_DECIMAL})(?:/({_DECIMAL}))?(\\?%)?")
_FRACTION = re.compile(r"([-+]?)\\[dt]?frac(?:\{([^{}]+)\}|(\d))(?:\{([^{}]+)\}|(\d))")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def answer_ids(groups: list[list[str | None]], equivalence: str = "text") -> list[list[int]]:
    """Number the answers of each group so that equal ones share an id.

    Ids count up from 0 in order of first appearance; -1 is no answer. Where equality is not transitive, a class is a
    connected component, so the order of the completions does not change who belongs together.

    Args:
        groups: P groups of G answers, None where there is none.
        equivalence: a name from `EQUIVALENCES`.

    Raises:
        UserError: if the equivalence is unknown, or what it needs is not installed.
    """
    is_equal = get_equivalence(equivalence)
    return [_number_classes(group, is_equal) for group in groups]


def equal_to(answers: list[str | None], other: str, equivalence: str = "text") -> list[bool]:
    """Compare each answer with another, for measurement against a gold answer. No answer is never equal."""
    is_equal = get_equivalence(equivalence)
    verdicts = {answer: is_equal(answer, other.strip()) for answer in {a.strip() for a in answers if a is not None}}
    return [answer is not None and verdicts[answer.strip()] for answer in answers]


def _number_classes(group: list[str | None], is_equal: Callable[[str, str], bool]) -> list[int]:
    distinct = list(dict.fromkeys(answer.strip() for answer in group if answer is not None))
    root = {answer: answer for answer in distinct}

    def find(answer: str) -> str:
        while root[answer] != answer:
            answer = root[answer]
        return answer

    for i, answer in enumerate(distinct):
        for earlier in distinct[:i]:
            if find(earlier) != find(answer) and is_equal(earlier, answer):
                # the earlier root stays: ids follow the first appearance of a class
                first, second = sorted((find(earlier), find(answer)), key=distinct.index)
                root[second] = first
    ids: dict[str, int] = {}
    return [-1 if a is None else ids.setdefault(find(a.strip()), len(ids)) for a in group]


def value_of(answer: str) -> Fraction | None:
    """The exact value of a plain number, fraction or percentage, LaTeX or not; None for anything else."""
    text = answer.strip().strip("$").rstrip(".").replace(" ", "").replace("\\!", "")
    text = _THOUSANDS.sub("", text)
    if len(text) > MAX_LENGTH:
        return None
    if match := _FRACTION.fullmatch(text):
        sign, *parts = match.groups()
        numerator, denominator = parts[0] or parts[1], parts[2] or parts[3]
        text = f"{sign}{numerator}/{denominator}" if not (sign and numerator.startswith(("-", "+"))) else ""
    if not (match := _VALUE.fullmatch(text)):
        return None
    numerator, denominator, percent = match.groups()
    bottom = Fraction(denominator or 1) * (100 if percent else 1)
    return Fraction(numerator) / bottom if bottom else None


def _equal_text(left: str, right: str) -> bool:
    return left == right


def _equal_math(left: str, right: str) -> bool:
    if left == right:
        return True
    left_value, right_value = value_of(left), value_of(right)
    if left_value is not None and right_value is not None:
        return left_value == right_value
    if len(left) > MAX_LENGTH or len(right) > MAX_LENGTH:
        return False
    from math_verify import parse, verify

    # math-verify's equality is not symmetric: its first argument is the gold side. Ours must be.
    parsed = [parse(f"${text}$") for text in (left, right)]
    return bool(verify(*parsed) or verify(*reversed(parsed)))


EQUIVALENCES: dict[str, Callable[[str, str], bool]] = {"text": _equal_text, "math": _equal_math}


def get_equivalence(equivalence: str) -> Callable[[str, str], bool]:
    """Look an equivalence up by name.

    Raises:
        UserError: if it is unknown, or what it needs is not installed.
    """
    if equivalence not in EQUIVALENCES:
        raise UserError(f"answer_equivalence is {equivalence!r}; set it to one of {', '.join(EQUIVALENCES)}.")
    if equivalence == "math":
        try:
            import math_verify  # noqa: F401
        except ImportError:
            raise UserError(
                "answer_equivalence is 'math', which needs math-verify: pip install 'mgrpo[math]', or set it to text."
            ) from None
    return EQUIVALENCES[equivalence]
