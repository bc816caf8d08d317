"""A task is asked and read as its recipe says."""

import pytest

from mgrpo.errors import UserError
from mgrpo.recipes import data as data_module
from mgrpo.recipes.data import load_data
from mgrpo.recipes.recipe import DataArguments


def test_the_task_s_own_where_the_recipe_sets_nothing():
    task, prompts = load_data(DataArguments(), "embedded:chains", "train", 4)
    assert len(prompts) == 4 and set(prompts.column_names) == {"prompt", "answer"}
    assert task.equivalence == "text"


def test_the_recipe_wins():
    arguments = DataArguments(answer_extractor="number", answer_equivalence="number", prompt_template="Q: {prompt}")
    task, prompts = load_data(arguments, "embedded:chains", "train", 4)
    assert (task.extractor, task.equivalence) == ("number", "number")
    assert all(prompt.startswith("Q: ") for prompt in prompts["prompt"])


def test_the_seed_decides_which_prompts():
    first, second, again = (
        load_data(DataArguments(dataset_seed=seed), "embedded:chains", "train", 8)[1]["prompt"] for seed in (0, 1, 0)
    )
    assert list(first) == list(again) != list(second)


@pytest.mark.parametrize("field", ["answer_extractor", "answer_equivalence"])
def test_mistakes_are_found_before_anything_is_loaded(monkeypatch, field):
    monkeypatch.setattr(data_module, "load_prompts", None)
    with pytest.raises(UserError, match=f"{field} is 'boxd'"):
        load_data(DataArguments(**{field: "boxd"}), "embedded:chains", "train", 4)
