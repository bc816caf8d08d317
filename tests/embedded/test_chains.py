import random

import pytest

from mgrpo.embedded.chains import Chain
from mgrpo.embedded.task import chains


@pytest.mark.parametrize(
    ("chain", "prompt", "completion"),
    [
        # 47+8=55; 55*3=165, 65 modulo 100; 65-5=60
        (Chain(47, (("+", 8), ("*", 3), ("-", 5))), "47+8*3-5=", "556560#60$"),
        # 99+7=106, 6 modulo 100; 6-8=-2, 98 modulo 100
        (Chain(99, (("+", 7), ("-", 8))), "99+7-8=", "0698#98$"),
        # 5*9=45
        (Chain(5, (("*", 9),)), "05*9=", "45#45$"),
    ],
)
def test_worked_by_hand(chain, prompt, completion):
    assert chain.prompt == prompt
    assert chain.write_completion(chain.states) == completion
    assert chain.answer == completion[-3:-1]


def test_drawn_on_any_machine():
    # literal prompts: they must stay the same on every machine and in every version
    assert [chain.prompt for chain in chains(3, seed=0, split="train")] == ["50+9+4+4=", "23+6-4+8+3+8=", "39-5-5="]
    assert [chain.prompt for chain in chains(3, seed=0, split="test")] == ["06-5+4-3-3+6=", "64-8-8+9=", "74-1+6-5="]


def test_lengths_and_operators_are_drawn_as_promised():
    problems = chains(5_000, seed=3, split="train")
    operators = [operator for chain in problems for operator, _ in chain.steps]
    for num_steps in range(1, 6):
        assert sum(len(chain.steps) == num_steps for chain in problems) / 5_000 == pytest.approx(0.2, abs=0.03)
    assert operators.count("*") / len(operators) == pytest.approx(0.06, abs=0.01)
    assert operators.count("+") / len(operators) == pytest.approx(0.47, abs=0.02)


def test_a_slip_is_off_by_1_or_10():
    rng = random.Random(0)
    # around 3, modulo 100
    assert {Chain.slip(3, rng) for _ in range(100)} == {2, 4, 13, 93}


def test_unknown_operator():
    with pytest.raises(ValueError, match="operator '/'"):
        Chain.take(8, ("/", 2))
