"""Recipes by name and by path, several over one another, and what a command line adds."""

import os

import pytest

from mgrpo.errors import UserError
from mgrpo.options import COMMAND_LINE
from mgrpo.recipes.files import RECIPES, environment_of, read_command, read_recipe_file, read_recipe_files


@pytest.fixture
def recipe(tmp_path):
    """Writes a recipe; returns its path."""

    def write(text, name="mine.yaml"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize("name", ["embedded", "embedded.yaml", "recipes/embedded.yaml"])
def test_a_built_in_recipe_by_name(name):
    assert read_recipe_file(name) == read_recipe_file(str(RECIPES / "embedded.yaml"))


def test_a_preset_by_name():
    assert read_recipe_file("srt")["num_momentum_generations"] == 0


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("embeded", "did you mean embedded?"),
        ("qqqq", "built-in recipes: embedded, "),
        ("elsewhere/embedded.yaml", "there is no recipe elsewhere/embedded.yaml"),  # a path, not a built-in recipe
    ],
)
def test_unknown_names(name, hint):
    with pytest.raises(UserError) as error:
        read_recipe_file(name)
    assert hint in str(error.value)


def test_a_file_next_to_a_mistyped_one_is_named(recipe):
    path = recipe("seed: 1")
    with pytest.raises(UserError, match="did you mean .*mine.yaml"):
        read_recipe_file(path.replace("mine", "min"))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"a: [1,\nb: }", "no valid YAML"),
        (b"- a\n- b\n", "flat mapping"),
        (b"", "flat mapping"),
        (b"a: \xff", "byte 3 is not UTF-8"),
    ],
)
def test_broken_files(recipe, content, part):
    with pytest.raises(UserError) as error:
        read_recipe_file(recipe(content))
    assert "mine.yaml" in str(error.value) and part in str(error.value)


def test_later_recipes_override_earlier_ones_and_env_is_joined(recipe):
    first = recipe("seed: 1\nmomentum: 0.9\nenv: {A: 1, B: true}", "first.yaml")
    second = recipe("seed: 2\nenv: {B: 2}", "second.yaml")
    assert read_recipe_files([first, second]) == {"seed": 2, "momentum": 0.9, "env": {"A": "1", "B": "2"}}


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("seed: 1\nmomentum: 0.9\nseed: 2", "seed", "1 and 3"),
        ("seed: 1\n\n'seed': 1", "seed", "1 and 3"),
        ("{seed: 1, seed: 2}", "seed", "1 and 1"),
        ("env:\n  A: 1\n  A: 2", "A", "2 and 3"),
        ("task_options: {on: 1,\n  yes: 2}", "yes", "1 and 2"),  # YAML 1.1: both are true
        ("task_options: [{a: 1}, {b: 1, b: 2}]", "b", "1 and 1"),
    ],
)
def test_a_field_that_is_set_twice(recipe, text, key, lines):
    with pytest.raises(UserError) as error:
        read_recipe_file(recipe(text))
    assert f"mine.yaml sets {key} twice, on lines {lines}; remove one" in str(error.value)


def test_merge_keys_may_be_overridden(recipe):
    text = "base: &base {x: 1, y: 1}\nother: &other {<<: *base, x: 2}\nlast: {<<: [*other, *base], y: 3}"
    read = read_recipe_file(recipe(text))
    assert (read["other"], read["last"]) == ({"x": 2, "y": 1}, {"x": 2, "y": 3})


@pytest.mark.parametrize("text", ["a: 2026-02-31", "[" * 5000])
def test_yaml_that_no_value_can_be_made_of(recipe, text):
    with pytest.raises(UserError, match="mine.yaml cannot be read: it is no valid YAML: "):
        read_recipe_file(recipe(text))


@pytest.mark.parametrize("env", ["OMP_NUM_THREADS", [1], {"A": [1]}, "{A", "{A: [1]}"])
def test_env_must_be_a_mapping(env):
    with pytest.raises(UserError, match="x sets env to .* must be a mapping"):
        environment_of({"env": env}, "x")


def test_env_of_the_command_line():
    assert environment_of({"env": "{A: 1, B: true}"}, "x") == {"A": "1", "B": "true"}
    fields, _, overrides = read_command(["srt"], ["--env", "{MGRPO_TEST_UNSET: 1}"])
    assert os.environ.pop("MGRPO_TEST_UNSET") == "1"
    assert fields["env"] == {"MGRPO_TEST_UNSET": "1"} and overrides == {}


def test_a_command_of_recipes_and_fields(recipe, monkeypatch):
    monkeypatch.setenv("MGRPO_TEST_SET", "by the shell")
    monkeypatch.setenv("MGRPO_TEST_UNSET", "")  # so that it is removed after the test
    del os.environ["MGRPO_TEST_UNSET"]
    path = recipe("seed: 1\nenv: {MGRPO_TEST_SET: 1, MGRPO_TEST_UNSET: false}")
    fields, source, overrides = read_command([path, "srt"], ["--seed", "2", "--use_cpu"])
    assert (fields["seed"], source, overrides) == (1, f"{path} + srt", {"seed": "2", "use_cpu": True})
    assert (os.environ["MGRPO_TEST_SET"], os.environ["MGRPO_TEST_UNSET"]) == ("by the shell", "false")
    assert read_command(None, ["--task=gsm8k"]) == ({}, COMMAND_LINE, {"task": "gsm8k"})
