"""The equivalence `math`: answers by what they say as mathematics.

`form.py` takes each answer apart. Its leaves are compared as values: exact numbers by exact arithmetic, expressions by
fingerprints that worker processes make of them (`expressions.py`), once for each text and run. Tuples, sets and the
like are equal if their parts are.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any

from mgrpo.answers import form
from mgrpo.answers.components import Classes, Components
from mgrpo.answers.form import Form
from mgrpo.answers.read_form import read_form, read_short_form
from mgrpo.answers.worker import Failed, in_workers

SECONDS_PER_ANSWER = 1.0
"""Wall-clock limit for reading the expressions of an answer, and for comparing two expressions."""
MAX_UNCLEAR = 3
"""Expressions in one answer that math-verify alone can compare; an answer with more counts as failed."""
RELATIVE_TOLERANCE = 1e-10
"""Of the values of expressions. Numbers that the text gives are compared exactly: 0.333333 is not 1/3."""
EXACT_TOLERANCE = Fraction(1, 10**70)
"""Of constants whose digits are known: sqrt(10^12 + 1) is not 10^6, which a float hardly tells."""
CACHE_SIZE = 2**16

Leaf = form.Number | form.Expression


@dataclass(frozen=True)
class _Known:
    """What is known of a leaf: its exact value or that one's digest; the rest is as fingerprints have it."""

    exact: Fraction | str | None = None
    kind: str = "scalar"
    values: tuple[complex, ...] = ()
    digits: tuple[Fraction, Fraction] | None = None
    is_failed: bool = False

    @property
    def is_unclear(self) -> bool:
        """Whether math-verify alone can compare it."""
        return self.exact is None and not self.values and self.kind != "text" and not self.is_failed


class _Cache(OrderedDict[Any, Any]):
    """What the workers said, the latest used last; bounded, for runs of weeks."""

    def __init__(self) -> None:
        super().__init__()
        self._failed_once: set[Any] = set()

    def is_missing(self, key: Any) -> bool:
        """Whether to ask: what has failed once is asked once more, for the machine may have been busy."""
        return key not in self or key in self._failed_once

    def remember(self, key: Any, answer: Any) -> None:
        """Keep what the workers said; a failure does not cover an answer."""
        if isinstance(answer, Failed) and key not in self:
            self._failed_once.add(key)
        elif isinstance(answer, Failed) and not isinstance(self[key], Failed):
            return
        else:
            self._failed_once.discard(key)
        self[key] = answer

    def use(self, keys: Sequence[Any]) -> None:
        """Put keys after those that were used before, and forget the first ones if there are too many."""
        for key in keys:
            self.move_to_end(key)
        while len(self) > max(CACHE_SIZE, len(keys)):
            key, _ = self.popitem(last=False)
            self._failed_once.discard(key)


_fingerprints = _Cache()
_verdicts = _Cache()


def clear_caches() -> None:
    """Forget what is known of any answer, to measure without it."""
    _fingerprints.clear()
    _verdicts.clear()
    read_short_form.cache_clear()


class _Group:
    """The different answers of one group, and the leaves that they are made of."""

    def __init__(self, forms: list[Form]) -> None:
        self.forms = forms
        self.leaves: list[Any] = list(dict.fromkeys(leaf for form_ in forms for leaf in _leaves(form_)))
        self.known = [_what_is_known(leaf) for leaf in self.leaves]
        self.components = Components(len(self.leaves))  # equal leaves
        self.failed = self._failures()
        self._join_equal_values()

    def _failures(self) -> set[int]:
        """The leaves that the workers gave up on, and those of answers that would have too much to compare."""
        failed = {i for i, about in enumerate(self.known) if about.is_failed}
        unclear = {self.leaves[i]: i for i, about in enumerate(self.known) if about.is_unclear}
        if len(unclear) > MAX_UNCLEAR:
            for form_ in self.forms:
                of_answer = {unclear[leaf] for leaf in _leaves(form_) if leaf in unclear}
                failed |= of_answer if len(of_answer) > MAX_UNCLEAR else set()
        return failed

    def _join_equal_values(self) -> None:
        first_of: dict[Fraction | str, int] = {}
        for i, about in enumerate(self.known):
            if about.exact is not None:
                self.components.join(first_of.setdefault(about.exact, i), i)
        # By their first value's real part equal ones are neighbours, or nearly.
        in_order = sorted((about.values[0].real, i) for i, about in enumerate(self.known) if about.values)
        for position, (value, i) in enumerate(in_order):
            for other, j in in_order[position + 1 :]:
                if not _are_close(value, other):
                    break
                if _have_equal_values(self.known[i], self.known[j]):
                    self.components.join(i, j)

    def num_failed(self) -> int:
        """How many answers have a leaf that could not be compared."""
        given_up = {self.leaves[i] for i in self.failed}
        return sum(not given_up.isdisjoint(_leaves(form_)) for form_ in self.forms)

    def labels(self) -> list[Hashable]:
        """A label for each answer, equal for equal ones."""
        class_of = {leaf: self.components.find(i) for i, leaf in enumerate(self.leaves)}
        keys = [_key(form_, class_of) for form_ in self.forms]
        bare = {key for form_, key in zip(self.forms, keys, strict=True) if not isinstance(form_, form.Assigned)}
        components = Components(len(self.forms))
        first_of: dict[Hashable, int] = {}
        for i, (form_, key) in enumerate(zip(self.forms, keys, strict=True)):
            components.join(first_of.setdefault(key, i), i)
            # x = 5 and y = 5 are different, unless somebody in the group says 5
            if (unnamed := _without_names(form_)) is not None and (inner := _key(unnamed, class_of)) in bare:
                components.join(first_of.setdefault(inner, i), i)
            if isinstance(form_, form.Assigned) and form_.equation is not None:
                components.join(first_of.setdefault(class_of[form_.equation], i), i)
        return [components.find(i) for i in range(len(self.forms))]


def classify(groups: list[list[str]]) -> Classes:
    """Label the different answers of each group so that equal ones have equal labels."""
    forms = [[read_form(answer) for answer in group] for group in groups]
    _read_expressions([_expressions(form_) for group in forms for form_ in group])
    read = [_Group(group) for group in forms]
    _compare_unclear(read)
    return [group.labels() for group in read], sum(group.num_failed() for group in read)


def _read_expressions(answers: list[list[str]]) -> None:
    """Have the workers read what is not known yet; the expressions of one answer share one time limit."""
    asked = dict.fromkeys(
        tuple(missing) for of in answers if (missing := [latex for latex in of if _fingerprints.is_missing(latex)])
    )
    results = in_workers("mgrpo.answers.expressions:fingerprints", list(asked), SECONDS_PER_ANSWER)
    for texts, result in zip(asked, results, strict=True):
        for i, latex in enumerate(texts):
            _fingerprints.remember(latex, result if isinstance(result, Failed) else result[i])
    _fingerprints.use(list(dict.fromkeys(latex for of in answers for latex in of)))


def _compare_unclear(groups: list[_Group]) -> None:
    """Have math-verify compare the expressions without values, pair by pair.

    In each round an expression is in one pair at most, and one that takes too long is in none of the next: n slow
    expressions cost n / 2 time limits, not n^2 / 2.
    """
    pending = [
        deque(combinations([i for i, about in enumerate(group.known) if about.is_unclear], 2)) for group in groups
    ]
    while any(pending):
        pairs: list[tuple[_Group, int, int]] = []
        for group, left in zip(groups, pending, strict=True):
            taken: set[int] = set()
            for _ in range(len(left)):
                i, j = left.popleft()
                if {i, j} & taken:
                    left.append((i, j))
                elif not {i, j} & group.failed and group.known[i].kind == group.known[j].kind:
                    taken |= {i, j}
                    pairs.append((group, i, j))
        texts = [tuple(sorted((group.leaves[i].latex, group.leaves[j].latex))) for group, i, j in pairs]
        missing = [of_pair for of_pair in dict.fromkeys(texts) if _verdicts.is_missing(of_pair)]
        results = in_workers("mgrpo.answers.expressions:are_equal", missing, SECONDS_PER_ANSWER)
        for of_pair, result in zip(missing, results, strict=True):
            _verdicts.remember(of_pair, result)
        _verdicts.use(texts)
        for (group, i, j), of_pair in zip(pairs, texts, strict=True):
            if isinstance(_verdicts[of_pair], Failed):
                group.failed |= {i, j}
            elif _verdicts[of_pair]:
                group.components.join(i, j)


def _leaves(of: Form) -> list[Leaf]:
    match of:
        case form.Number() | form.Expression():
            return [of]
        case form.Assigned(_, inner, equation):
            return _leaves(inner) + ([equation] if equation is not None else [])
        case form.Sequence(_, _, items) | form.Collection(_, items):
            return [leaf for item in items for leaf in _leaves(item)]
        case _:
            return []


def _expressions(of: Form) -> list[str]:
    return list(dict.fromkeys(leaf.latex for leaf in _leaves(of) if isinstance(leaf, form.Expression)))


def _what_is_known(leaf: Leaf) -> _Known:
    if isinstance(leaf, form.Number):
        return _known_number(leaf.value)
    answer = _fingerprints[leaf.latex]
    if isinstance(answer, Failed):
        return _Known(is_failed=True)
    if answer["kind"] == "exact":
        numerator, slash, denominator = answer["values"].partition("/")
        return _known_number(Fraction(int(numerator, 16), int(denominator, 16))) if slash else _Known(exact=numerator)
    digits = answer.get("digits")
    return _Known(
        kind=answer["kind"],
        values=tuple(complex(*value) for value in answer["values"] or ()),
        digits=None if digits is None else (Fraction(digits[0]), Fraction(digits[1])),
    )


def _known_number(value: Fraction) -> _Known:
    try:
        digits = None if _may_be_rounded(value) else (value, Fraction(0))
        return _Known(exact=value, values=(complex(float(value)),) * 3, digits=digits)
    except OverflowError:
        return _Known(exact=value)


def _have_equal_values(left: _Known, right: _Known) -> bool:
    if left.exact is not None and right.exact is not None:
        return left.exact == right.exact
    pairs = zip(left.values, right.values, strict=True)
    if left.kind != right.kind or not all(_are_close(*pair) for pair in pairs):
        return False
    if left.digits is None or right.digits is None:
        return True
    size = max(map(abs, (*left.digits, *right.digits)))
    differences = (abs(first - second) for first, second in zip(left.digits, right.digits, strict=True))
    return all(difference <= EXACT_TOLERANCE * size for difference in differences)


def _may_be_rounded(value: Fraction) -> bool:
    """Whether a number is a decimal of so many digits that it may stand for an expression: 3.1415926536."""
    denominator, powers = value.denominator, [0, 0]
    for i, prime in enumerate((2, 5)):
        while denominator % prime == 0:
            denominator //= prime
            powers[i] += 1
    places = max(powers)
    return denominator == 1 and places > 0 and len(str(abs(value.numerator) * 10**places // value.denominator)) >= 9


def _are_close(left: complex, right: complex) -> bool:
    return left == right or abs(left - right) <= RELATIVE_TOLERANCE * max(abs(left), abs(right)) < math.inf


def _without_names(of: Form) -> Form | None:
    """The value of `x = 5`, and the values of `x_1 = 3, x_2 = -1`; None where nothing has a name."""
    if isinstance(of, form.Assigned):
        return of.form
    if isinstance(of, form.Collection):
        named = [item for item in of.items if isinstance(item, form.Assigned)]
        letters = {name for name, index, _ in (item.name.partition(" _ ") for item in named) if index}
        if len(named) == len(of.items) and len(letters) == 1 and all(" _ " in item.name for item in named):
            return form.Collection(of.kind, tuple(item.form for item in named))
    return None


def _key(of: Form, class_of: dict[Leaf, int]) -> Hashable:
    match of:
        case form.Number() | form.Expression():
            return class_of[of]
        case form.Assigned(name, inner, _):
            return ("=", name, _key(inner, class_of))
        case form.Sequence(opening, closing, items):
            return (opening, closing, *(_key(item, class_of) for item in items))
        case form.Collection(kind, items):
            keys = frozenset(_key(item, class_of) for item in items)
            return next(iter(keys)) if len(items) == 1 else (kind, keys)
        case _:
            return of
