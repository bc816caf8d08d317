"""Benchmarks while a run trains: both models are measured, and nothing else about the run changes."""

import pytest
import torch
from safetensors.torch import load_file

from mgrpo.cli import main
from mgrpo.report.panels import figures
from mgrpo.runs.files import read_rows

SMALL = ["--max_steps", "3", "--logging_steps", "1", "--eval_strategy", "no", "--save_strategy", "no"]
SMALL += ["--dataset_size", "48", "--probe_prompts", "4", "--quiet"]
NAMES = ("benchmark/embedded:chains/policy", "benchmark/embedded:chains/momentum")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run with benchmarks, and the same without."""
    directory = tmp_path_factory.mktemp("runs")
    asked = ["--eval_benchmarks", "embedded:chains", "--eval_benchmarks_steps", "2", "--eval_benchmarks_limit", "20"]
    for name, more in (("with", asked), ("without", [])):
        arguments = ["train", "--config", "embedded", *SMALL, *more, "--output_dir", str(directory / name)]
        assert main(arguments) == 0
    return directory / "with", directory / "without"


def without_times(rows):
    return [
        {name: v for name, v in row.items() if "time" not in name and "per_second" not in name and name not in NAMES}
        for row in rows
    ]


def test_the_run_is_the_same_to_the_bit(runs):
    for place in ("final", "final/momentum"):
        left, right = (load_file(run / place / "model.safetensors") for run in runs)
        assert left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
    left, right = (without_times(read_rows(run / "metrics.jsonl")) for run in runs)
    assert [row for row in left if row["step"]] == [row for row in right if row["step"]]


def test_both_models_are_measured_at_both_ends_and_between(runs):
    rows = {row["step"]: row for row in read_rows(runs[0] / "metrics.jsonl")}
    assert [step for step in rows if NAMES[0] in rows[step]] == [0, 2, 3]
    assert rows[0][NAMES[0]] == rows[0][NAMES[1]]  # one model before the first step
    assert all(0 < rows[step][name] < 1 and rows[step][name] * 20 % 1 == 0 for step in (0, 2, 3) for name in NAMES)
    (figure,) = [f for f in figures([list(rows.values())], ["run"], [[]]) if f["id"] == "benchmark-embedded:chains"]
    assert figure["is_measured"] and [line["meta"]["metric"] for line in figure["data"]] == list(NAMES)


def test_what_cannot_be_measured_is_refused_before_a_model_is_loaded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mgrpo.commands.build_trainer.load_model", None)
    arguments = ["train", "--config", "embedded", "--output_dir", str(tmp_path / "run"), "--eval_benchmarks"]
    assert main([*arguments, "math50"]) == 2
    assert "no benchmark 'math50' (did you mean 'math500'?)" in capsys.readouterr().err
    assert main([*arguments, "embedded:chains", "--eval_benchmarks_steps", "0"]) == 2
    assert "eval_benchmarks_steps to '0'" in capsys.readouterr().err
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert main([*arguments, "embedded:chains", "--share_prompts", "false"]) == 2
    assert "eval_benchmarks is set, but parameters are sharded" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
