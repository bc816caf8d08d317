r"""Canonical forms: one spelling for answers that differ in nothing but their spelling, for fair votes.

Two answers are equal under a form where its function gives the same text for both. Each function takes any text, never
raises, and takes time linear in its length; a text that it cannot read comes back stripped and in lower case.

    words        words in order; case, punctuation and spacing do not count
    list         items in order, whatever separates them
    set          items in any order
    grid         rows of cells: plain, with commas, or as JSON
    assignments  `A=1, B=2` and `Ann is a knight and Bob is a knave`, in any order
    sum          terms of a sum in any order

Numbers within them are compared by value: 1.50 is 1.5, and 007 is 7.
"""

import re
from collections.abc import Callable
from decimal import Context

MAX_DIGITS = 1000
"""A longer number is compared as it is written."""

_MINUS_SIGNS = "−–‒﹣－"
_SPELLINGS = str.maketrans({**dict.fromkeys(_MINUS_SIGNS, "-"), "，": ",", "；": ";", "\ufe0f": None, "\u200b": None})
_FENCE = re.compile(r"^[^\S\n]*```\w*[^\S\n]*$", re.MULTILINE)
_FRACTION = re.compile(r"\\[dtc]?frac ?\{([^{}]*)\} ?\{([^{}]*)\}")
_LATEX = re.compile(r"\\(?:begin|end) ?\{[a-z]*\*?\}|\\[a-z]+|\\[,;:! ()\[\]{}]|\$")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[-+]?[0-9]{1,4})?")
# A sign counts before digits, and not after a word: -1, but 5-3 and mother-in-law.
_WORD = re.compile(r"(?:(?<![\w.])[-+])?(?:[0-9]++(?:\.[0-9]++)?|\.[0-9]++)(?!\w)|(?<!\w)-?[0-9]\w*|\w+")
_ARROW = r"(?<![-=])[-=]++>|→"
_BETWEEN_ITEMS = re.compile(rf"[\s,;|\[\](){{}}\"'`“”‘’$×·⋅∗*\\]+|{_ARROW}")
_BRACKET = re.compile(r"[\[\](){}]")
_BETWEEN_ROWS = re.compile(r"[\n;]")
_BETWEEN_CELLS = re.compile(r"[\s,;|&<>∧∨^\[\](){}\"'`\\]+")
_BETWEEN_STATEMENTS = re.compile(r"[,;\n{}]|\band\b")
_IS = re.compile(rf"{_ARROW}|[=:]|\bis\b")
_ARTICLES = re.compile(r"^(?:(?:an?|the) )+")
_AROUND = " .*\"'`()[]“”‘’"
_PRODUCT_SIGNS = str.maketrans("·⋅×∗", "****")
# `2*x` is 2x, but `2*3` is not 23.
_UNWRITTEN = re.compile(r"(?<![0-9])\*|\*(?![0-9])|[{}`]")


def words(text: str) -> str:
    """Words and numbers in order, in lower case, one space between them.

    `Mother-in-Law.` and `mother in law`, `"Yes"` and `yes`, `0:09` and `00:09`; -1 is not 1.
    """
    plain = _plain(text)
    return " ".join(_by_value(word) for word in _WORD.findall(_without_latex(plain))) or plain


def list_(text: str) -> str:
    r"""Items in order; commas, spaces, lines, arrows, brackets and quotes only separate them.

    `['4', '2.50']`, `[4, 2.5]` and `4 2.5`; `A → B` and `a->b`; `\frac{1}{2}` and `1/2`, which is not 2/4.
    """
    return " ".join(_items(_readable(text))) or _without_spaces(text)


def set_(text: str) -> str:
    """Items in any order; where brackets group them, groups in any order of items in any order.

    `1, -0.5` and `-0.50, 1`; `2 × 3` and `3 * 2`; `[["a", "b"], ["c"]]` and `[["c"], ["b", "a"]]`. An item
    that occurs twice counts twice.
    """
    groups = [group for part in _BRACKET.split(_readable(text)) if (group := sorted(_items(part)))]
    if all(len(group) == 1 for group in groups):
        groups = [sorted(item for group in groups for item in group)]
    if len(groups) == 1:
        return " ".join(groups[0]) or _without_spaces(text)
    return " ".join(sorted(f"[{' '.join(group)}]" for group in groups))


def grid(text: str) -> str:
    r"""Rows of cells: a line for each row, one space between cells.

    `1 0\n0 1`, `1, 0\n0, 1`, `[[1,0],[0,1]]` and a Markdown table's `| 1 | 0 |`. Marks that are no letters or digits
    need no space between them. The signs `<`, `>`, `∧`, `∨` and `^` between cells do not count.
    """
    plain = _without_latex(_plain(text).replace(r"\\", "\n"))
    is_nested = plain.count("[") + plain.count("(") > 1
    lines = (_BRACKET if is_nested else _BETWEEN_ROWS).split(plain)
    return "\n".join(row for line in lines if (row := " ".join(_cells(line)))) or _without_spaces(text)


def assignments(text: str) -> str:
    """Names and their values as `name=value`, sorted.

    `A=1,B=2`, `B: 2, A: 1` and `{"A": 1, "B": 2}`; `Ann is a knight, and Bob is a knave.` and `Bob = knave; Ann =
    knight`. What assigns nothing does not count.
    """
    plain = _plain(text)
    pairs = set()
    for statement in _BETWEEN_STATEMENTS.split(_without_latex(plain)):
        name, *value = _IS.split(" ".join(statement.split()), maxsplit=1)
        name, bare = name.strip(_AROUND + "-•"), _ARTICLES.sub("", "".join(value).strip(_AROUND), count=1)
        if name and bare:
            pairs.add(f"{name}={_by_value(bare)}")
    return ", ".join(sorted(pairs)) or plain


def sum_(text: str) -> str:
    """Terms with their signs, sorted; spaces, `*` and the spelling of powers do not count.

    `3*x**2 - x`, `-x + 3x^2` and `3 x^{2} - x`. Nothing is computed: a product is not equal to its
    expansion.
    """
    plain = _plain(text)
    bare = "".join(_without_latex(plain).translate(_PRODUCT_SIGNS).split()).replace("**", "^")
    bare = _UNWRITTEN.sub("", bare)
    terms, start, depth = [], 0, 0
    for i, character in enumerate(bare):
        if character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif character in "+-" and depth == 0 and i > 0 and bare[i - 1] not in "^/=":
            terms.append(bare[start:i])
            start = i
    terms.append(bare[start:])
    return "".join(sorted(term if term[0] in "+-" else f"+{term}" for term in terms if term.strip("+-"))) or plain


CANONICAL: dict[str, Callable[[str], str]] = {
    "words": words,
    "list": list_,
    "set": set_,
    "grid": grid,
    "assignments": assignments,
    "sum": sum_,
}
"""Canonical forms by name."""


def _plain(text: str) -> str:
    """In lower case, one sign for each minus, without the fences of a code block."""
    # No unicodedata.normalize: its time is quadratic in a run of accents.
    return _FENCE.sub("", text.translate(_SPELLINGS)).casefold().strip()


def _without_latex(text: str) -> str:
    return _LATEX.sub(" ", _FRACTION.sub(r"\1/\2", text))


def _readable(text: str) -> str:
    return _without_latex(_plain(text))


def _without_spaces(text: str) -> str:
    return "".join(text.casefold().split())


def _items(text: str) -> list[str]:
    return [_by_value(item) for piece in _BETWEEN_ITEMS.split(text) if (item := piece.rstrip(".:°"))]


def _cells(line: str) -> list[str]:
    cells: list[str] = []
    for cell in _BETWEEN_CELLS.split(line):
        cells += [_by_value(cell)] if any(mark.isalnum() or mark == "_" for mark in cell) else cell
    return cells


def _by_value(word: str) -> str:
    """The shortest spelling of a number; another word as it is."""
    if len(word) > MAX_DIGITS or not _NUMBER.fullmatch(word):
        return word
    value = Context(prec=MAX_DIGITS).create_decimal(word).normalize(Context(prec=MAX_DIGITS))
    if value == 0:
        return "0"
    return f"{value:f}" if "e" not in word or abs(value.adjusted()) < 30 else str(value).lower()
