"""The one exception for a mistake that the user can fix, and the exit codes of commands that end early."""

import difflib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

EXIT_USER_ERROR = 2
EXIT_STOPPED = 3
"""The run stopped itself before its last step, with a checkpoint."""
EXIT_COLLAPSED = 4
"""The run stopped itself since its collapse alarm went off (on_collapse), with a checkpoint."""
EXIT_OUT_OF_MEMORY = 5
"""Memory ran out, of a GPU or of the machine."""
EXIT_REQUEUE = 75
"""SIGUSR1, with which SLURM says that the time is nearly over: go on in another job (sysexits' EX_TEMPFAIL).

Not 138, as a shell reports a process that SIGUSR1 killed: that one had no time for a checkpoint.
"""
EXIT_INTERRUPTED = 130
"""SIGINT, Ctrl-C."""
EXIT_TERMINATED = 143
"""SIGTERM."""
EXIT_HANGUP = 129
"""SIGHUP, a terminal that was closed."""
WHILE_SAMPLING, WHILE_EVALUATING = "while sampling completions", "while evaluating"
"""Notes on an error: what was being done when it was raised."""


class UserError(ValueError):
    """A user's mistake, in one sentence that names the value, where it was set and how to fix it.

    The command line prints the sentence alone and exits with code 2; no traceback.
    """


@contextmanager
def noted(note: str) -> Iterator[None]:
    """Add a note to an error that leaves the block."""
    try:
        yield
    except Exception as error:
        error.add_note(note)
        raise


def reason_of(error: OSError) -> str:
    """Why the system refused, in its own words."""
    return os.strerror(error.errno) if error.errno else str(error)


def first_line(error: Exception) -> str:
    """The first line of an error's message without a full stop, or its type's name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The nearest known name as a question in brackets, or nothing."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {prefix + nearest[0]!r}?)" if nearest else ""
