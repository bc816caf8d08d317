"""Short arithmetic for a real chat model: `arithmetic`, and `smollm2-sums`, easy enough for SmolLM2-135M.

Both ask a bare equation, such as `7 + 45 =`, so that a template can put it where it helps: the answer begins with it.
At temperature 1 SmolLM2-135M is then right one time in five in `arithmetic`; asked `What is 7 + 45?`, one in forty.
"""

import operator
import random
from collections.abc import Iterable
from dataclasses import replace
from itertools import product

from mgrpo.errors import UserError
from mgrpo.tasks.read import DEFAULT_TASK_SIZE
from mgrpo.tasks.split import check_split, split_of
from mgrpo.tasks.task import Task

Kind = tuple[str, Iterable[tuple[int, int]]]  # an operation and its operands

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
# Operands by their number of digits: drawn from 0..99 at once, only 1 question in 100 would have two small operands.
OPERANDS = ONE_DIGIT, TWO_DIGITS = range(10), range(10, 100)

SUMS_SIZES = {"train": 1944, "test": 256}
# The chat template written out, since the answer begins in it: the question comes back, and the next token is the
# number. The worked example makes the model stop behind it.
SMOLLM2_TEMPLATE = (
    "<|im_start|>user\n41 - 17 =<|im_end|>\n<|im_start|>assistant\n41 - 17 = 24<|im_end|>\n"
    "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{prompt}"
)


def arithmetic(*, split: str, size: int | None, seed: int) -> Task:
    """`size` distinct questions (None: 1000); the same seed and split give the same ones on any machine.

    Operation and digits of each operand are equally likely, until the small ones (100 questions) run out. A longer
    list of the same seed begins with the shorter one. No question is ever in both splits (see `split_of`).

    Raises:
        UserError: if there is no such split, or fewer questions in it.
    """
    kinds = [(symbol, product(left, right)) for symbol, left, right in product(OPERATIONS, OPERANDS, OPERANDS)]
    strata = _strata(kinds, "arithmetic", split, rng := random.Random(f"{split} {seed}"))
    num = _checked(size, DEFAULT_TASK_SIZE, sum(map(len, strata)), "arithmetic", split)
    return _task(_draw(strata, num, rng))


def smollm2_sums(*, split: str, size: int | None, seed: int) -> Task:
    """The first `size` of 1944 distinct questions to train on or 256 to test on (None: all of them).

    Two fifths are two-digit sums below 100, and one fifth each two-digit plus one-digit sums, numbers from 10 to 29
    times a digit, and one-digit products, until a split's products run out: one-digit ones after about 450 questions
    in training and 30 in the test, the others after 900 and 90. From there on all are sums. A longer list of the same
    seed begins with the shorter one. No question is ever in both splits (see `split_of`).

    Raises:
        UserError: if there is no such split, or fewer questions in it.
    """
    two_digit_sums = [(a, b) for a, b in product(TWO_DIGITS, TWO_DIGITS) if a + b < 100]
    kinds: list[Kind] = [
        ("+", two_digit_sums),
        ("+", product(TWO_DIGITS, ONE_DIGIT)),
        ("*", product(range(10, 30), ONE_DIGIT)),
        ("*", product(ONE_DIGIT, ONE_DIGIT)),
    ]
    strata = _strata(kinds, "smollm2-sums", split, rng := random.Random(f"{split} {seed}"))
    num = _checked(size, SUMS_SIZES[split], SUMS_SIZES[split], "smollm2-sums", split)
    drawn = _task(_draw([strata[0], *strata], num, rng))
    return replace(drawn, prompt_template=SMOLLM2_TEMPLATE, conversational=False)


def _strata(kinds: Iterable[Kind], task: str, split: str, rng: random.Random) -> list[list[tuple[str, str]]]:
    """A split's questions of each kind with their answers, in random order."""
    check_split(split, task)
    strata = []
    for symbol, operands in kinds:
        rows = ((f"{a} {symbol} {b} =", str(OPERATIONS[symbol](a, b))) for a, b in operands)
        questions = [row for row in rows if split_of(row[0]) == split]
        rng.shuffle(questions)
        strata.append(questions)
    return strata


def _checked(size: int | None, default: int, num_available: int, task: str, split: str) -> int:
    num = default if size is None else size
    if not 0 <= num <= num_available:
        raise UserError(f"size={num}: the {split} split of {task} has {num_available} questions; ask for fewer")
    return num


def _draw(strata: list[list[tuple[str, str]]], num: int, rng: random.Random) -> list[tuple[str, str]]:
    """Each question is from a random stratum, of those that are not empty; one listed twice is twice as likely."""
    drawn = []
    for _ in range(num):
        strata = [stratum for stratum in strata if stratum]
        drawn.append(rng.choice(strata).pop())
    return drawn


def _task(drawn: list[tuple[str, str]]) -> Task:
    columns = {"prompt": [prompt for prompt, _ in drawn], "answer": [answer for _, answer in drawn]}
    return Task(columns, extractor="number", equivalence="number")
