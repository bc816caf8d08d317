"""One run in a directory at a time.

The lock is the kernel's (flock), on the file `run.lock` in the run's directory: it is gone with its owner, however
that ended. The file says who the owner is, for the one who is refused. A file system may know nothing of flock, or
keep it to one machine (NFS mounted with `nolock` or `local_lock`, Lustre with `localflock`). So where a lock is free
its record is looked at too: an owner on another machine keeps touching the file, and one that does not within
`WATCH_SECONDS` is gone.
"""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import psutil
from filelock import FileLock, Timeout

from mgrpo.errors import UserError
from mgrpo.guard.ending import last_act

LOCK_FILE = "run.lock"
BEAT_SECONDS = 10.0
WATCH_SECONDS = 65.0
"""Longer than the minute for which an NFS client may believe its own copy of a file's times, and six beats."""


@dataclass(frozen=True)
class Owner:
    """Who has a lock.

    Attributes:
        host: the machine's name.
        machine: what it is told apart by; a name may be shared.
        pid: the process.
        process_started: when that began, seconds since 1970 as the machine counts them; pids are used again.
        since: when it took the lock, for people.
    """

    host: str
    machine: str
    pid: int
    process_started: float
    since: str

    @classmethod
    def this_process(cls) -> "Owner":
        """This one, now."""
        return cls(
            host=socket.gethostname(),
            machine=machine_id(),
            pid=os.getpid(),
            process_started=psutil.Process().create_time(),
            since=time.strftime("%Y-%m-%d %H:%M:%S %z"),
        )

    def is_alive_here(self) -> bool:
        """Whether a process of this machine is the owner."""
        try:
            return abs(psutil.Process(self.pid).create_time() - self.process_started) < 1
        except psutil.Error:
            return False


class RunLock:
    """Within the block no other run is in the directory, which is made if need be, and unmade if nothing came into it.

    Args:
        directory: the run's.
        tell: takes the sentence that says what is waited for.
        watch_seconds: how long an owner on another machine is watched for a sign of life.

    Raises:
        UserError: if another run is there, with its machine, its process and since when.
    """

    def __init__(
        self,
        directory: Path,
        tell: Callable[[str], None] = lambda text: print(f"mgrpo: {text}", file=sys.stderr, flush=True),
        watch_seconds: float = WATCH_SECONDS,
    ) -> None:
        self.path = directory / LOCK_FILE
        self._tell, self._watch_seconds = tell, watch_seconds
        self._made: list[Path] = []
        self._is_held = False
        self._around = ExitStack()
        self._released = threading.Event()

    def __enter__(self) -> "RunLock":
        """Take the lock."""
        directory = self.path.parent
        self._made = [path for path in (directory, *directory.parents) if not path.exists()]
        with ExitStack() as undone:
            undone.callback(self._leave)
            try:
                directory.mkdir(parents=True, exist_ok=True)
                self._acquire()
            except (FileExistsError, NotADirectoryError):
                raise UserError(f"output_dir {directory} is a file, or in one; name a directory.") from None
            except OSError as error:  # no permission, a full disk
                raise UserError(
                    f"output_dir {directory} cannot be written to ({error.strerror}); mend that, or name another with "
                    "--output_dir."
                ) from None
            undone.pop_all()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Give it back; a directory that was made for nothing goes."""
        self._clear()
        self._leave()

    def _leave(self) -> None:
        self._released.set()
        with suppress(OSError):  # somebody may have taken the directory away
            if self._is_held and self._made and not [path for path in self.path.parent.iterdir() if path != self.path]:
                self.path.unlink(missing_ok=True)
        self._around.close()
        with suppress(OSError):  # not empty
            for path in self._made:
                path.rmdir()

    def _acquire(self) -> None:
        lock = FileLock(self.path, blocking=False, fallback_to_soft=False, thread_local=False)
        has_flock = True
        try:
            self._around.enter_context(lock)
        except Timeout:
            raise self._refusal(self._owner()) from None
        except OSError:  # the file system has no flock, or takes no file at all
            has_flock = False
            self.path.touch()
        owner = self._owner()
        if owner is not None and not (has_flock and owner.machine == machine_id()):
            is_alive = owner.is_alive_here() if owner.machine == machine_id() else self._is_touched(owner)
            if is_alive:
                raise self._refusal(owner)
        self._is_held = True
        self.path.write_text(json.dumps(asdict(Owner.this_process())) + "\n", encoding="utf-8")
        self._around.enter_context(last_act(self._clear))
        threading.Thread(target=self._keep_touching, name="run lock", daemon=True).start()

    def _owner(self) -> Owner | None:
        """Who is written down, or None: nobody, or half a record of one who died over it."""
        try:
            return Owner(**json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _is_touched(self, owner: Owner) -> bool:
        """Watch the file of an owner on another machine; clocks of machines are not compared."""
        self._tell(
            f"{self.path} names a run on {owner.host} (process {owner.pid}, since {owner.since}); waiting up to "
            f"{self._watch_seconds:.0f} s for a sign of life from it"
        )
        first = self._touched()
        deadline = time.monotonic() + self._watch_seconds
        while time.monotonic() < deadline:
            time.sleep(min(1.0, self._watch_seconds / 10))
            if self._touched() != first:
                return True
        return False

    def _touched(self) -> int:
        with self.path.open("rb") as file:  # opening is what makes an NFS client ask its server
            return os.fstat(file.fileno()).st_mtime_ns

    def _keep_touching(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            with suppress(OSError):
                os.utime(self.path)

    def _clear(self) -> None:
        owner = self._owner()
        if owner is not None and owner.machine == machine_id() and owner.pid == os.getpid():
            self.path.unlink(missing_ok=True)  # filelock sees that a file it has just locked is no longer there

    def _refusal(self, owner: Owner | None) -> UserError:
        who = "another process" if owner is None else f"process {owner.pid} on {owner.host}, since {owner.since}"
        return UserError(
            f"output_dir {self.path.parent} is in use by another run ({who}); wait for it, stop it, or name another "
            f"--output_dir. If there is no such process any more, delete {self.path}."
        )


def machine_id() -> str:
    """The machine, this boot of it, and the part of it in which a process's number means that process."""
    parts = [socket.gethostname()]
    with suppress(OSError):  # not on Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)
