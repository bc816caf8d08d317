"""The processes that a study's runs are trained in: forked from one that has imported everything, or fresh for a GPU.

The imports of a run take 7 s. A forked process has them already, but cannot use a GPU. Nothing heavy is imported
here: a fresh process sets the GPU that it sees before it imports torch.
"""

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from mgrpo.errors import EXIT_USER_ERROR, UserError
from mgrpo.guard.signals import SAME_WITHIN, StopSignals
from mgrpo.study.definition import StudyRun

PRELOADED = ["mgrpo.recipes.recipe", "mgrpo.commands.train"]


@dataclass
class RunningProcess:
    """A run that was started, and the number of its slot."""

    run: StudyRun
    slot: int
    process: BaseProcess


@dataclass
class Pool:
    """Runs side by side.

    Attributes:
        context: how a process is made.
        workers: how many runs at a time.
        gpus: as CUDA_VISIBLE_DEVICES names them; none: on the CPU.
        running: runs that were started and have not ended.
        is_interrupted: whether they were asked to end.
    """

    context: BaseContext
    workers: int
    gpus: list[str] = field(default_factory=list)
    running: list[RunningProcess] = field(default_factory=list)
    is_interrupted: bool = False

    @property
    def is_full(self) -> bool:
        """Whether no more runs may be started."""
        return len(self.running) >= self.workers

    def start(self, run: StudyRun) -> None:
        """Start a run."""
        slot = min(set(range(self.workers)) - {other.slot for other in self.running})
        gpu = self.gpus[slot % len(self.gpus)] if self.gpus else None
        arguments = (run.fields, run.source, run.log, gpu)
        process = self.context.Process(target=train_in_process, args=arguments)  # type: ignore[attr-defined]
        self.running.append(RunningProcess(run, slot, process))  # first, so that an interruption finds it
        process.start()

    def ended(self, timeout: float) -> list[tuple[StudyRun, int]]:
        """Runs that ended, with their exit codes; waits for one at most `timeout` seconds."""
        ready = connection.wait([running.process.sentinel for running in self.running], timeout)
        ended = [running for running in self.running if running.process.sentinel in ready]
        for running in ended:
            running.process.join()
            self.running.remove(running)
        return [(running.run, running.process.exitcode or 0) for running in ended]

    def interrupt(self) -> None:
        """Ask every run once to finish its step, save it and end."""
        if not self.is_interrupted:
            self.is_interrupted = True
            for running in self.running:
                running.process.terminate()

    def stop(self) -> None:
        """End every run at once; it can resume from its last complete checkpoint."""
        started = [running.process for running in self.running if running.process.pid is not None]
        for process in started:
            process.kill()
        for process in started:
            process.join()
        self.running.clear()


def make_pool(env: dict[str, str], workers: int | None, *, on_cpu: bool) -> Pool:
    """A pool on the CPU; the environment of its processes is set.

    Args:
        env: environment variables; what the shell has set wins.
        workers: how many runs at a time; None: one on each core.
        on_cpu: whether it stays on the CPU. Then the process to fork from starts to import at once.
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
    context.set_forkserver_preload(PRELOADED)
    if on_cpu:
        forkserver.ensure_running()
    return Pool(context, workers)


def use_gpus(pool: Pool, workers: int | None) -> None:
    """If there are GPUs, start each run in a fresh process that sees one of them; one run on each by default."""
    import torch

    num_gpus = torch.cuda.device_count()
    if num_gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        pool.gpus = visible.split(",") if visible else [str(gpu) for gpu in range(num_gpus)]
        pool.context = multiprocessing.get_context("spawn")
        pool.workers = workers or num_gpus


def train_in_process(fields: dict[str, Any], source: str, log: Path, gpu: str | None) -> None:
    """Train as `mgrpo train` does, and exit as it does; stdout and stderr are appended to a log.

    Args:
        fields: a whole recipe.
        source: what to call it in a message.
        log: the log's path.
        gpu: the only GPU that it sees, or None.
    """
    with log.open("a") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    for name in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):  # they reach every process; the study's own decides
        signal.signal(name, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    warnings.simplefilter("ignore", FutureWarning)

    # one SIGTERM may come from the study, and one from the sender of the study's
    with StopSignals([signal.SIGTERM], same_within=SAME_WITHIN) as signals:
        from mgrpo.commands.train import train
        from mgrpo.recipes.recipe import load_recipe

        try:
            stop = train(load_recipe(fields, source), signals=signals)
        except UserError as error:
            print(f"mgrpo: {error}", file=sys.stderr)
            sys.exit(EXIT_USER_ERROR)
        if stop is not None:
            print(f"mgrpo: stopped: {stop.reason}", file=sys.stderr)
            sys.exit(stop.exit_code)


def _end_with_parent() -> None:
    """End when the study is killed, so that no run is left to write into the directory of the next one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
