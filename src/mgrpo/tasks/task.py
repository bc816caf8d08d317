"""A task: prompts, how they are asked, and how answers are read, compared and, where gold is known, scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from mgrpo.answers.equivalence import equal_to
from mgrpo.errors import UserError

Columns = Mapping[str, Sequence[Any]]
Scorer = Callable[[list[str | None], Any], list[bool]]


def is_known(gold: Any) -> bool:
    """Whether there is a gold answer: any value but None, the empty text, NaN and infinity."""
    return gold is not None and gold != "" and not (isinstance(gold, float) and not isfinite(gold))


def equivalent_to_gold(answers: list[str | None], gold: Any, equivalence: str) -> list[bool]:
    """The scorer of gold answers that are text or numbers.

    Raises:
        UserError: if it is neither.
    """
    if not isinstance(gold, str | int | float):
        raise UserError(
            f"a gold answer is {gold!r}, neither text nor a number; pass a gold_scorer, which knows what it means."
        )
    return equal_to(answers, str(gold), equivalence)


@dataclass(frozen=True)
class Task:
    r"""One split of a task. A recipe's fields of the same names win over these.

    Attributes:
        columns: the rows by column. `prompt` is required: text, or lists of chat messages. `answer` holds gold
            answers, if there are any: for measurement only, no reward ever sees them.
        prompt_template: text around each prompt, which replaces the literal `{prompt}`. No other braces count, so
            `\boxed{}` is safe. In a list of messages it goes around the last user message.
        system_prompt: first message of each conversation that has no system message.
        conversational: whether prompts are asked through the model's chat template. None: not in training, and where
            the model has one in an evaluation.
        extractor: how an answer is read: a name that `mgrpo.answers.get_extractor` takes.
        equivalence: when two answers are the same: a name that `mgrpo.answers.get_equivalence` takes.
        score: which of some answers to one prompt are right, given that prompt's value of `answer`, which may then be
            anything that a data set can hold. None: those that are equivalent to it; it is then text or a number.
    """

    columns: Columns
    prompt_template: str | None = None
    system_prompt: str | None = None
    conversational: bool | None = None
    extractor: str = "boxed"
    equivalence: str = "math"
    score: Scorer | None = None
