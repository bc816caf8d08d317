"""Checkpoints are whole or not there: what is broken is recognised, named and set aside."""

import json
import os
import pickle
import re
import shutil

import numpy
import pytest
import torch
import torch.distributed.checkpoint as dcp

from mgrpo.commands.resume import last_complete
from mgrpo.runs import checkpoints


@pytest.fixture
def run_directory(tmp_path):
    """A run with checkpoints at 2, 4 and 6."""
    for step in (2, 4, 6):
        write(tmp_path, step)
    return tmp_path


def write(run_directory, step):
    unfinished = checkpoints.begin(run_directory)
    (unfinished / "model.safetensors").write_bytes(os.urandom(1000))
    (unfinished / "shards").mkdir()
    (unfinished / "shards" / "0").write_bytes(b"abc" * step)
    return checkpoints.complete(unfinished, step)


def names(run_directory):
    return sorted(path.name for path in run_directory.iterdir())


def test_the_newest_is_taken_first_and_nothing_unfinished(run_directory):
    checkpoints.begin(run_directory)
    (run_directory / "checkpoint-9.broken").mkdir()
    assert [step for step, _ in checkpoints.checkpoints(run_directory)] == [6, 4, 2]
    assert last_complete(run_directory) == (run_directory / "checkpoint-6", ())


def truncate(checkpoint):
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(checkpoint):
    path = checkpoint / "shards" / "0"
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)


def delete_half(checkpoint):
    shutil.rmtree(checkpoint / "shards")


def delete_the_manifest(checkpoint):
    (checkpoint / "manifest.json").unlink()


def cut_the_manifest(checkpoint):
    path = checkpoint / "manifest.json"
    path.write_text(path.read_text()[:40])


def add_a_file(checkpoint):
    (checkpoint / "pytorch_model.bin").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (truncate, "model.safetensors has 999 bytes, and had 1,000"),
        (flip_a_bit, "shards/0 has other bytes than were written"),
        (delete_half, "shards/0 is missing"),
        (delete_the_manifest, "manifest.json is missing"),
        (cut_the_manifest, "manifest.json cannot be read"),
        (add_a_file, "pytorch_model.bin was not written with it"),
    ],
)
def test_a_broken_one_is_named_and_the_one_before_is_taken(run_directory, damage, fault):
    damage(run_directory / "checkpoint-6")
    found, (note,) = last_complete(run_directory)
    assert found == run_directory / "checkpoint-4"
    assert note == f"{run_directory}/checkpoint-6 is broken: {fault}; it is set aside as checkpoint-6.broken."
    assert names(run_directory) == ["checkpoint-2", "checkpoint-4", "checkpoint-6.broken"]


def test_all_are_broken_and_each_is_kept(run_directory):
    (run_directory / "checkpoint-6.broken").mkdir()
    for _, checkpoint in checkpoints.checkpoints(run_directory):
        truncate(checkpoint)
    found, notes = last_complete(run_directory)
    assert found is None and len(notes) == 3
    broken = ["checkpoint-2.broken", "checkpoint-4.broken", "checkpoint-6.broken", "checkpoint-6.broken-2"]
    assert names(run_directory) == broken


def test_rotation_keeps_the_newest_and_what_it_is_told_to(run_directory):
    checkpoints.rotate(run_directory, None)
    checkpoints.rotate(run_directory, 3)
    assert len(names(run_directory)) == 3
    checkpoints.rotate(run_directory, 2, kept=[str(run_directory / "checkpoint-2")])
    assert names(run_directory) == ["checkpoint-2", "checkpoint-6"]
    checkpoints.rotate(run_directory, 1)
    assert names(run_directory) == ["checkpoint-6"]


def test_what_a_kill_leaves_is_cleared_away(run_directory):
    checkpoints.begin(run_directory)
    (run_directory / "checkpoint-2").rename(run_directory / "checkpoint-2.deleted")
    (run_directory / "checkpoint-4").rename(run_directory / "checkpoint-4.replaced")  # before the new one has its name
    shutil.copytree(run_directory / "checkpoint-6", run_directory / "checkpoint-6.replaced")
    (run_directory / "final.unfinished").mkdir()
    checkpoints.clear_leftovers(run_directory)
    assert names(run_directory) == ["checkpoint-4", "checkpoint-6"]
    assert checkpoints.fault_of(run_directory / "checkpoint-4") is None


def test_the_same_step_again_replaces_it(run_directory):
    before = (run_directory / "checkpoint-6" / "model.safetensors").read_bytes()
    write(run_directory, 6)
    assert (run_directory / "checkpoint-6" / "model.safetensors").read_bytes() != before
    assert names(run_directory) == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]


def test_what_was_written_must_still_be_there(tmp_path):
    unfinished = checkpoints.begin(tmp_path)
    with pytest.raises(FileNotFoundError, match="model.safetensors was written and is missing"):
        checkpoints.complete(unfinished, 2, expected=["model.safetensors"])
    assert not checkpoints.checkpoints(tmp_path)


class Attack:
    """Makes a directory when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def sharded(tmp_path):
    """A sharded checkpoint with a number among its tensors."""
    unfinished = checkpoints.begin(tmp_path)
    state = {"weight": torch.zeros(3), "half": torch.ones(2, dtype=torch.bfloat16), "lr": 0.1, "betas": (0.9, 0.999)}
    dcp.save(state, checkpoint_id=unfinished / "optimizer_0", no_dist=True)
    return tmp_path


def test_a_sharded_one_is_whole(sharded):
    checkpoint = checkpoints.complete(sharded / "checkpoint.unfinished", 2)
    assert checkpoints.fault_of(checkpoint) is None


def test_code_in_the_metadata_of_shards_is_not_run(sharded):
    directory = sharded / "checkpoint.unfinished" / "optimizer_0"
    (directory / ".metadata").write_bytes(pickle.dumps(Attack(sharded / "attacked")))
    checkpoint = checkpoints.complete(sharded / "checkpoint.unfinished", 2)  # the manifest agrees with it
    assert "optimizer_0/.metadata asks for posix.mkdir, which no checkpoint needs" in checkpoints.fault_of(checkpoint)
    assert not (sharded / "attacked").exists()


def test_code_among_the_shards_is_not_run(sharded):
    directory = sharded / "checkpoint.unfinished" / "optimizer_0"
    shutil.rmtree(directory)
    dcp.save({"weight": torch.zeros(3), "lr": Attack(sharded / "attacked")}, checkpoint_id=directory, no_dist=True)
    checkpoint = checkpoints.complete(sharded / "checkpoint.unfinished", 2)
    assert "posix.mkdir" in checkpoints.fault_of(checkpoint)
    assert not (sharded / "attacked").exists()


def test_the_manifest_is_plain(run_directory):
    manifest = json.loads((run_directory / "checkpoint-6" / "manifest.json").read_text())
    assert manifest["step"] == 6 == checkpoints.step_of(run_directory / "checkpoint-6")
    assert manifest["files"]["shards/0"][0] == 18


def attack(path):
    torch.save(Attack(path.with_name("attacked")), path)


@pytest.mark.parametrize(
    ("name", "make", "fault"),
    [
        ("optimizer.pt", attack, "asks for posix.mkdir, which no checkpoint needs"),
        ("rng_state_0.pth", attack, "asks for posix.mkdir, which no checkpoint needs"),
        ("pytorch_model.bin", attack, "asks for posix.mkdir, which no checkpoint needs"),
        ("scheduler.pt", lambda path: path.write_bytes(pickle.dumps({})), r"cannot be read \(ValueError\)"),
        ("optimizer.pt", lambda path: torch.save({"a": torch.ones(2)}, path), None),
        ("rng_state.pth", lambda path: torch.save({"numpy": numpy.random.get_state()}, path), None),
        ("training_args.bin", attack, None),  # which nothing reads
    ],
)
def test_code_in_a_pickle_is_found_before_anything_is_loaded(tmp_path, name, make, fault):
    make(checkpoints.begin(tmp_path) / name)
    checkpoint = checkpoints.complete(tmp_path / checkpoints.UNFINISHED_DIRECTORY, 2)
    found = checkpoints.fault_of(checkpoint)
    assert found is None if fault is None else re.fullmatch(f"{name} {fault}", found)
    assert not (checkpoint / "attacked").exists()


@pytest.mark.parametrize("name", ["../outside", "/dev/zero", "a pipe"])
def test_a_manifest_that_leads_elsewhere(tmp_path, name):
    checkpoints.begin(tmp_path)
    checkpoint = checkpoints.complete(tmp_path / checkpoints.UNFINISHED_DIRECTORY, 2)
    (tmp_path / "outside").touch()
    os.mkfifo(checkpoint / "a pipe")
    (checkpoint / "manifest.json").write_text(json.dumps({"step": 2, "files": {name: [0, "0"]}}))
    assert checkpoints.fault_of(checkpoint) == f"{name} is missing"
