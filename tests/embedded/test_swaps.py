import random

import pytest

from mgrpo.embedded.problem import draw_problems
from mgrpo.embedded.swaps import Swaps


@pytest.mark.parametrize(
    ("problem", "prompt", "completion"),
    [
        # x swaps places 1 and 2, y 2 and 3, z 3 and 4; r reverses
        (Swaps("dbca", ("x", "y", "r")), "dbca:xyr=", "bdcabcdaadcb#adcb$"),
        (Swaps("abcd", ("z",)), "abcd:z=", "abdc#abdc$"),
        (Swaps("cadb", ("r", "r")), "cadb:rr=", "bdaccadb#cadb$"),
    ],
)
def test_worked_by_hand(problem, prompt, completion):
    assert problem.prompt == prompt
    assert problem.write_completion(problem.states) == completion
    assert problem.answer == completion[-5:-1]


def test_drawn_on_any_machine():
    # literal prompts: they must stay the same on every machine and in every version
    train, test = (
        [problem.prompt for problem in draw_problems(Swaps, 3, seed=0, split=split)] for split in ("train", "test")
    )
    assert train == ["dcab:xxz=", "bcda:xx=", "cadb:yzyy="]
    assert test == ["cdab:zyrz=", "adcb:zzy=", "adbc:yxx="]


def test_lengths_and_moves_are_drawn_as_promised():
    problems = draw_problems(Swaps, 5_000, seed=3, split="train")
    moves = "".join("".join(problem.steps) for problem in problems)
    for num_moves in range(1, 5):
        assert sum(len(problem.steps) == num_moves for problem in problems) / 5_000 == pytest.approx(0.25, abs=0.03)
    assert moves.count("r") / len(moves) == pytest.approx(0.06, abs=0.01)
    for swap in "xyz":
        assert moves.count(swap) / len(moves) == pytest.approx(0.313, abs=0.02)


def test_a_slip_swaps_neighbours():
    rng = random.Random(0)
    assert {Swaps.slip("abcd", rng) for _ in range(100)} == {"bacd", "acbd", "abdc"}


def test_unknown_move():
    with pytest.raises(ValueError, match="move 'w': the moves are x, y, z and r"):
        Swaps.take("abcd", "w")
