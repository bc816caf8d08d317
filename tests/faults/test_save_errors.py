"""A disk that is full, read-only or gone costs a checkpoint, not the run; and code in a checkpoint is never run."""

import errno
import os
import pickle
import shutil
import subprocess
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerCallback, TrainerState

from mgrpo.cli import main
from mgrpo.runs import checkpoints
from mgrpo.runs.files import read_rows
from mgrpo.training.callbacks import RunFiles

SETTINGS = {"max_steps": 4, "save_strategy": "steps", "save_steps": 1}


@pytest.fixture
def disk(make_disk):
    """Room for four checkpoints of the embedded model."""
    return make_disk(12)


class At(TrainerCallback):
    """Does something when a step has ended, before what is logged and saved."""

    def __init__(self, **actions):
        self.actions = {int(name.removeprefix("step_")): action for name, action in actions.items()}

    def on_step_end(self, args, state, control, **_):
        self.actions.get(state.global_step, lambda: None)()


@pytest.fixture
def trained(make_trainer):
    """Trains with actions at steps; returns the trainer and what it told."""

    def train(directory, overrides=None, **actions):
        trainer = make_trainer(output_dir=str(directory), **{**SETTINGS, **(overrides or {})})
        told = []
        trainer.tell = told.append
        trainer.add_callback(At(**actions))
        trainer.train()
        return trainer, told

    return train


def fill(directory):
    with open(directory / "filler", "wb", buffering=0) as file:
        for size in (1 << 16, 1):  # to the last byte
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC


def saved(run):
    there = checkpoints.checkpoints(run)
    assert all(checkpoints.fault_of(path) is None for _, path in there)
    assert not (run / checkpoints.UNFINISHED_DIRECTORY).exists()
    return sorted(step for step, _ in there)


def test_a_full_disk(trained, disk):
    run, settings = disk / "run", {"log_completions": True}
    _, told = trained(run, settings, step_2=lambda: fill(disk), step_4=lambda: os.unlink(disk / "filler"))
    assert saved(run) == [1, 4]
    full = "(No space left on device)"
    not_saved = (
        f"the checkpoint could not be saved in {run} {full}; the last one is checkpoint-1, and it is tried again"
    )
    assert told == [
        f"step 2: what was logged could not be written to {run} {full}; it is kept, and tried again at the next row.",
        *(f"step {step}: {not_saved} at the next interval." for step in (2, 3)),
    ]
    rows = read_rows(run / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4] and all("loss" in row for row in rows)
    assert sorted(path.name for path in (run / "completions").iterdir()) == [
        f"step-00000{step}.parquet" for step in (1, 2, 3, 4)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [0.05, 0.5, 1.0, 1.5])
def test_a_disk_that_becomes_full_while_a_checkpoint_is_written(trained, disk, megabytes):
    """Room for a part of it: the model, or the momentum weights too, or half of the optimizer."""

    def leave_some():
        fill(disk)
        os.truncate(disk / "filler", os.path.getsize(disk / "filler") - int(megabytes * 2**20))

    _, told = trained(disk / "run", {"max_steps": 2}, step_2=leave_some)
    assert saved(disk / "run") == [1]
    assert "step 2: the checkpoint could not be saved" in told[-1] and "(No space left on device)" in told[-1]


@pytest.mark.slow
def test_a_directory_that_becomes_read_only_and_comes_back(trained, disk):
    """As a disk of another machine may: an empty one that cannot be written to stands in its place for two steps."""
    run = disk / "run"

    def cover():
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", run], check=True)

    def uncover():
        subprocess.run(["umount", run], check=True)

    _, told = trained(run, step_2=cover, step_4=uncover)
    assert saved(run) == [1, 4]
    assert "what was logged could not be written" in told[0]
    assert "step 2: the checkpoint could not be saved" in told[1] and "(Read-only file system)" in told[1]
    assert "there is no earlier one, and it is tried again" in told[1]
    assert [row["step"] for row in read_rows(run / "metrics.jsonl")] == [1, 2, 3, 4]


def test_files_that_a_run_needs_to_be_resumed_are_written_again(tmp_path):
    run, state = tmp_path / "run", TrainerState(is_world_process_zero=True)
    arguments = SimpleNamespace(output_dir=str(run), completions_total_limit=None)
    run.mkdir()
    contents = {"config.yaml": "task: gsm8k\n", "environment.json": "{}", "probe.json": "[]"}
    for name, content in contents.items():
        (run / name).write_text(content)
    files = RunFiles(print)
    files.on_train_begin(arguments, state)
    (run / "alarms.jsonl").write_text('{"step": 1}\n')
    files.on_log(arguments, state, logs={"loss": 1.0})
    shutil.rmtree(run)
    files.on_log(arguments, state, logs={"loss": 2.0})
    found = {path.name: path.read_text() for path in run.iterdir() if path.name != "metrics.jsonl"}
    assert found == contents | {"alarms.jsonl": '{"step": 1}\n'}
    (run / "config.yaml").unlink()
    files.flush()  # before a checkpoint is complete
    assert (run / "config.yaml").exists()
    files.on_train_end()


@pytest.mark.slow
def test_the_directory_vanishes(trained, tmp_path):
    run = tmp_path / "run"
    _, told = trained(run, step_3=lambda: shutil.rmtree(run))
    assert saved(run) == [3, 4]
    assert [row["step"] for row in read_rows(run / "metrics.jsonl")] == [3, 4]


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", ["save_model", "_save_optimizer_and_scheduler", "_save_rng_state", "_save_trainer_state"]
)
def test_the_directory_vanishes_while_it_is_written_to(make_trainer, tmp_path, monkeypatch, part):
    run, told = tmp_path / "run", []
    trainer = make_trainer(output_dir=str(run), **SETTINGS)
    trainer.tell = told.append
    write = getattr(trainer, part)

    def write_and_vanish(*args, **kwargs):
        write(*args, **kwargs)
        if trainer.state.global_step == 2:
            shutil.rmtree(run)

    monkeypatch.setattr(trainer, part, write_and_vanish)
    trainer.train()
    assert saved(run) == [3, 4]
    assert told[0].startswith(f"step 2: the checkpoint could not be saved in {run} (")


@pytest.mark.slow
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_quota(trained, tmp_path, monkeypatch, function):
    """Raised by the system's calls, since a quota cannot be set up everywhere."""
    real = getattr(os, function)

    def over(*args):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    _, told = trained(
        tmp_path / "run",
        step_2=lambda: monkeypatch.setattr(os, function, over),
        step_3=lambda: monkeypatch.setattr(os, function, real),
    )
    assert 1 in saved(tmp_path / "run") and 4 in saved(tmp_path / "run")
    if function == "fsync":
        assert "(Disk quota exceeded); the last one is checkpoint-1" in told[0]


@pytest.mark.slow
def test_stops_with_a_checkpoint_elsewhere(trained, disk, tmp_path):
    rescue = tmp_path / "rescue"
    settings = {"on_save_error": "stop", "rescue_dir": str(rescue)}
    trainer, _ = trained(disk / "run", settings, step_2=lambda: fill(disk))
    assert trainer.state.global_step == 2
    assert saved(rescue) == [2]
    assert trainer.save_stop_reason.endswith(
        f"it is {rescue}/checkpoint-2; free some space and resume from it with --resume {rescue}/checkpoint-2"
    )


@pytest.mark.slow
def test_a_run_that_stopped_goes_on_from_its_rescued_checkpoint(disk, tmp_path, capsys, monkeypatch):
    rescue, run = tmp_path / "rescue", disk / "run"
    small = ["--eval_strategy", "no", "--eval_on_start", "false", "--save_steps", "2", "--logging_steps", "1"]
    settings = ["--on_save_error", "stop", "--rescue_dir", str(rescue), "--max_steps", "6", "--probe_prompts", "8"]
    command = ["train", "--config", "embedded", *small, *settings, "--output_dir"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    begin = checkpoints.begin

    def begin_on_a_full_disk(directory):
        if (run / "checkpoint-2").exists() and directory == run:
            fill(disk)
        return begin(directory)

    monkeypatch.setattr(checkpoints, "begin", begin_on_a_full_disk)
    assert main([*command, str(run)]) == 3
    said = capsys.readouterr().err
    assert f"mgrpo: stopped: step 4: the checkpoint could not be saved in {run} (No space left on device)" in said
    assert f"--resume {rescue}/checkpoint-4" in said
    monkeypatch.undo()
    assert main([*command, str(run)]) == 2
    assert f"output_dir {run} cannot be written to (No space left on device)" in capsys.readouterr().err
    os.unlink(disk / "filler")
    assert main([*command, str(run), "--resume", str(rescue / "checkpoint-4")]) == 0
    for name in ("model.safetensors", "momentum/model.safetensors"):
        assert (run / "final" / name).read_bytes() == (tmp_path / "whole" / "final" / name).read_bytes()
    assert [row["step"] for row in read_rows(run / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert (run / "probe.json").read_bytes() == (tmp_path / "whole" / "probe.json").read_bytes()


@pytest.mark.slow
def test_a_disk_that_is_full_at_the_end(disk, capsys, monkeypatch):
    """The last checkpoint is there, the models are not yet; the same command saves them."""
    from mgrpo.commands import train as training_run

    small = ["--eval_strategy", "no", "--eval_on_start", "false", "--max_steps", "2", "--probe_prompts", "0"]
    command = ["train", "--config", "embedded", *small, "--output_dir", str(disk / "run")]
    save_final = training_run._save_final

    def save_final_on_a_full_disk(*args):
        fill(disk)
        save_final(*args)

    monkeypatch.setattr(training_run, "_save_final", save_final_on_a_full_disk)
    assert main(command) == 3
    said = capsys.readouterr().err
    assert "the models could not be saved in" in said and "(No space left on device); with free space there" in said
    monkeypatch.undo()
    os.unlink(disk / "filler")
    assert main(command) == 0
    assert (disk / "run" / "final" / "momentum" / "model.safetensors").exists()
    assert [row["step"] for row in read_rows(disk / "run" / "metrics.jsonl")] == [2]


class Attack:
    """Makes a directory when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


PICKLED = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt", "pytorch_model.bin", "training_args.bin")


@pytest.mark.parametrize("is_archive", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_code_in_a_checkpoint_is_not_run(make_trainer, tmp_path, is_archive):
    trainer = make_trainer(max_steps=1, probe_prompts=0, save_strategy="steps", save_steps=1)
    trainer.train()
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu")
    trainer.args.max_steps = 2
    for name in PICKLED:
        attacked = tmp_path / name
        shutil.copytree(tmp_path / "run" / "checkpoint-1", attacked)
        if name == "pytorch_model.bin":
            (attacked / "model.safetensors").unlink()
        if is_archive:
            torch.save({"state": Attack(tmp_path / "attacked")}, attacked / name)
        else:
            (attacked / name).write_bytes(pickle.dumps(Attack(tmp_path / "attacked")))
        try:
            trainer.train(resume_from_checkpoint=str(attacked))
        except pickle.UnpicklingError as error:
            assert "Weights only load failed" in str(error)
        else:
            assert name == "training_args.bin"  # which nobody reads
        assert not (tmp_path / "attacked").exists()
