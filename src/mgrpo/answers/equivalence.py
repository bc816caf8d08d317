r"""Which answers are the same: classes of equal answers within a group, as integer ids.

    math     1/2, 0.5, \frac12 and 50% are one answer, and so are (x+1)^2 and x^2+2x+1; needs the extra [math]
    number   plain numbers by value, the rest as text
    choice   A, (a) and \text{A}. are one letter
    text     stripped text

Further there are the canonical forms of `canonical.py`, and a user's own `module:function`. Equality need not be
transitive: a class is a connected component, so the order of the completions does not change who belongs together.
"""

import importlib.util
import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from mgrpo.answers.canonical import CANONICAL
from mgrpo.answers.components import Classes, Components
from mgrpo.answers.form import Assigned, Number, Words
from mgrpo.answers.mathematics import classify as classify_mathematics
from mgrpo.answers.read_form import read_form
from mgrpo.answers.user_functions import import_function
from mgrpo.errors import UserError, did_you_mean

Classifier = Callable[[list[list[str]]], Classes]

logger = logging.getLogger("mgrpo.answers")


@dataclass(frozen=True)
class Numbered:
    """Ids of answers, and what became of them."""

    ids: list[list[int]]
    """P groups of G ids; see `answer_ids`."""
    num_compared: int
    """Different answers within their groups, all groups together."""
    num_failed: int
    """Those of them that were compared as text, since parsing or comparing them took too long or broke."""


def answer_ids(groups: Sequence[Sequence[str | None]], equivalence: str = "math") -> list[list[int]]:
    """Number the answers of each group so that equal ones share an id.

    Ids count up from 0 in order of first appearance; -1 is no answer.

    Args:
        groups: P groups of G answers, None where there is none.
        equivalence: a name from `EQUIVALENCES`, or 'module:function' of a function that takes two answers and says
            whether they are equal.

    Raises:
        UserError: if the equivalence is unknown, or what it needs is not installed.
    """
    return number_answers(groups, equivalence).ids


def number_answers(groups: Sequence[Sequence[str | None]], equivalence: str = "math") -> Numbered:
    """Number answers as `answer_ids` does, and count those that could be compared as text alone."""
    classify = get_equivalence(equivalence)
    distinct = [list(dict.fromkeys(answer.strip() for answer in group if answer is not None)) for group in groups]
    classes, num_failed = classify(distinct)
    ids = []
    for group, answers, labels in zip(groups, distinct, classes, strict=True):
        label_of = dict(zip(answers, labels, strict=True))
        numbers: dict[Hashable, int] = {}
        ids.append(
            [-1 if answer is None else numbers.setdefault(label_of[answer.strip()], len(numbers)) for answer in group]
        )
    return Numbered(ids, sum(map(len, distinct)), num_failed)


def equal_to(answers: Sequence[str | None], other: str, equivalence: str = "math") -> list[bool]:
    """Compare each answer with another, for measurement against a gold answer. No answer is never equal."""
    ids = answer_ids([[answer, other] for answer in answers], equivalence)
    return [pair == [0, 0] for pair in ids]


def by_key(key: Callable[[str], Hashable]) -> Classifier:
    """Answers are equal where a function of them is."""
    return lambda groups: ([[key(answer) for answer in group] for group in groups], 0)


def by_function(is_equal: Callable[[str, str], Any], name: str) -> Classifier:
    """Answers are equal where a user's function says so; those that make it raise are different from all others.

    Raises:
        UserError: when called, if more than half of the answers make it raise.
    """

    def classify(groups: list[list[str]]) -> Classes:
        labels: list[list[Hashable]] = []
        num_failed = 0
        for group in groups:
            components = Components(len(group))
            failed: set[int] = set()
            for right in range(len(group)):
                for left in range(right):
                    if components.find(left) == components.find(right):
                        continue
                    try:
                        if is_equal(group[left], group[right]):
                            components.join(left, right)
                    except Exception as error:  # a user's function may raise anything
                        if not failed and not num_failed:
                            what = f"{type(error).__name__}: {error}"
                            logger.warning("%s raised %s on %.80r and %.80r", name, what, group[left], group[right])
                        failed |= {left, right}
            num_failed += len(failed)
            labels.append([components.find(i) for i in range(len(group))])
        if 2 * num_failed > sum(map(len, groups)):
            raise UserError(
                f"answer_equivalence {name} raised on more than half of the answers of a batch; correct it (the log "
                "has what it raised, and the answers that did it)."
            )
        return labels, num_failed

    return classify


def _number(answer: str) -> Fraction | str:
    form = read_form(answer)
    if isinstance(form, Assigned):
        form = form.form
    return form.value if isinstance(form, Number) else answer


def _choice(answer: str) -> Hashable:
    form = read_form(answer)
    return form.text.casefold() if isinstance(form, Words) else answer


EQUIVALENCES: dict[str, Classifier] = {
    "math": classify_mathematics,
    "text": by_key(lambda answer: answer),
    "number": by_key(_number),
    "choice": by_key(_choice),
    **{name: by_key(key) for name, key in CANONICAL.items()},
}


def get_equivalence(equivalence: str) -> Classifier:
    """Find an equivalence by name.

    Raises:
        UserError: if it is unknown, or what it needs is not installed.
    """
    if equivalence in EQUIVALENCES:
        if equivalence == "math" and importlib.util.find_spec("math_verify") is None:
            raise UserError(
                "answer_equivalence is 'math', which needs math-verify: pip install 'mgrpo[math]', or set it to text."
            )
        return EQUIVALENCES[equivalence]
    if all(equivalence.partition(":")):
        return by_function(import_function(equivalence, "answer_equivalence"), equivalence)
    raise UserError(
        f"answer_equivalence is {equivalence!r}; set it to one of {', '.join(EQUIVALENCES)}, or to your "
        f"module:function{did_you_mean(equivalence, EQUIVALENCES)}."
    )
