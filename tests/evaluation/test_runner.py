"""Evaluations of the embedded model: what is sampled, what is kept, and what comes out, however often it is begun."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.benchmarks import load_benchmark
from mgrpo.evaluation.engines import TransformersEngine
from mgrpo.evaluation.protocols import SamplingSettings, apply_protocol
from mgrpo.evaluation.results import Model, read_results
from mgrpo.evaluation.runner import EvalSettings, EvaluatedModel, Measurement, directory_name, evaluate
from mgrpo.report.bundle import verdict_of
from mgrpo.report.completions import read_groups
from mgrpo.report.read import open_runs

BENCHMARK = "embedded:chains"
SETTINGS = {"temperature": 1.0, "max_tokens": 14}


class Killed(BaseException):
    """As from Ctrl-C."""


class Counted(TransformersEngine):
    """The real engine; counts what it samples, and may be killed."""

    num_sampled = 0
    dies_after = 10**9

    def sample(self, prompts, seeds):
        if Counted.num_sampled + len(prompts) > Counted.dies_after:
            raise Killed
        Counted.num_sampled += len(prompts)
        return super().sample(prompts, seeds)


@pytest.fixture(autouse=True)
def counted():
    Counted.num_sampled, Counted.dies_after = 0, 10**9


@pytest.fixture(scope="module")
def model():
    from mgrpo.models.load import load_model

    return load_model("embedded")


@pytest.fixture
def run(model):
    """Evaluates the embedded model into a directory."""

    def run(output, limit=10, label="", benchmark=BENCHMARK, **overrides):
        settings = SamplingSettings(**{**SETTINGS, "k": 2, **overrides})
        how = {"engine": "transformers", "dtype": "float32", "versions": {"mgrpo": "0"}}
        _, used = apply_protocol("m-grpo", {**SETTINGS, "k": 2, **overrides}, **how)
        eval_settings = EvalSettings("m-grpo", settings, used, batch_size=4)
        evaluated = EvaluatedModel(
            label,
            Model("embedded", "policy", 7, None),
            {"name": "embedded"},
            model[1],
            model[0].config.max_position_embeddings,
            lambda max_length: Counted(*model, settings, 4),
        )
        return evaluate([evaluated], [load_benchmark(benchmark, settings, limit=limit)], eval_settings, output)[label]

    return run


def samples_in(output, benchmark=BENCHMARK):
    lines = (output / directory_name(benchmark) / "samples.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return sorted(rows, key=lambda row: (row["question"], row["number"]))


def test_goes_on_where_it_was_killed(run, tmp_path):
    whole = run(tmp_path / "whole")
    assert Counted.num_sampled == 20
    Counted.num_sampled, Counted.dies_after = 0, 9
    with pytest.raises(Killed):
        run(tmp_path / "killed")
    assert len(samples_in(tmp_path / "killed")) == 8  # two batches; the third was under way
    Counted.num_sampled, Counted.dies_after = 0, 10**9
    again = run(tmp_path / "killed")
    assert Counted.num_sampled == 12
    assert samples_in(tmp_path / "killed") == samples_in(tmp_path / "whole")
    assert again == whole


def test_a_larger_k_and_limit_sample_the_difference(run, tmp_path):
    run(tmp_path / "few", limit=6, k=1)
    Counted.num_sampled = 0
    grown = run(tmp_path / "few", limit=10, k=3)
    assert Counted.num_sampled == 24
    assert grown == run(tmp_path / "at once", limit=10, k=3)
    Counted.num_sampled = 0
    assert run(tmp_path / "few", limit=6, k=1).benchmarks[BENCHMARK].k == 1  # of what there is
    assert Counted.num_sampled == 0


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 0.5), ("seed", 1), ("max_tokens", 15), ("prompt_template", "0{prompt}")]
)
def test_other_settings_are_not_mixed(run, tmp_path, name, value):
    run(tmp_path, limit=2, k=1)
    with pytest.raises(UserError, match=f"{name} was .* and is .*output_dir"):
        run(tmp_path, limit=2, k=1, **{name: value})


def test_other_questions_are_not_mixed(run, tmp_path):
    data = tmp_path / "mine.jsonl"
    own = {"answer_extractor": "mgrpo.embedded.task:extract_answer", "answer_equivalence": "text", "k": 1}
    data.write_text('{"prompt": "12+3=", "answer": "15"}\n')
    run(tmp_path / "out", benchmark=f"file:{data}", **own)
    data.write_text('{"prompt": "12+4=", "answer": "16"}\n')
    with pytest.raises(UserError, match="prompt of question 0 .*output_dir"):
        run(tmp_path / "out", benchmark=f"file:{data}", **own)


def test_the_numbers_are_those_of_the_samples(run, tmp_path):
    result = run(tmp_path, k=4)
    assert read_results(tmp_path) == result
    rows = samples_in(tmp_path)
    metrics = result.benchmarks[BENCHMARK].metrics
    assert metrics["avg@4"].value == pytest.approx(sum(row["is_right"] for row in rows) / 40)
    of_questions = [[row["is_right"] for row in rows if row["question"] == q] for q in range(10)]
    assert metrics["pass@4"].value == sum(map(any, of_questions)) / 10
    assert metrics["mean_length"].value == pytest.approx(sum(row["num_tokens"] for row in rows) / 40)
    assert metrics["unfinished_rate"].value == pytest.approx(sum(not row["is_finished"] for row in rows) / 40)
    assert 0 < metrics["avg@4"].value < 1  # else the test above could not fail
    of_benchmark = result.benchmarks[BENCHMARK]
    assert (of_benchmark.num_questions, of_benchmark.limit, of_benchmark.conversational) == (10, 10, False)


def test_the_report_shows_the_samples(run, tmp_path):
    run(tmp_path, label="final", k=4)
    (reader,) = open_runs([tmp_path])
    record = reader.read()
    assert record.is_finished and list(record.tables) == [7] == [row["step"] for row in record.rows]
    assert "of the completions of this evaluation are right" in verdict_of(record)
    groups = read_groups(record.tables[7])
    rows = samples_in(tmp_path / "final")
    assert [group["text"] for group in groups] == [
        [row["completion"] for row in rows if row["question"] == q] for q in range(10)
    ]
    for group in groups:
        most = max(group["answer"], key=group["answer"].count)
        assert group["answer"].count(group["label"]) == group["answer"].count(most)
        assert group["is_match"] == [answer == group["label"] for answer in group["answer"]]


def test_a_completion_that_does_not_fit_is_refused_before_anything_is_sampled(run, tmp_path):
    with pytest.raises(UserError, match="max_tokens is 100000, .*set max_tokens to"):
        run(tmp_path, max_tokens=100_000)
    assert not any(tmp_path.iterdir()) and Counted.num_sampled == 0


def test_questions_without_an_answer_are_left_out_and_counted(run, tmp_path, capsys):
    data = tmp_path / "mine.jsonl"
    data.write_text('{"prompt": "12+3=", "answer": null}\n{"prompt": "12+4=", "answer": "16"}\n')
    own = {"answer_extractor": "mgrpo.embedded.task:extract_answer", "answer_equivalence": "text", "k": 1}
    result = run(tmp_path / "out", benchmark=f"file:{data}", **own).benchmarks[f"file:{data}"]
    assert result.num_questions == 1
    assert "1 questions without text or right answer are left out" in capsys.readouterr().err
    assert [row["question"] for row in samples_in(tmp_path / "out", f"file:{data}")] == [1]


def measurement(existing=(), k=2):
    # question 2 has no right answer, so it is no row; question 3 has the longest prompt
    questions = SimpleNamespace(rows=[0, 1, 3], ids=[[1], [1, 2], [], [1, 2, 3]])
    return Measurement(questions, SimpleNamespace(samples={place: f"sample {place}" for place in existing}), k)


def test_first_samples_come_first_and_long_prompts_before_short_ones():
    batches = [[(3, 0), (1, 0)], [(0, 0)], [(3, 1), (1, 1)], [(0, 1)]]
    assert list(measurement().missing(batch_size=2)) == batches


def test_batches_do_not_depend_on_the_samples_that_exist():
    missing = measurement(existing=[(3, 0), (0, 0), (1, 1)]).missing(batch_size=2)
    assert list(missing) == [[(1, 0)], [(3, 1)], [(0, 1)]]


def test_only_as_many_samples_as_requested_are_taken():
    existing = [(row, number) for row in (0, 1, 3) for number in (0, 1)]
    found = measurement(existing, k=1)
    assert list(found.missing(batch_size=2)) == []
    assert found.samples() == [["sample (0, 0)"], ["sample (1, 0)"], ["sample (3, 0)"]]


def test_directories_of_benchmarks():
    assert directory_name("math500") == "math500"
    assert directory_name("reasoning_gym:chain_sum") == "reasoning_gym-chain_sum"
    ways = {
        directory_name(name) for name in ("file:a/b.jsonl", "file:a-b.jsonl", "file:../b.jsonl", "file:" + "x" * 200)
    }
    assert len(ways) == 4 and all(Path(way).name == way and len(way) <= 70 for way in ways)
