"""Two runs never share a directory, and an owner that died holds nothing."""

import errno
import os
import shutil
import signal
import warnings
from contextlib import suppress
from pathlib import Path

import filelock._unix
import pytest

from mgrpo.cli import main
from mgrpo.errors import UserError
from mgrpo.guard.lock import LOCK_FILE, run_lock


def owner_in(directory):
    return (directory / LOCK_FILE).read_text()


@pytest.fixture
def elsewhere(tmp_path):
    """Another process that holds the lock; returns its pid."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException), run_lock(tmp_path):
            os.write(write, b"held")
            signal.pause()
        os._exit(1)
    os.close(write)
    assert os.read(read, 4) == b"held"
    yield child
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os.close(read)


def test_the_second_run_is_refused_and_nothing_is_touched(tmp_path, elsewhere, capsys):
    assert main(["train", "--config", "embedded", "--output_dir", str(tmp_path)]) == 2
    (refusal,) = capsys.readouterr().err.splitlines()
    assert refusal.startswith(f"mgrpo: output_dir {tmp_path} is in use")
    assert f"process {elsewhere} on " in refusal and "--output_dir" in refusal
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]


def test_a_dead_owner_holds_nothing(tmp_path, elsewhere):
    os.kill(elsewhere, signal.SIGKILL)
    os.waitpid(elsewhere, 0)
    assert f"process {elsewhere} on" in owner_in(tmp_path)
    with run_lock(tmp_path):
        assert f"process {os.getpid()} on" in owner_in(tmp_path)
    assert not (tmp_path / LOCK_FILE).exists()


def test_children_of_the_owner_do_not_hold_it(tmp_path):
    """A data loader's process, forked meanwhile, that outlives its parent's run."""
    with run_lock(tmp_path):
        child = os.fork()
        if child == 0:
            signal.pause()
    try:
        with run_lock(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_directory_that_was_made_for_nothing_goes(tmp_path):
    with pytest.raises(UserError, match="told"), run_lock(tmp_path / "runs" / "a"):
        raise UserError("told before anything was written")
    assert list(tmp_path.iterdir()) == []
    with run_lock(tmp_path / "runs" / "a"):
        (tmp_path / "runs" / "a" / "config.yaml").touch()
    assert {path.name for path in (tmp_path / "runs" / "a").iterdir()} == {"config.yaml"}


@pytest.mark.parametrize("is_alive", [False, True])
def test_a_file_system_without_flock(tmp_path, monkeypatch, is_alive):
    """Then filelock's record counts, and whether its process still lives."""

    def no_flock(_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(filelock._unix, "lock_fd_nonblocking", no_flock)
    warnings.simplefilter("ignore")
    child = os.fork()
    if child == 0:
        with suppress(BaseException), run_lock(tmp_path):
            os.kill(os.getpid(), signal.SIGSTOP if is_alive else signal.SIGKILL)
        os._exit(1)
    os.waitpid(child, os.WUNTRACED)
    try:
        if is_alive:
            with pytest.raises(UserError, match=f"in use by another run .*{child}"), run_lock(tmp_path):
                pass
        else:
            with run_lock(tmp_path):
                assert str(os.getpid()) in owner_in(tmp_path)
            assert not (tmp_path / LOCK_FILE).exists()
    finally:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def test_a_record_that_cannot_be_read(tmp_path):
    """An older version's, or half of one."""
    (tmp_path / LOCK_FILE).write_bytes(b'{"host": "n\xff')
    with run_lock(tmp_path):
        assert f"process {os.getpid()} on" in owner_in(tmp_path)


def test_a_disk_that_takes_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with (
        pytest.raises(UserError, match="run cannot be written to .No space left on device."),
        run_lock(tmp_path / "run"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_taken_away_meanwhile(tmp_path):
    with run_lock(tmp_path / "run"):
        shutil.rmtree(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_a_directory(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="is a file, or in one; name a directory"), run_lock(path):
            pass


@pytest.mark.parametrize("is_broken", [False, True])
def test_a_lock_that_leads_elsewhere(tmp_path, is_broken):
    (tmp_path / "precious").write_text("content")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK_FILE).symlink_to(tmp_path / ("new" if is_broken else "precious"))
    with pytest.raises(UserError, match=r"run\.lock is a symbolic link, .*; remove it"), run_lock(tmp_path / "run"):
        pass
    assert (tmp_path / "precious").read_text() == "content"
    assert not (tmp_path / "new").exists()
