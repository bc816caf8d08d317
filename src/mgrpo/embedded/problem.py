"""What the embedded tasks share: a problem is solved step by step, and a completion writes the state after each step.

A completion is every state, then `#`, the last state again, which is the answer, and the end-of-text `$`. A task is a
subclass of `Problem`: what its states and steps are, how they are written, and how its problems are drawn.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, count, islice
from typing import ClassVar, Generic, Self, TypeVar

from mgrpo.tasks.split import Split, split_of

END_OF_TEXT = "$"
DEMONSTRATION_NOISE = 0.12

State = TypeVar("State")
Step = TypeVar("Step")
AnyProblem = TypeVar("AnyProblem", bound="Problem")


@dataclass(frozen=True, slots=True)
class Problem(ABC, Generic[State, Step]):
    """One problem: where it starts, and the steps to take from there.

    A subclass names its task (`name`), the characters of its prompts and completions (`alphabet`, without the end of
    text), and the most tokens that a completion takes, one a character.
    """

    name: ClassVar[str]
    alphabet: ClassVar[str]
    max_completion_tokens: ClassVar[int]

    start: State
    steps: tuple[Step, ...]

    @property
    @abstractmethod
    def prompt(self) -> str:
        """The problem as the model reads it."""

    @classmethod
    @abstractmethod
    def draw(cls, rng: random.Random) -> Self:
        """Draw a problem of either split."""

    @staticmethod
    @abstractmethod
    def take(state: State, step: Step) -> State:
        """The state after a step."""

    @staticmethod
    @abstractmethod
    def slip(state: State, rng: random.Random) -> State:
        """A wrong state, as a slip leaves it where `state` is right."""

    @staticmethod
    @abstractmethod
    def write_state(state: State) -> str:
        """A state as a completion writes it."""

    @property
    def states(self) -> tuple[State, ...]:
        """The right states, one after each step."""
        return tuple(accumulate(self.steps, self.take, initial=self.start))[1:]

    @property
    def answer(self) -> str:
        """The gold answer. For measurement only: label-free training must never see it."""
        return self.write_state(self.states[-1])

    def noisy_states(self, rng: random.Random, *, noise: float = DEMONSTRATION_NOISE) -> tuple[State, ...]:
        """Solve the problem with slips: each step goes wrong with probability `noise`.

        Later steps continue from the slipped state, as a person would. Demonstrations like these leave the warmed-up
        model unsure at every step, which is what a majority vote can correct.

        Raises:
            ValueError: If `noise` is not a probability.
        """
        if not 0 <= noise <= 1:
            raise ValueError(f"noise={noise}: a probability is between 0 and 1")
        state, states = self.start, []
        for step in self.steps:
            state = self.take(state, step)
            if rng.random() < noise:
                state = self.slip(state, rng)
            states.append(state)
        return tuple(states)

    @classmethod
    def write_completion(cls, states: Sequence[State], *, answer: State | None = None) -> str:
        """Write states as a completion, with the last of them as the answer unless another is given.

        Raises:
            ValueError: If there is no state.
        """
        if not states:
            raise ValueError("a completion needs at least one state")
        final = states[-1] if answer is None else answer
        return "".join(map(cls.write_state, states)) + f"#{cls.write_state(final)}{END_OF_TEXT}"


def draw_problems(kind: type[AnyProblem], num: int, *, seed: int, split: Split) -> list[AnyProblem]:
    """Draw problems; the same seed and split give the same problems on any machine.

    Draws are independent, so a short problem may come twice. A longer list of the same seed begins with the shorter
    one; each split has a stream of its own. No prompt is ever in both splits (see `split_of`).

    Raises:
        ValueError: If `num` is negative or there is no such split.
    """
    if num < 0:
        raise ValueError(f"num={num}: a number of problems cannot be negative")
    return list(islice(stream_problems(kind, seed=seed, split=split), num))


def stream_problems(kind: type[AnyProblem], *, seed: int, split: Split) -> Iterator[AnyProblem]:
    """Yield the problems of `draw_problems` without end.

    Raises:
        ValueError: If there is no such split.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split={split!r}: choose 'train' or 'test'")
    rng = random.Random(f"{split} {seed}")
    problems = (kind.draw(rng) for _ in count())
    return (problem for problem in problems if split_of(problem.prompt) == split)
