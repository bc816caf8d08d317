"""The library's benchmarks on small local copies with the columns of the data sets on the Hub."""

import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.benchmarks import load_benchmark
from mgrpo.evaluation.harness_benchmarks import OF_HARNESS
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
