"""A run in which nothing moves any more ends, and leaves the stacks of its threads.

An engine that waits for a GPU that fell off the bus, a data loader on a file server that is gone: neither raises, and
a machine is paid for until somebody looks. The main thread cannot help itself, so another one ends the process.
"""

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mgrpo.errors import EXIT_STUCK
from mgrpo.guard.ending import end_at_once, in_time

HELD_SECONDS = 60.0
"""How much later the kernel's timer ends a process whose interpreter lock somebody keeps, so that no thread runs."""


class Watchdog(TrainerCallback):
    """Ends the process when nothing has moved for some minutes; what moves is a step, a batch, a pass of the model.

    Args:
        minutes: how long nothing may move.
        directory: where the stacks go, as `stuck-TIME-RANK.txt`.
        rank: of this process.
        resume_hint: gives the half of a sentence that says what the run can go on from.
    """

    def __init__(self, minutes: float, directory: Path, rank: int, resume_hint: Callable[[], str]) -> None:
        self._minutes, self._directory, self._rank, self._resume_hint = minutes, directory, rank, resume_hint
        self._moved = time.monotonic()
        self._step = 0
        self._is_over = threading.Event()

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Within the block something has to move."""
        self.moved()
        self._set_timer()
        thread = threading.Thread(target=self._look, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()

    def moved(self, *_: Any) -> None:
        """Something moved."""
        self._moved = time.monotonic()

    def follow(self, model: nn.Module) -> None:
        """Take each forward pass for a movement: sampling thousands of tokens is one call of transformers'."""
        model.register_forward_pre_hook(self.moved)

    def on_event(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Note whatever the trainer says."""
        self._step = state.global_step
        self.moved()

    on_train_begin = on_step_begin = on_substep_end = on_step_end = on_prediction_step = on_event
    on_evaluate = on_save = on_log = on_train_end = on_event

    def _set_timer(self) -> None:
        """The kernel's, set anew by each round of the watching thread: it rings if none comes any more."""
        faulthandler.dump_traceback_later(self._minutes * 60 + HELD_SECONDS, exit=True, file=2)

    def _look(self) -> None:
        seconds = self._minutes * 60
        pause = min(1.0, seconds / 10)
        try:
            while not self._is_over.wait(pause):
                if time.monotonic() - self._moved > seconds:
                    self._end()
                self._set_timer()
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _end(self) -> None:
        path = self._directory / f"stuck-{time.strftime('%Y%m%dT%H%M%S')}-{self._rank}.txt"
        main = threading.main_thread().ident
        assert main is not None
        where = _where(sys._current_frames()[main])
        head = f"process {os.getpid()}, rank {self._rank}: nothing moved for {self._minutes:g} minutes at step "
        head += f"{self._step}, {where}\n\n"
        written: list[Path] = []

        def dump() -> None:
            with path.open("w", encoding="utf-8") as file:
                file.write(head)
                file.flush()
                faulthandler.dump_traceback(file, all_threads=True)
            written.append(path)

        in_time(dump)
        if not written:  # the file system may be what everything waits for
            faulthandler.dump_traceback(2, all_threads=True)
        stacks = f"the stacks of all threads are in {path}" if written else "the stacks of all threads stand above"
        end_at_once(
            f"nothing moved for {self._minutes:g} minutes (watchdog_minutes) at step {self._step}, {where}; {stacks}",
            EXIT_STUCK,
            self._resume_hint,
        )


def _where(frame: Any) -> str:
    code = frame.f_code
    return f"in {code.co_qualname} of {Path(code.co_filename).name}, line {frame.f_lineno}"
