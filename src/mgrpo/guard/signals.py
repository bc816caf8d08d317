"""SIGTERM, SIGINT, SIGUSR1 and SIGHUP ask to stop: what is under way is finished first. A second one ends at once.

What a request means is up to the caller: `asked` says whether there is one.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, NoReturn

import psutil

from mgrpo.errors import EXIT_HANGUP, EXIT_INTERRUPTED, EXIT_REQUEUE, EXIT_TERMINATED

EXIT_CODES = {
    signal.SIGINT: EXIT_INTERRUPTED,
    signal.SIGTERM: EXIT_TERMINATED,
    signal.SIGUSR1: EXIT_REQUEUE,
    signal.SIGHUP: EXIT_HANGUP,
}
SAME_WITHIN = 2.0
"""Seconds in which signals count as one where a launcher passes on what its processes may have received themselves."""
SHOW_CURSOR = "\x1b[?25h"


class StopSignals:
    """Within the block signals are requests; outside of it they do what they did before.

    Forked processes ignore them, but for SIGTERM, which ends them. A signal that is ignored when the block begins
    (SIGINT of a command that a shell runs in the background, SIGHUP under nohup) stays so.

    Args:
        signals: which ones.
        same_within: seconds after the first signal in which others are taken for its repetitions. None: 0, or
            `SAME_WITHIN` in a process that torchrun or accelerate started.

    Attributes:
        asked: the first signal that came, or None.
        tell: takes the sentence that answers it; by default it goes to stderr.
    """

    def __init__(
        self, signals: Iterable[signal.Signals] = tuple(EXIT_CODES), *, same_within: float | None = None
    ) -> None:
        if same_within is None:
            same_within = SAME_WITHIN if "TORCHELASTIC_RUN_ID" in os.environ else 0.0
        self.asked: signal.Signals | None = None
        self.tell: Callable[[str], None] = lambda text: print(f"mgrpo: {text}", file=sys.stderr, flush=True)
        self._signals, self._same_within = tuple(signals), same_within
        self._asked_at = 0.0
        self._finished_first: str | None = None
        self._resume_hint: Callable[[], str] = lambda: "nothing was begun yet"
        self._before: dict[signal.Signals, Any] = {}
        self._process = 0
        self._terminals: list[int] = []

    @property
    def exit_code(self) -> int:
        """What a process that stops for the signal ends with."""
        assert self.asked is not None
        return EXIT_CODES[self.asked]

    def finish_first(self, what: str) -> None:
        """From now on a signal is a request.

        Args:
            what: "the step under way is finished and saved first".
        """
        self._finished_first = what

    def nothing_to_finish(self, resume_hint: Callable[[], str]) -> None:
        """From now on a signal ends the process at once, and one that came before does so now.

        Args:
            resume_hint: gives the half of a sentence that says what can be resumed.
        """
        self._finished_first, self._resume_hint = None, resume_hint
        if self.asked is not None:
            self._end(self.asked)

    def __enter__(self) -> "StopSignals":
        """Begin to listen; only the main thread of a process can."""
        self._process = os.getpid()
        self._terminals = [stream for stream in (1, 2) if os.isatty(stream)]
        for number in self._signals:
            # a launcher that knows nothing of SIGUSR1 may be made to ignore it, and its processes inherit that
            if signal.getsignal(number) is not signal.SIG_IGN or number is signal.SIGUSR1:
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Listen no more."""
        for number, before in self._before.items():
            signal.signal(number, before)

    def _take(self, number: int, _: Any) -> None:
        sent = signal.Signals(number)
        if os.getpid() != self._process:  # Ctrl-C reaches all processes of a terminal; this one's parent decides
            if sent is signal.SIGTERM:
                signal.signal(sent, signal.SIG_DFL)
                os.kill(os.getpid(), sent)
            return
        if sent is signal.SIGHUP:  # the terminal is gone, and writing to it would raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for stream in self._terminals:
                os.dup2(nowhere, stream)
        is_first = self.asked is None
        if is_first:
            self.asked, self._asked_at = sent, time.monotonic()
        elif self.asked is sent is signal.SIGHUP or time.monotonic() - self._asked_at < self._same_within:
            return  # the kernel and the shell both send SIGHUP
        if self._finished_first is None or not is_first:
            self._end(sent)
        text = f"{sent.name}: {self._finished_first}; a second signal stops at once"
        # in a thread of its own: what this one was doing may hold the lock of a stream
        threading.Thread(target=self.tell, args=(text,), daemon=True).start()

    def _end(self, number: signal.Signals) -> NoReturn:
        """End this process and all that it started, without waiting for anything."""
        with suppress(Exception):
            show_cursor = SHOW_CURSOR if os.isatty(2) else ""
            text = f"\n{show_cursor}mgrpo: {number.name}: stopped at once; {self._resume_hint()}.\n"
            os.write(2, text.encode(errors="replace"))
            sys.stdout.flush()
        for child in psutil.Process().children(recursive=True):  # engines, data loaders, workers that read answers
            with suppress(psutil.Error):
                child.kill()
        os._exit(EXIT_CODES[number])
