"""The side of reasoning-gym that runs in worker processes: items are made there, and answers checked.

Items, because some generators draw from the process's own random state, order what they draw by Python's hash seed,
print, or set the precision of decimals, and `codeio` runs programs that come with the package. In a worker all of this
is fenced in, and comes out the same each time.

Answers, because the checkers of reasoning-gym were not written for hostile text: nine evaluate it as Python, and some
pass wrong answers (docs/reference/puzzles.md). Where only the gold answer can be right, none is called. Of the others
five are replaced here, and five see nothing that an allow-list has not passed; among these are the two on integrals,
which alone may evaluate it, since they have no other way to read an expression.
"""

import copy
import decimal
import importlib
import json
import random
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from mgrpo.answers.canonical import grid
from mgrpo.answers.worker_process import evaluation_allowed

CHUNK = 5000
"""Items of one reasoning-gym data set; `acre` makes all of them at once, in a second."""
MAX_LENGTH = 2000
"""Of an answer that is checked, in characters; three times the gold answer's, if that is more."""
MAX_EXPRESSION = 300
"""Of a formula or an arithmetic expression."""

Item = dict[str, Any]


def warm_up() -> None:
    """Import what every call needs."""
    importlib.import_module("reasoning_gym")


def make_item(generator: str, options: str, seed: int, index: int) -> list[str | None]:
    """Make one item: its question and its gold answer, None where the generator gives none.

    The item is number `index` of the stream of `seed`; `options` are fields of the generator's configuration as JSON.

    Raises:
        ValueError: if the item would be another one the next time; a generator may raise anything.
    """
    item = _item(generator, options, seed, index)
    texts = [item["question"], item["answer"]]
    if generator == "codeio":
        again = _item.__wrapped__(generator, options, seed, index)
        if texts != [again["question"], again["answer"]]:
            raise ValueError("its program depends on the time, or on true randomness")
    return texts


def is_right(answer: str, gold: Mapping[str, Any]) -> bool:
    """Whether a generator's checker passes an answer; `gold` is what the item has in the column `answer`."""
    if len(answer) > max(MAX_LENGTH, 3 * len(gold["answer"])):
        return False
    generator = gold["generator"]
    if generator in CHECKS_OF_TEXT:
        return CHECKS_OF_TEXT[generator](answer, gold["answer"])
    item = copy.deepcopy(_item(generator, gold["options"], gold["seed"], gold["index"]))
    if generator in CHECKS:
        return CHECKS[generator](answer, item)
    if generator in GUARDS and not GUARDS[generator](answer, item):
        return False
    score = _dataset(generator, gold["options"], gold["seed"], gold["index"] // CHUNK).score_answer
    if generator in EVALUATING:
        with evaluation_allowed():
            return bool(score(answer, item) >= 1)
    return bool(score(answer, item) >= 1)


@lru_cache(maxsize=64)
def _item(generator: str, options: str, seed: int, index: int) -> Item:
    import numpy as np

    chunk, place = divmod(index, CHUNK)
    random.seed(_chunk_seed(generator, seed, chunk) + place)
    np.random.seed(_chunk_seed(generator, seed, chunk) + place)
    try:
        with decimal.localcontext(), evaluation_allowed():  # the generator's own text
            return _dataset(generator, options, seed, chunk)[place]
    except Exception:
        _dataset.cache_clear()  # word_ladder shrinks to the items before one that it could not make
        raise


@lru_cache(maxsize=1)  # codeio keeps its programs in its class: the data set made last must be the one in use
def _dataset(generator: str, options: str, seed: int, chunk: int) -> Any:
    create_dataset = importlib.import_module("reasoning_gym").create_dataset
    return create_dataset(generator, **json.loads(options), seed=_chunk_seed(generator, seed, chunk), size=CHUNK)


def _chunk_seed(generator: str, seed: int, chunk: int) -> int:
    """Far from all others: item i of a reasoning-gym data set is made from its seed + i."""
    digest = blake2b(f"{generator} {seed} {chunk}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") // 2  # numpy takes 32 bits, and i is added


# --- what an answer must look like before a checker of reasoning-gym sees it ---


def _has_short_numbers(answer: str, _: Item) -> bool:
    """Those checkers repeat a move as often as its number says."""
    return not re.search(r"\d\d", answer)


def _is_formula(answer: str, item: Item) -> bool:
    """The checker makes a table of the values of all that it takes for a variable."""
    names = "".join(item["metadata"]["variables"])
    if (
        len(answer) > MAX_EXPRESSION
        or not re.fullmatch(rf"[{names}∧∨¬→↔()\s]*", answer)
        or re.search(rf"[{names})]\s*[{names}(]", answer)
    ):
        return False
    depths = [0]
    for character in answer:
        depths.append(depths[-1] + (character == "(") - (character == ")"))
    return min(depths) == 0 == depths[-1]


_FUNCTIONS = ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "exp", "log", "ln", "sqrt")
_EXPRESSION_TOKEN = re.compile(r"[0-9]++(?:\.[0-9]++)?(?![A-Za-z.])|[A-Za-z]++(?![0-9])|\*\*|[-+*/()]|\s++")
_LARGE_POWER = re.compile(r"\*\*[\s(-]*+[0-9]{3}|\*\*[^-+*/]*\*\*|[0-9]\s*+\*\*")


def _is_antiderivative(answer: str, item: Item) -> bool:
    names = {item["metadata"]["variable"], "C", "E", "pi", *_FUNCTIONS}
    tokens = _EXPRESSION_TOKEN.findall(answer)
    return (
        len(answer) <= MAX_EXPRESSION
        and "".join(tokens) == answer
        and all(token in names or not token.isalpha() for token in tokens)
        and all(len(token) <= 10 for token in tokens if not token.isspace())
        and not _LARGE_POWER.search(answer)
    )


GUARDS: dict[str, Callable[[str, Item], bool]] = {
    "intermediate_integration": _is_antiderivative,
    "propositional_logic": _is_formula,
    "rubiks_cube": _has_short_numbers,
    "rush_hour": _has_short_numbers,
    "simple_integration": _is_antiderivative,
}
EVALUATING = ("intermediate_integration", "simple_integration")
"""Generators whose checkers evaluate an answer, which `GUARDS` has passed."""


# --- checkers in the place of reasoning-gym's ---


def _makes_target(answer: str, item: Item) -> bool:
    """Whether an expression has the target's value and uses each of the given numbers once."""
    if _Arithmetic(answer).read() != item["metadata"].get("target", 24):
        return False
    return sorted(map(int, re.findall(r"[0-9]+", answer))) == sorted(item["metadata"]["numbers"])


class _Arithmetic:
    """Exact value of whole numbers with + - * / and brackets."""

    def __init__(self, text: str) -> None:
        is_readable = len(text) <= MAX_EXPRESSION and re.fullmatch(r"[0-9+\-*/()\s]*", text)
        self._tokens = re.findall(r"[0-9]+|\S", text) if is_readable else []

    def read(self) -> Fraction | None:
        try:
            value = self._sum()
        except (IndexError, ValueError, ZeroDivisionError):
            return None
        return value if not self._tokens else None

    def _sum(self) -> Fraction:
        value = self._product()
        while self._tokens and self._tokens[0] in "+-":
            value += self._product() if self._tokens.pop(0) == "+" else -self._product()
        return value

    def _product(self) -> Fraction:
        value = self._factor()
        while self._tokens and self._tokens[0] in "*/":
            value = value * self._factor() if self._tokens.pop(0) == "*" else value / self._factor()
        return value

    def _factor(self) -> Fraction:
        token = self._tokens.pop(0)
        if token == "-":
            return -self._factor()
        if token != "(":
            return Fraction(int(token))
        value = self._sum()
        if self._tokens.pop(0) != ")":
            raise ValueError
        return value


CHECKS: dict[str, Callable[[str, Item], bool]] = {
    "countdown": _makes_target,
    "n_queens": lambda answer, item: grid(answer) in map(grid, item["metadata"]["valid_answers"]),
    "puzzle24": _makes_target,
}


def _is_same_json(answer: str, gold: str) -> bool:
    try:
        return bool(json.loads(answer) == json.loads(gold))
    except (ValueError, RecursionError):
        return False


def _is_probability(answer: str, gold: str) -> bool:
    if not re.fullmatch(r"[0-9]{1,20}(?:\.[0-9]{0,40})?(?:e-?[0-9]{1,2})?|[0-9]{1,20}/[0-9]{1,20}", answer.strip()):
        return False
    try:
        return abs(Fraction(answer.strip()) - Fraction(gold)) <= Fraction(1, 10_000)
    except ZeroDivisionError:
        return False


CHECKS_OF_TEXT: dict[str, Callable[[str, str], bool]] = {"codeio": _is_same_json, "coin_flip": _is_probability}
