"""Which completions are right, and what they answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mgrpo.answers import get_equivalence, get_extractor
from mgrpo.answers.completions import read_answers
from mgrpo.answers.equivalence import answer_ids
from mgrpo.errors import UserError
from mgrpo.tasks.task import Scorer


@dataclass(frozen=True)
class Verdict:
    """What became of a completion.

    Attributes:
        answer: as it was read; None where there is none.
        is_right: whether it is.
    """

    answer: str | None
    is_right: bool


class Judge(Protocol):
    """Judges completions."""

    def __call__(self, texts: Sequence[str], gold: Sequence[Any]) -> list[Verdict]:
        """Judge some completions, each by the gold answer of its question."""
        ...


class AnswerJudge:
    """Reads an answer as training does, and compares it with the gold one, or asks the task's own scorer.

    Args:
        extractor: how an answer is read.
        equivalence: when two are the same.
        score: the task's own, or None.

    Raises:
        UserError: if there is no such extractor or equivalence.
    """

    def __init__(self, extractor: str, equivalence: str, score: Scorer | None) -> None:
        self._extract, self._equivalence, self._score = get_extractor(extractor), equivalence, score
        get_equivalence(equivalence)

    def __call__(self, texts: Sequence[str], gold: Sequence[Any]) -> list[Verdict]:
        """Judge some completions, each by the gold answer of its question.

        Raises:
            UserError: if a function of the user's fails.
        """
        answers = read_answers(list(texts), self._extract).answers
        if self._score is None:
            pairs = [(answer, str(truth)) for answer, truth in zip(answers, gold, strict=True)]
            right = [ids == [0, 0] for ids in answer_ids(pairs, self._equivalence)]
        else:
            right = [
                answer is not None and self._scored(answer, truth) for answer, truth in zip(answers, gold, strict=True)
            ]
        return [Verdict(answer, is_right) for answer, is_right in zip(answers, right, strict=True)]

    def _scored(self, answer: str, truth: Any) -> bool:
        assert self._score is not None
        verdicts = self._score([answer], truth)
        if len(verdicts) != 1:
            raise UserError(f"the task's score gave {len(verdicts)} verdicts on 1 answer; make it give one for each")
        return bool(verdicts[0])
