import math

import pytest

from mgrpo.errors import UserError
from mgrpo.recipes.files import RECIPES, environment_of, read_recipe_file
from mgrpo.recipes.recipe import load_recipe, write_config
from mgrpo.runs.files import CONFIG_FILE

NEEDED = {
    "output_dir": "unused",
    "model_name_or_path": "embedded",
    "task": "embedded:chains",
    "use_cpu": True,
    "bf16": False,
}


def load(overrides=None, **fields):
    return load_recipe({**NEEDED, **fields}, source="mine.yaml", overrides=overrides)


def value(name, given):
    return load(**{name: given}).resolved[name]


def test_an_adapter_shares_no_prompts():
    with pytest.raises(
        UserError, match="share_prompts is on, but the policy is an adapter .*set share_prompts to false"
    ):
        load(share_prompts=True, gradient_checkpointing=False, use_peft=True)


# Values.


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("learning_rate", "1e-6", 1e-6),  # YAML 1.1 reads 1e-6 as text
        ("learning_rate", 1, 1.0),
        ("max_steps", "-1", -1),
        ("max_steps", 600.0, 600),
        ("max_completion_length", "14", 14),
        ("iqr_multiplier", "none", None),
        ("iqr_multiplier", None, None),
        ("iqr_multiplier", "0.5", 0.5),
        ("eval_task", "null", None),
        ("report_to", "none", "none"),
        ("gradient_checkpointing", "false", False),  # on by default
        ("gradient_checkpointing", "true", True),
        ("conversational", "yes", True),
        ("use_cpu", 1, True),
        ("eval_strategy", False, "no"),  # YAML 1.1 reads no as false
        ("output_dir", 7, "7"),
        ("run_name", "true", "true"),
        ("lora_target_modules", ["q_proj", "v_proj"], ["q_proj", "v_proj"]),
        ("reward_funcs", "mine:length", ["mine:length"]),
        ("pad_to_multiple_of", 8, 8),
        ("lr_scheduler_kwargs", {"num_cycles": 2}, {"num_cycles": 2}),
        ("lr_scheduler_kwargs", '{"num_cycles": 2}', {"num_cycles": 2}),
        ("task_options", '{"num_agents": 3}', {"num_agents": 3}),
        ("task_options", "null", None),
        ("prompt_template", "", ""),  # none, and not the task's own
        ("prompt_template", "null", None),
        ("conversational", "null", None),
    ],
)
def test_values(name, given, expected):
    fields = {"use_peft": True} if name.startswith("lora_") else {}
    resolved = load(**{name: given}, **fields).resolved[name]
    assert resolved == expected and type(resolved) is type(expected)


def test_a_list_of_numbers():
    recipe = load(reward_funcs=["a:f"], reward_weights=["1", 2])
    assert recipe.config.reward_weights == [1.0, 2.0]


def test_the_command_line_wins():
    recipe = load(seed=1, momentum=0.9, overrides={"seed": "2"})
    assert (recipe.config.seed, recipe.config.momentum) == (2, 0.9)


def test_what_the_recipe_sets_reaches_its_place():
    recipe = load(prompt_column="question", learning_rate="3e-5", dtype="bfloat16", env={"A": "1"})
    assert recipe.data.prompt_column == "question"
    assert recipe.config.learning_rate == 3e-5
    assert recipe.model.dtype == "bfloat16"
    assert recipe.env == {"A": "1"}
    assert recipe.given == {*NEEDED, "prompt_column", "learning_rate", "dtype"}


# Mistakes.


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("learning_rat", 1, "mine.yaml sets learning_rat, but there is no such field; did you mean learning_rate?"),
        ("max-steps", 1, "sets max-steps, but there is no such field; did you mean max_steps?"),
        ("momentun", 1, "did you mean momentum?"),
        ("qqqq", 1, "sets qqqq, but there is no such field; docs/recipes.md lists them"),
        (3, 1, "sets 3, but there is no such field"),
        ("learning_rate", "abc", "mine.yaml sets learning_rate to 'abc', but it must be a number"),
        ("learning_rate", "nan", "sets learning_rate to 'nan', but it must be a number"),
        ("learning_rate", math.nan, "sets learning_rate to nan, but it must be a number"),
        ("learning_rate", [1, 2], "sets learning_rate to [1, 2], but it must be a number"),
        ("learning_rate", True, "sets learning_rate to True, but it must be a number"),
        ("learning_rate", {"a": 1}, "but it must be a number"),
        ("num_generations", "1.5", "sets num_generations to '1.5', but it must be a whole number"),
        ("num_generations", 1.5, "sets num_generations to 1.5, but it must be a whole number"),
        ("momentum", None, "sets momentum to none, but it must be a number; give it a value"),
        ("momentum", "none", "sets momentum to none, but it must be a number"),
        ("use_cpu", "maybe", "sets use_cpu to 'maybe', but it must be true or false"),
        ("use_cpu", 2, "sets use_cpu to 2, but it must be true or false"),
        ("gradient_checkpointing", "maybe", "but it must be true or false"),
        ("prompt_column", True, "sets prompt_column to True, but it must be text (in quotes)"),
        ("prompt_column", ["a", "b"], "sets prompt_column to ['a', 'b'], but it must be text"),
        ("reward_funcs", [["a:f"]], "sets reward_funcs to [['a:f']]"),
        ("lr_scheduler_kwargs", "{a", "but it must be a mapping, {NAME: value}"),
        ("task_options", "num_agents", "sets task_options to 'num_agents', but it must be a mapping, {NAME: value}"),
        ("on_bad_prompt", "skip", "sets on_bad_prompt to 'skip'; it must be one of drop, refuse"),
        ("eval_strategy", "step", "sets eval_strategy to 'step'; did you mean steps?"),
        ("eval_strategy", True, "sets eval_strategy to True; it must be one of no, steps, epoch"),
        ("optim", "adamw", "sets optim to 'adamw'; did you mean adamw_torch?"),
        ("lr_scheduler_type", "cosin", "did you mean cosine?"),
        ("dtype", "fp16", "it must be one of auto, bfloat16, float16, float32"),
        ("report_to", "wandbb", "did you mean wandb?"),
        ("dataset_size", 0, "dataset_size is 0; set it to 1 or more"),
        ("eval_dataset_size", -1, "eval_dataset_size is -1; set it to 1 or more"),
        ("max_prompt_length", 0, "max_prompt_length is 0; set it to 1 or more"),
        ("loss_type", "grpo", "loss_type is 'grpo', which divides by dropped completions too; set it to one of dapo"),
        ("eval_strategy", "epoch", "there is nothing to evaluate on; set eval_task"),
        ("reward_weights", [1, 1], "reward_weights has 2 numbers, but there are 1 rewards"),
        ("load_in_4bit", True, "load_in_4bit is on, but a policy is not trained in quantized weights here"),
        ("model_init_kwargs", {"a": 1}, "model_init_kwargs is set"),
        ("lora_r", 8, "lora_r is set, but use_peft is not, so there is no adapter; add use_peft: true"),
        ("warmup_steps", -1, "mine.yaml: Got warmup_steps = -1.0, Expected value warmup_steps >= 0"),  # transformers'
    ],
)
def test_mistakes(name, given, message):
    fields = {"num_generations_eval": 8} if name == "eval_strategy" else {}
    with pytest.raises(UserError) as error:
        load(**fields, **{str(name): given}) if isinstance(name, str) else load_recipe({**NEEDED, name: given}, "x")
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["output_dir", "model_name_or_path", "task"])
@pytest.mark.parametrize("empty", [None, "", "absent"])
def test_needed_fields(name, empty):
    fields = {**NEEDED, name: empty}
    if empty == "absent":
        del fields[name]
    with pytest.raises(UserError, match=f"mine.yaml does not set {name}; add it there, or pass --{name} VALUE"):
        load_recipe(fields, source="mine.yaml")


def test_adapter_fields_may_stand_beside_an_adapter_that_is_switched_off():
    assert not load(use_peft=True, lora_r=8, overrides={"use_peft": "false"}).model.use_peft


def test_a_mistake_on_the_command_line_is_found_there():
    with pytest.raises(UserError, match="the command line sets seed to 'x', but it must be a whole number"):
        load(seed=1, overrides={"seed": "x"})
    with pytest.raises(UserError, match="--seed stands on the command line without a value; it must be a whole"):
        load(overrides={"seed": True})


@pytest.mark.parametrize(
    ("fields", "package"), [({"use_vllm": True, "iqr_multiplier": None}, "vllm"), ({"report_to": "wandb"}, "wandb")]
)
def test_packages_that_are_missing(monkeypatch, fields, package):
    monkeypatch.setattr("mgrpo.recipes.recipe.find_spec", lambda name: None)
    monkeypatch.setattr("mgrpo.training.vllm_check.is_vllm_available", lambda: False)
    with pytest.raises(UserError, match=rf"{package}.* not installed: pip install '?(mgrpo\[)?{package}"):
        load(**fields)


# Files.


@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("embedded*.yaml")))
def test_the_written_recipe_is_the_same_recipe(recipe, tmp_path):
    first = load_recipe(read_recipe_file(recipe), source=recipe)
    write_config(first, tmp_path)
    again = read_recipe_file(str(tmp_path / CONFIG_FILE))
    second = load_recipe(again, source="again")
    assert second.resolved == first.resolved
    assert second.env == first.env != {}
    assert list(again)[: len(first.given)] == [name for name in first.resolved if name in first.given]
    write_config(second, tmp_path)
    assert load_recipe(read_recipe_file(str(tmp_path / CONFIG_FILE)), source="again").resolved == first.resolved


def test_lists_mappings_and_text_survive_being_written(tmp_path):
    fields = {
        "reward_funcs": ["a:f", "b:g"],
        "lr_scheduler_kwargs": {"num_cycles": 2},
        "prompt_template": "{prompt}\nPut it into \\boxed{}: ",
        "report_to": "none",
        "answer_column": "no",
        "run_name": "007",
        "learning_rate": "1e-6",
    }
    first = load(**fields)
    write_config(first, tmp_path)
    assert load_recipe(read_recipe_file(str(tmp_path / CONFIG_FILE)), "again").resolved == first.resolved


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_recipes_that_come_along_are_read_as_they_stand(name):
    fields = read_recipe_file(name)
    environment_of(fields, source=name)
    here = {"use_cpu": True, "bf16": False, "use_vllm": False, "report_to": "none"}  # without a GPU and other packages
    here["entropy_source"] = "exact"
    recipe = load_recipe(fields, source=name, overrides=here)
    for field, value in recipe.resolved.items():
        if field in fields and field not in here and isinstance(value, float):
            assert value == float(fields[field])
