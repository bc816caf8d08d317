"""Worker processes for untrusted text: what hangs, crashes or eats memory does it there.

`in_workers` is all there is to call. It works from any thread and together with CUDA, since workers are fresh
interpreters and not forks; they start when they are first needed and stay for the run. `multiprocessing` and the pools
built on it are not used because their fresh interpreters import the user's main script again.

A call is limited three times: an alarm in the worker raises at the limit; the parent kills what is not back a quarter
of a second later; and the kernel ends a worker whose call took a second of processor time more, parent or no parent. A
worker ends by itself when its input does: no worker outlives a run that was killed.
"""

import atexit
import contextlib
import json
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
from typing import Any

from mgrpo.answers.worker_process import RETIRING

LOAD_SECONDS = 60.0
"""For importing what a call needs: SymPy takes one second, on a busy file server many."""
GRACE_SECONDS = 0.25
MAX_WORKERS = 8
MAX_FAILED_LOADS = 3
# Calls that wait inside a worker, so that it is not idle between two of them.
_QUEUE = 8


@dataclass(frozen=True)
class Failed:
    """Stands in the place of a call's result. `reason`: timeout, memory, died, refused EVENT, or an error's text."""

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
    waiting: deque[tuple[int | None, float]] = field(default_factory=deque)
    """Item (None: an import) and limit of the calls it has not answered, the one it works on first."""
    started: float = 0.0

    def send(self, item: int | None, function: str, arguments: Sequence[Any] | None, seconds: float) -> None:
        if not self.waiting:
            self.started = time.monotonic()
        self.waiting.append((item, seconds))
        self.to_write += json.dumps([function, arguments, seconds]).encode() + b"\n"

    @property
    def deadline(self) -> float:
        return self.started + self.waiting[0][1] + GRACE_SECONDS if self.waiting else float("inf")


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
        num_left = len(items)
        for worker in [worker for worker in self._workers if worker.process.poll() is not None]:
            self._end(worker)  # somebody ended it since the last call
        try:
            while num_left:
                wanted = min(self._max_workers, num_left)
                while len(self._workers) < wanted:
                    self._start()
                depth = max(1, min(_QUEUE, num_left // len(self._workers)))
                for worker in self._workers:
                    self._feed(worker, function, items, to_do, seconds, depth)
                for key, events in self._selector.select(self._next_deadline()):
                    if key.data not in self._workers:
                        continue  # it was ended a moment ago
                    if events & selectors.EVENT_WRITE:
                        self._write(key.data)
                    if events & selectors.EVENT_READ:
                        num_left -= self._read(key.data, function, results, to_do)
                num_left -= self._kill_late(results, to_do)
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
            for pipe in (worker.process.stdin, worker.process.stdout):
                assert pipe is not None
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
        assert process.stdin is not None and process.stdout is not None
        os.set_blocking(process.stdin.fileno(), False)
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        self._workers.append(worker)

    def _feed(
        self,
        worker: _Worker,
        function: str,
        items: Sequence[Sequence[Any]],
        to_do: deque[int],
        seconds: float,
        depth: int,
    ) -> None:
        """Give a worker calls until `depth` of them wait."""
        if to_do and function not in worker.loaded:
            worker.loaded.add(function)
            worker.send(None, function, None, LOAD_SECONDS)
        while to_do and len(worker.waiting) < depth:
            item = to_do.popleft()
            worker.send(item, function, items[item], seconds)
        self._write(worker)

    def _write(self, worker: _Worker) -> None:
        pipe = worker.process.stdin
        assert pipe is not None
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # the end of a dead worker's output tells
            while worker.to_write:
                del worker.to_write[: os.write(pipe.fileno(), worker.to_write)]
        is_watched = pipe.fileno() in self._selector.get_map()
        if worker.to_write and worker.process.poll() is None and not is_watched:
            self._selector.register(pipe, selectors.EVENT_WRITE, worker)
        elif is_watched and (not worker.to_write or worker.process.poll() is not None):
            self._selector.unregister(pipe)

    def _read(self, worker: _Worker, function: str, results: list[Any], to_do: deque[int]) -> int:
        """Take a worker's replies; returns how many items they finish."""
        assert worker.process.stdout is not None
        try:
            data = os.read(worker.process.stdout.fileno(), 2**16)
        except BlockingIOError:
            return 0
        if not data:
            return self._give_up(worker, Failed("died"), results, to_do)
        worker.read += data
        *lines, rest = bytes(worker.read).split(b"\n")
        worker.read[:] = rest
        num_done = 0
        for line in lines:
            reply = json.loads(line)
            item, _ = worker.waiting.popleft()
            worker.started = time.monotonic()
            if item is not None:
                results[item] = Failed(reply["failed"]) if "failed" in reply else reply["value"]
                num_done += 1
            elif "failed" in reply:
                raise RuntimeError(f"{function} cannot be loaded in a worker process ({reply['failed']})")
            else:
                self._num_failed_loads = 0
            if reply.get(RETIRING):
                self._requeue(worker, to_do)
                self._end(worker)
        return num_done

    def _kill_late(self, results: list[Any], to_do: deque[int]) -> int:
        late = [worker for worker in self._workers if worker.deadline <= time.monotonic()]
        return sum(self._give_up(worker, Failed("timeout"), results, to_do) for worker in late)

    def _give_up(self, worker: _Worker, failure: Failed, results: list[Any], to_do: deque[int]) -> int:
        """End a worker; its current call has failed, and those that waited go to another."""
        num_done = 0
        if worker.waiting:
            item, _ = worker.waiting.popleft()
            if item is None:
                self._num_failed_loads += 1
                if (num_failed := self._num_failed_loads) > MAX_FAILED_LOADS:
                    self._num_failed_loads = 0
                    raise RuntimeError(f"{num_failed} worker processes in a row did not start ({failure.reason})")
            else:
                results[item] = failure
                num_done = 1
        self._requeue(worker, to_do)
        self._end(worker)
        return num_done

    def _requeue(self, worker: _Worker, to_do: deque[int]) -> None:
        to_do.extendleft(item for item, _ in reversed(worker.waiting) if item is not None)
        worker.waiting.clear()

    def _end(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        for pipe in (worker.process.stdin, worker.process.stdout):
            assert pipe is not None
            if pipe.fileno() in self._selector.get_map():
                self._selector.unregister(pipe)
            pipe.close()
        worker.process.kill()
        worker.process.wait()

    def _next_deadline(self) -> float:
        return max(0.0, min(worker.deadline for worker in self._workers) - time.monotonic())


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
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
