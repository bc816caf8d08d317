"""Chained arithmetic modulo 100, worked from left to right: `47+8*3-5=` wants `556560#60$`.

The completion writes every running result with two digits, then `#`, the answer and the end-of-text `$`. The task is
hard enough that a model of 103 thousand parameters stays unsure, and easy enough that its majority vote is mostly
right.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from mgrpo.errors import UserError
from mgrpo.tasks.read import DEFAULT_TASK_SIZE
from mgrpo.tasks.split import Split, check_split, split_of
from mgrpo.tasks.task import Task

MAX_STEPS = 5
END_OF_TEXT = "$"
ALPHABET = "0123456789+-*=#"
MAX_PROMPT_TOKENS = 2 + 2 * MAX_STEPS + 1
MAX_COMPLETION_TOKENS = 2 * MAX_STEPS + len("#00$")

DEMONSTRATION_NOISE = 0.12
# Products scatter over all of 0..99, which so small a model hardly learns: more of them would drown the rest.
PRODUCT_PROBABILITY = 0.06

_ANSWER = re.compile(r"#([0-9]{2})\s*$")


@dataclass(frozen=True, slots=True)
class Chain:
    """One problem: a starting number and one to five steps, each an operator and a digit from 1 to 9."""

    start: int
    steps: tuple[tuple[str, int], ...]

    @property
    def prompt(self) -> str:
        """The problem as the model reads it, such as `47+8*3-5=`."""
        return f"{self.start:02d}" + "".join(f"{operator}{operand}" for operator, operand in self.steps) + "="

    @property
    def results(self) -> tuple[int, ...]:
        """The right running results modulo 100, one per step."""
        value, results = self.start, []
        for operator, operand in self.steps:
            value = _apply(value, operator, operand)
            results.append(value)
        return tuple(results)

    @property
    def answer(self) -> str:
        """The gold answer, two digits. For measurement only: label-free training must never see it."""
        return f"{self.results[-1]:02d}"


def embedded(argument: str | None, *, split: str, size: int | None, seed: int) -> Task:
    """The embedded model's tasks, of which there is one: `chains`.

    Raises:
        UserError: if there is no such task or split.
    """
    if argument != "chains":
        raise UserError(f"the embedded model has no task {argument!r}; write embedded:chains")
    num = DEFAULT_TASK_SIZE if size is None else size
    drawn = chains(num, seed=seed, split=check_split(split, "embedded:chains"))
    columns = {"prompt": [chain.prompt for chain in drawn], "answer": [chain.answer for chain in drawn]}
    return Task(columns, extractor=f"{__name__}:{extract_answer.__name__}", equivalence="text")


def chains(num: int, *, seed: int, split: Split) -> list[Chain]:
    """Draw problems; the same seed and split give the same problems on any machine.

    Draws are independent, so a short problem may come twice. A longer list of the same seed begins with the shorter
    one. No prompt is ever in both splits (see `split_of`).

    Args:
        num: How many problems.
        seed: Which ones; each split has a stream of its own.
        split: `"train"` or `"test"`.

    Raises:
        ValueError: If `num` is negative or there is no such split.
    """
    if num < 0:
        raise ValueError(f"num={num}: a number of problems cannot be negative")
    return list(islice(stream(seed=seed, split=split), num))


def stream(*, seed: int, split: Split) -> Iterator[Chain]:
    """Yield the problems of `chains` without end.

    Raises:
        ValueError: If there is no such split.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split={split!r}: choose 'train' or 'test'")
    rng = random.Random(f"{split} {seed}")
    return (chain for chain in _draws(rng) if split_of(chain.prompt) == split)


def write_completion(results: Sequence[int]) -> str:
    """Write running results as a completion: `(55, 65, 60)` gives `556560#60$`.

    Raises:
        ValueError: If there is no result.
    """
    if not results:
        raise ValueError("a completion needs at least one running result")
    return "".join(f"{result:02d}" for result in results) + f"#{results[-1]:02d}{END_OF_TEXT}"


def noisy_results(chain: Chain, rng: random.Random, *, noise: float = DEMONSTRATION_NOISE) -> tuple[int, ...]:
    """Work a chain with slips: each step is off by 1 or by 10, up or down, with probability `noise`.

    Later steps go on from the slipped value, as a person would. Demonstrations like these leave the warmed-up model
    unsure at every step, which is what a majority vote can mend.

    Raises:
        ValueError: If `noise` is not a probability.
    """
    if not 0 <= noise <= 1:
        raise ValueError(f"noise={noise}: a probability lies between 0 and 1")
    value, results = chain.start, []
    for operator, operand in chain.steps:
        value = _apply(value, operator, operand)
        if rng.random() < noise:
            value = (value + rng.choice((1, -1, 10, -10))) % 100
        results.append(value)
    return tuple(results)


def extract_answer(text: str) -> str | None:
    """Read the two digits after the last `#` from a completion's text, special tokens left out.

    Returns:
        The answer, or None where the text does not end in `#` and two digits.
    """
    match = _ANSWER.search(text)
    return match.group(1) if match else None


def _draws(rng: random.Random) -> Iterator[Chain]:
    while True:
        num_steps = rng.randint(1, MAX_STEPS)
        start = rng.randrange(100)
        yield Chain(start, tuple((_draw_operator(rng), rng.randint(1, 9)) for _ in range(num_steps)))


def _draw_operator(rng: random.Random) -> str:
    if rng.random() < PRODUCT_PROBABILITY:
        return "*"
    return rng.choice("+-")


def _apply(value: int, operator: str, operand: int) -> int:
    match operator:
        case "+":
            return (value + operand) % 100
        case "-":
            return (value - operand) % 100
        case "*":
            return (value * operand) % 100
        case _:
            raise ValueError(f"operator {operator!r}: a chain knows +, - and *")
