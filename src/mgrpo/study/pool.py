"""Where runs are started: forked from a process that has imported everything, or each a fresh one on a GPU of its own.

A run takes 7 s of imports. A forked process is spared them, but cannot use a GPU.
"""

import multiprocessing
import os
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from mgrpo.study import child
from mgrpo.study.definition import StudyRun


@dataclass
class RunningProcess:
    """A run that was started, and the place it occupies."""

    run: StudyRun
    place: int
    process: BaseProcess


@dataclass
class Pool:
    """Runs side by side.

    Attributes:
        context: how a process is made.
        workers: how many runs at a time.
        gpus: as CUDA_VISIBLE_DEVICES names them; none: on the CPU.
        going: runs that were started and have not ended.
        is_interrupted: whether they were asked to end.
    """

    context: BaseContext
    workers: int
    gpus: list[str] = field(default_factory=list)
    going: list[RunningProcess] = field(default_factory=list)
    is_interrupted: bool = False

    @property
    def is_full(self) -> bool:
        """Whether as many runs are going as may."""
        return len(self.going) >= self.workers

    def start(self, run: StudyRun, fields: dict[str, Any], source: str) -> None:
        """Start a run."""
        place = min(set(range(self.workers)) - {going.place for going in self.going})
        gpu = self.gpus[place % len(self.gpus)] if self.gpus else None
        process = self.context.Process(target=child.run, args=(fields, source, run.log, gpu))  # type: ignore[attr-defined]
        self.going.append(RunningProcess(run, place, process))  # first, so that an interruption finds it
        process.start()

    def ended(self, timeout: float) -> list[tuple[StudyRun, int]]:
        """Runs that ended, with their exit codes; waits for one at most `timeout` seconds."""
        ready = connection.wait([going.process.sentinel for going in self.going], timeout)
        ended = [going for going in self.going if going.process.sentinel in ready]
        for going in ended:
            going.process.join()
            self.going.remove(going)
        return [(going.run, going.process.exitcode or 0) for going in ended]

    def interrupt(self) -> None:
        """Ask every run once to finish its step, save it and end."""
        if not self.is_interrupted:
            self.is_interrupted = True
            for going in self.going:
                going.process.terminate()

    def stop(self) -> None:
        """End every run at once; whatever it was writing, it goes on from its last whole checkpoint."""
        started = [going.process for going in self.going if going.process.pid is not None]
        for process in started:
            process.kill()
        for process in started:
            process.join()
        self.going.clear()


def make_pool(env: dict[str, str], workers: int | None, *, on_cpu: bool) -> Pool:
    """A pool on the CPU, one run a core if not told otherwise; the environment of its processes is set.

    Args:
        env: environment variables; what the shell has set wins.
        workers: how many runs at a time, or None.
        on_cpu: whether it will stay on the CPU. Then its first process starts to import at once.
    """
    # process_cpu_count came with Python 3.13
    num_cores = os.process_cpu_count() if hasattr(os, "process_cpu_count") else len(os.sched_getaffinity(0))
    num_cores = num_cores or 1
    workers = workers or num_cores
    defaults = {"TQDM_DISABLE": "1"}  # the bars of other libraries would fill the logs
    if on_cpu:
        defaults["OMP_NUM_THREADS"] = str(max(1, num_cores // workers))
    for name, value in (defaults | env).items():
        os.environ.setdefault(name, value)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(child.PRELOADED)
    if on_cpu:
        forkserver.ensure_running()
    return Pool(context, workers)


def use_gpus(pool: Pool, workers: int | None) -> None:
    """Where there are GPUs: one run a GPU if not told otherwise, each in a fresh process that sees its own alone."""
    import torch

    num_gpus = torch.cuda.device_count()
    if num_gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        pool.gpus = visible.split(",") if visible else [str(gpu) for gpu in range(num_gpus)]
        pool.context = multiprocessing.get_context("spawn")
        pool.workers = workers or num_gpus
