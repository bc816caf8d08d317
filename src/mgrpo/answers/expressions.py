"""Expressions as SymPy sees them, through math-verify's parser. Runs in worker processes alone (`worker.py`).

`fingerprint` decides nearly everything: expressions that are equal have the same values at the same points, and others
do not. What has no value (an unknown function, a division by zero) goes to `are_equal`, math-verify's own comparison.
"""

import cmath
import logging
import math
import zlib
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from math import factorial
from typing import Any

import sympy  # type: ignore[import-untyped]
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, _Latex2Sympy
from math_verify import verify
from sympy.core.relational import Relational  # type: ignore[import-untyped]

NUM_POINTS = 3
NUM_DIGITS = 80
MIN_BITS = 250
"""Of a number to 75 digits."""
MAX_EXACT_BITS = 2**16
"""Of numbers that are worked out exactly, such as 2^{2010} - 1; larger ones are not told apart by value."""
MAX_BITS_AS_TEXT = 2048
"""Of an exact value that is sent and remembered as it is; of a longer one the digest is."""

_CONVERSION = ConversionConfig(lowercase_symbols=False)
logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it warns that its own time limit is off


def warm_up() -> None:
    """Parse and compare once, which fills the parser's tables."""
    for latex in (r"\frac { x ^ { 2 } } { 2 } + \sqrt { 3 }", "( a - 1 ) ( b + 2 ) = 0", r"2 \sin \theta - 1 < 3 \pi"):
        fingerprint(latex)
    are_equal("f ( x )", "g ( x )")


def fingerprints(*expressions: str) -> list[dict[str, Any]]:
    """The fingerprints of all expressions of one answer, so that one time limit holds for them together."""
    return [fingerprint(latex) for latex in expressions]


def fingerprint(latex: str) -> dict[str, Any]:
    """What tells an expression from others: its exact value, or its values at three fixed points.

    Args:
        latex: from `mgrpo.answers.latex.expression_latex`, whose allow-list it has passed.

    Returns:
        `kind` is one of
        exact: a rational number, `values` its numerator / denominator in hexadecimal, or their digest;
        scalar: `values` are complex numbers as [real, imaginary], or None where there are none; of a constant without
        decimals `digits` are its real and imaginary part to `NUM_DIGITS` digits as text, where that many are known;
        =, > or >=: left minus right of a relation, divided by its first value (in an inequality by that one's absolute
        value), since a factor does not change what it says;
        text: no mathematics after all, or too large or small for a float; equal to itself alone.
    """
    try:
        parsed = _parse(latex)
    except Exception:  # the parser's own type for text that it cannot read
        return {"kind": "text", "values": None}
    if isinstance(parsed, Relational):
        return _relation_fingerprint(parsed)
    if not isinstance(parsed, sympy.Expr):
        return {"kind": "scalar", "values": None}
    if (exact := _exact(parsed)) is not None:
        text = f"{exact.numerator:x}/{exact.denominator:x}"
        # What no float holds is told apart by its digest: 65,536 bits are too much to remember for each answer.
        is_long = _num_bits(exact) > MAX_BITS_AS_TEXT
        return {"kind": "exact", "values": blake2b(text.encode(), digest_size=16).hexdigest() if is_long else text}
    try:
        values = _values(parsed)
    except OverflowError:
        return {"kind": "text", "values": None}
    is_exact = values is not None and "." not in latex and not parsed.free_symbols - {sympy.Symbol("i")}
    return {"kind": "scalar", "values": values, "digits": _digits(parsed) if is_exact else None}


def are_equal(left: str, right: str) -> bool:
    """Whether math-verify finds two expressions equal; asked both ways, since its first one is the gold side."""
    first, second = _parse(left), _parse(right)
    return bool(verify(first, second, timeout_seconds=None) or verify(second, first, timeout_seconds=None))


class _Parser(_Latex2Sympy):
    """math-verify's parser, but for numbers, which it gives to SymPy as text, and SymPy to Python's `eval`."""

    def parse_number(self, text: str) -> sympy.Number:
        return sympy.Rational(Fraction(text))  # 0.5 x is x/2, exactly


@lru_cache(maxsize=1024)
def _parse(latex: str) -> Any:
    return _Parser(config=_CONVERSION).parse(latex)


def _relation_fingerprint(relation: Relational) -> dict[str, Any]:
    if isinstance(relation, sympy.Ne):
        return {"kind": "text", "values": None}
    if isinstance(relation, sympy.Eq):
        kind, left, right = "=", relation.lhs, relation.rhs
    else:
        kind, left, right = ">" if relation.rel_op in ("<", ">") else ">=", relation.gts, relation.lts
    if not isinstance(left, sympy.Expr) or not isinstance(right, sympy.Expr):
        return {"kind": kind, "values": None}
    try:
        pairs = _values(sympy.Add(left, sympy.Mul(-1, right, evaluate=False), evaluate=False))
    except OverflowError:
        return {"kind": "text", "values": None}
    values = [complex(*pair) for pair in pairs or []]
    if not all(map(cmath.isfinite, values)) or (values and not values[0]):  # 1 = 1 says nothing
        return {"kind": "text", "values": None}
    ratios = [value / (values[0] if kind == "=" else abs(values[0])) for value in values]
    return {"kind": kind, "values": [[ratio.real, ratio.imag] for ratio in ratios] or None}


def _exact(expression: sympy.Expr) -> Fraction | None:
    """The value of an expression of rational numbers alone, as long as it stays small enough."""
    if expression.is_Rational:
        return Fraction(int(expression.p), int(expression.q))
    parts = [_exact(part) for part in expression.args]
    known = [part for part in parts if part is not None]
    if not parts or len(known) < len(parts):
        return None
    value = None
    if expression.is_Add:
        value = sum(known, Fraction(0))
    elif expression.is_Mul:
        value = Fraction(1)
        for part in known:
            value *= part
    elif expression.is_Pow and known[1].denominator == 1:
        base, exponent = known[0], int(known[1])
        if _num_bits(base) * abs(exponent) <= MAX_EXACT_BITS and (base or exponent > 0):
            value = base**exponent
    elif isinstance(expression, sympy.factorial) and known[0].denominator == 1 and 0 <= known[0] <= 1000:
        value = Fraction(factorial(int(known[0])))
    elif isinstance(expression, sympy.UnevaluatedExpr):
        value = known[0]
    return value if value is not None and _num_bits(value) <= MAX_EXACT_BITS else None


def _num_bits(value: Fraction) -> int:
    return value.numerator.bit_length() + value.denominator.bit_length()


def _values(expression: sympy.Expr) -> list[list[float]] | None:
    """The values at the points as [real, imaginary], or None where there are none.

    Raises:
        OverflowError: if one is too large for a float, or too small.
    """
    expression = expression.xreplace({sympy.Symbol("i"): sympy.I})
    values = []
    for number in range(NUM_POINTS if expression.free_symbols else 1):
        point = {symbol: _coordinate(symbol.name, number) for symbol in expression.free_symbols}
        try:
            value = expression.evalf(17, subs=point, maxn=60)
            values.append([_as_float(part) for part in value.as_real_imag()])
        except OverflowError:
            raise
        except (TypeError, ValueError, ArithmeticError, AttributeError, NotImplementedError):
            return None
    return values if len(values) == NUM_POINTS else values * NUM_POINTS


def _digits(expression: sympy.Expr) -> list[str] | None:
    """Real and imaginary part of a constant as text, None where `NUM_DIGITS` digits of one are not known."""
    value = expression.xreplace({sympy.Symbol("i"): sympy.I}).evalf(NUM_DIGITS, maxn=2 * NUM_DIGITS)
    digits = []
    for part in value.as_real_imag():
        is_zero = part == 0 or (isinstance(part, sympy.Float) and part._prec == 1)
        if not (is_zero or part.is_Rational or (isinstance(part, sympy.Float) and part._prec >= MIN_BITS)):
            return None
        digits.append("0" if is_zero else str(part))
    return digits


def _as_float(part: sympy.Expr) -> float:
    if isinstance(part, sympy.Float) and part._prec == 1:  # an exact zero, of which evalf knows no digit
        return 0.0
    if part is sympy.nan or not part.is_number:
        raise ValueError
    value = float(part)
    if part not in (sympy.oo, -sympy.oo) and (math.isinf(value) or (value == 0 and part != 0)):
        raise OverflowError
    return value


def _coordinate(name: str, number: int) -> sympy.Float:
    """A symbol's value at a point: small, larger, and below zero, so that floor(x) is not 0 and |x| is not x."""
    fraction = zlib.crc32(f"{name} {number}".encode()) / 2**32
    return sympy.Float((fraction + 0.2) * (1, 7, -1)[number], 30)
