"""Chained arithmetic modulo 100, solved from left to right: `47+8*3-5=` wants `556560#60$`.

The completion writes every running result with two digits. The task is hard enough that a model of 103 thousand
parameters stays unsure, and easy enough that its majority vote is mostly right.
"""

import random
from dataclasses import dataclass
from typing import ClassVar, Self

from mgrpo.embedded.problem import Problem

MAX_STEPS = 5
# Products scatter over all of 0..99, which so small a model hardly learns: more of them would drown the rest.
PRODUCT_PROBABILITY = 0.06


@dataclass(frozen=True, slots=True)
class Chain(Problem[int, tuple[str, int]]):
    """A starting number and one to five steps, each an operator and a digit from 1 to 9."""

    name: ClassVar[str] = "chains"
    alphabet: ClassVar[str] = "0123456789+-*=#"
    max_completion_tokens: ClassVar[int] = 2 * MAX_STEPS + len("#00$")

    @property
    def prompt(self) -> str:
        """The problem as the model reads it, such as `47+8*3-5=`."""
        return f"{self.start:02d}" + "".join(f"{operator}{operand}" for operator, operand in self.steps) + "="

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        """Draw a chain; each number of steps is equally likely."""
        num_steps, start = rng.randint(1, MAX_STEPS), rng.randrange(100)
        return cls(start, tuple((_draw_operator(rng), rng.randint(1, 9)) for _ in range(num_steps)))

    @staticmethod
    def take(state: int, step: tuple[str, int]) -> int:
        """The running result after a step."""
        operator, operand = step
        match operator:
            case "+":
                return (state + operand) % 100
            case "-":
                return (state - operand) % 100
            case "*":
                return (state * operand) % 100
            case _:
                raise ValueError(f"operator {operator!r}: a chain knows +, - and *")

    @staticmethod
    def slip(state: int, rng: random.Random) -> int:
        """Off by 1 or by 10, up or down."""
        return (state + rng.choice((1, -1, 10, -10))) % 100

    @staticmethod
    def write_state(state: int) -> str:
        """Two digits."""
        return f"{state:02d}"


def _draw_operator(rng: random.Random) -> str:
    return "*" if rng.random() < PRODUCT_PROBABILITY else rng.choice("+-")
