"""SIGTERM, SIGINT and SIGUSR1 as a wish: what is under way is finished first. A second one ends the process at once.

Signals are taken by a thread, which hears of them while the main thread is in a long call, or in one that never comes
back. What the wish means is up to who listens: `asked` says whether there is one.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from mgrpo.errors import EXIT_INTERRUPTED, EXIT_REQUEUE, EXIT_TERMINATED
from mgrpo.guard.ending import end_at_once

EXIT_CODES = {
    signal.SIGINT: EXIT_INTERRUPTED,
    signal.SIGTERM: EXIT_TERMINATED,
    signal.SIGUSR1: EXIT_REQUEUE,
}
SAME_WITHIN = 2.0
"""Seconds in which signals count as one where a launcher passes on what its processes may have got themselves."""
_CLOSE = 0
"""No signal has this number: it ends the thread."""


class StopSignals:
    """Within the block signals are heard; outside of it, and in forked processes, they do what they did before.

    One that is ignored when the block begins (SIGINT of what a shell runs in the background) stays so.

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
        self.tell: Callable[[str], None] = _tell
        self._signals, self._same_within = tuple(signals), same_within
        self._asked_at = 0.0
        self._finished_first: str | None = None
        self._resume_hint: Callable[[], str] = lambda: "nothing was begun yet"
        self._lock = threading.Lock()
        self._before: dict[signal.Signals, Any] = {}
        self._pipe: tuple[int, int] | None = None

    @property
    def exit_code(self) -> int:
        """What a process that stops for the signal ends with."""
        assert self.asked is not None
        return EXIT_CODES[self.asked]

    def finish_first(self, what: str) -> None:
        """From now on a signal is a wish.

        Args:
            what: "the step under way is finished and saved first".
        """
        with self._lock:
            self._finished_first = what

    def nothing_to_finish(self, resume_hint: Callable[[], str]) -> None:
        """From now on a signal ends the process at once, and one that came before does so now.

        Args:
            resume_hint: gives the sentence that says what the process leaves.
        """
        with self._lock:
            self._finished_first, self._resume_hint = None, resume_hint
            if self.asked is not None:
                self._end(self.asked)

    def __enter__(self) -> "StopSignals":
        """Begin to listen; a thread that is not the main one hears nothing."""
        global _listening
        if threading.current_thread() is not threading.main_thread() or _listening is not None:
            return self
        read, write = self._pipe = os.pipe()
        os.set_blocking(write, False)
        self._before_fd = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in self._signals:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN or number is signal.SIGUSR1:
                # there is nothing to do in a handler, but without one the number would not get into the pipe
                self._before[number] = before
                signal.signal(number, _heard_by_the_thread)
        _listening = self
        threading.Thread(target=self._listen, args=(read,), name="signals", daemon=True).start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Listen no more."""
        global _listening
        if self._pipe is None:
            return
        _listening = None
        for number, before in self._before.items():
            signal.signal(number, before)
        signal.set_wakeup_fd(self._before_fd)
        os.write(self._pipe[1], bytes([_CLOSE]))
        os.close(self._pipe[1])
        self._pipe = None

    def _listen(self, read: int) -> None:
        while (number := os.read(read, 1)) not in (b"", bytes([_CLOSE])):
            if number[0] in self._before:  # others have handlers of their own
                self._take(signal.Signals(number[0]))
        os.close(read)

    def _take(self, number: signal.Signals) -> None:
        with self._lock:
            is_first = self.asked is None
            if is_first:
                self.asked, self._asked_at = number, time.monotonic()
            what = self._finished_first
            if what is None or not is_first and time.monotonic() - self._asked_at >= self._same_within:
                self._end(number)
        if is_first:
            # not in this thread, which has the second signal to hear, should the first one's text find no taker
            text = f"{number.name}: {what}; a second signal stops at once"
            threading.Thread(target=self.tell, args=(text,), daemon=True).start()

    def _end(self, number: signal.Signals) -> None:
        end_at_once(f"{number.name}: stopped at once", EXIT_CODES[number], self._resume_hint)


def _heard_by_the_thread(*_: Any) -> None:
    pass


def _tell(text: str) -> None:
    print(f"mgrpo: {text}", file=sys.stderr, flush=True)


_listening: StopSignals | None = None


def _deaf_in_child() -> None:
    """In a forked process: the pipe is its parent's, and so is Ctrl-C, which a terminal sends to both."""
    global _listening
    if _listening is None:
        return
    signal.set_wakeup_fd(-1)
    for number, before in _listening._before.items():
        signal.signal(number, before if number is signal.SIGTERM else signal.SIG_IGN)
    if _listening._pipe is not None:
        for end in _listening._pipe:
            with contextlib.suppress(OSError):
                os.close(end)
    _listening = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_deaf_in_child)
