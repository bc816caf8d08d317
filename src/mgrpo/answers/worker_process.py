"""The worker's side of `worker.py`: one process that reads calls from its input and writes results to its output.

Untrusted text is read here by parsers that were not written for it, so the process takes away from itself what no
parser needs. The kernel holds the limits on memory, processor time and files (`setrlimit`); an audit hook refuses to
start processes, to write files, to open connections and to evaluate text as Python. The hook is a second fence and no
prison: Python code that already runs can get around it, so what may be evaluated at all is fenced in before
(`mgrpo.answers.latex`).

Standard library alone; whatever a call needs is imported when it is first asked for.
"""

import importlib
import json
import math
import os
import queue
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

MEMORY_BYTES = 2**30
"""Address space of a worker; SymPy and math-verify take 0.25 GiB of it."""
RETIRE_BYTES = MEMORY_BYTES // 2
"""A worker that has grown so large (the parser's caches grow) ends after its call, and another one takes its place."""
RETIRING = "retiring"

_REFUSED_EVENTS = (
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "os.kill"),
    *("pty.", "subprocess.", "socket.", "urllib.", "http.", "ftplib.", "smtplib.", "imaplib.", "poplib."),
    *("nntplib.", "telnetlib.", "webbrowser.", "syslog.", "winreg.", "_winapi.", "msvcrt.", "fcntl."),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.ch"),
    *("os.utime", "os.mknod", "os.mkfifo", "os.setxattr", "os.removexattr", "os.putenv", "os.unsetenv"),
    *("shutil.", "tempfile.", "sqlite3.", "ctypes.", "mmap.", "resource.", "pickle.", "code.", "cpython."),
    *("gc.", "sys.set", "sys.addaudithook", "sys.unraisablehook", "signal."),
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# They evaluate text that is their own: classes, and arithmetic on the exponents of polynomials.
_MAY_EVALUATE = ("dataclasses", "collections", "enum", "sympy.polys.monomials")


class _TimeUp(BaseException):
    """Not an Exception: parsers catch those and continue."""


class _Fence:
    """What the audit hook refuses at this moment, and what it has refused."""

    is_up = False
    is_evaluation_allowed = False
    refused: str | None = None


@contextmanager
def evaluation_allowed() -> Iterator[None]:
    """Let text be evaluated as Python inside the block, for text that an allow-list has passed."""
    _Fence.is_evaluation_allowed = True
    try:
        yield
    finally:
        _Fence.is_evaluation_allowed = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _Fence.is_up:
        return
    if event == "open":
        _, mode, flags = arguments
        is_refused = any(letter in str(mode or "") for letter in "wax+") or bool((flags or 0) & _WRITING)
    elif event == "compile":
        is_text = str(arguments[1]).startswith("<") and not _Fence.is_evaluation_allowed
        is_refused = is_text and sys._getframe(1).f_globals.get("__name__") not in _MAY_EVALUATE
    else:
        is_refused = event.startswith(_REFUSED_EVENTS)
    if is_refused:
        _Fence.refused = event
        raise PermissionError(f"{event} is refused in a worker")


def main() -> None:
    """Answer calls, one JSON line each, until the input ends."""
    requests = _read_ahead(os.fdopen(os.dup(0), "rb"))
    replies = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # what parsers print
        os.dup2(null, descriptor)
    sys.setrecursionlimit(3000)  # sympy's own need; deeper would overflow the C stack
    for limit, value in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        value = _at_most(value, resource.getrlimit(limit)[1])
        resource.setrlimit(limit, (value, value))
    signal.signal(signal.SIGALRM, _time_up)
    # The parent's affair, which finishes its step first; launchers and terminals send them to whole groups.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    set_timer, set_limit = signal.setitimer, resource.setrlimit
    _, processor_limit = resource.getrlimit(resource.RLIMIT_CPU)
    sys.addaudithook(_audit)
    functions: dict[str, Callable[..., Any]] = {}
    while True:
        name, arguments, seconds = json.loads(requests.get())
        reply: dict[str, Any]
        # The kernel ends what hangs in C code, where neither the alarm nor the end of the input would be noticed.
        usage = resource.getrusage(resource.RUSAGE_SELF)
        processor_seconds = math.ceil(usage.ru_utime + usage.ru_stime + seconds) + 1
        set_limit(resource.RLIMIT_CPU, (_at_most(processor_seconds, processor_limit), processor_limit))
        try:
            set_timer(signal.ITIMER_REAL, seconds, 0.05)  # again and again, for a parser that swallows it
            if arguments is None:
                functions[name] = _load(name)
                reply = {"value": True}
            else:
                _Fence.is_up = True
                reply = {"value": functions[name](*arguments)}
        except _TimeUp:
            reply = {"failed": "timeout"}
        except MemoryError:
            reply = {"failed": "memory"}
        except BaseException as error:  # SystemExit too: an answer does not end the worker
            reply = {"failed": f"{type(error).__name__}: {str(error)[:200]}"}
        finally:
            _disarm(set_timer)
        if _Fence.refused is not None:
            reply, _Fence.refused = {"failed": f"refused {_Fence.refused}"}, None
        if arguments is not None and _resident_bytes() > RETIRE_BYTES:
            reply[RETIRING] = True
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()
        if RETIRING in reply:
            return


def _read_ahead(requests: BinaryIO) -> "queue.SimpleQueue[bytes]":
    """Read the requests in a thread, which ends the process when there are no more: the parent may have ended."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        for line in requests:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _at_most(value: int, hard_limit: int) -> int:
    return value if hard_limit == resource.RLIM_INFINITY else min(value, hard_limit)


def _resident_bytes() -> int:
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Not ru_maxrss, which Linux passes on from the parent: under a large model every worker would seem large.
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _time_up(*_: object) -> None:
    raise _TimeUp


def _disarm(set_timer: Callable[..., Any]) -> None:
    """Take the fence down and stop the alarm, whether it rings in between or not."""
    while True:
        try:
            _Fence.is_up = False
            set_timer(signal.ITIMER_REAL, 0)
            return
        except _TimeUp:
            pass


def _load(name: str) -> Callable[..., Any]:
    """Import a function, and call its module's `warm_up()`, if any, so that no answer pays for what is done once."""
    module_name, _, function_name = name.partition(":")
    module = importlib.import_module(module_name)
    if hasattr(module, "warm_up"):
        module.warm_up()
    return getattr(module, function_name)


if __name__ == "__main__":
    # This module under its own name, so that `evaluation_allowed` and the hook share one fence.
    importlib.import_module("mgrpo.answers.worker_process").main()
