import multiprocessing
import sys
from dataclasses import replace

import pytest

from mgrpo.embedded import cache
from mgrpo.embedded.cache import checkpoint_of, ensure_built
from mgrpo.embedded.model import CHECKPOINT
from mgrpo.embedded.starts import STARTS
from mgrpo.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache of its own, and swaps of two steps to be built in it."""
    monkeypatch.setenv("MGRPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(STARTS, "swaps", replace(STARTS["swaps"], num_steps=2))


def test_where_checkpoints_lie(tmp_path, monkeypatch):
    assert checkpoint_of("embedded") == checkpoint_of("embedded:chains") == CHECKPOINT
    name = f"swaps-{STARTS['swaps'].key}"
    assert checkpoint_of("embedded:swaps") == tmp_path / "cache" / "embedded" / name
    monkeypatch.delenv("MGRPO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert str(checkpoint_of("embedded:swaps")) == f"/elsewhere/mgrpo/embedded/{name}"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert str(checkpoint_of("embedded:swaps")) == f"/home/me/.cache/mgrpo/embedded/{name}"


def test_what_comes_along_is_not_built(tmp_path):
    assert ensure_built("embedded") == CHECKPOINT
    assert not (tmp_path / "cache").exists()


def test_built_once(capsys, monkeypatch):
    directory = ensure_built("embedded:swaps")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in directory.iterdir()}
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1 and f"building embedded:swaps in {directory}" in printed.err

    monkeypatch.setattr(cache, "_build", lambda *_: pytest.fail("it is built already"))
    assert ensure_built("embedded:swaps") == directory
    assert capsys.readouterr().err == ""


def test_an_interrupted_build_leaves_nothing_to_load(monkeypatch):
    def interrupted(start, directory):
        directory.mkdir()
        (directory / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr("mgrpo.embedded.build.build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ensure_built("embedded:swaps")
    directory = checkpoint_of("embedded:swaps")
    assert [file.name for file in directory.parent.iterdir()] == [f"{directory.name}.lock"]


def build_in_child(said):
    """What a forked process does; its messages go into a file."""
    with said.open("w") as sys.stderr:
        ensure_built("embedded:swaps")


def test_processes_that_start_together_build_once(tmp_path):
    said = [tmp_path / f"said-{i}" for i in range(2)]
    # forked, so that they need not import torch again
    processes = [multiprocessing.get_context("fork").Process(target=build_in_child, args=(path,)) for path in said]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0]
    directory = checkpoint_of("embedded:swaps")
    assert "".join(path.read_text() for path in said).count("building embedded:swaps in") == 1
    assert {file.name for file in directory.parent.iterdir()} == {directory.name, f"{directory.name}.lock"}


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MGRPO_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="embedded:swaps is built on demand, but .* set MGRPO_CACHE"):
        ensure_built("embedded:swaps")
