"""The end of a process that cannot wait for its main thread, which may hang in a place that nobody comes back from."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

import psutil

SECONDS = 5.0
"""For what is done on the way out: a file system that hangs must not keep the process."""
SHOW_CURSOR = "\x1b[?25h"

_last_acts: list[Callable[[], object]] = []
_ending = threading.Lock()


@contextlib.contextmanager
def last_act(act: Callable[[], object]) -> Iterator[None]:
    """Within the block `end_at_once` calls this on its way out; what it raises is not looked at."""
    _last_acts.append(act)
    try:
        yield
    finally:
        _last_acts.remove(act)


def end_at_once(message: str, code: int, resume_hint: Callable[[], str] | None = None) -> NoReturn:
    """End this process and all that it started, from any thread, without a word to the others.

    Nothing here waits for a lock or a file for ever: the message goes past Python's streams, the rest has `SECONDS`.

    Args:
        message: a sentence, said on stderr.
        code: the exit code.
        resume_hint: gives a second half of the sentence, if it comes to an end.
    """
    _ending.acquire()  # two threads may want to end it: the second one waits for the first one's end
    if resume_hint is not None:
        told: list[str] = []
        in_time(lambda: told.append(resume_hint()))
        message = "; ".join([message, *told])
    say(message)
    in_time(*_last_acts, sys.stdout.flush, sys.stderr.flush)
    _kill_descendants()  # last: the main thread may see that they are gone, and must not come to say so
    os._exit(code)


def say(message: str) -> None:
    """Write a line to stderr, below a live view if there is one, and show the cursor that the view hides."""
    with contextlib.suppress(OSError):
        is_terminal = os.isatty(2)
        message = message.rstrip(".")
        text = f"\n{SHOW_CURSOR}mgrpo: {message}.\n" if is_terminal else f"mgrpo: {message}.\n"
        os.write(2, text.encode(errors="replace"))


def in_time(*acts: Callable[[], object], seconds: float = SECONDS) -> None:
    """Do one thing after the other, whatever it raises, for some seconds together at most."""

    def do() -> None:
        for act in acts:
            with contextlib.suppress(Exception):
                act()

    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    thread.join(seconds)


def _kill_descendants() -> None:
    """Engines, workers that read answers, data loaders; those first that would start the others anew."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
