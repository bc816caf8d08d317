from dataclasses import replace
from itertools import islice

import pytest

from mgrpo.embedded.model import build_model
from mgrpo.embedded.problem import draw_problems
from mgrpo.embedded.starts import SHIPPED, SIZES, STARTS, is_embedded, start_name
from mgrpo.embedded.task import PROBLEMS, chains
from mgrpo.errors import UserError


def test_names():
    assert start_name("embedded") == start_name("embedded:chains") == "chains"
    assert start_name("embedded:swaps") == "swaps"
    assert is_embedded("embedded") and is_embedded("embedded:anything")
    assert not is_embedded("embeddedness") and not is_embedded("me/embedded")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "embedded:chains-50",
            r"'embedded:chains-50' \(did you mean 'embedded:chains-50k'\?\); choose one of embedded, ",
        ),
        ("embedded:", "no model 'embedded:'; choose one of embedded, embedded:chains, "),
    ],
)
def test_unknown_names(model, message):
    with pytest.raises(UserError, match=message):
        start_name(model)


def test_every_start_is_one_of_its_own():
    assert {start.task for start in STARTS.values()} == PROBLEMS.keys()
    assert len({start.key for start in STARTS.values()}) == len(STARTS)


@pytest.mark.parametrize(
    ("size", "num_parameters"), [("50k", 52_624), ("103k", 102_912), ("200k", 206_560), ("1m", 958_976)]
)
def test_sizes(size, num_parameters):
    assert sum(weight.numel() for weight in build_model(size=SIZES[size]).parameters()) == num_parameters


def test_the_key_follows_every_setting():
    start = STARTS["swaps"]
    assert start.key == replace(start).key == replace(start, minutes=60).key
    others = [replace(start, num_steps=1), replace(start, size=SIZES["50k"]), replace(start, noise=0.2)]
    assert len({start.key, *(other.key for other in others)}) == 4


def test_the_key_follows_the_problems(monkeypatch):
    key = STARTS["swaps"].key
    monkeypatch.setattr("mgrpo.embedded.swaps.REVERSAL_PROBABILITY", 0.5)
    assert STARTS["swaps"].key != key


def test_demonstrations_are_of_the_train_split_and_slip():
    demonstrations = list(islice(STARTS[SHIPPED].demonstrations(seed=0), 200))
    problems = chains(200, seed=0, split="train")
    assert [prompt for prompt, _ in demonstrations] == [problem.prompt for problem in problems]
    right = [problem.write_completion(problem.states) for problem in problems]
    num_right = sum(text == right_text for (_, text), right_text in zip(demonstrations, right, strict=True))
    # 1 to 5 steps without a slip: (.88 + .774 + .681 + .6 + .528) / 5 = .69
    assert num_right / 200 == pytest.approx(0.69, abs=0.08)


def test_guessing_leaves_out_the_last_step():
    start = replace(STARTS[SHIPPED], noise=0, guessing=(0, 1, 0, 0, 0))
    problems = chains(100, seed=0, split="train")
    for problem, (prompt, completion) in zip(problems, start.demonstrations(seed=0), strict=False):
        assert prompt == problem.prompt
        if len(problem.steps) == 2:
            state = problem.states[0]
            assert completion in {f"{state:02d}#{(state + slip) % 100:02d}$" for slip in (1, -1, 10, -10)}
        else:
            assert completion == problem.write_completion(problem.states)


@pytest.mark.parametrize("name", [name for name, start in STARTS.items() if start.guessing])
def test_a_problem_of_one_step_is_not_guessed(name):
    start = STARTS[name]
    problems = draw_problems(PROBLEMS[start.task], 200, seed=0, split="train")
    assert start.guessing[0] == 0
    assert len(start.guessing) == max(len(problem.steps) for problem in problems)
