"""MATH, GSM8K and multiple choice: their columns, gold answers and ways of asking."""

import json
import math
import os
from pathlib import Path

import datasets
import pytest

from mgrpo.answers import get_equivalence, get_extractor
from mgrpo.errors import UserError
from mgrpo.tasks.load import load_prompts
from mgrpo.tasks.registry import load_task


@pytest.fixture
def file(tmp_path):
    """Writes rows to a file; returns its path."""

    def write(*rows):
        (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / "data.jsonl"

    return write


@pytest.fixture
def hub(monkeypatch):
    """A Hub of one data set; remembers what it was asked for."""
    asked = []

    def load_dataset(name, config, *, split):
        asked.append((name, config, split))
        return datasets.Dataset.from_list([{"question": "1 + 1?", "problem": "2 + 2?", "answer": "#### 2"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_where_they_are_on_the_hub(hub):
    load_task("math", split="test")
    load_task("gsm8k")
    load_task("gsm8k", dataset_config="socratic")
    load_task("math:someone/math", dataset_config="algebra")
    load_task("gsm8k:someone/gsm8k")
    assert hub == [
        ("nlile/hendrycks-MATH-benchmark", None, "test"),
        ("openai/gsm8k", "main", "train"),
        ("openai/gsm8k", "socratic", "train"),
        ("someone/math", "algebra", "train"),
        ("someone/gsm8k", None, "train"),
    ]


@pytest.mark.parametrize("task", ["math", "gsm8k", "choice"])
def test_their_extractors_and_equivalences_exist(task, file):
    rows = {"question": "q", "choices": ["a", "b"], "answer": 1}
    loaded = load_task(f"{task}:{file(rows)}")
    get_extractor(loaded.extractor)
    get_equivalence(loaded.equivalence)


# MATH.


@pytest.mark.parametrize(
    ("row", "prompt", "gold"),
    [
        ({"problem": "p", "answer": "1", "solution": r"\boxed{2}"}, "p", "1"),
        ({"problem": "p", "solution": r"so \boxed{\frac{1}{2}}, not \boxed{3}"}, "p", "3"),
        ({"problem": "p", "solution": "no box"}, "p", None),
        ({"question": "q", "answer": r"$\boxed{5}$"}, "q", "5"),
        ({"prompt": "r", "question": "q", "answer": 7}, "q", 7),
        ({"prompt": "r", "answer": None}, "r", None),
    ],
)
def test_math_finds_its_columns(file, row, prompt, gold):
    task = load_task(f"math:{file(row)}")
    assert task.columns == {"prompt": [prompt], "answer": [gold]}
    assert (task.extractor, task.equivalence) == ("boxed", "math")


def test_math_without_answers(file):
    assert list(load_task(f"math:{file({'problem': 'p'})}").columns) == ["prompt"]


def test_math_takes_the_recipe_s_columns(file):
    path = file({"problem": "p", "answer": "1", "text": "t", "label": r"\boxed{2}"})
    assert load_task(f"math:{path}", prompt_column="text", answer_column="label").columns == {
        "prompt": ["t"],
        "answer": ["2"],
    }
    with pytest.raises(UserError, match="data.jsonl has no column 'txt'; set prompt_column to one of problem, answer"):
        load_task(f"math:{path}", prompt_column="txt")


def test_math_without_a_question(file):
    with pytest.raises(
        UserError, match="has no column 'problem' or 'question' or 'prompt'; set prompt_column to one of a"
    ):
        load_task(f"math:{file({'a': 1})}")


def test_math_asks_for_a_box(file):
    _, dataset = load_prompts(f"math:{file({'problem': '1 + 1?', 'answer': '2'})}")
    assert dataset[0]["prompt"].startswith("1 + 1?\n") and dataset[0]["prompt"].endswith(r"\boxed{}.")


@pytest.mark.skipif("MGRPO_TEST_DATA" not in os.environ, reason="MGRPO_TEST_DATA names no directory with amc23.jsonl")
def test_amc23():
    task = load_task(f"math:{Path(os.environ['MGRPO_TEST_DATA']) / 'amc23.jsonl'}")
    assert len(task.columns["prompt"]) == 83
    assert task.columns["answer"][0] == "142.0"


# GSM8K.


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("2 + 2 = 4 clips, then 3.\n#### 72", "72"),
        ("She has 5.\n#### 1,234", "1234"),
        ("#### -3", "-3"),
        ("18", "18"),
        (18, "18"),
        (None, None),
        ("none", None),
    ],
)
def test_gold_of_gsm8k(file, answer, gold):
    task = load_task(f"gsm8k:{file({'question': 'q', 'answer': answer})}")
    assert task.columns == {"prompt": ["q"], "answer": [gold]}
    assert (task.extractor, task.equivalence) == ("number", "number")


# Multiple choice.

GPQA = {
    "Question": "Which is a noble gas? ",
    "Correct Answer": "neon\n",
    "Incorrect Answer 1": "oxygen",
    "Incorrect Answer 2": "iron",
    "Incorrect Answer 3": "gold",
    "Explanation": "a label",
}


def test_mmlu(file):
    task = load_task(f"choice:{file({'question': 'q?', 'choices': ['w', 'x', 'y', 'z'], 'answer': 2})}")
    assert task.columns == {"prompt": ["q?\n\nA) w\nB) x\nC) y\nD) z"], "answer": ["C"]}
    assert (task.extractor, task.equivalence) == ("choice:ABCD", "choice")


def test_mmlu_pro_with_as_many_letters_as_the_longest_row_has(file):
    rows = (
        {"question": "q", "options": ["1", "2", "3"], "answer": "b", "answer_index": 1},
        {"question": "r", "options": list("abcdefghij"), "answer": "J"},
    )
    task = load_task(f"choice:{file(*rows)}")
    assert task.columns["answer"] == ["B", "J"]
    assert task.extractor == "choice:ABCDEFGHIJ"


def test_gpqa_is_shuffled_by_seed_and_row(file):
    path = file(*[GPQA] * 40)
    task = load_task(f"choice:{path}", seed=0)
    for prompt, gold in zip(task.columns["prompt"], task.columns["answer"], strict=True):
        question, blank, *options = prompt.split("\n")
        assert (question, blank) == ("Which is a noble gas?", "")
        assert f"{gold}) neon" in options
        assert sorted(option[3:] for option in options) == ["gold", "iron", "neon", "oxygen"]
    # 40 fair draws: each letter about 10 times; fewer than 3 of one has a chance of 1 in 2000
    assert all(task.columns["answer"].count(letter) >= 3 for letter in "ABCD")
    assert load_task(f"choice:{path}", seed=0) == task
    assert load_task(f"choice:{path}", seed=1).columns != task.columns


def test_a_row_keeps_its_order_whatever_the_size(file):
    path = file(*({**GPQA, "Question": f"{i}?"} for i in range(20)))
    everything = dict(zip(*(load_prompts(f"choice:{path}")[1][name][:] for name in ("prompt", "answer")), strict=True))
    some = load_prompts(f"choice:{path}", size=5)[1]
    assert len(some) == 5 and all(everything[row["prompt"]] == row["answer"] for row in some)


def test_answers_that_are_kept_back(file):
    rows = [
        {"question": "q", "choices": ["1", "2"], "answer": answer} for answer in (-1, None, "", math.nan, "0", " a ")
    ]
    assert load_task(f"choice:{file(*rows)}").columns["answer"] == [None, None, None, None, "A", "A"]
    assert list(load_task(f"choice:{file({'question': 'q', 'choices': ['1', '2']})}").columns) == ["prompt"]


def test_rows_without_a_question_are_empty_prompts(file):
    rows = ({"question": None, "choices": ["1", "2"]}, {"question": "q", "choices": ["1", None]})
    assert load_task(f"choice:{file(*rows)}").columns["prompt"] == [None, None]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"problem": "p", "answer": "1"},
            "has the columns problem, answer; choice needs Question, Correct Answer, .*GPQA",
        ),
        ({"question": "q", "choices": "a, b"}, "row 0 of .* has the options 'a, b'; give a list of 2 to 26 texts"),
        ({"question": "q", "choices": ["a"]}, "give a list of 2 to 26 texts"),
        (
            {"question": "q", "choices": ["a", "b"], "answer": 2},
            "the answer in row 0 of .* is 2; give an index from 0",
        ),
        (
            {"question": "q", "choices": ["a", "b"], "answer": "C"},
            "is 'C'; give an index from 0 or a letter, of 2 opt",
        ),
    ],
)
def test_mistakes_in_multiple_choice(file, row, message):
    with pytest.raises(UserError, match=message):
        load_task(f"choice:{file(row)}")


def test_choice_of_nothing(file):
    with pytest.raises(UserError, match="holds no rows"):
        load_task(f"choice:{file()}")
