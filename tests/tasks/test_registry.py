"""Tasks by name: those that come along, those of other packages, and the user's own."""

import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from mgrpo.errors import UserError
from mgrpo.tasks import Task, registry
from mgrpo.tasks.load import load_prompts
from mgrpo.tasks.registry import SUMMARIES, TASKS, load_task

PROJECT = Path(__file__).parents[2]
OWN = """
from mgrpo.tasks import Task

def plain(*, split, size, seed):
    return Task({"prompt": [f"{split} {size} {seed}"]})

def with_options(*, split, size, seed, level, num_agents=2):
    return Task({"prompt": [f"level {level}, {num_agents} agents"]})

def with_argument(argument, *, split, size, seed):
    return Task({"prompt": [f"{argument}"]})

def with_columns(*, split, size, seed):
    return Task({"prompt": ["p"], "question": ["q"], "answer": ["a"], "solution": ["s"]})

def with_fields(*, split, size, seed, dataset_config=None, prompt_column=None, answer_column=None, **options):
    return Task({"prompt": [f"{dataset_config} {prompt_column} {answer_column} {options}"]})

def no_task(*, split, size, seed):
    return [1]

def no_columns(*, split, size, seed):
    return Task([1])

def ragged(*, split, size, seed):
    return Task({"prompt": ["a", "b"], "answer": ["1"]})

def no_prompt(*, split, size, seed):
    return Task({"question": ["a"]})

def no_rows(*, split, size, seed):
    return Task({"prompt": []})

def broken(*, split, size, seed):
    return {}["missing"]

def no_seed(*, split, size):
    return Task({"prompt": ["a"]})
"""


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    """A working directory with the module `own_tasks`."""
    (tmp_path / "own_tasks.py").write_text(OWN)
    (tmp_path / "data.jsonl").write_text('{"prompt": "a"}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_tasks", raising=False)


def prompts(name, **fields):
    return list(load_task(name, **fields).columns["prompt"])


# Names.


def test_tasks_that_come_along():
    assert len(prompts("arithmetic", size=5)) == 5
    assert prompts("embedded:chains", size=2, split="test")[0].endswith("=")
    assert len(prompts("embedded:chains")) == 1000
    assert prompts("file:data.jsonl") == ["a"]


def test_each_task_has_a_summary():
    assert [re.split(r"[\[:]", form)[0] for form in SUMMARIES] == list(TASKS)


def test_seed_chooses_the_questions():
    assert prompts("arithmetic", size=5) == prompts("arithmetic", size=5) != prompts("arithmetic", size=5, seed=1)


@pytest.mark.parametrize("name", ["arithmetic", "smollm2-sums", "embedded:chains"])
def test_splits_of_a_generator(name):
    assert not set(prompts(name, split="train")) & set(prompts(name, split="test"))
    with pytest.raises(UserError, match="split='validation'.*'train' and 'test'"):
        load_task(name, split="validation")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "arithmetics",
            r"there is no task 'arithmetics' \(did you mean 'arithmetic'\?\); set task to one of math, gsm8k",
        ),
        ("gsm8", "there is no task 'gsm8' .*'gsm8k'"),
        ("maths:data.jsonl", r"there is no task 'maths' \(did you mean 'math'\?\)"),
        ("maths:x", r"there is no task 'maths' \(did you mean 'math'\?\)"),
        ("qqq", "there is no task 'qqq'; set task to one of .*, or to your module:function"),
        ("arithmetic:3", "'arithmetic:3'.*leave it out"),
        ("embedded:chain", "the embedded model has no task 'chain'; write embedded:chains"),
        ("embedded", "write embedded:chains"),
        ("file", "task is 'file' alone, which does not say what to read; write file:PATH"),
        ("hub:", "write hub:NAME"),
        ("choice", "write choice:SOURCE"),
        ("data.jsonl", "task is 'data.jsonl', which does not say what it is; write file:data.jsonl"),
        ("data/x.csv", "write file:data/x.csv"),
        ("./data", r"write file:\./data"),
        ("someone/data", "task is 'someone/data', which does not say what it is; write hub:someone/data"),
        ("file:nowhere.jsonl", "the file nowhere.jsonl does not exist; correct the path"),
        ("math:nowhere.jsonl", "the file nowhere.jsonl does not exist"),
    ],
)
def test_names_that_lead_nowhere(name, message):
    with pytest.raises(UserError, match=message):
        load_task(name)


def test_a_task_is_not_imported_before_it_is_asked_for():
    code = "import sys, mgrpo.tasks.load; sys.exit(bool({'datasets', 'torch', 'mgrpo.embedded'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# The user's own.


def test_own():
    assert prompts("own_tasks:plain", split="test", size=3, seed=4) == ["test 3 4"]
    assert prompts("own_tasks:with_options", options={"level": 5}) == ["level 5, 2 agents"]
    assert prompts("own_tasks:with_argument") == ["None"]


def test_the_columns_of_a_recipe():
    assert load_task("own_tasks:with_columns").columns == {"prompt": ["p"], "answer": ["a"]}
    task = load_task("own_tasks:with_columns", prompt_column="question", answer_column="solution")
    assert task.columns == {"prompt": ["q"], "answer": ["s"]}
    with pytest.raises(
        UserError, match=r"no column 'questions'; set prompt_column to one of .*did you mean 'question'"
    ):
        load_task("own_tasks:with_columns", prompt_column="questions")


def test_fields_of_a_recipe_that_a_function_takes():
    fields = {"dataset_config": "c", "prompt_column": "q", "answer_column": "a", "options": {"level": 1}}
    assert prompts("own_tasks:with_fields", **fields) == ["c q a {'level': 1}"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nowhere:f", None, "task is 'nowhere:f', which cannot be imported"),
        ("own_tasks:nothing", None, "task is 'own_tasks:nothing', which cannot be imported .*no attribute 'nothing'"),
        ("own_tasks:Task", None, "whose function does not take split; give it this keyword"),
        ("own_tasks:no_seed", None, "whose function does not take seed"),
        ("builtins:max", None, "'builtins:max'.*name one"),
        (
            "own_tasks:plain",
            {"level": 1},
            "task_options sets level, which own_tasks:plain does not have; it has no op",
        ),
        ("own_tasks:with_options", None, "own_tasks:with_options needs the option level; set it in task_options"),
        (
            "own_tasks:with_options",
            {"level": 1, "num_agent": 3},
            r"num_agent, which .* does not have \(did you mean 'num_agents'\?\); its options are level, num_agents",
        ),
        ("arithmetic", {"digits": 3}, "task_options sets digits, which arithmetic does not have; it has no options"),
        ("arithmetic", {"seed": 3}, "task_options sets seed, which is no option of a task; set dataset_seed instead"),
        ("own_tasks:no_task", None, "the task 'own_tasks:no_task' returned a list; return a mgrpo.tasks.Task"),
        ("own_tasks:no_columns", None, "the columns of the task .* are a list; make them a dictionary"),
        ("own_tasks:ragged", None, r"different lengths \(\{'prompt': 2, 'answer': 1\}\); make them equal"),
        ("own_tasks:broken", None, r"failed with KeyError: 'missing' \(own_tasks.py, line 35\)"),
    ],
)
def test_mistakes_in_an_own_task(name, options, message):
    with pytest.raises(UserError, match=message):
        load_task(name, options=options)


def test_an_own_task_without_prompts():
    with pytest.raises(
        UserError, match="own_tasks:no_prompt has no column 'prompt'; set prompt_column to one of quest"
    ):
        load_task("own_tasks:no_prompt")
    assert prompts("own_tasks:no_prompt", prompt_column="question") == ["a"]
    with pytest.raises(UserError, match="own_tasks:no_rows holds no rows"):
        load_prompts("own_tasks:no_rows")


def test_the_example(monkeypatch):
    code = (PROJECT / "examples" / "own_task.py").read_text().partition("import random")[2]
    assert code in (PROJECT / "docs" / "how-to" / "own-task.md").read_text()
    monkeypatch.syspath_prepend(str(PROJECT / "examples"))
    task = load_task("own_task:clock", split="test", size=50, options={"hours": 24})
    assert len(task.columns["prompt"]) == 50
    for prompt, answer in zip(task.columns["prompt"], task.columns["answer"], strict=True):
        hours, now, later = map(int, re.findall(r"\d+", prompt))
        expected = now
        for _ in range(later):
            expected = 1 if expected == hours else expected + 1
        assert hours == 24 and answer == str(expected)
    assert not set(task.columns["prompt"]) & set(prompts("own_task:clock", options={"hours": 24}))


# Other packages.


@pytest.fixture
def installed(monkeypatch):
    """Pretends that packages with tasks are installed."""

    def entry_points(*, group):
        assert group == "mgrpo.tasks"
        found = {"games": "own_tasks:with_argument", "lost": "nowhere:f", "math": "own_tasks:plain"}
        return [EntryPoint(name, value, group) for name, value in found.items()]

    monkeypatch.setattr(registry, "entry_points", entry_points)


def test_entry_points(installed):
    assert prompts("games:chess") == ["chess"]
    assert prompts("games") == ["None"]
    assert list(registry.installed_tasks()) == ["games", "lost"]  # what comes along is not covered
    with pytest.raises(UserError, match="did you mean 'games'"):
        load_task("game")
    with pytest.raises(UserError, match=r"the task 'lost' \(nowhere:f\) cannot be imported"):
        load_task("lost")


def test_a_registered_task(monkeypatch):
    monkeypatch.setitem(TASKS, "numbers", "mgrpo.tasks.arithmetic:arithmetic")
    assert isinstance(load_task("numbers", size=2), Task)
