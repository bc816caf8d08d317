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
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from mgrpo.errors import EXIT_USER_ERROR, UserError
from mgrpo.guard.signals import SAME_WITHIN, StopSignals
from mgrpo.guard.streams import forgive_output
from mgrpo.study.definition import StudyRun

PRELOADED = ["mgrpo.recipes.recipe", "mgrpo.commands.train"]


@dataclass
class Pool:
    """Runs side by side.

    Attributes:
        context: how a process is made.
        workers: how many runs at a time.
        gpus: as CUDA_VISIBLE_DEVICES names them; none: on the CPU.
        running: runs that have not ended, by the numbers of their slots.
        is_interrupted: whether they were asked to end.
    """

    context: BaseContext
    workers: int
    gpus: Sequence[str] = ()
    running: dict[int, tuple[StudyRun, BaseProcess]] = field(default_factory=dict)
    is_interrupted: bool = False

    @property
    def is_full(self) -> bool:
        """Whether no more runs may be started."""
        return len(self.running) >= self.workers

    def start(self, run: StudyRun) -> None:
        """Start a run."""
        slot = min(set(range(self.workers)) - self.running.keys())
        gpu = self.gpus[slot % len(self.gpus)] if self.gpus else None
        arguments = (run.fields, run.source, run.log, gpu)
        process = self.context.Process(target=train_in_process, args=arguments)  # type: ignore[attr-defined]
        self.running[slot] = run, process  # first, so that an interruption finds it
        process.start()

    def ended(self, timeout: float) -> list[tuple[StudyRun, int]]:
        """Runs that ended, with their exit codes; waits for one at most `timeout` seconds."""
        ready = connection.wait([process.sentinel for _, process in self.running.values()], timeout)
        ended = []
        for slot, (run, process) in list(self.running.items()):
            if process.sentinel in ready:
                process.join()
                del self.running[slot]
                ended.append((run, process.exitcode or 0))
        return ended

    def interrupt(self) -> None:
        """Ask every run once to finish its step, save it and end."""
        if not self.is_interrupted:
            self.is_interrupted = True
            for _, process in self.running.values():
                process.terminate()

    def stop(self) -> None:
        """End every run at once; it can resume from its last complete checkpoint."""
        started = [process for _, process in self.running.values() if process.pid is not None]
        for process in started:
            process.kill()
        for process in started:
            process.join()
        self.running.clear()


def count_cores() -> int:
    """CPU cores that this process may use."""
    # process_cpu_count came with Python 3.13
    cores = os.process_cpu_count() if hasattr(os, "process_cpu_count") else len(os.sched_getaffinity(0))
    return cores or 1


def make_pool(env: dict[str, str], workers: int | None, *, num_runs: int, on_cpu: bool) -> Pool:
    """A pool, and the environment variables of its processes.

    If there are GPUs, each run is a fresh process that sees one of them.

    Args:
        env: environment variables; what the shell has set wins.
        workers: how many runs at a time; None: one on each GPU, else one on each core.
        num_runs: how many there are: if they are fewer than the cores, each gets several.
        on_cpu: whether GPUs are left alone. Then the process to fork from starts to import at once.
    """
    at_once = workers or min(count_cores(), num_runs)
    defaults = {"TQDM_DISABLE": "1"}  # the bars of other libraries would fill the logs
    if on_cpu:
        defaults["OMP_NUM_THREADS"] = str(max(1, count_cores() // at_once))
    for name, value in (defaults | env).items():
        os.environ.setdefault(name, value)
    if not on_cpu:
        import torch

        if num_gpus := torch.cuda.device_count():
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            gpus = visible.split(",") if visible else [str(gpu) for gpu in range(num_gpus)]
            return Pool(multiprocessing.get_context("spawn"), workers or num_gpus, gpus)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    if on_cpu:
        forkserver.ensure_running()
    return Pool(context, at_once)


def train_in_process(fields: dict[str, Any], source: str, log: Path, gpu: str | None) -> None:
    """Train a recipe as `mgrpo train` does, and exit as it does; stdout and stderr are appended to a log.

    `gpu` is the only one that the process sees; None: it sees what its parent does.
    """
    with log.open("a") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    forgive_output()
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
            outcome = train(load_recipe(fields, source), signals=signals)
        except UserError as error:
            print(f"mgrpo: {error}", file=sys.stderr)
            sys.exit(EXIT_USER_ERROR)
        if outcome.reason is not None:
            print(f"mgrpo: stopped: {outcome.reason}", file=sys.stderr)
            sys.exit(outcome.exit_code)


def _end_with_parent() -> None:
    """End when the study is killed, so that no run is left to write into the directory of the next one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
