"""Studies as they are run: real runs of the embedded model, forked side by side."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

from mgrpo.cli import main
from mgrpo.errors import UserError
from mgrpo.runs.files import read_rows
from mgrpo.study.runner import run_study

pytest.importorskip("matplotlib")

FIELDS = {
    "max_steps": 4,
    "logging_steps": 1,
    "save_steps": 2,
    "eval_steps": 2,
    "eval_dataset_size": 8,
    "per_device_eval_batch_size": 8,
    "dataset_size": 48,
    "num_generations": 6,
    "num_momentum_generations": 2,
    "per_device_train_batch_size": 12,
    "log_completions": False,
}
SRT = {"num_generations": 8, "num_momentum_generations": 0, "per_device_train_batch_size": 16}
OTHER_SIGNALS = [(signal.SIGTERM, 143), (signal.SIGUSR1, 75)]
OF_A_SESSION = ("time", "runtime", "per_second")
"""Numbers that a resumed run does not share: its seconds."""


def write_study(directory, **given):
    study = {"base": "embedded", "fields": FIELDS, "seeds": [0, 1], "variants": {"srt": SRT, "m-grpo": {}}}
    path = directory / "study.yaml"
    path.write_text(yaml.safe_dump(study | {"baseline": "srt"} | given, sort_keys=False))
    return str(path)


def run(study, output_directory, tables_only=False):
    return run_study(study, output_directory, workers=2, tables_only=tables_only)


def numbers(run_directory):
    """The metric rows of a run."""
    return [
        {name: value for name, value in row.items() if not any(word in name for word in OF_A_SESSION)}
        for row in read_rows(Path(run_directory) / "metrics.jsonl")
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that was run, and its output; not to be changed."""
    directory = tmp_path_factory.mktemp("study")
    study = write_study(directory)
    assert run(study, directory / "out") == 0
    return study, directory / "out"


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of it that may be changed."""
    study, output_directory = finished
    shutil.copytree(output_directory, tmp_path / "out")
    shutil.copy(study, tmp_path / "study.yaml")
    return str(tmp_path / "study.yaml"), tmp_path / "out"


def test_leaves_runs_and_tables(finished):
    study, out = finished
    assert (out / "study.yaml").read_text() == Path(study).read_text()
    for name in ("srt/seed-0", "srt/seed-1", "m-grpo/seed-0", "m-grpo/seed-1"):
        assert (out / name / "final" / "model.safetensors").exists()
        assert "trained 4 steps" in (out / f"{name}.log").read_text()
    table = pd.read_parquet(out / "table.parquet")
    accuracy = table[table["metric"] == "eval_gold/accuracy"]
    assert accuracy.groupby(["variant", "seed"])["step"].apply(list).to_dict() == {
        (variant, seed): [0, 2, 4] for variant in ("srt", "m-grpo") for seed in (0, 1)
    }
    assert pd.read_csv(out / "summary.csv")["variant"].tolist() == ["srt", "m-grpo"]


def test_a_run_is_the_same_bits_as_mgrpo_train(finished, tmp_path):
    fields = [word for name, value in FIELDS.items() for word in (f"--{name}", str(value))]
    seeds = ["--seed", "1", "--dataset_seed", "1"]
    assert main(["train", "--config", "embedded", *fields, *seeds, "--output_dir", str(tmp_path / "alone")]) == 0
    _, out = finished
    assert numbers(tmp_path / "alone") == numbers(out / "m-grpo" / "seed-1")
    config, alone = (
        yaml.safe_load((directory / "config.yaml").read_text()) | {"output_dir": None}
        for directory in (out / "m-grpo" / "seed-1", tmp_path / "alone")
    )
    assert config == alone


def test_finished_runs_are_skipped(copied, capsys):
    study, out = copied
    written = {path: path.stat().st_mtime_ns for path in out.rglob("metrics.jsonl")}
    (out / "table.csv").unlink()
    assert run(study, out) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("metrics.jsonl")} == written
    assert (out / "table.csv").exists()
    assert "4 runs: 0 to do, 4 finished already" in capsys.readouterr().err


def test_resumes_what_was_interrupted(copied, capsys):
    """One run's second checkpoint was damaged, one has none."""
    study, out = copied
    resumed, anew = out / "m-grpo" / "seed-0", out / "srt" / "seed-1"
    before = [numbers(resumed), numbers(anew)]
    for directory in (resumed, anew):
        shutil.rmtree(directory / "final")
    momentum = resumed / "checkpoint-4" / "momentum.safetensors"
    momentum.write_bytes(momentum.read_bytes()[:-8])
    for step in (2, 4):
        shutil.rmtree(anew / f"checkpoint-{step}")
    assert run(study, out) == 0
    assert "4 runs: 2 to do, 1 of them from a checkpoint, 2 finished already" in capsys.readouterr().err
    assert (resumed / "final").exists() and (anew / "final").exists()
    assert [numbers(resumed), numbers(anew)] == before
    log = resumed.with_name("seed-0.log").read_text()
    assert log.count("step 1/4") == 1 and log.count("step 3/4") == 2
    assert "checkpoint-4 is broken: momentum.safetensors has" in log


def test_a_run_with_other_settings_is_not_touched(copied):
    study, out = copied
    write_study(Path(study).parent, fields={**FIELDS, "beta": 0.5})
    with pytest.raises(UserError, match=r"srt/seed-0 .*other settings.*beta: 0.005, now 0.5.*--output_dir"):
        run(study, out)


def test_tables_only(copied, capsys):
    study, out = copied
    shutil.rmtree(out / "srt" / "seed-0" / "final")
    assert main(["study", study, "--output_dir", str(out), "--tables_only"]) == 0
    assert "runs: 3; tables and curves" in capsys.readouterr().out
    with pytest.raises(UserError, match="elsewhere holds no finished run of .*study.yaml; run the study first"):
        run(study, out.parent / "elsewhere", tables_only=True)


def test_a_run_that_fails_is_reported_and_the_others_continue(tmp_path, capsys):
    fields = {**FIELDS, "eval_strategy": "no", "max_steps": 1}
    study = write_study(
        tmp_path, fields=fields, seeds=[0], variants={"lost": {"task": "file:nowhere.jsonl"}, "srt": SRT}
    )
    assert run(study, tmp_path / "out") == 1
    assert (tmp_path / "out" / "srt" / "seed-0" / "final").exists()
    said = capsys.readouterr().err
    log = tmp_path / "out" / "lost" / "seed-0.log"
    assert "lost/seed-0 failed: mgrpo: the file " in said and "/nowhere.jsonl does not exist" in said
    assert f"(its output is in {log})" in said


def test_recipes_are_checked_before_anything_is_run(tmp_path):
    study = write_study(tmp_path, variants={"srt": SRT, "odd": {"learning_rat": 1}})
    with pytest.raises(UserError, match="study.yaml, variant odd sets learning_rat, but there is no such field"):
        run(study, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*/"))


@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGINT, 130), *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHER_SIGNALS)],
)
def test_interrupted(tmp_path, capsys, sent, code, request):
    # a shell starts what it runs in the background with SIGINT ignored
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    study = write_study(tmp_path, fields={**FIELDS, "max_steps": 10_000}, seeds=[0])
    out = tmp_path / "out"
    checkpoints = [out / name / "seed-0" / "checkpoint-2" for name in ("srt", "m-grpo")]

    def interrupt():
        while not all(path.exists() for path in checkpoints):
            time.sleep(0.05)
        os.kill(os.getpid(), sent)

    threading.Thread(target=interrupt, daemon=True).start()
    assert run(study, out) == code
    for path in checkpoints:  # each run stopped by itself, behind the step that it saved
        last = read_rows(path.parent / "metrics.jsonl")[-1]["step"]
        assert (path.parent / f"checkpoint-{last}" / "trainer_state.json").exists()
        log = path.parent.with_name("seed-0.log").read_text()
        assert f"mgrpo: stopped: SIGTERM after step {last}" in log
    said = capsys.readouterr().err
    assert f"{sent.name}: every run finishes its step and saves it first; a second signal stops at once" in said
    assert "interrupted with 2 runs to do; the same command resumes" in said and "failed" not in said


@pytest.mark.slow
def test_a_second_signal_ends_runs_that_are_stuck(tmp_path):
    write_study(tmp_path, fields={**FIELDS, "max_steps": 10_000}, seeds=[0])
    command = [sys.executable, "-m", "mgrpo", "study", "study.yaml", "--output_dir", "out"]
    with (tmp_path / "said").open("w") as said:
        study = subprocess.Popen(command, cwd=tmp_path, stderr=said)
    deadline = time.monotonic() + 200
    while not all((tmp_path / "out" / name / "seed-0" / "checkpoint-2").exists() for name in ("srt", "m-grpo")):
        assert study.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    children = psutil.Process(study.pid).children(recursive=True)
    for child in children:
        child.suspend()
    for sent in (signal.SIGTERM, signal.SIGINT):
        study.send_signal(sent)
        while sent.name not in (tmp_path / "said").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert study.wait(timeout=30) == 130
    assert len(children) >= 3 and not psutil.wait_procs(children, timeout=20)[1]
    last = (tmp_path / "said").read_text().splitlines()[-1]
    assert last.startswith("mgrpo: SIGINT: stopped at once; the same command resumes")


def test_one_study_at_a_time_in_a_directory(tmp_path):
    import fcntl

    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="out is in use by another study .*; wait for it"):
            run(write_study(tmp_path), tmp_path / "out")


def test_workers(tmp_path):
    with pytest.raises(UserError, match="--workers is 0; set it to 1 or more"):
        run_study(write_study(tmp_path), tmp_path / "out", workers=0, tables_only=False)
