"""Names of fields, without their dataclasses, and what is said of names that are none."""

import subprocess
import sys

import pytest

from mgrpo.errors import UserError
from mgrpo.options import options_of, plain
from mgrpo.recipes.names import ALIASES, check_names, field_names
from mgrpo.recipes.recipe import RECIPE_TYPES


def test_the_names_are_the_dataclasses_fields():
    assert field_names() == set(options_of(*RECIPE_TYPES))


def test_aliases_lead_to_fields_and_are_none():
    aliases = [alias for names in ALIASES.values() for alias in names.split()]
    assert set(ALIASES) <= field_names()
    assert len(set(aliases)) == len(aliases) and not set(aliases) & field_names()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("learning_rat", "mine.yaml sets learning_rat, but there is no such field; did you mean learning_rate?"),
        ("momentun", "did you mean momentum?"),
        ("max-steps", "did you mean max_steps?"),
        ("torch_dtype", "did you mean dtype?"),
        ("torch-dtype", "did you mean dtype?"),
        ("dataset_name", "did you mean task?"),
        ("overwrite_output_dir", "did you mean resume?"),
        ("dataset_test_split", "did you mean eval_dataset_split?"),
        ("evaluation_strategy", "did you mean eval_strategy?"),
        ("max_new_tokens", "did you mean max_completion_length?"),
        ("warmup_ratio", "did you mean warmup_steps?"),
        ("no_cuda", "did you mean use_cpu?"),
        ("kl_coef", "did you mean beta?"),
        ("lr", "did you mean learning_rate?"),
        ("lora_rank", "did you mean lora_r?"),
        ("qqqq", "lists them"),
        ("", "lists them"),
        (3, "sets 3, but there is no such field"),
    ],
)
def test_names_that_are_no_field(name, hint):
    with pytest.raises(UserError) as error:
        check_names({"seed": 1, name: 1}, "mine.yaml")
    assert hint in str(error.value)


def test_nested_fields():
    with pytest.raises(UserError, match="sets training, .* a recipe is flat"):
        check_names({"env": {"A": 1}, "training": {"seed": 1}}, "mine.yaml")


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--config", "embedded", "--learning_rat", "1"],
        ["train", "--config", "typo.yaml"],
        ["tasks", "show", "--config", "typo.yaml"],
        ["plan", "--config", "typo.yaml"],
        ["study", "study.yaml"],
    ],
)
def test_a_typo_is_reported_before_torch_is_imported(tmp_path, command):
    (tmp_path / "typo.yaml").write_text("learning_rat: 1")
    (tmp_path / "study.yaml").write_text("base: embedded\nseeds: [0]\nvariants: {a: {learning_rat: 1}}")
    code = f"import sys\nfrom mgrpo.cli import main\nmain({command})\nsys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert "did you mean learning_rate?" in done.stderr and done.returncode == 0


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("momentum", "1.5", "from 0 to 1"),
        ("num_generations", 1, "2 or more"),
        ("learning_rate", "fast", "a number, 0 or more"),
        ("use_peft", "maybe", "true or false"),
        ("lora_r", "x", "a whole number"),
        ("entropy_source", "exct", "did you mean exact?"),
    ],
)
def test_a_typo_in_a_value_is_refused_before_torch_is_imported(name, value, expected):
    with pytest.raises(UserError) as error:
        check_names({name: value}, "mine.yaml")
    assert f"mine.yaml sets {name} to {value!r}" in str(error.value) and expected in str(error.value)


def test_values_are_read_as_the_whole_recipe_reads_them():
    """Every default of a recipe passes, and what only the whole recipe can judge is left to it."""
    options = options_of(*RECIPE_TYPES)
    plain_values = {name: plain(option.default) for name, option in options.items()}
    check_names(plain_values, "defaults")
    check_names({"label_source": "anything", "optim": "anything", "eval_steps": 0.5, "max_steps": None}, "mine.yaml")
