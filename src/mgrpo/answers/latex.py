r"""Scalars: the exact value of a plain number, or an expression as canonical LaTeX that has passed an allow-list.

Only what `expression_latex` returns is ever parsed as mathematics. A token that is not known to be harmless, a bracket
that does not match, or a tower of powers is refused here, in linear time.
"""

import re
from fractions import Fraction

from mgrpo.answers.tokens import CLOSING, FUNCTIONS, OPENING, TEXT, WORD_COMMANDS, is_number

MAX_EXPONENT_DIGITS = 4
"""10^{9999} is still a number; a longer exponent is not an answer, and evaluating it takes for ever."""
MAX_TOWER = 2
"""Exponents in exponents: 2^{2^{n}} is an answer, 9^{9^{9^9}} is meant to stop a computer."""
MAX_LETTERS = 3
"""Of a product without signs: abc. Longer runs are words."""

GREEK = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"),
    *("nu", "xi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega"),
    *("Gamma", "Delta", "Theta", "Lambda", "Sigma", "Omega"),
)
_ALLOWED = frozenset(
    {rf"\{name}" for name in (*FUNCTIONS, *GREEK)}
    | {r"\frac", r"\cdot", r"\le", r"\ge", r"\ne", r"\binom", r"\lfloor", r"\rfloor", r"\lceil", r"\rceil"}
    | set("+-/^_{}()[]|!<>=")
)
_BETWEEN_TERMS = ("+", "-", "=", "<", ">", r"\le", r"\ge", r"\ne")
_IN_CONSTANTS = frozenset((*"+-^(){}[]", r"\cdot", r"\pi", r"\sqrt", r"\frac"))
_NUM_ARGUMENTS = {r"\frac": 2, r"\binom": 2, r"\sqrt": 1, "^": 1, "_": 1}
_PLAIN_NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?:"
    r"(?P<whole>\d*)\\frac(?:\{(?P<n>[+-]?[\d.]+)\}|(?P<n1>\d))(?:\{(?P<d>[+-]?[\d.]+)\}|(?P<d1>\d))"
    r"|(?P<decimal>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?)(?:/(?P<under>\d+(?:\.\d+)?|\.\d+|\(-\d+\)|-\d+))?"
    r"|(?P<head>\d*)\.(?P<fixed>\d*)\\overline\{(?P<repeated>\d+)\}"
    r")(?P<percent>%?)"
)


class NotMathematicsError(Exception):
    """The tokens are no expression that may be parsed."""


def exact_value(tokens: list[str]) -> Fraction | None:
    """The exact value of a number, fraction, mixed number, percentage or repeating decimal; None for anything else."""
    value: Fraction | None
    if len(tokens) == 5 and tokens[0] == "-":  # -1 1/2
        value = exact_value(tokens[1:]) if is_number(tokens[1]) and is_number(tokens[2]) else None
        return None if value is None else -value
    if len(tokens) == 4 and tokens[2] == "/" and all(tokens[i].isdecimal() for i in (0, 1, 3)):  # 1 1/2
        part = _divided(tokens[1], tokens[3])
        return None if part is None else int(tokens[0]) + part
    text = "".join(tokens)
    if (
        not text.isascii()
        or {"e", "E"} & set(tokens)
        or _has_neighbouring_numbers(tokens)
        or not (match := _PLAIN_NUMBER.fullmatch(text))
    ):
        return None
    if match["decimal"]:
        value = _divided(match["decimal"], (match["under"] or "1").strip("()"))
    elif match["repeated"]:
        repeated = Fraction(int(match["repeated"]), (10 ** len(match["repeated"]) - 1) * 10 ** len(match["fixed"]))
        value = Fraction(f"{match['head'] or 0}.{match['fixed'] or 0}") + repeated
    else:
        value = _divided(match["n"] or match["n1"], match["d"] or match["d1"])
        if match["whole"]:
            value = None if value is None or value < 0 else value + int(match["whole"])
    if value is None:
        return None
    return (-value if match["sign"] == "-" else value) / (100 if match["percent"] else 1)


def expression_latex(tokens: list[str]) -> str:
    """Canonical LaTeX of an expression, tokens apart by spaces and every argument in braces.

    Raises:
        NotMathematicsError: for a token that is not on the allow-list, brackets that do not match, numbers side by
            side, or a tower of powers.
    """
    if _has_neighbouring_numbers(tokens):
        raise NotMathematicsError
    written = _with_coefficients(_with_arguments(_expanded(tokens)))
    open_brackets: list[str] = []
    exponents = [0]  # for each open bracket: how many exponents it is in
    for i, token in enumerate(written):
        if token in OPENING:
            open_brackets.append(OPENING[token])
            exponents.append(exponents[-1] + (written[i - 1 : i] == ["^"]))
            if exponents[-1] > MAX_TOWER:
                raise NotMathematicsError
        elif token in CLOSING:
            if not open_brackets or open_brackets.pop() != token:
                raise NotMathematicsError
            exponents.pop()
        elif exponents[-1] and is_number(token) and len(token) > MAX_EXPONENT_DIGITS:
            raise NotMathematicsError
    if open_brackets:
        raise NotMathematicsError
    return " ".join(written)


def _divided(numerator: str, denominator: str) -> Fraction | None:
    try:
        return Fraction(numerator) / Fraction(denominator)
    except (ValueError, ZeroDivisionError):
        return None


def _has_neighbouring_numbers(tokens: list[str]) -> bool:
    r"""Whether two numbers are side by side, as in 1 2, which is not 12; \frac 1 2 and \log_2 8 are fine."""
    return any(
        is_number(left) and is_number(right) and tokens[i - 1 : i] not in ([r"\frac"], ["_"])
        for i, (left, right) in enumerate(zip(tokens, tokens[1:], strict=False))
    )


def _expanded(tokens: list[str]) -> list[str]:
    """Function names become commands, and a short run of letters a product of them."""
    expanded: list[str] = []
    for token in tokens:
        letters = token.removeprefix(TEXT)
        if token in WORD_COMMANDS:
            expanded.append(WORD_COMMANDS[token])
        elif letters.isascii() and letters.isalpha() and len(letters) <= (MAX_LETTERS if token == letters else 1):
            expanded += letters
        elif token in _ALLOWED or is_number(token):
            expanded.append(token)
        else:
            raise NotMathematicsError
    return expanded


def _with_arguments(tokens: list[str]) -> list[str]:
    r"""Put the arguments of \frac, \sqrt, ^ and _ into braces: \frac12, \sqrt2, \sqrt(2), x^10, x^-1, x^(a+b)."""
    written: list[str] = []
    i = 0
    while i < len(tokens):
        token = tokens[i]
        written.append(token)
        i += 1
        if token == r"\sqrt" and tokens[i : i + 1] == ["["]:
            end = _end_of_bracket(tokens, i)
            written += tokens[i:end]
            i = end
        for number in range(_NUM_ARGUMENTS.get(token, 0)):
            argument, i = _argument(tokens, i, is_fraction=token in (r"\frac", r"\binom"), is_first=number == 0)
            written += ["{", *_with_arguments(argument), "}"]
    return written


def _with_coefficients(tokens: list[str]) -> list[str]:
    r"""Read 1/2 x as \frac12 x: a constant over a number, before a factor, is a coefficient."""
    written: list[str] = []
    i = 0
    while i < len(tokens):
        if (
            tokens[i] == "/"
            and i + 2 < len(tokens)
            and is_number(tokens[i + 1])
            and _begins_factor(tokens[i + 2])
            and _ends_in_constant(written)
        ):
            written += [r"\cdot", r"\frac", "{", "1", "}", "{", tokens[i + 1], "}"]
            i += 2
        else:
            written.append(tokens[i])
            i += 1
    return written


def _begins_factor(token: str) -> bool:
    is_command = token.startswith("\\") and token[1:] in (*FUNCTIONS, *GREEK)
    is_bracket = token in ("(", "[", "|", r"\lfloor", r"\lceil", r"\frac", r"\binom")
    return is_command or is_bracket or (len(token) == 1 and token.isalpha())


def _ends_in_constant(tokens: list[str]) -> bool:
    """Whether the last term of a sum has no letters, functions or quotients."""
    start, depth = len(tokens), 0
    while start:
        token = tokens[start - 1]
        depth += (token in CLOSING) - (token in OPENING)
        if depth < 0 or (depth == 0 and token in _BETWEEN_TERMS):
            break
        start -= 1
    return start < len(tokens) and all(token in _IN_CONSTANTS or is_number(token) for token in tokens[start:])


def _argument(tokens: list[str], i: int, *, is_fraction: bool, is_first: bool) -> tuple[list[str], int]:
    if i >= len(tokens):
        raise NotMathematicsError
    token = tokens[i]
    if token in ("{", "("):
        end = _end_of_bracket(tokens, i)
        return tokens[i + 1 : end - 1], end
    if is_fraction and token.isdecimal() and len(token) > 1:
        if is_first and len(token) == 2 and tokens[i + 1 : i + 2] != ["{"]:
            tokens[i : i + 1] = list(token)  # \frac12
            return [token[0]], i + 1
        raise NotMathematicsError
    if token == "-" and not is_fraction and tokens[i + 1 : i + 2] != ["-"]:
        argument, end = _argument(tokens, i + 1, is_fraction=False, is_first=True)
        return ["-", *argument], end
    if token in _ALLOWED and token[1:] not in (*GREEK, "pi", "infty"):
        raise NotMathematicsError
    return [token], i + 1


def _end_of_bracket(tokens: list[str], i: int) -> int:
    depth = 0
    for j in range(i, len(tokens)):
        depth += (tokens[j] in OPENING) - (tokens[j] in CLOSING)
        if depth == 0:
            return j + 1
    raise NotMathematicsError
