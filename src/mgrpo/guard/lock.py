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

LOCK_FILE = "run.lock"


@contextmanager
def run_lock(directory: Path) -> Iterator[None]:
    """Within the block no other run is in the directory.

    It is made if need be, and removed again if nothing was written into it.

    Raises:
        UserError: if another run is there, with its process, its machine and since when; or if it cannot be locked.
    """
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    lock = FileLock(directory / LOCK_FILE, blocking=False)
    with ExitStack() as afterwards:
        afterwards.callback(_remove_empty, made)
        afterwards.callback(_release, lock)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            if not isinstance(lock, SoftFileLock):  # without flock, which has a record of its own
                since = time.strftime("%Y-%m-%d %H:%M:%S %z")
                owner = f"process {os.getpid()} on {socket.gethostname()}, since {since}\n"
                (directory / LOCK_FILE).write_text(owner, encoding="utf-8")
        except Timeout:
            raise UserError(
                f"output_dir {directory} is in use by another run ({_owner(directory / LOCK_FILE)}); wait for it, "
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
        return " ".join(path.read_text(encoding="utf-8", errors="replace").split()) or "another process"
    except OSError:
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
