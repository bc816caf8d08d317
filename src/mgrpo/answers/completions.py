"""The answers of completions, by an extractor that may be the user's own and may fail."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mgrpo.answers.extract import Extractor
from mgrpo.answers.user_functions import describe
from mgrpo.errors import UserError

Completion = str | list[dict[str, Any]]
"""A plain completion, or a chat one: its messages."""

_logger = logging.getLogger("mgrpo.answers")
_WARNED: set[tuple[str, type[Exception]]] = set()
"""The failures of users' functions that this process has logged."""


@dataclass(frozen=True)
class Answers:
    """What was read in some completions."""

    answers: list[str | None]
    """One for each completion, stripped and never blank; None where there is none."""
    num_failed: int
    """Completions on which the extractor raised, or gave neither text nor None."""


def text_of(completion: Completion) -> str:
    """The text that the model wrote: of a chat completion, the last message's content."""
    return completion if isinstance(completion, str) else completion[-1]["content"] or ""


def read_answers(
    completions: Sequence[Completion], extractor: Extractor, *, name: str = "answer_extractor"
) -> Answers:
    """Read the answer of each completion; a user's function may fail on some, which then have none.

    The first failure of each type of error is logged as a warning, once a process; `name` is the recipe's field that
    names the extractor.

    Raises:
        UserError: if the extractor failed on more than half of the completions.
    """
    answers: list[str | None] = []
    failures: list[tuple[Exception, str]] = []
    for completion in completions:
        text = text_of(completion)
        try:
            answer = extractor(text)
            if not isinstance(answer, str | None):
                raise TypeError(f"it gave {type(answer).__name__}, neither text nor None")
        except Exception as failure:  # the user's function runs here and may raise anything
            answer = None
            excerpt = "..." * (len(text) > 80) + text[-80:]
            failures.append((failure, f"with {describe(failure)!r} on {excerpt!r}"))  # one line on any terminal
        answers.append((answer or "").strip() or None)
    function = f"{name} {extractor.__module__}:{getattr(extractor, '__qualname__', type(extractor).__qualname__)}"
    if 2 * len(failures) > len(answers):
        error, what = failures[0]
        raise UserError(
            f"{function} failed on {len(failures)} of {len(answers)} completions, first {what}; let it give the "
            "answer as text, or None where there is none."
        ) from error
    for error, what in failures:
        if (function, type(error)) not in _WARNED:
            _WARNED.add((function, type(error)))
            _logger.warning("%s failed %s; such a completion has no answer.", function, what)
    return Answers(answers, len(failures))
