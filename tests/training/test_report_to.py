"""What arrives in the dashboards that `report_to` names: every metric of metrics.jsonl, under its own name."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import PrinterCallback

from mgrpo.runs.files import read_rows

AT_THE_END = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "total_flos")
"""Logged once, when a run ends; transformers does not give them to trackio."""
EXPECTED = ("train/vote/agreement", "train/answers/distinct", "train/gold/accuracy", "eval/gold/accuracy")


def names_and_values(run_directory):
    """Of a run's metrics, as transformers names them for dashboards."""
    expected = {}
    for row in read_rows(Path(run_directory) / "metrics.jsonl"):
        for name, value in row.items():
            if name == "step" or value is None:
                continue
            shown = name.replace("eval_", "eval/", 1) if name.startswith("eval_") else f"train/{name}"
            expected.setdefault(shown, {})[row["step"]] = pytest.approx(value, rel=1e-6)  # float32 on the way
    assert all(name in expected for name in EXPECTED)
    return expected


def test_tensorboard(make_trainer, chain_data, monkeypatch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    given = {"eval_dataset": chain_data(8, split="test")}
    evaluated = {"eval_strategy": "steps", "eval_steps": 2, "num_generations_eval": 1, "max_steps": 2}
    trainer = make_trainer(given, report_to="tensorboard", per_device_eval_batch_size=8, **evaluated)
    trainer.remove_callback(PrinterCallback)  # as `mgrpo train` does; it takes total_flos out of the row
    trainer.train()
    (directory,) = (Path(trainer.args.output_dir) / "runs").iterdir()
    events = accumulator.EventAccumulator(str(directory)).Reload()
    shown = {name: {e.step: e.value for e in events.Scalars(name)} for name in events.Tags()["scalars"]}
    assert shown == names_and_values(trainer.args.output_dir)


@pytest.mark.slow
def test_trackio(tmp_path):
    """In a process of its own: trackio reads where its files go when it is imported."""
    pytest.importorskip("trackio")
    arguments = ["--config", "embedded", "--max_steps", "2", "--logging_steps", "1", "--eval_steps", "2"]
    arguments += ["--eval_dataset_size", "8", "--per_device_eval_batch_size", "8", "--save_strategy", "no"]
    arguments += ["--report_to", "trackio", "--project", "ours", "--run_name", "first"]
    done = subprocess.run(
        [sys.executable, "-m", "mgrpo", "train", *arguments, "--output_dir", str(tmp_path / "run")],
        env={**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    shown = {}
    with sqlite3.connect(tmp_path / "trackio" / "ours.db") as database:
        for run_name, logged in database.execute("SELECT run_name, metrics FROM metrics ORDER BY id"):
            assert run_name == "first"
            row = json.loads(logged)
            for name in row.keys() - {"train/global_step"}:
                # TRL's timers log by themselves, between the steps
                step = None if name.startswith("profiling/") else row["train/global_step"]
                shown.setdefault(name, {})[step] = row[name]
    expected = names_and_values(tmp_path / "run")
    not_given = {f"train/{name}" for name in AT_THE_END}
    assert {name: values for name, values in shown.items() if not name.startswith("profiling/")} == {
        name: values for name, values in expected.items() if name not in not_given
    }
