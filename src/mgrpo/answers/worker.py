"""Worker processes for untrusted text: what hangs, crashes or eats memory does it there.

`in_workers` is all there is to call. It works from any thread and together with CUDA, since workers are fresh
interpreters and not forks; they start when they are first needed and stay for the run. `multiprocessing` and the pools
built on it are not used because their fresh interpreters import the user's main script again.

A call is limited three times: an alarm in the worker raises at the limit; the parent kills what is not back a quarter
of a second later; and the kernel ends a worker whose call took a second of processor time more, parent or no parent. A
worker ends by itself when its input does: no worker outlives a run that was killed.
"""

import atexit
import json
import math
import os
import selectors
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from mgrpo.answers.worker_process import RETIRING

LOAD_SECONDS = 60.0
"""For importing what a call needs: SymPy takes one second, on a busy file server many."""
GRACE_SECONDS = 0.25
MAX_WORKERS = 8
MAX_FAILED_LOADS = 3


@dataclass(frozen=True)
class Failed:
    """Takes the place of a call's result. `reason`: timeout, memory, died, refused EVENT, or an error's text."""

    reason: str


def in_workers(function: str, items: Sequence[Sequence[Any]], seconds: float = 1.0) -> list[Any]:
    """Call a function once for each item, in worker processes.

    Args:
        function: 'package.module:function', imported by the workers alone.
        items: its arguments for each call; JSON's types, as its results.
        seconds: wall-clock limit of one call.

    Returns:
        For each item the result, or `Failed`; no item raises.

    Raises:
        RuntimeError: if the function cannot be imported in a worker, or no worker starts.
    """
    global _pool
    if not items:
        return []
    with _lock:
        if _pool is None:
            _pool = _Pool()
        return _pool.run(function, items, seconds)


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen
    to_write: bytearray = field(default_factory=bytearray)
    read: bytearray = field(default_factory=bytearray)
    loaded: set[str] = field(default_factory=set)
    """Functions that it has imported, or is importing."""
    item: int | None = None
    """What it works on; None: an import, or nothing."""
    deadline: float = math.inf
    """When its call must be back; infinite: it has none."""


class _Pool:
    def __init__(self) -> None:
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # of one run on this machine; each has its own workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._max_workers = max(1, min(MAX_WORKERS, cores // processes))
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._num_failed_loads = 0

    def run(self, function: str, items: Sequence[Sequence[Any]], seconds: float) -> list[Any]:
        results: list[Any] = [None] * len(items)
        to_do = deque(range(len(items)))
        for worker in [worker for worker in self._workers if worker.process.poll() is not None]:
            self._end(worker)  # somebody ended it since the last call
        try:
            while to_do or any(worker.deadline < math.inf for worker in self._workers):
                num_left = len(to_do) + sum(worker.item is not None for worker in self._workers)
                while len(self._workers) < min(self._max_workers, num_left):
                    self._start()
                for worker in self._workers:
                    if not to_do or worker.deadline < math.inf:
                        continue
                    if function not in worker.loaded:
                        worker.loaded.add(function)
                        self._send(worker, function, None, LOAD_SECONDS)
                    else:
                        worker.item = to_do.popleft()
                        self._send(worker, function, items[worker.item], seconds)
                deadline = min(worker.deadline for worker in self._workers)
                for key, events in self._selector.select(max(0.0, deadline - time.monotonic())):
                    if key.data not in self._workers:
                        continue  # it was ended a moment ago
                    if events & selectors.EVENT_WRITE:
                        self._write(key.data)
                    else:
                        self._read(key.data, function, results)
                for worker in [worker for worker in self._workers if worker.deadline <= time.monotonic()]:
                    self._give_up(worker, "timeout", results)
        except BaseException:
            self.close()  # half-done calls would answer the next batch
            raise
        return results

    def close(self) -> None:
        for worker in list(self._workers):
            self._end(worker)

    def forget(self) -> None:
        """In a forked child: let go of the pipes, so that the workers see when the parent ends."""
        self._selector.close()
        for worker in self._workers:
            for pipe in _pipes(worker):
                pipe.close()

    def _start(self) -> None:
        own_source = str(Path(__file__).parents[2])
        environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR", "HOME") if name in os.environ},
            "PYTHONPATH": os.pathsep.join(filter(None, (own_source, os.environ.get("PYTHONPATH")))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",  # SymPy's order of terms, and with it the verdicts, does not change from run to run
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mgrpo.answers.worker_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
        )
        worker = _Worker(process)
        requests, replies = _pipes(worker)
        os.set_blocking(requests.fileno(), False)
        self._selector.register(replies, selectors.EVENT_READ, worker)
        self._workers.append(worker)

    def _send(self, worker: _Worker, function: str, arguments: Sequence[Any] | None, seconds: float) -> None:
        """Give an idle worker a call; without arguments it imports the function."""
        worker.to_write += json.dumps([function, arguments, seconds]).encode() + b"\n"
        worker.deadline = time.monotonic() + seconds + GRACE_SECONDS
        self._selector.register(_pipes(worker)[0], selectors.EVENT_WRITE, worker)

    def _write(self, worker: _Worker) -> None:
        requests, _ = _pipes(worker)
        try:
            del worker.to_write[: os.write(requests.fileno(), worker.to_write)]
        except BrokenPipeError:  # it has died, which the end of its output tells
            worker.to_write.clear()
        if not worker.to_write:
            self._selector.unregister(requests)

    def _read(self, worker: _Worker, function: str, results: list[Any]) -> None:
        """Take what a worker has written, and the result if it is complete."""
        data = os.read(_pipes(worker)[1].fileno(), 2**16)
        if not data:
            self._give_up(worker, "died", results)
            return
        worker.read += data
        if not data.endswith(b"\n"):
            return
        reply = json.loads(worker.read)
        worker.read.clear()
        if worker.item is not None:
            results[worker.item] = Failed(reply["failed"]) if "failed" in reply else reply["value"]
        elif "failed" in reply:
            raise RuntimeError(f"{function} cannot be loaded in a worker process ({reply['failed']})")
        else:
            self._num_failed_loads = 0
        worker.item, worker.deadline = None, math.inf
        if reply.get(RETIRING):
            self._end(worker)

    def _give_up(self, worker: _Worker, reason: str, results: list[Any]) -> None:
        """End a worker; the call that it worked on has failed."""
        if worker.item is not None:
            results[worker.item] = Failed(reason)
        elif worker.deadline < math.inf:
            self._num_failed_loads += 1
            if (num_failed := self._num_failed_loads) > MAX_FAILED_LOADS:
                self._num_failed_loads = 0
                raise RuntimeError(f"{num_failed} worker processes in a row did not start ({reason})")
        self._end(worker)

    def _end(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        for pipe in _pipes(worker):
            if pipe.fileno() in self._selector.get_map():
                self._selector.unregister(pipe)
            pipe.close()
        worker.process.kill()
        worker.process.wait()


def _pipes(worker: _Worker) -> tuple[IO[bytes], IO[bytes]]:
    """Its input and its output."""
    assert worker.process.stdin is not None and worker.process.stdout is not None
    return worker.process.stdin, worker.process.stdout


_lock = threading.Lock()
_pool: _Pool | None = None


def _close() -> None:
    global _pool
    if _pool is not None:
        _pool.close()
        _pool = None


def _forget_after_fork() -> None:
    global _pool, _lock
    _lock = threading.Lock()  # another thread may have held it
    if _pool is not None:
        _pool.forget()
        _pool = None


atexit.register(_close)
os.register_at_fork(after_in_child=_forget_after_fork)
