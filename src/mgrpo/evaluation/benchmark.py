"""A loaded benchmark: its questions, where they come from, and which completions are right."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mgrpo.answers import get_equivalence, get_extractor
from mgrpo.answers.completions import read_answers
from mgrpo.answers.equivalence import answer_ids
from mgrpo.errors import UserError
from mgrpo.evaluation.harness import HarnessQuestion
from mgrpo.evaluation.protocols import SamplingSettings
from mgrpo.evaluation.results import Source
from mgrpo.tasks.task import Task


@dataclass(frozen=True)
class Verdict:
    """The answer of a completion, None if it has none, and whether it is right."""

    answer: str | None
    is_right: bool


Judge = Callable[[Sequence[str], Sequence[Any]], list[Verdict]]
"""Judges completions, given their texts and the gold answer of each one's question."""


@dataclass(frozen=True)
class Benchmark:
    """A loaded benchmark.

    Attributes:
        name: the name it was requested by.
        task: its questions and gold answers, how they are asked and how answers are read.
        judge: decides which completions are right.
        harness: lm-evaluation-harness's questions in the same order; None if the benchmark is not from there.
        source: where the questions come from.
        limit: only this many questions, the first ones, were taken; None: all.
        scoring: how a completion is scored, in words for the result file.
    """

    name: str
    task: Task
    judge: Judge
    harness: list[HarnessQuestion] | None
    source: Source
    limit: int | None
    scoring: str


def as_asked(task: Task, settings: SamplingSettings) -> Task:
    """A benchmark's task with the user's settings, which override the benchmark's own."""
    asked: dict[str, Any] = {
        "prompt_template": settings.prompt_template,
        "system_prompt": settings.system_prompt,
        "conversational": settings.conversational,
        "extractor": settings.answer_extractor,
        "equivalence": settings.answer_equivalence,
    }
    return replace(task, **{name: value for name, value in asked.items() if value is not None})


def answer_judge(task: Task) -> Judge:
    """A judge that reads answers as training does, and compares them with gold or asks the task's own scorer.

    Raises:
        UserError: if the task's extractor or equivalence does not exist; from the judge, if the user's function fails.
    """
    extract, score = get_extractor(task.extractor), task.score
    get_equivalence(task.equivalence)

    def judge(texts: Sequence[str], gold: Sequence[Any]) -> list[Verdict]:
        answers = read_answers(list(texts), extract).answers
        pairs = list(zip(answers, gold, strict=True))
        if score is None:
            ids = answer_ids([(answer, str(truth)) for answer, truth in pairs], task.equivalence)
            return [Verdict(answer, pair == [0, 0]) for answer, pair in zip(answers, ids, strict=True)]
        right = [[False] if answer is None else score([answer], truth) for answer, truth in pairs]
        for verdicts in right:
            if len(verdicts) != 1:
                raise UserError(
                    f"the task's score returned {len(verdicts)} verdicts for 1 answer; return one for each"
                )
        return [Verdict(answer, bool(is_right)) for answer, (is_right,) in zip(answers, right, strict=True)]

    return judge


def digest_of_questions(task: Task) -> str:
    """SHA-256 of a task's columns; tasks with equal digests have the same questions."""
    rows = {name: [str(value) for value in values] for name, values in task.columns.items()}
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def installed_version(package: str) -> str | None:
    """Version of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
