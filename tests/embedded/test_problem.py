import random

import pytest

from mgrpo.embedded.chains import Chain
from mgrpo.embedded.problem import draw_problems, stream_problems
from mgrpo.embedded.swaps import Swaps
from mgrpo.tasks.split import split_of

each_task = pytest.mark.parametrize("kind", [Chain, Swaps])


@each_task
def test_splits_are_disjoint(kind):
    train = {problem.prompt for problem in draw_problems(kind, 8_000, seed=0, split="train")}
    test = {problem.prompt for problem in draw_problems(kind, 8_000, seed=0, split="test")}
    assert not train & test
    assert {split_of(prompt) for prompt in test} == {"test"}


@each_task
def test_problems_depend_on_the_seed_alone(kind):
    assert draw_problems(kind, 50, seed=1, split="test")[:20] == draw_problems(kind, 20, seed=1, split="test")
    assert draw_problems(kind, 20, seed=1, split="test") != draw_problems(kind, 20, seed=2, split="test")


@pytest.mark.parametrize(("kind", "max_prompt_tokens"), [(Chain, 13), (Swaps, 10)])
def test_prompts_and_completions_fit(kind, max_prompt_tokens):
    problems = draw_problems(kind, 1_000, seed=0, split="train")
    completions = [problem.write_completion(problem.states) for problem in problems]
    assert max(len(problem.prompt) for problem in problems) == max_prompt_tokens
    assert max(len(completion) for completion in completions) == kind.max_completion_tokens
    assert set("".join(problem.prompt for problem in problems) + "".join(completions)) == {*kind.alphabet, "$"}


@each_task
def test_noise_slips_in_12_percent_of_steps(kind):
    rng = random.Random(0)
    slips = []
    for problem in draw_problems(kind, 5_000, seed=0, split="train"):
        before = problem.start
        for step, state in zip(problem.steps, problem.noisy_states(rng), strict=True):
            # each step goes on from the slipped state of the step before
            slips.append(state != kind.take(before, step))
            before = state
    # 12,500 steps or more: the standard error is 0.003
    assert sum(slips) / len(slips) == pytest.approx(0.12, abs=0.01)


@each_task
def test_without_noise_a_demonstration_is_right(kind):
    for problem in draw_problems(kind, 100, seed=0, split="train"):
        assert problem.noisy_states(random.Random(0), noise=0) == problem.states


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="num=-1"):
        draw_problems(Chain, -1, seed=0, split="test")
    with pytest.raises(ValueError, match="split='dev'"):
        stream_problems(Chain, seed=0, split="dev")
    with pytest.raises(ValueError, match="noise=1.2"):
        Chain(1, (("+", 1),)).noisy_states(random.Random(0), noise=1.2)
    with pytest.raises(ValueError, match="at least one"):
        Chain.write_completion(())
