"""Four letters that change places: `dbca:xyr=` wants `bdcabcdaadcb#adcb$`.

The moves x, y and z swap the letters in places 1 and 2, 2 and 3, 3 and 4; the rare move r reverses all four. The
completion writes the arrangement after every move. Nothing is calculated: each move copies letters, which a model
does by attending to where a letter was.
"""

import random
from dataclasses import dataclass
from typing import ClassVar, Self

from mgrpo.embedded.problem import Problem

LETTERS = "abcd"
MAX_MOVES = 4
SWAPS = {"x": (0, 1), "y": (1, 2), "z": (2, 3)}
REVERSAL = "r"
REVERSAL_PROBABILITY = 0.06


@dataclass(frozen=True, slots=True)
class Swaps(Problem[str, str]):
    """An arrangement of the four letters and one to four moves."""

    name: ClassVar[str] = "swaps"
    alphabet: ClassVar[str] = LETTERS + "".join(SWAPS) + REVERSAL + ":=#"
    max_completion_tokens: ClassVar[int] = len(LETTERS) * (MAX_MOVES + 1) + len("#$")

    @property
    def prompt(self) -> str:
        """The problem as the model reads it, such as `dbca:xyr=`."""
        return f"{self.start}:{''.join(self.steps)}="

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        """Draw an arrangement and moves; each number of moves is equally likely."""
        num_moves = rng.randint(1, MAX_MOVES)
        start = "".join(rng.sample(LETTERS, len(LETTERS)))
        return cls(start, tuple(_draw_move(rng) for _ in range(num_moves)))

    @staticmethod
    def take(state: str, step: str) -> str:
        """The arrangement after a move."""
        if step == REVERSAL:
            return state[::-1]
        if step not in SWAPS:
            raise ValueError(f"move {step!r}: the moves are {', '.join(SWAPS)} and {REVERSAL}")
        return _swapped(state, *SWAPS[step])

    @staticmethod
    def slip(state: str, rng: random.Random) -> str:
        """Two neighbours the wrong way round."""
        return _swapped(state, *rng.choice(list(SWAPS.values())))

    @staticmethod
    def write_state(state: str) -> str:
        """The four letters."""
        return state


def _draw_move(rng: random.Random) -> str:
    return REVERSAL if rng.random() < REVERSAL_PROBABILITY else rng.choice(list(SWAPS))


def _swapped(state: str, first: int, second: int) -> str:
    letters = list(state)
    letters[first], letters[second] = letters[second], letters[first]
    return "".join(letters)
