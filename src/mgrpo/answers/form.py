"""The forms of answers: numbers, expressions, words, and what is made of them (tuples, sets, intervals, `x = 5`)."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Number:
    """A number that the text gives exactly, in whatever notation."""

    value: Fraction


@dataclass(frozen=True)
class InBase:
    """Digits with their base, as 2516_8: the notation is part of the answer."""

    digits: str
    base: int


@dataclass(frozen=True)
class Expression:
    """A scalar of allowed tokens, or a relation between scalars, as LaTeX that math-verify reads."""

    latex: str


@dataclass(frozen=True)
class Words:
    """Anything else, compared without case, punctuation and spacing."""

    text: str


@dataclass(frozen=True)
class Sequence:
    """Items whose order counts, in their brackets: tuples, intervals, ratios (`:`), a matrix's rows."""

    opening: str
    closing: str
    items: "tuple[Form, ...]"


@dataclass(frozen=True)
class Collection:
    """Items whose order does not count: sets, unions, and the solutions in `1, -2` or `x = 1 or x = -2`."""

    kind: str
    items: "tuple[Form, ...]"


@dataclass(frozen=True)
class Assigned:
    """`name = form`: equal to another one of the same name, to the same equation, and to the bare form.

    `equation` is the whole as LaTeX where other variables are in it: y = 2x + 3 is 2x - y + 3 = 0.
    """

    name: str
    form: "Form"
    equation: Expression | None = None


Form = Number | InBase | Expression | Words | Sequence | Collection | Assigned
