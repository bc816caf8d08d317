"""The other processes of a run: one that dies takes the others along, with a sentence.

The others wait for what it was to take part in: gloo notices, NCCL waits for as long as `ddp_timeout` says, and a main
thread that waits there hears no signal. So a thread looks at this machine's processes once a second. Those of another
machine are watched there; where all of them end, the connections do.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

import psutil
from accelerate.utils import gather_object

from mgrpo.errors import EXIT_PROCESS_LOST
from mgrpo.guard.ending import end_at_once
from mgrpo.guard.lock import machine_id

LOOK_SECONDS = 1.0
DYING_SECONDS = 3.0
"""How long after an error here the process that it comes from may take to be gone: its connections close before."""


class Peers:
    """The processes of a run on this machine.

    Args:
        rank: of this process.
        pids: (rank, machine, process) of all of them.
        resume_hint: gives the half of a sentence that says what the run can go on from.
    """

    def __init__(self, rank: int, pids: list[tuple[int, str, int]], resume_hint: Callable[[], str]) -> None:
        self._rank, self._num_processes, self._resume_hint = rank, len(pids), resume_hint
        self._here: dict[int, psutil.Process] = {}
        for other, machine, pid in pids:
            if machine == machine_id():
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._here[other] = psutil.Process(pid)
        self._is_over = threading.Event()

    @classmethod
    def meet(cls, rank: int, resume_hint: Callable[[], str]) -> "Peers":
        """All processes of a run tell each other which they are; each has to call this."""
        return cls(rank, gather_object([(rank, machine_id(), os.getpid())]), resume_hint)

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Within the block a process that is gone ends this one."""
        thread = threading.Thread(target=self._look, name="peers", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()

    def stop_watching(self) -> None:
        """From now on the others may end: before the last thing that they do together."""
        self._is_over.set()

    def lost(self, seconds: float = 0.0) -> str | None:
        """The sentence about processes that are gone, or None; waits for them some seconds at most."""
        deadline = time.monotonic() + seconds
        while not (gone := [rank for rank, process in self._here.items() if _is_gone(process)]):
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.05)
        names = " and ".join(f"{rank} (process {self._here[rank].pid})" for rank in gone)
        return f"rank {names} of this run's {self._num_processes} is gone, and the others cannot go on without it"

    def _look(self) -> None:
        while not self._is_over.wait(LOOK_SECONDS):
            sentence = self.lost()
            if sentence is not None and not self._is_over.is_set():
                end_at_once(f"rank {self._rank} ends: {sentence}", EXIT_PROCESS_LOST, self._resume_hint)


def _is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True
