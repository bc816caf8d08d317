"""`mgrpo tasks show`: what a user reads before training."""

import json
import re
import sys

import pytest

from mgrpo.cli import main
from mgrpo.embedded.model import CHECKPOINT, build_tokenizer
from mgrpo.models import load as models

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '$' if m['role'] == 'system' }}{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '#' * marks | default(1) }}{% endif %}"
)
OWN = """
from mgrpo.tasks import Task

def right(answers, gold):
    raise NotImplementedError

def scored(*, split, size, seed, last="9"):
    return Task({"prompt": ["1+1=", last], "answer": [{"answer": "2", "index": 0}, None]}, score=right)
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """A working directory with prompts, a module of tasks and a recipe; no model's weights can be read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.delattr(models, "_read")
    (tmp_path / "mine.py").write_text(OWN)
    rows = [{"prompt": "1+2=", "answer": "3"}, {"prompt": " "}, {"prompt": "1+1+1+1+1="}, {"prompt": "4+4="}]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.yaml").write_text("task: file:data.jsonl\nanswer_column: answer\nuse_vllm: true\nbf16: true\n")
    return tmp_path


@pytest.fixture
def show(capsys):
    """Runs `mgrpo tasks show` with arguments; returns what it prints."""

    def run(*arguments):
        assert main(["tasks", "show", *arguments]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return run


def test_a_built_in_recipe_with_texts_of_its_own(show):
    assert "--- 1" not in show("--config", "mine.yaml")
    assert "--- 1+2=" in show("--config", "mine.yaml", "--prompt_template=--- {prompt}")
    assert "embedded:chains" in show("--config", "embedded", "--system_prompt", "None")


@pytest.fixture
def refused(capsys):
    """Runs `mgrpo tasks show` with arguments; returns the sentence that it ends with."""

    def run(*arguments):
        assert main(["tasks", "show", *arguments]) == 2
        output = capsys.readouterr()
        assert output.out == ""
        (line,) = output.err.splitlines()
        return line

    return run


@pytest.fixture
def chat_model(workplace):
    """A directory with a model's configuration and a tokenizer with a chat template."""
    directory = workplace / "chat"
    directory.mkdir()
    (directory / "config.json").write_text((CHECKPOINT / "config.json").read_text())
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(directory)
    return str(directory)


def test_without_a_model(show):
    assert show("embedded:chains", "--dataset_size", "7", "--dataset_train_split", "test").splitlines()[:8] == [
        "task         embedded:chains, test split",
        "asked        as plain text; --model_name_or_path MODEL shows it in the model's tokens",
        "extractor    mgrpo.embedded.task:extract_answer",
        "equivalence  text",
        "gold         7 answers, compared by text; for measuring only",
        "prompts      7; the longest has 13 characters",
        "dropped      0 empty, no max_prompt_length",
        "",
    ]


def test_five_prompts_with_their_gold_answers(show):
    output = show("embedded:chains", "--dataset_size", "7", "--model_name_or_path", "embedded")
    assert output.count("--- row ") == 5
    assert output.count("--- gold answer, never seen by training: ") == 5
    assert "--- row 4: " in output and "--- row 5: " not in output


def test_a_recipe_that_need_not_be_whole(show):
    output = show("--config", "mine.yaml", "--model_name_or_path", "embedded", "--max_prompt_length", "5")
    assert "gold         1 answers" in output
    assert "prompts      4; the longest has 10 tokens\n" in output
    assert "dropped      1 empty, 1 longer than max_prompt_length: 5\n" in output
    assert (
        "--- row 0: 4 tokens\n1+2=\n--- gold answer, never seen by training: 3\n\n--- row 3: 4 tokens\n4+4=\n"
        in output
    )


def test_the_held_out_task_is_shown_too(show):
    shown = show("embedded:chains", "--dataset_size", "3", "--eval_task", "embedded:swaps", "--eval_dataset_size", "2")
    train, held_out = shown.split("=== held out\n")
    assert "embedded:chains, train split" in train and "prompts      3" in train
    assert "embedded:swaps, test split" in held_out and "prompts      2" in held_out


def test_where_no_prompt_is_left_they_are_shown_and_the_command_fails(workplace, capsys):
    limit = ["--model_name_or_path", "embedded", "--max_prompt_length", "2"]
    assert main(["tasks", "show", "file:data.jsonl", *limit]) == 2
    output = capsys.readouterr()
    assert "1 empty, 3 longer than" in output.out and "--- row 2: 10 tokens\n1+1+1+1+1=" in output.out
    assert "no prompt of 4 is left" in output.err and "3 longer than max_prompt_length: 2" in output.err
    (workplace / "blank.jsonl").write_text('{"prompt": ""}\n{"prompt": 7}\n')
    assert main(["tasks", "show", "file:blank.jsonl"]) == 2
    assert "no prompt of 2 is left" in capsys.readouterr().err


def test_the_command_line_wins(show):
    assert "task         embedded:chains, train" in show("embedded:chains", "--config", "mine.yaml")


def test_through_the_chat_template(show, chat_model):
    ask = ("file:data.jsonl", "--model_name_or_path", chat_model, "--prompt_template", "2*{prompt}")
    assert "as plain text; conversational: true asks through the model's chat template" in show(*ask)
    output = show(*ask, "--conversational", "true", "--system_prompt", "12")
    assert "asked        through the model's chat template\n" in output
    assert "--- row 0: 10 tokens\n$122*1+2=#\n" in output
    output = show(*ask, "--conversational", "true", "--chat_template_kwargs", '{"marks": 3}')
    assert "--- row 0: 9 tokens\n2*1+2=###\n" in output


def test_conversations_without_a_model(show):
    output = show("file:data.jsonl", "--conversational", "true", "--system_prompt", "Think.")
    assert "--- row 0: 25 characters\nsystem: Think.\nuser: 1+2=\n" in output


def test_gold_that_the_task_scores(show):
    output = show("mine:scored", "--task_options", '{"last": "3-1="}', "--model_name_or_path", "embedded")
    assert "gold         1 answers, scored by the task; for measuring only" in output
    assert '--- gold answer, never seen by training: {"answer": "2", "index": 0}\n' in output
    assert output.endswith("--- row 1: 4 tokens\n3-1=\n")


@pytest.mark.parametrize(
    ("generator", "vote"),
    # each starts a process that imports the package: 6 s
    [("leg_counting", "yes\n"), pytest.param("countdown", "no: many right answers", marks=pytest.mark.slow)],
)
def test_whether_a_vote_means_something(show, generator, vote):
    pytest.importorskip("reasoning_gym", reason="needs pip install 'mgrpo[tasks]'")
    output = show(f"reasoning_gym:{generator}", "--dataset_size", "5")
    assert f"vote         {vote}" in output
    assert "extractor    tag\n" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "tasks show NAME, or --config RECIPE"),
        ("--conversational true", "tasks show NAME"),
        ("embedded:chain", "no task 'chain'"),
        ("gsm8", r"'gsm8' \(did you mean 'gsm8k'\?\)"),
        ("file:data.jsonl --prompt_template Solve.", "{prompt}"),
        ("file:data.jsonl --answer_extractor boxd", "answer_extractor.*'boxd'.*one of"),
        ("file:data.jsonl --answer_equivalence maths", "answer_equivalence.*'maths'.*one of"),
        (
            "file:data.jsonl --prompt_colum a",
            "prompt_colum.*did you mean prompt_column",
        ),
        ("file:data.jsonl --task_options 3", "task_options.*'3'.*mapping"),
        ("file:data.jsonl --model_name_or_path embedded --conversational true", "no chat template.*conversational"),
        ("file:data.jsonl --model_name_or_path ./nowhere", "nowhere' does not exist"),
        ("file:mine.yaml", "file ending in .jsonl, .json, .parquet, .csv"),
        ('mine:scored --model_name_or_path embedded --task_options {"last":"x"}', "cannot encode the prompt in row 1"),
        ("--config nowhere", "there is no recipe nowhere"),
        ("mine:right", "whose function does not take split"),
    ],
)
def test_mistakes(refused, arguments, message):
    assert re.search(message, refused(*arguments.split()))


def test_a_recipe_without_a_task(refused, workplace):
    (workplace / "empty.yaml").write_text("seed: 1\n")
    assert re.search("empty.yaml.*task.*--task NAME", refused("--config", "empty.yaml"))
