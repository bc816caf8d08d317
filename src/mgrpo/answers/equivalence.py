r"""Which answers are the same: classes of equal answers within a group, as integer ids.

`text` compares stripped text. `math` compares values: 1/2, 0.5 and \frac12 are one answer. Plain numbers and
fractions are compared by exact arithmetic; what is left goes to math-verify, which the extra [math] installs. It runs
in this process; what it might compute on for minutes is compared as text.
"""

import re
import zlib
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

from mgrpo.answers.costly import MAX_LENGTH, is_costly
from mgrpo.errors import UserError

_DECIMAL = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
_VALUE = re.compile(rf"({_DECIMAL})(?:/({_DECIMAL}))?(\\?%)?")
_FRACTION = re.compile(r"([-+]?)\\[dt]?frac(?:\{([^{}]+)\}|(\d))(?:\{([^{}]+)\}|(\d))")
_THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)")


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
    if len(answer) > MAX_LENGTH:
        return None
    text = answer.strip().replace("\\$", "$").lstrip("$").rstrip("$.")
    text = text.replace("\\!", "").replace("\\,", "").replace("{,}", ",")
    if re.search(r"[\d.]\s+[\d.]", text):  # a list or a mixed number: 1 1/2 is not 11/2
        return None
    text = _THOUSANDS.sub(lambda number: number.group().replace(",", ""), "".join(text.split()))
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
    if is_costly(left) or is_costly(right):
        return False
    from math_verify import verify

    (left_parsed, left_point), (right_parsed, right_point) = _parse(left), _parse(right)
    # Most pairs differ, and a number tells in microseconds what math-verify's `simplify` tells in 40 ms.
    # 1e-5: math-verify takes decimals for equal that round to the same sixth digit.
    if left_point is not None and right_point is not None:
        scale = max(1.0, abs(left_point), abs(right_point))
        if abs(left_point - right_point) > 1e-5 * scale:
            return False
    # math-verify's equality is not symmetric: its first argument is the gold side. Ours must be.
    return bool(verify(left_parsed, right_parsed) or verify(right_parsed, left_parsed))


@lru_cache(maxsize=4096)
def _parse(answer: str) -> tuple[list[Any], complex | None]:
    """What math-verify reads in an answer, and the value at one fixed point of an expression that has one.

    Expressions that are equal are equal at any point. Sets, equations and tuples have no value; nor has a symbol
    alone, which math-verify also reads as a word.
    """
    import sympy  # type: ignore[import-untyped]
    from math_verify import parse

    parsed = parse(f"${answer}$")
    if not parsed or not isinstance(parsed[0], sympy.Expr) or isinstance(parsed[0], sympy.Symbol):
        return parsed, None
    point = {symbol: 0.1 + 0.8 * zlib.crc32(symbol.name.encode()) / 2**32 for symbol in parsed[0].free_symbols}
    try:
        value = complex(parsed[0].evalf(15, subs=point))
    except (TypeError, ValueError, ArithmeticError, AttributeError, NotImplementedError, RecursionError):
        return parsed, None
    return parsed, value if abs(value) < float("inf") else None


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
