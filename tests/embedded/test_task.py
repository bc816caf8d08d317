import os
import random
import subprocess
import sys

import pytest

from mgrpo.embedded.task import Chain, chains, extract_answer, noisy_results, split_of, write_completion


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
def test_chains_worked_by_hand(chain, prompt, completion):
    assert chain.prompt == prompt
    assert write_completion(chain.results) == completion
    assert chain.answer == completion[-3:-1]


def test_splits_are_disjoint():
    train = {chain.prompt for chain in chains(30_000, seed=0, split="train")}
    test = {chain.prompt for chain in chains(30_000, seed=0, split="test")}
    assert not train & test
    assert {split_of(prompt) for prompt in test} == {"test"}


def test_problems_depend_on_the_seed_alone():
    # literal prompts: they must stay the same on every machine and in every version
    assert [chain.prompt for chain in chains(3, seed=0, split="train")] == ["50+9+4+4=", "23+6-4+8+3+8=", "39-5-5="]
    assert [chain.prompt for chain in chains(3, seed=0, split="test")] == ["06-5+4-3-3+6=", "64-8-8+9=", "74-1+6-5="]
    assert chains(50, seed=1, split="test")[:20] == chains(20, seed=1, split="test")
    assert chains(20, seed=1, split="test") != chains(20, seed=2, split="test")


def test_lengths_and_operators_are_drawn_as_promised():
    problems = chains(5_000, seed=3, split="train")
    operators = [operator for chain in problems for operator, _ in chain.steps]
    for num_steps in range(1, 6):
        assert sum(len(chain.steps) == num_steps for chain in problems) / 5_000 == pytest.approx(0.2, abs=0.03)
    assert operators.count("*") / len(operators) == pytest.approx(0.06, abs=0.01)
    assert operators.count("+") / len(operators) == pytest.approx(0.47, abs=0.02)


def test_noise_slips_in_12_percent_of_steps():
    rng = random.Random(0)
    slips = []
    for chain in chains(5_000, seed=0, split="train"):
        before = chain.start
        for step, result in zip(chain.steps, noisy_results(chain, rng), strict=True):
            # each step goes on from the slipped value of the step before
            slips.append((result - Chain(before, (step,)).results[0]) % 100)
            before = result
    assert set(slips) == {0, 1, 99, 10, 90}
    # 15,000 steps: the standard error is 0.003
    assert sum(slip != 0 for slip in slips) / len(slips) == pytest.approx(0.12, abs=0.01)


def test_without_noise_a_demonstration_is_right():
    for chain in chains(100, seed=0, split="train"):
        assert noisy_results(chain, random.Random(0), noise=0) == chain.results


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("556560#60", "60"),
        ("5565#60#61", "61"),
        ("#07\n", "07"),
        ("556560#6", None),
        ("556560#600", None),
        ("556560", None),
        ("", None),
    ],
)
def test_extract_answer(text, answer):
    assert extract_answer(text) == answer


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="num=-1"):
        chains(-1, seed=0, split="test")
    with pytest.raises(ValueError, match="split='dev'"):
        chains(0, seed=0, split="dev")
    with pytest.raises(ValueError, match="noise=1.2"):
        noisy_results(Chain(1, (("+", 1),)), random.Random(0), noise=1.2)
    with pytest.raises(ValueError, match="at least one"):
        write_completion(())


def test_the_task_does_not_import_torch():
    script = "import sys, mgrpo.embedded.task, mgrpo.embedded.model; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == 0
