"""One run in a directory at a time.

The lock is the kernel's (flock), on the file `run.lock` in the run's directory: it is released with its owner, however
that ended. The file says who the owner is, for the run that is refused.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from mgrpo.errors import UserError, reason_of
from mgrpo.runs.reading import read_text

LOCK_FILE = "run.lock"


@contextmanager
def run_lock(directory: Path, name: str = LOCK_FILE, owner: str = "run") -> Iterator[None]:
    """Within the block no other run, or another kind of `owner` with a lock of that name, is in the directory.

    It is made if need be, and removed again if nothing was written into it.

    Raises:
        UserError: if another run is there, with its process, its machine and since when; or if it cannot be locked.
    """
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    file = directory / name
    lock = FileLock(file, blocking=False)
    with ExitStack() as afterwards:
        afterwards.callback(_remove_empty, made)
        afterwards.callback(_release, lock)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if file.is_symlink():  # the lock's record would be written to wherever it leads
                raise UserError(f"{file} is a symbolic link, and no {owner} makes one; remove it.")
            lock.acquire()
            if not isinstance(lock, SoftFileLock):  # without flock, which has a record of its own
                since = time.strftime("%Y-%m-%d %H:%M:%S %z")
                file.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {since}\n", encoding="utf-8")
        except Timeout:
            raise UserError(
                f"output_dir {directory} is in use by another {owner} ({_owner(file)}); wait for it, "
                "stop it, or name another --output_dir."
            ) from None
        except (FileExistsError, NotADirectoryError):
            raise UserError(f"output_dir {directory} is a file, or in one; name a directory.") from None
        except OSError as error:  # no permission, a full disk
            raise UserError(
                f"output_dir {directory} cannot be written to ({reason_of(error)}); fix that, or name another with "
                "--output_dir."
            ) from None
        yield


def _owner(path: Path) -> str:
    try:
        return " ".join(read_text(path).split()) or "another process"
    except (FileNotFoundError, UserError):
        return "another process"


def _release(lock: FileLock) -> None:
    if lock.is_locked:
        if not isinstance(lock, SoftFileLock):
            with suppress(OSError):  # the directory may have been deleted meanwhile
                Path(lock.lock_file).unlink()  # filelock notices that a file it has just locked has lost its name
        lock.release()


def _remove_empty(directories: list[Path]) -> None:
    with suppress(OSError):  # not empty
        for directory in directories:
            directory.rmdir()
