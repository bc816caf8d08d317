"""Reward functions: what is refused before a model is loaded, and what their faults look like when they are called."""

import asyncio
import functools
import math

import pytest
from trl.rewards import accuracy_reward, get_repetition_penalty_reward, get_soft_overlong_punishment

from mgrpo.errors import UserError
from mgrpo.training.rewards import check_reward, guarded_reward, listed

BATCH = {
    "prompts": ["1+1=", "1+2="],
    "completions": ["2", "3"],
    "completion_ids": [[2], [3]],
    "trainer_state": None,
    "log_extra": print,
    "log_metric": print,
}


def length(completions):
    return [len(text) for text in completions]


class ByObject:
    def __init__(self, factor=2):
        self.factor = factor

    def __call__(self, completions, **_):
        return [self.factor * len(text) for text in completions]


async def later(completions, **_):
    return [len(text) for text in completions]


@pytest.mark.parametrize(
    ("function", "name", "rewards"),
    [
        (length, "length", [1, 1]),
        (lambda **given: [len(given["prompts"])] * 2, "<lambda>", [2, 2]),
        (lambda prompts, completions, scale=3: [scale, None], "<lambda>", [3, None]),
        (ByObject(), "ByObject", [2, 2]),
        (functools.partial(length), "length", [1, 1]),
        (lambda completions, **_: (float(len(text)) for text in completions), "<lambda>", [1, 1]),
        (lambda completions, **_: [math.nan, True], "<lambda>", [math.nan, 1]),
    ],
)
def test_what_is_called_as_trl_calls_it(function, name, rewards):
    check_reward(function)
    guarded = guarded_reward(function)
    assert guarded.__name__ == name  # TRL logs a reward under it
    assert guarded(**BATCH) == pytest.approx(rewards, nan_ok=True)


def test_async_functions_are_awaited():
    check_reward(later)
    guarded = guarded_reward(later)
    assert asyncio.iscoroutinefunction(guarded)
    assert asyncio.run(guarded(**BATCH)) == [1, 1]


def test_reward_models_are_trl_s():
    check_reward("some/reward-model")
    assert guarded_reward("some/reward-model") == "some/reward-model"


def test_columns_of_the_data_may_be_asked_for():
    def by_level(completions, level, **_):
        return level

    with pytest.raises(UserError, match="asks for level"):
        check_reward(by_level)
    check_reward(by_level, ["level"])
    assert guarded_reward(by_level)(**BATCH, level=[1, 2]) == [1, 2]


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        (lambda completions, solution, **_: [], ["solution", "test_rewards.py, line", "right answers never reach"]),
        (lambda completions, answer, level: [], ["asks for answer, level"]),
        (accuracy_reward, ["accuracy_rewards:accuracy_reward", "asks for solution", "label_source: gold"]),
        (get_soft_overlong_punishment, ["asks for max_completion_len, soft_punish_cache"]),
        (get_repetition_penalty_reward, ["takes nothing that a reward is given"]),
        (lambda completions, /: [], ["asks for completions", "by name"]),
        (ByObject, ["ByObject", "is a class", "make an object of it"]),
        ("mine:reward", ["'mine:reward'", "pass the function itself"]),
        (3, ["the reward 3 is a int"]),
    ],
)
def test_what_cannot_be_called_is_refused_with_its_place(function, parts):
    with pytest.raises(UserError) as error:
        check_reward(function)
    assert all(part in str(error.value) for part in parts)


def raises_within(completions, **_):
    return [math.sqrt(-1) for _ in completions]


def reads_messages(completions, **_):
    return [completion[0]["content"] for completion in completions]


def reads_answers(completions, **given):
    return [given["solution"] == completion for completion in completions]


async def raises_later(completions, **_):
    raise OSError("the judge does not answer")


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        (raises_within, ["raises_within failed with ValueError", "test_rewards.py, line"]),
        (reads_messages, ["failed with TypeError", "each completion is text"]),
        (reads_answers, ["failed with KeyError: 'solution'", "right answers are not given"]),
        (lambda **_: None, ["returned None", "a number or None for each completion"]),
        (lambda **_: 1.0, ["returned 1.0"]),
        (lambda **_: "11", ["returned '11'"]),
        (lambda **_: [1.0], ["returned 1 rewards for 2 completions"]),
        (lambda **_: [1.0, "good"], ["returned 'good' for completion 1"]),
        (lambda **_: [1.0, [2.0, 3.0]], ["returned [2.0, 3.0] for completion 1"]),
        (lambda **_: [math.nan] * 2, ["returned nan for all 2 completions"]),
    ],
)
def test_what_goes_wrong_in_a_call_names_the_function_and_the_place(function, parts):
    with pytest.raises(UserError) as error:
        guarded_reward(function)(**BATCH)
    assert all(part in str(error.value) for part in ["test_rewards:", *parts])


def test_what_goes_wrong_in_an_async_call():
    with pytest.raises(UserError, match=r"raises_later failed with OSError: the judge.*test_rewards.py, line"):
        asyncio.run(guarded_reward(raises_later)(**BATCH))


def test_no_reward_for_a_whole_batch_is_reported_once(caplog):
    guarded = guarded_reward(lambda **_: [None, None])
    assert guarded(**BATCH) == guarded(**BATCH) == [None, None]
    assert sum("returned None for all 2 completions" in record.message for record in caplog.records) == 1


def test_one_several_or_none():
    assert (listed(None), listed(length), listed((1, 2)), listed([3])) == ([], [length], [1, 2], [3])
