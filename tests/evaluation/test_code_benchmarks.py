"""MBPP and LiveCodeBench on rows in their columns: asked, read out of a completion, and run in the sandbox."""

import json

import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.benchmarks import load_benchmark
from mgrpo.evaluation.protocols import SamplingSettings

MBPP = {
    "task_id": 11,
    "text": "Write a function to add two numbers.",
    "code": "def add(a, b): return a + b",
    "test_list": ["assert add(1, 2) == 3", "assert add(2, 2) == 4", "assert add(0, 0) == 0"],
    "test_setup_code": "",
}
LIVECODEBENCH = {
    "question_id": "abc001_a",
    "question_content": "Print twice the number.",
    "starter_code": "",
    "public_test_cases": json.dumps([{"input": "2\n", "output": "4\n", "testtype": "stdin"}]),
    "private_test_cases": json.dumps([{"input": "3\n", "output": "6\n", "testtype": "stdin"}]),
    "metadata": "{}",
}


@pytest.fixture
def load(tmp_path):
    def load(name, *rows, **settings):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return load_benchmark(name, SamplingSettings(**settings), data=str(tmp_path))

    return load


def fenced(program):
    return f"Here it is:\n```python\n{program}\n```"


@pytest.mark.usefixtures("sandbox")
def test_mbpp(load):
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (extra eval)")
    benchmark = load("mbpp", MBPP)
    (prompt,), (gold,) = (benchmark.task.columns[name] for name in ("prompt", "answer"))
    assert MBPP["text"] in prompt and "assert add(1, 2) == 3" in prompt and gold.count("assert") == 3
    programs = ["def add(a, b):\n    return a + b", "def add(a, b):\n    return 3", ""]
    verdicts = benchmark.judge([fenced(program) for program in programs], [gold] * 3)
    assert [verdict.is_right for verdict in verdicts] == [True, False, False]
    assert [verdict.answer for verdict in verdicts] == [*programs[:2], None]


@pytest.mark.usefixtures("sandbox")
def test_livecodebench(load):
    benchmark = load("livecodebench", LIVECODEBENCH)
    assert "reads the input from standard input" in benchmark.task.columns["prompt"][0]
    gold = benchmark.task.columns["answer"][0]
    texts = [fenced("print(2 * int(input()))"), fenced("print(4)"), "print(2 * int(input()))"]
    verdicts = benchmark.judge(texts, [gold] * 3)
    assert [verdict.is_right for verdict in verdicts] == [True, False, False]
    assert verdicts[2].answer is None  # no block


def test_starter_code_is_shown(load, monkeypatch):
    monkeypatch.setattr("mgrpo.evaluation.code_benchmarks.check_sandbox", lambda: None)
    benchmark = load("livecodebench", {**LIVECODEBENCH, "starter_code": "class Solution:"})
    assert "```python\nclass Solution:\n```" in benchmark.task.columns["prompt"][0]


def test_refused_where_there_can_be_no_sandbox(load, monkeypatch):
    def none_here():
        raise UserError("there can be no sandbox here")

    monkeypatch.setattr("mgrpo.evaluation.code_benchmarks.check_sandbox", none_here)
    for name, row in (("mbpp", MBPP), ("livecodebench", LIVECODEBENCH)):
        with pytest.raises(UserError, match="no sandbox here"):
            load(name, row)


def test_what_does_not_fit(load, monkeypatch):
    monkeypatch.setattr("mgrpo.evaluation.code_benchmarks.check_sandbox", lambda: None)
    with pytest.raises(UserError, match="column 'metadata'"):
        load("livecodebench", {name: value for name, value in LIVECODEBENCH.items() if name != "metadata"})
    with pytest.raises(UserError, match="answer_extractor .*livecodebench .*leave it out"):
        load("livecodebench", LIVECODEBENCH, answer_extractor="number")
