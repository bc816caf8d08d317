r"""Read an answer's form from its text, without computing anything.

`read_form` takes an answer apart down to *leaves*: exact numbers, words, and expressions as canonical LaTeX. What
surrounds them (brackets, commas, `x =`, units, spacing, `\left`, `$`) is settled here, in linear time.

    \left( 3, \tfrac12 \right)  ->  Sequence("(", ")", (Number(3), Number(1/2)))
    x = 2\sqrt2 \text{ cm}      ->  Assigned("x", Expression("2 \sqrt { 2 }"))
    \text{Evelyn}               ->  Words("evelyn")
"""

import re
from collections.abc import Sequence as Items
from fractions import Fraction
from functools import lru_cache

from mgrpo.answers.form import Assigned, Collection, Expression, Form, InBase, Number, Sequence
from mgrpo.answers.latex import GREEK, NotMathematicsError, exact_value, expression_latex
from mgrpo.answers.tokens import (
    CLOSING,
    OPENING,
    SEPARATING_WORDS,
    TEXT,
    WORD_COMMANDS,
    tokenize,
    unwrapped,
)
from mgrpo.answers.units import split_words
from mgrpo.answers.words import MAX_LENGTH, known_words, words_form

MAX_DEPTH = 12
"""Open brackets: 250 of them keep math-verify's parser busy for seconds."""

_COUNTS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_MARKS_OF_NAMES = (r"\angle", r"\triangle", r"\overline", r"\vec")
_RELATIONS = {"<": "<", ">": ">", r"\le": "<=", r"\ge": ">="}


def read_form(answer: str) -> Form:
    """Read an answer's form; any text at all has one."""
    return words_form(answer) if len(answer) > MAX_LENGTH else read_short_form(answer)


@lru_cache(maxsize=2**15)
def read_short_form(answer: str) -> Form:
    """Read the form of an answer of up to `MAX_LENGTH` characters; remembered, which long ones are not."""
    text = unwrapped(answer)
    if (known := known_words(text)) is not None:
        return known
    tokens = tokenize(text)
    depth = 0
    for token in tokens:
        depth += (token in OPENING) - (token in CLOSING)
        if depth > MAX_DEPTH:
            return words_form(text)
    try:
        return _read(tokens)
    except NotMathematicsError:
        return words_form(text)


def _read(tokens: list[str]) -> Form:
    tokens = _stripped(tokens)
    if not tokens:
        raise NotMathematicsError
    if len(exact := _split(tokens, (r"\approx",))[0]) < len(tokens):  # what follows is rounded
        return _read(exact)
    if len(tokens) == 1 and (word := _bare_word(tokens[0])):
        return Number(Fraction(_COUNTS.index(word.lower()))) if word.lower() in _COUNTS else words_form(word)
    items = _split(tokens, (",", ";", *SEPARATING_WORDS))
    if len(items) > 1 and not (tokens.count("=") == 1 and "=" in items[0]):
        return _collection("set", items)
    if (assigned := _assigned(tokens)) is not None:
        return assigned
    if len(items) > 1:
        return _collection("set", items)
    parts = _split(tokens, (r"\cup",))
    if len(parts) > 1:
        return Collection("union", tuple(_read(part) for part in parts))
    if (bracketed := _bracketed(tokens)) is not None:
        return bracketed
    if len(ratio := _split(tokens, (":",))) > 1:
        return Sequence(":", ":", tuple(_read(part) for part in ratio))
    if (alternatives := _plus_or_minus(tokens)) is not None:
        return Collection("set", tuple(_read(part) for part in alternatives))
    if (interval := _interval(tokens)) is not None:
        return interval
    value, factor, words = split_words(tokens)
    scalar = _scalar(value, factor)
    return Sequence("words", "words", (scalar, words_form(words))) if words else scalar


def _stripped(tokens: list[str]) -> list[str]:
    while tokens and tokens[-1] in (".", ",", ";"):
        tokens = tokens[:-1]
    while tokens and tokens[0] in ("=", "USD"):
        tokens = tokens[1:]
    return tokens


def _bare_word(token: str) -> str | None:
    """The text of a token that is a word and no mathematics."""
    if token.startswith(TEXT):
        return token[1:]
    is_word = token.isascii() and token.isalpha() and token not in WORD_COMMANDS
    return token if is_word else None


def _split(tokens: list[str], separators: Items[str]) -> list[list[str]]:
    """Split at separators outside all brackets; `[1, 2)` is one bracket too."""
    parts: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token in OPENING or token.startswith(r"\begin")) - (token in CLOSING or token == r"\end")
        if depth == 0 and token in separators:
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part] if len(parts) > 1 else parts


def _assigned(tokens: list[str]) -> Form | None:
    r"""Read `x = 5`, `5 = x`, `x \in [1, 2]`; of `3/2 = 1.5` and `x = 3/2 = 1.5` the last side counts."""
    sides = _split(tokens, ("=", r"\in"))
    if len(sides) < 2 or r"\in" in tokens and len(sides) > 2:
        return None
    first, last = sides[0], sides[-1]
    if len(sides) == 2 and _is_name(last) and not _is_name(first):
        first, last = last, first
    if _is_name(first):
        value = _read(last)
        equation = None
        if len(sides) == 2 and isinstance(value, Expression) and any(map(_is_letter, last)) and _is_letter(first[0]):
            equation = Expression(expression_latex([*first, "=", *last]))
        return Assigned(" ".join(first), value, equation)
    if len(sides) > 2 or not any(map(_is_letter, tokens)):
        return _read(last)
    return None


def _is_letter(token: str) -> bool:
    """Whether a token is a variable, or a product of some."""
    return (token.isascii() and token.isalpha() and token not in WORD_COMMANDS) or token[1:] in GREEK


def _is_name(tokens: list[str]) -> bool:
    r"""`x`, `x_1`, `\theta`, `f(x)`, `(x, y)`, `AB`: what a value is given to."""
    names = [token for token in tokens if token not in ("(", ")", "_", "{", "}", ",", "'", "|", *_MARKS_OF_NAMES)]
    if not names or not all(n.isalnum() and n.isascii() or n[1:] in GREEK or n.startswith(TEXT) for n in names):
        return False
    first = names[0]
    is_named = tokens[0] in (first, "{", "|", *_MARKS_OF_NAMES) and (_is_letter(first) or first.startswith(TEXT))
    return is_named or (tokens[0] == "(" and "," in tokens)


def _collection(kind: str, items: list[list[str]]) -> Collection:
    """Read a list; `x = 1, x = 2` and `x = 1, 2` are the values alone."""
    forms: list[Form] = []
    for item in items:
        form = _read(item)
        forms += form.items if isinstance(form, Collection) and form.kind == "set" else [form]
    names = {form.name for form in forms if isinstance(form, Assigned)}
    if len(names) == 1:
        is_union = all(isinstance(form, Assigned) and isinstance(form.form, Sequence) for form in forms)
        kind = "union" if is_union else kind  # x < 2 or x > 3
        forms = [form.form if isinstance(form, Assigned) else form for form in forms]
    return Collection(kind, tuple(forms))


def _bracketed(tokens: list[str]) -> Form | None:
    if tokens[0] == r"\begin":
        return _matrix(tokens)
    opening, closing = tokens[0], tokens[-1]
    if opening not in ("(", "[", r"\{", r"\langle", "{") or closing not in (")", "]", r"\}", r"\rangle", "}"):
        return None
    depth = 0
    for token in tokens[:-1]:
        depth += (token in OPENING) - (token in CLOSING)
        if depth == 0:
            return None
    inner = tokens[1:-1]
    if inner[:1] == [r"\begin"]:
        return _read(inner)
    if opening == r"\{" and len(parts := _split(inner, ("|", ":"))) == 2 and (interval := _interval(parts[1])):
        return interval  # {x | 3 < x <= 4}
    items = _split(inner, (",", ";"))
    if opening == r"\{":
        return _collection("set", items) if inner else Collection("set", ())
    if len(items) == 1:
        return _read(inner) if (opening, closing) in (("(", ")"), ("{", "}")) else None
    if opening == "{":
        return _collection("set", items)
    opening, closing = opening.replace(r"\langle", "("), closing.replace(r"\rangle", ")")
    return Sequence(opening, closing, tuple(_read(item) for item in items))


def _matrix(tokens: list[str]) -> Form:
    r"""`\begin{pmatrix} a & b \\ c & d \end{pmatrix}`, with any brackets but the determinant's."""
    text = " ".join(tokens)
    match = re.fullmatch(
        r"\\begin \{ (?P<kind>[pb]?matrix|smallmatrix|array) \}(?: \{ [clr|]+ \})? (?P<rows>.*) \\end \{ (?P=kind) \}",
        text,
    )
    if not match or r"\begin" in match["rows"]:
        raise NotMathematicsError
    rows = [row.split(" & ") for row in re.split(r" ?\\\\ ?", match["rows"]) if row.strip()]
    return Sequence(
        "matrix", "matrix", tuple(Sequence("row", "row", tuple(_read(cell.split()) for cell in row)) for row in rows)
    )


def _plus_or_minus(tokens: list[str]) -> list[list[str]] | None:
    if tokens.count(r"\pm") != 1:
        return None
    at = tokens.index(r"\pm")
    return [[*tokens[:at], *(sign for sign in signs if at or sign == "-"), *tokens[at + 1 :]] for signs in "+-"]


def _interval(tokens: list[str]) -> Form | None:
    """`-2 < x <= 7` and `x > 3` as the interval that they are, of x."""
    signs = [token for token in tokens if token in _RELATIONS]
    if len(signs) not in (1, 2):
        return None
    parts = _split(tokens, tuple(_RELATIONS))
    relations = [_RELATIONS[sign] for sign in signs]
    if len(parts) != len(signs) + 1:
        return None
    if len(parts) == 2:
        if _is_variable(parts[1]) and not _is_variable(parts[0]):
            parts, relations = parts[::-1], [relations[0].translate(str.maketrans("<>", "><"))]
        if not _is_variable(parts[0]) or any(part.isalpha() and len(part) == 1 for part in parts[1]):
            return None
        end = ["-", r"\infty"] if relations[0][0] == "<" else [r"\infty"]
        parts, relations = [end, *parts], [relations[0][0], *relations]
    if relations[0][0] != relations[1][0] or not _is_variable(parts[1]):
        return None
    if relations[0][0] == ">":
        parts, relations = parts[::-1], relations[::-1]
    brackets = "[" if "=" in relations[0] else "(", "]" if "=" in relations[1] else ")"
    return Assigned(" ".join(parts[1]), Sequence(*brackets, (_read(parts[0]), _read(parts[2]))))


def _is_variable(tokens: list[str]) -> bool:
    return len(tokens) == 1 and (len(tokens[0]) == 1 and tokens[0].isalpha() or tokens[0][1:] in GREEK)


def _scalar(tokens: list[str], factor: int = 1) -> Form:
    if (number := exact_value(tokens)) is not None:
        return Number(number * factor)
    if factor > 1:
        tokens = ["(", *tokens, ")", r"\cdot", str(factor)]
    if (in_base := _in_base(tokens)) is not None:
        return in_base
    if tokens[-1] == "%":
        tokens = [r"\frac", "{", *tokens[:-1], "}", "{", "100", "}"]
    return Expression(expression_latex(tokens))


def _in_base(tokens: list[str]) -> InBase | None:
    if tokens[0] == "(" and tokens[2:3] == [")"]:
        tokens = [tokens[1], *tokens[3:]]
    digits, *rest = tokens
    words = [word for token in rest if token not in ("{", "}", "(", ")") for word in token.strip(f"{TEXT}( )").split()]
    if len(words) < 2 or not digits.isdecimal() or not set(words[:-1]) <= {"_", "base"}:
        return None
    base = words[-1]
    base = str(_COUNTS.index(base)) if base in _COUNTS else base
    return InBase(digits.lstrip("0") or "0", int(base)) if base.isdecimal() and len(base) <= 2 else None
