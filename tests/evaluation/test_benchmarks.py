"""Benchmarks by name: the user's own copies and files, limits, and names that do not exist."""

import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.benchmarks import BENCHMARKS, load_benchmark, parse_names
from mgrpo.evaluation.protocols import SamplingSettings


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
