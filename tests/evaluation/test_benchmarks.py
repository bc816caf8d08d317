"""Benchmarks by name: on small local copies with the columns of the Hub, files, limits, names that do not exist."""

import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.benchmarks import BENCHMARKS, OF_HARNESS, as_trained, load_benchmark, parse_names
from mgrpo.evaluation.protocols import SamplingSettings

needs_harness = pytest.mark.usefixtures("harness")
# rows, a right completion, a wrong one, and what the library says of both
LOCAL = {
    "math500": (
        {"problem": "$1+1$?", "answer": "\\frac{4}{2}", "solution": "It is $\\boxed{\\frac{4}{2}}$.", "level": 1},
        ("so $\\boxed{2}$", False),  # the library compares texts
        ("so $\\boxed{3}$", False),
    ),
    "aime24": ({"Problem": "1+1?", "Answer": 2}, ("so \\boxed{2}", True), ("so \\boxed{12}", False)),
    "aime25": ({"problem": "1+1?", "answer": "2"}, ("so \\boxed{2}", True), ("so \\boxed{12}", False)),
    "gsm8k": ({"question": "1+1?", "answer": "1+1=2\n#### 1,002"}, ("that makes 1002", True), ("1001", False)),
    "mmlu_pro": (
        {"question": "1+1?", "options": ["1", "2"], "answer": "B", "answer_index": 1, "category": "math"},
        ("the answer is (B)", True),
        ("the answer is (A)", False),
    ),
}


def test_a_directory_of_copies(write, tmp_path):
    write({"problem": "1+1?", "answer": "2.0"}, name="amc23.jsonl")
    benchmark = load_benchmark("amc23", SamplingSettings(), data=str(tmp_path))
    assert benchmark.judge(["\\boxed{2}"], ["2.0"])[0].is_right
    assert benchmark.source.file == str(tmp_path / "amc23.jsonl")
    with pytest.raises(UserError, match=r"no file aime24.jsonl .*amc23.jsonl"):
        load_benchmark("aime24", SamplingSettings(), data=str(tmp_path))
    with pytest.raises(UserError, match="data is .*nowhere"):
        load_benchmark("amc23", SamplingSettings(), data=str(tmp_path / "nowhere"))


def test_a_file_of_one_s_own_and_its_limit(write):
    path = write(*[{"prompt": f"{i}+1=", "answer": str(i + 1)} for i in range(5)])
    settings = SamplingSettings(answer_extractor="number", answer_equivalence="number")
    benchmark = load_benchmark(f"file:{path}", settings, limit=3)
    assert list(benchmark.task.columns["prompt"]) == ["0+1=", "1+1=", "2+1="]
    assert benchmark.judge(["it is 1.0", "none"], ["1", "2"])[0].is_right


def test_a_longer_limit_begins_with_the_same_questions():
    few, many = (load_benchmark("arithmetic", SamplingSettings(), limit=n).task.columns["prompt"] for n in (5, 9))
    assert list(many[:5]) == list(few)


@pytest.mark.slow
def test_generated_puzzles_are_scored_by_their_own_checker():
    pytest.importorskip("reasoning_gym")
    benchmark = load_benchmark("reasoning_gym:chain_sum", SamplingSettings(), limit=2)
    assert benchmark.scoring.endswith("the task's own checker") and benchmark.source.library == "reasoning-gym"


def test_no_right_answers(write):
    with pytest.raises(UserError, match="no right answers"):
        load_benchmark(f"file:{write({'prompt': '1+1=', 'answer': None})}", SamplingSettings())
    with pytest.raises(UserError, match="column 'answer'; .*only prompt.*answer_column"):
        load_benchmark(f"file:{write({'prompt': '1+1='})}", SamplingSettings())


def test_names():
    assert parse_names(["math500,amc23", "reasoning_gym:chain_sum"]) == ["math500", "amc23", "reasoning_gym:chain_sum"]
    assert parse_names(list(BENCHMARKS)) == list(BENCHMARKS)
    for names, message in (
        (["math50"], r"'math50' .*'math500'"),
        (["math500,math500"], "named twice"),
        ([","], "no benchmark is named"),
    ):
        with pytest.raises(UserError, match=message):
            parse_names(names)
    with pytest.raises(UserError, match="limit is 0"):
        load_benchmark("math500", SamplingSettings(), limit=0)


@needs_harness
@pytest.mark.parametrize("name", LOCAL)
def test_loaded_and_scored_by_the_library_and_by_ours(write, judged, name):
    row, (right, library_on_right), (wrong, library_on_wrong) = LOCAL[name]
    benchmark = load_benchmark(name, SamplingSettings(), data=write(row))
    (prompt,) = benchmark.task.columns["prompt"]
    assert ("1+1?" in prompt) or ("$1+1$?" in prompt)
    assert judged(benchmark, right) == (True, library_on_right)
    assert judged(benchmark, wrong) == (False, library_on_wrong)
    assert (benchmark.source.library, len(benchmark.source.version.split("."))) == ("lm-eval", 3)


@needs_harness
def test_copies_with_other_columns(write):
    """MATH-500 without solutions, AIME 2024 with the columns of 2025."""
    row = {"problem": "1+1?", "answer": "2"}
    for name in ("math500", "aime24"):
        benchmark = load_benchmark(name, SamplingSettings(), data=write(row))
        assert benchmark.task.columns["answer"] == ["2"] and "1+1?" in benchmark.task.columns["prompt"][0]


@needs_harness
@pytest.mark.parametrize("name", OF_HARNESS)
def test_columns_that_are_not_there(write, name):
    with pytest.raises(UserError, match="columns"):
        load_benchmark(name, SamplingSettings(), data=write({"text": "1+1?", "label": "2"}))


@pytest.mark.parametrize(
    ("benchmark", "recipe", "inherited"),
    [
        ("file:mine.jsonl", {"task": "file:train.jsonl"}, True),
        ("file:mine.jsonl", {"task": "hub:me/data"}, True),
        ("file:mine.jsonl", {"task": "math:data/math500.jsonl"}, True),
        ("math:other", {"task": "math"}, True),
        ("file:mine.jsonl", {"task": "embedded:chains", "eval_task": "file:held-out.jsonl"}, True),
        ("reasoning_gym:chain_sum", {"task": "reasoning_gym:syllogism"}, True),
        ("file:mine.jsonl", {"task": "reasoning_gym:syllogism"}, False),
        ("math500", {"task": "math"}, False),  # asked as the papers do
        ("gsm8k", {"task": "gsm8k"}, False),
        ("own:other", {"task": "own:task"}, False),
        ("own:task", {"task": "own:task"}, True),
        ("file:mine.jsonl", {}, False),
    ],
)
def test_a_benchmark_of_the_kind_of_a_run_s_task_is_asked_as_in_training(benchmark, recipe, inherited):
    asked = {"prompt_template": "Q: {prompt}", "system_prompt": "", "answer_extractor": "number"}
    left_to_the_task = {"answer_equivalence": None, "conversational": None}
    found = as_trained(benchmark, {**recipe, **asked, **left_to_the_task, "prompt_column": "question"})
    own = {} if benchmark.startswith("own:") else {"conversational": False}  # built-in tasks are not asked as a chat
    assert found == ({**asked, **own} if inherited else {})
