"""The one exception for a mistake that the user can mend, and the exit codes of commands that end early."""

import difflib
import os
from collections.abc import Iterable

EXIT_USER_ERROR = 2
EXIT_STOPPED = 3
"""The run stopped itself before its last step, with a checkpoint."""
EXIT_COLLAPSED = 4
"""The run stopped itself since its collapse alarm went off (on_collapse), with a checkpoint."""


class UserError(ValueError):
    """A user's mistake, told in one sentence that names the value, the place and the mend.

    The command line prints the sentence alone and exits with code 2; no traceback.
    """


def reason_of(error: OSError) -> str:
    """Why the system refused, in its own words."""
    return os.strerror(error.errno) if error.errno else str(error)


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The nearest known name as a question in brackets, or nothing."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {prefix + nearest[0]!r}?)" if nearest else ""
