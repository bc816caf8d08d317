"""The one exception for a mistake that the user can mend."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A user's mistake, told in one sentence that names the value, the place and the mend.

    The command line prints the sentence alone and exits with code 2; no traceback.
    """


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The nearest known name as a question in brackets, or nothing."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {prefix + nearest[0]!r}?)" if nearest else ""
