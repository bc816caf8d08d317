"""Errors that libraries raise before the first step become one message; this package's own keep their traceback."""

import pytest
import torch
from transformers import GenerationConfig

from mgrpo.cli import main
from mgrpo.commands.library_errors import library_refusal
from mgrpo.recipes.files import read_recipe_file
from mgrpo.recipes.recipe import load_recipe


@pytest.fixture(scope="module")
def recipe():
    return load_recipe(read_recipe_file("embedded"), "embedded")


def raised(call):
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError


def test_a_library_s_error_names_it_the_place_and_the_field(recipe):
    error = raised(lambda: GenerationConfig(cache_implementation="foo").validate())
    message = str(library_refusal(error, recipe))
    for part in ("transformers cannot work", "Invalid `cache_implementation` (foo)", "configuration_utils.py, line"):
        assert part in message
    assert "it names cache_implementation (None)" in message


def test_other_errors_keep_their_traceback(recipe):
    assert library_refusal(raised(lambda: 1 / 0), recipe) is None
    assert library_refusal(raised(lambda: torch.zeros(2) + torch.zeros(3)), recipe) is None  # no Python of torch's
    assert library_refusal(raised(lambda: load_recipe({}, "mine.yaml")), recipe) is None


SMALL = ["--max_steps", "1", "--eval_strategy", "no", "--dataset_size", "8", "--num_generations", "4", "--quiet"]
SMALL += ["--num_momentum_generations", "2", "--per_device_train_batch_size", "8", "--probe_prompts", "2"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (["--router_aux_loss_coef", "0.1"], "router_aux_loss_coef (0.1)"),  # when the trainer is built
        (["--dataloader_persistent_workers", "true"], "persistent_workers option needs"),  # when training begins
        (["--generation_kwargs", "{bad_words_ids: []}"], "bad_words_ids"),  # when the first completion is sampled
    ],
)
def test_a_run_that_a_library_refuses_ends_in_one_message(tmp_path, capsys, fields, said):
    assert main(["train", "--config", "embedded", *SMALL, "--output_dir", str(tmp_path / "run"), *fields]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
