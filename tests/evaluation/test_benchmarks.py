"""Benchmarks on small local copies with the columns of the data sets on the Hub."""

import json

import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.benchmarks import BENCHMARKS, load_benchmark, parse_names
from mgrpo.evaluation.harness_benchmarks import OF_HARNESS
from mgrpo.evaluation.protocols import SamplingSettings

needs_harness = pytest.mark.usefixtures("harness")
GPQA = {f"Incorrect Answer {i}": f"wrong {i}" for i in (1, 2, 3)} | {"Question": "Which?", "Correct Answer": "right"}
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


@pytest.fixture
def harness():
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (extra eval)")


@pytest.fixture
def write(tmp_path):
    """Writes rows as a local copy; returns its path."""

    def write(*rows, name="data.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    return write


def judged(benchmark, text, row=0):
    """Whether a completion is right by our verdict, and by the library's."""
    (verdict,) = benchmark.judge([text], [benchmark.task.columns["answer"][row]])
    return verdict.is_right, benchmark.harness[row].score(text)


@needs_harness
@pytest.mark.parametrize("name", LOCAL)
def test_loaded_and_scored_by_the_library_and_by_ours(write, name):
    row, (right, library_on_right), (wrong, library_on_wrong) = LOCAL[name]
    benchmark = load_benchmark(name, SamplingSettings(), data=write(row))
    (prompt,) = benchmark.task.columns["prompt"]
    assert ("1+1?" in prompt) or ("$1+1$?" in prompt)
    assert judged(benchmark, right) == (True, library_on_right)
    assert judged(benchmark, wrong) == (False, library_on_wrong)
    assert (benchmark.source.library, len(benchmark.source.version.split("."))) == ("lm-eval", 3)


@needs_harness
def test_gpqa_s_options_are_shuffled_by_the_seed(write):
    path = write(*[GPQA] * 16)
    benchmark = load_benchmark("gpqa_diamond", SamplingSettings(), data=path)
    letters = benchmark.task.columns["answer"]
    assert set(letters) == set("ABCD")
    assert list(load_benchmark("gpqa_diamond", SamplingSettings(), data=path).task.columns["answer"]) == list(letters)
    assert (
        list(load_benchmark("gpqa_main", SamplingSettings(dataset_seed=1), data=path).task.columns["answer"])
        != letters
    )
    for row, letter in enumerate(letters[:4]):
        assert f"({letter}) right" in benchmark.task.columns["prompt"][row]
        assert judged(benchmark, f"I say ({letter}).", row) == (True, True)


@needs_harness
def test_copies_with_other_columns(write):
    """MATH-500 without solutions, AIME 2024 with the columns of 2025."""
    row = {"problem": "1+1?", "answer": "2"}
    for name in ("math500", "aime24"):
        benchmark = load_benchmark(name, SamplingSettings(), data=write(row))
        assert benchmark.task.columns["answer"] == ["2"] and "1+1?" in benchmark.task.columns["prompt"][0]


@needs_harness
def test_subjects_take_turns(write):
    def row(category, text):
        return {"question": text, "options": ["1", "2"], "answer": "A", "answer_index": 0, "category": category}

    rows = [row("biology", f"b{i}") for i in range(3)] + [row("math", "m0")]
    prompts = load_benchmark("mmlu_pro", SamplingSettings(), data=write(*rows), limit=2).task.columns["prompt"]
    assert ["b0" in prompts[0], "m0" in prompts[1]] == [True, True]
    assert "about math" in prompts[1]  # the library's description of the subject


@needs_harness
@pytest.mark.parametrize("name", OF_HARNESS)
def test_columns_that_are_not_there(write, name):
    with pytest.raises(UserError, match="columns"):
        load_benchmark(name, SamplingSettings(), data=write({"text": "1+1?", "label": "2"}))


def test_the_library_is_not_installed(write, monkeypatch):
    monkeypatch.setattr("mgrpo.evaluation.harness.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "mgrpo\[eval\]"'):
        load_benchmark("aime24", SamplingSettings(), data=write({"Problem": "1+1?", "Answer": 2}))


@needs_harness
def test_a_data_set_that_cannot_be_had():
    with pytest.raises(UserError, match="'openai/gsm8k' .*--data"):
        load_benchmark("gsm8k", SamplingSettings())
    with pytest.raises(UserError, match="gated: .*hf auth login"):
        load_benchmark("gpqa_diamond", SamplingSettings())


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
    with pytest.raises(UserError, match="column 'answer'; .*answer_column.*prompt"):
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
