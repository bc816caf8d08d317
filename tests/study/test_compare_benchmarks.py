import json

import numpy as np
import pytest
import yaml

from mgrpo.errors import UserError
from mgrpo.evaluation.table_rows import read_measured
from mgrpo.study.compare import _best, compare_runs

BASE = "Qwen/Qwen3-4B-Base"


@pytest.fixture
def measure_run(tmp_path, make_evaluation, finish):
    """Makes a run whose models have so many of 40 questions right, by label; both samples of each."""

    def make(name, seed=0, **num_right):
        directory = tmp_path / name
        finish(directory)
        config = {"model_name_or_path": BASE, "seed": seed, "beta": name.split("/")[-2]}
        (directory / "config.yaml").write_text(yaml.safe_dump(config))
        (directory / "metrics.jsonl").write_text(json.dumps({"step": 10, "eval_gold/accuracy": 0.5}) + "\n")
        for label, number in num_right.items():
            label = label.replace("_", "-")
            make_evaluation(
                directory / "evaluation" / label,
                {"math500": right(number)},
                step=600 if label.startswith("final") else int(label.removeprefix("checkpoint-")),
                weights="momentum" if label.endswith("momentum") else "policy",
            )
            # for the report
            (directory / "evaluation" / label / "math500" / "metrics.jsonl").write_text('{"step": 1}\n')
        return directory

    return make


def right(number):
    return np.arange(40)[:, None] < [number, number]


def table(said, first):
    """The lines of the table whose head begins so, split."""
    lines = said.splitlines()
    start = next(number for number, line in enumerate(lines) if line.split()[:1] == [first])
    body = lines[start + 2 :]
    end = next(number for number, line in enumerate(body) if line.startswith(("Right samples", "Paired differences")))
    return [line.split() for line in body[:end]]


def test_the_paper_s_table(measure_run, make_evaluation, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    make_evaluation(tmp_path / "evaluations" / "qwen", {"math500": right(20)}, name=BASE, weights="other")
    measure_run("runs/a-srt/seed-0", checkpoint_100=32, checkpoint_300=20, final=10)
    measure_run("runs/m-grpo/seed-0", checkpoint_100=22, final=30, final_momentum=31)
    compare_runs([tmp_path / "runs", tmp_path / "evaluations"], None, "a-srt")
    said = capsys.readouterr().out
    assert [row[: row.index("±")] for row in table(said, "math500")] == [
        ["base", "model", "50.0"],
        ["a-srt", "best", "†", "80.0"],
        ["a-srt", "final", "25.0"],
        ["m-grpo", "final", "75.0"],
        ["m-grpo", "final,", "momentum", "77.5"],
    ]
    assert "† The best of a run's checkpoints" in said and "no label-free run" in said
    differences = [row[: row.index("math500")] + row[-4:] for row in table(said, "benchmark")]
    assert [" ".join(row[:-4]) for row in differences] == [
        "a-srt final − base model",
        "m-grpo final − base model",
        "m-grpo final − a-srt final",
        "m-grpo final − m-grpo final, momentum",
    ]
    assert [row[-4] for row in differences] == ["−25.0", "+25.0", "+50.0", "−2.5"]


def test_what_is_written(measure_run, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    measure_run("runs/m-grpo/seed-0", final=30)
    measure_run("runs/m-grpo/seed-1", seed=1, final=20)
    compare_runs([tmp_path / "runs"], tmp_path / "out", None)
    written = (tmp_path / "out" / "benchmarks.md").read_text()
    assert "| m-grpo final (2 runs) | 62.5 ± " in written
    assert "m-grpo final (2 runs) & 62.5 $\\pm$ " in (tmp_path / "out" / "benchmarks.tex").read_text()
    assert (tmp_path / "out" / "summary.md").exists()


def test_the_initial_model_of_a_run_is_the_base(measure_run, make_evaluation, tmp_path, capsys):
    run = measure_run("runs/srt/seed-0", final=30)
    make_evaluation(run / "evaluation" / "initial", {"math500": right(16)}, step=0)
    compare_runs([run], None, None)
    assert table(capsys.readouterr().out, "math500")[0][:3] == ["base", "model", "40.0"]


def test_a_run_s_evaluation_is_the_run(measure_run, capsys):
    run = measure_run("runs/srt/seed-0", final=30)
    compare_runs([run / "evaluation"], None, None)
    of_evaluation = capsys.readouterr().out
    compare_runs([run], None, None)
    assert of_evaluation == capsys.readouterr().out


def test_models_alone(make_evaluation, tmp_path, capsys):
    make_evaluation(tmp_path / "a", {"math500": right(20)}, name="a/model")
    make_evaluation(tmp_path / "b", {"math500": right(30)}, name="b/model")
    compare_runs([tmp_path / "a", tmp_path / "b"], None, None)
    said = capsys.readouterr().out
    assert [row[:2] for row in table(said, "math500")] == [["a/model", "50.0"], ["b/model", "75.0"]]
    assert "collapsed" not in said  # there is no run to be summed up
    assert [row[:3] + row[5:6] for row in table(said, "benchmark")] == [["b/model", "−", "a/model", "+25.0"]]
    with pytest.raises(UserError, match="--baseline is a, which is no variant of these runs; there is no run here"):
        compare_runs([tmp_path / "a"], None, "a")


def test_a_run_that_was_not_measured(measure_run, capsys):
    compare_runs([measure_run("runs/srt/seed-0")], None, None)
    assert "srt" in (said := capsys.readouterr().out) and "math500" not in said


def test_broken_results(measure_run, tmp_path):
    run = measure_run("runs/srt/seed-0", final=30)
    (run / "evaluation" / "final" / "results.json").write_text("{")
    with pytest.raises(UserError, match="results.json cannot be read: it is no JSON"):
        compare_runs([run], None, None)


@pytest.mark.parametrize(
    ("num_right", "best"),
    [
        ({"checkpoint_100": 32, "checkpoint_300": 20, "final": 10}, 100),
        ({"checkpoint_100": 20, "checkpoint_300": 20, "final": 10}, 100),  # the earliest of equals
        ({"checkpoint_100": 20, "checkpoint_600": 30, "final": 30}, 600),
        ({"checkpoint_100": 20, "final": 10, "final_momentum": 30}, 100),  # of the policies
        ({"final": 30}, None),
    ],
)
def test_the_best_checkpoint(measure_run, num_right, best):
    run = measure_run("runs/srt/seed-0", **num_right)
    labels = {path.name: read_measured(path) for path in (run / "evaluation").iterdir()}
    found = _best(labels)
    assert (found and found.results.model.step) == best
    if best == 600:  # the final model, not the checkpoint with its weights
        assert found is labels["final"]
