import pytest

from mgrpo.errors import UserError
from mgrpo.recipes import recipe as recipe_module
from mgrpo.recipes.fields import DataArguments
from mgrpo.recipes.files import RECIPES, environment_of, read_recipe_file
from mgrpo.recipes.recipe import load_data, load_fields, load_recipe, revision_of, write_config
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


def test_the_command_line_wins():
    recipe = load(seed=1, momentum=0.9, overrides={"seed": "2"})
    assert (recipe.config.seed, recipe.config.momentum) == (2, 0.9)


def test_each_field_reaches_its_part_of_the_recipe():
    recipe = load(prompt_column="question", learning_rate="3e-5", dtype="bfloat16", env={"A": "1"})
    assert recipe.data.prompt_column == "question"
    assert recipe.config.learning_rate == 3e-5
    assert recipe.model.dtype == "bfloat16"
    assert recipe.env == {"A": "1"}
    assert recipe.given == {*NEEDED, "prompt_column", "learning_rate", "dtype"}


@pytest.mark.parametrize("name", ["prompt_template", "system_prompt"])
def test_none_is_no_text_and_null_the_task_s_own(name):
    assert [load_fields({name: value}, "x")[name] for value in ("None", "none", "", None, "null")] == [""] * 3 + [
        None
    ] * 2


def test_a_runs_own_recipe_is_for_the_run_where_it_is_now(tmp_path):
    write_config(load(), tmp_path)
    config = str(tmp_path / CONFIG_FILE)
    assert read_recipe_file(config)["output_dir"].endswith("unused")
    (tmp_path / "environment.json").touch()
    assert read_recipe_file(config)["output_dir"] == str(tmp_path)


@pytest.mark.parametrize(("given", "expected"), [("main", None), ("v2", "v2")])
def test_main_is_no_revision(given, expected):
    assert revision_of(load_fields({"model_revision": given}, "x")) == expected


# Mistakes.


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"dataset_size": 0}, ["mine.yaml sets dataset_size to 0", "1 or more"]),
        ({"eval_dataset_size": -1}, ["mine.yaml sets eval_dataset_size to -1", "1 or more"]),
        ({"max_prompt_length": 0}, ["mine.yaml sets max_prompt_length to 0", "1 or more"]),
        ({"loss_type": "grpo"}, ["mine.yaml sets loss_type to 'grpo'", "dapo, bnpo, cispo, vespo"]),
        ({"momentum": 1.5}, ["mine.yaml sets momentum to 1.5", "from 0 to 1"]),
        ({"resume_from_checkpoint": "last"}, ["mine.yaml sets resume_from_checkpoint to 'last'", "set resume"]),
        ({"eval_strategy": "epoch", "num_generations_eval": 8}, ["eval_strategy", "nothing", "set eval_task"]),
        ({"reward_weights": [1, 1]}, ["reward_weights has 2 numbers", "1 rewards"]),
        ({"deepspeed": "nowhere.json"}, ["deepspeed is ", "nowhere.json, a file that does not exist"]),
        ({"deepspeed": {"zero_optimization": {"stage": 2}}}, ["deepspeed is set", "pip install deepspeed"]),
        ({"load_in_4bit": True}, ["load_in_4bit is on", "set it to false"]),
        (
            {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_task": "embedded:chains"}
            | {"num_generations_eval": 8, "eval_steps": 500},
            ["metric_for_best_model is loss", "set it to eval_gold/accuracy"],
        ),
        ({"metric_for_best_model": "eval_gold/acuracy"}, ["eval_gold/acuracy", "did you mean 'gold/accuracy'"]),
        ({"model_init_kwargs": {"a": 1}}, ["model_init_kwargs is set", "remove it"]),
        ({"lora_r": 8}, ["lora_r is set, but use_peft is not", "add use_peft: true"]),
        ({"torch_empty_cache_steps": 0}, ["mine.yaml: ", "torch_empty_cache_steps", "got 0"]),  # its own
    ],
)
def test_mistakes(fields, parts):
    with pytest.raises(UserError) as error:
        load(**fields)
    for part in parts:
        assert part in str(error.value)


def test_a_name_that_is_no_text():
    with pytest.raises(UserError, match="sets 3, but there is no such field"):
        load_recipe({**NEEDED, 3: 1}, "x")


@pytest.mark.parametrize("name", ["output_dir", "model_name_or_path", "task"])
@pytest.mark.parametrize("empty", [None, "", "absent"])
def test_needed_fields(name, empty):
    fields = {**NEEDED, name: empty}
    if empty == "absent":
        del fields[name]
    with pytest.raises(UserError, match=f"mine.yaml does not set {name}; .*--{name}"):
        load_recipe(fields, source="mine.yaml")


def test_adapter_fields_are_allowed_where_the_adapter_is_switched_off():
    assert not load(use_peft=True, lora_r=8, overrides={"use_peft": "false"}).model.use_peft


def test_a_message_names_the_command_line():
    with pytest.raises(UserError, match="the command line sets seed to 'x', but it must be a whole number"):
        load(seed=1, overrides={"seed": "x"})


@pytest.mark.parametrize(
    ("fields", "package"), [({"use_vllm": True, "iqr_multiplier": None}, "vllm"), ({"report_to": "wandb"}, "wandb")]
)
def test_packages_that_are_missing(monkeypatch, fields, package):
    monkeypatch.setattr("mgrpo.training.library_checks.find_spec", lambda name: None)
    monkeypatch.setattr("mgrpo.training.checks.is_vllm_available", lambda: False)
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
def test_built_in_recipes_are_read_as_they_are(name):
    fields = read_recipe_file(name)
    environment_of(fields, source=name)
    here = {"use_cpu": True, "bf16": False, "use_vllm": False, "report_to": "none"}  # without a GPU and other packages
    here["entropy_source"] = "exact"
    recipe = load_recipe(fields, source=name, overrides=here)
    for field, value in recipe.resolved.items():
        if field in fields and field not in here and isinstance(value, float):
            assert value == float(fields[field])


# Data: a task is asked and read as its recipe says.


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
    monkeypatch.setattr(recipe_module, "load_prompts", None)
    with pytest.raises(UserError, match=f"{field} is 'boxd'"):
        load_data(DataArguments(**{field: "boxd"}), "embedded:chains", "train", 4)


# Columns of the training data and of the held-out data.


@pytest.fixture
def columns(tmp_path, monkeypatch):
    """A working directory with train.jsonl (`question` alone) and test.jsonl (`problem`, `answer`)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.jsonl").write_text('{"question": "1 + 1?"}\n')
    row = '{"question": "2 + 2?", "problem": "3 + 3?", "answer": "4", "solution": "6"}\n'
    (tmp_path / "test.jsonl").write_text(row)


def load_both(**fields):
    data = DataArguments(task="file:train.jsonl", eval_task="file:test.jsonl", **fields)
    _, train = load_data(data, data.task, "train", None)
    _, held_out = load_data(data, data.eval_task, "test", None, is_held_out=True)
    return train.to_list(), held_out.to_list()


@pytest.mark.parametrize(
    ("fields", "held_out"),
    [
        ({"answer_column": "answer"}, {"prompt": "2 + 2?", "answer": "4"}),
        ({"eval_answer_column": "answer"}, {"prompt": "2 + 2?", "answer": "4"}),
        (
            {"eval_prompt_column": "problem", "eval_answer_column": "solution"},
            {"prompt": "3 + 3?", "answer": "6"},
        ),
        ({}, {"prompt": "2 + 2?"}),
        ({"eval_answer_column": ""}, {"prompt": "2 + 2?"}),
    ],
)
def test_training_prompts_without_answers_and_held_out_ones_with_answers(columns, fields, held_out):
    assert load_both(prompt_column="question", **fields) == ([{"prompt": "1 + 1?"}], [held_out])


def test_a_missing_column_of_the_held_out_data_names_the_held_out_field(columns):
    with pytest.raises(UserError, match=r"test.jsonl has no column 'answers'; set eval_answer_column to .*'answer'"):
        load_both(prompt_column="question", answer_column="answers")
    with pytest.raises(UserError, match="test.jsonl has no column 'text'; set eval_prompt_column to one of question"):
        load_both(prompt_column="question", eval_prompt_column="text")


def test_a_training_column_that_only_the_training_data_could_have_is_refused(columns):
    with pytest.raises(UserError, match="train.jsonl has no column 'gold'"):
        load_both(prompt_column="question", answer_column="gold", eval_answer_column="answer")
    data = DataArguments(prompt_column="question", answer_column="answer")  # and no held-out data
    with pytest.raises(UserError, match="no column 'answer'.*leave answer_column out") as caught:
        load_data(data, "file:train.jsonl", "train", None)
    assert "one of question" not in str(caught.value)  # the questions are not the answers
