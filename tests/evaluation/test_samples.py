"""Samples on disk; their numbers and the files for the report, by hand."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.benchmark import Benchmark, Questions
from mgrpo.evaluation.protocols import SamplingSettings
from mgrpo.evaluation.results import Model, Source
from mgrpo.evaluation.samples import Sample, SampleStore, measure_samples, write_for_report
from mgrpo.tasks.task import Task

# By question: the right answer, and what was answered.
ANSWERS = {0: ("7", ["7", "9", "7"]), 2: ("4", ["5", "4", None]), 3: ("1", [None, None, None])}


def samples(harness_right=None):
    return [
        [
            Sample(row, number, "p", f"so {answer}", 10, answer is not None, answer, answer == right, harness_right)
            for number, answer in enumerate(answers)
        ]
        for row, (right, answers) in ANSWERS.items()
    ]


@pytest.fixture
def questions():
    task = Task({"prompt": [], "answer": []}, extractor="number", equivalence="text")
    source = Source("lm-eval", "0.4.13", "a", None, None, None, "0" * 64)
    benchmark = Benchmark("mine", task, SimpleNamespace(), None, source, 4, "number, text", SamplingSettings())
    return Questions(benchmark, list(ANSWERS), [f"question {i}" for i in range(4)], [[]] * 4, list("7x41"), False)


def test_metrics(questions):
    result, answer_ids = measure_samples(questions, samples())
    assert answer_ids.tolist() == [[0, 1, 0], [0, 1, -1], [-1, -1, -1]]
    values = {name: estimate.value for name, estimate in result.metrics.items()}
    assert values["avg@3"] == pytest.approx((2 + 1 + 0) / 9)
    assert values["maj@3"] == pytest.approx((1 + 0.5 + 0) / 3)  # a tie in the second question
    assert values["unfinished_rate"] == pytest.approx(4 / 9)  # those without an answer
    assert (result.k, result.num_questions, result.limit) == (3, 3, 4)
    assert "lm-eval avg@3" not in result.metrics


def test_the_library_s_verdicts_have_a_metric_of_their_own(questions):
    result, _ = measure_samples(questions, samples(harness_right=True))
    assert result.metrics["lm-eval avg@3"].value == 1


def test_the_report_s_files(questions, tmp_path):
    result, answer_ids = measure_samples(questions, samples())
    write_for_report(tmp_path, questions, samples(), answer_ids, Model("m", "momentum", 70, None), result)
    rows = pq.read_table(tmp_path / "completions" / "step-000070.parquet").to_pylist()
    assert [row["pseudo_label"] for row in rows] == ["7"] * 3 + ["5"] * 3 + [None] * 3  # of tied answers the first
    assert [row["is_match"] for row in rows] == [True, False, True, True, False, False, False, False, False]
    assert {(row["group"], row["question"], row["right_answer"]) for row in rows} == {
        (0, 0, "7"),
        (1, 2, "4"),
        (2, 3, "1"),
    }
    assert {row["model"] for row in rows} == {"momentum"}
    metrics = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert metrics["step"] == 70 and metrics["gold/accuracy"] == pytest.approx(1 / 3)
    assert metrics["gold/label_accuracy"] == pytest.approx(np.mean([1, 0.5, 0]))


SETTINGS = {"model": {"name": "a"}, "temperature": 0.8, "chat": None}


def sample(question, number=0, completion="x"):
    return Sample(question, number, "p", completion, 1, True, "1", True, None)


def test_samples_are_there_again(tmp_path):
    SampleStore(tmp_path / "b", SETTINGS).append([sample(0), sample(1, completion="é\n\ud800")])
    store = SampleStore(tmp_path / "b", SETTINGS)
    assert store.samples == {(0, 0): sample(0), (1, 0): sample(1, completion="é\n\ud800")}
    store.append([sample(0, 1)])
    assert list(SampleStore(tmp_path / "b", SETTINGS).samples) == [(0, 0), (1, 0), (0, 1)]


def test_nothing_is_written_before_a_sample(tmp_path):
    SampleStore(tmp_path / "b", SETTINGS)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("num_lost", [1, 30])
def test_a_line_that_was_cut_off_is_sampled_again(tmp_path, num_lost):
    SampleStore(tmp_path, SETTINGS).append([sample(0), sample(1)])
    path = tmp_path / "samples.jsonl"
    path.write_bytes(path.read_bytes()[:-num_lost])
    store = SampleStore(tmp_path, SETTINGS)
    assert list(store.samples) == [(0, 0)]
    store.append([sample(1), sample(2)])
    assert list(SampleStore(tmp_path, SETTINGS).samples) == [(0, 0), (1, 0), (2, 0)]
    assert all(json.loads(line) for line in path.read_text().splitlines())


@pytest.mark.parametrize(
    "changed", [{"temperature": 1.0}, {"model": {"name": "b"}}, {"chat": "c"}, {"new": 1}], ids=lambda c: next(iter(c))
)
def test_other_settings_are_not_mixed_with(tmp_path, changed):
    SampleStore(tmp_path, SETTINGS).append([sample(0)])
    with pytest.raises(UserError, match=f"{next(iter(changed))} was .* and is .*output_dir"):
        SampleStore(tmp_path, {**SETTINGS, **changed})


def test_settings_that_cannot_be_read(tmp_path):
    SampleStore(tmp_path, SETTINGS).append([sample(0)])
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(UserError, match="settings.json .*output_dir"):
        SampleStore(tmp_path, SETTINGS)
