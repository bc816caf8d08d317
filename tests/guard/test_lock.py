import errno
import json
import os
import shutil
import signal
import threading
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mgrpo.cli import main
from mgrpo.errors import UserError
from mgrpo.guard import lock as run_lock
from mgrpo.guard.lock import LOCK_FILE, Owner, RunLock


@pytest.fixture
def elsewhere(tmp_path):
    """Another process that holds the lock; returns its pid."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException), RunLock(tmp_path):
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


def write_owner(directory, **changed):
    (directory / LOCK_FILE).write_text(json.dumps(asdict(replace(Owner.this_process(), **changed))))


def test_the_second_run_is_refused_and_nothing_is_touched(tmp_path, elsewhere, capsys):
    owner = json.loads((tmp_path / LOCK_FILE).read_text())
    assert main(["train", "--config", "embedded", "--output_dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"mgrpo: output_dir {tmp_path} is in use by another run (process {elsewhere} on {owner['host']}, since "
        f"{owner['since']}); wait for it, stop it, or name another --output_dir. If there is no such process any "
        f"more, delete {tmp_path / LOCK_FILE}.\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]


def test_a_dead_owner_holds_nothing(tmp_path, elsewhere):
    os.kill(elsewhere, signal.SIGKILL)
    os.waitpid(elsewhere, 0)
    assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == elsewhere
    with RunLock(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()
    assert not (tmp_path / LOCK_FILE).exists()


def test_children_of_the_owner_do_not_hold_it(tmp_path):
    """A data loader's process, forked meanwhile, that outlives its parent's run."""
    with RunLock(tmp_path):
        child = os.fork()
        if child == 0:
            signal.pause()
    try:
        with RunLock(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_directory_that_was_made_for_nothing_goes(tmp_path):
    with pytest.raises(UserError, match="told"), RunLock(tmp_path / "runs" / "a"):
        raise UserError("told before anything was written")
    assert list(tmp_path.iterdir()) == []
    with RunLock(tmp_path / "runs" / "a"):
        (tmp_path / "runs" / "a" / "config.yaml").touch()
    assert {path.name for path in (tmp_path / "runs" / "a").iterdir()} == {"config.yaml"}


@pytest.mark.parametrize("is_alive", [False, True])
def test_an_owner_on_another_machine(tmp_path, is_alive):
    """Whose lock is not to be seen here (NFS without its lock service): what counts is that it touches the file."""
    write_owner(tmp_path, host="node7", machine="another", pid=1234, since="yesterday")
    told, ended = [], threading.Event()

    def touch():
        while not ended.wait(0.05):
            os.utime(tmp_path / LOCK_FILE)

    if is_alive:
        threading.Thread(target=touch, daemon=True).start()
    try:
        if is_alive:
            with (
                pytest.raises(UserError, match=r"process 1234 on node7, since yesterday"),
                RunLock(tmp_path, told.append, 60.0),
            ):
                pass
        else:
            with RunLock(tmp_path, told.append, watch_seconds=0.3):
                assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()
    finally:
        ended.set()
    assert len(told) == 1 and "names a run on node7 (process 1234, since yesterday); waiting" in told[0]


@pytest.mark.parametrize("is_alive", [False, True])
def test_a_file_system_without_flock(tmp_path, monkeypatch, is_alive):
    """Then the record says who it is, and the process whether it is still the same one."""

    class NoFlock:
        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            raise OSError(38, "Function not implemented")

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(run_lock, "FileLock", NoFlock)
    started = Owner.this_process().process_started
    # the same number, given to another process since
    write_owner(tmp_path, process_started=started if is_alive else started - 1000)
    if is_alive:
        with pytest.raises(UserError, match=f"in use by another run .process {os.getpid()} on "), RunLock(tmp_path):
            pass
    else:
        with RunLock(tmp_path):
            pass


def test_half_a_record_is_none(tmp_path):
    (tmp_path / LOCK_FILE).write_text('{"host": "no')
    with RunLock(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()


def test_a_disk_that_takes_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with (
        pytest.raises(UserError, match="run cannot be written to .No space left on device."),
        RunLock(tmp_path / "run"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_taken_away_meanwhile(tmp_path):
    with RunLock(tmp_path / "run"):
        shutil.rmtree(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_a_directory(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="is a file, or in one; name a directory"), RunLock(path):
            pass
