"""A loaded benchmark: its questions, which completions are right, and the questions in a model's tokens."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from mgrpo.answers import get_equivalence, get_extractor
from mgrpo.answers.completions import read_answers
from mgrpo.answers.equivalence import answer_ids
from mgrpo.errors import UserError
from mgrpo.evaluation.harness import HarnessQuestion
from mgrpo.evaluation.protocols import SamplingSettings
from mgrpo.evaluation.results import Source
from mgrpo.tasks.check import encode_prompts
from mgrpo.tasks.load import PLACEHOLDER, Prompt, make_prompts
from mgrpo.tasks.task import Task, is_known

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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
        name: as it was requested.
        task: its questions and gold answers, how they are asked and how answers are read.
        harness: lm-evaluation-harness's questions in the same order; None if the benchmark is not from there.
        source: where the questions come from.
        limit: only this many questions, the first ones, were taken; None: all.
        scoring: how a completion is scored, in words for the result file.
        settings: how it is asked, read and sampled.
    """

    name: str
    task: Task
    judge: Judge
    harness: list[HarnessQuestion] | None
    source: Source
    limit: int | None
    scoring: str
    settings: SamplingSettings


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
    return sha256(json.dumps(rows, sort_keys=True))


def installed_version(package: str) -> str | None:
    """Version of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Questions:
    """A benchmark's questions as a model sees them.

    Attributes:
        rows: indices of the questions that have text and a right answer; only these are sampled.
        texts: each question as it is shown to a reader.
        ids: the tokens of each question.
        gold: the right answer of each question.
        is_chat: whether the model's chat template is applied.
    """

    benchmark: Benchmark
    rows: list[int]
    texts: list[str]
    ids: list[list[int]]
    gold: list[Any]
    is_chat: bool


def encode_questions(benchmark: Benchmark, tokenizer: "PreTrainedTokenizerBase", context: int | None) -> Questions:
    """Encode a benchmark's questions.

    Raises:
        UserError: if the tokenizer cannot encode a question, or the longest prompt and `max_tokens` exceed the model's
            context.
    """
    task, settings = benchmark.task, benchmark.settings
    is_chat = bool(tokenizer.chat_template) if task.conversational is None else task.conversational
    dataset = make_prompts(replace(task, conversational=is_chat), benchmark.name)
    prompts: list[Prompt] = list(dataset["prompt"])
    encoded = encode_prompts(prompts, tokenizer, settings.chat_template_kwargs)
    gold = list(dataset["answer"])
    rows = [row for row, truth in enumerate(gold) if is_known(truth) and encoded[row] is not None]
    ids = [tokens or [] for tokens in encoded]
    longest = max(len(ids[row]) for row in rows)
    if context is not None and longest + settings.max_tokens > context:
        raise UserError(
            f"max_tokens is {settings.max_tokens}, and with the longest prompt of {benchmark.name}, of {longest} "
            f"tokens, that is more than the model's context of {context} tokens; set max_tokens to "
            f"{max(context - longest, 1)} or less"
        )
    return Questions(benchmark, rows, [_shown(prompt) for prompt in prompts], ids, gold, is_chat)


def template_of(benchmark: Benchmark) -> str:
    """The text around a question, in words for the result file."""
    template = benchmark.task.prompt_template or PLACEHOLDER
    return f"{benchmark.source.library}'s own" if template == PLACEHOLDER and benchmark.harness else template


def digest_of_prompt(ids: Sequence[int]) -> str:
    """Identifies a prompt by its tokens."""
    return sha256(json.dumps(ids))[:16]


def sha256(text: str) -> str:
    """The checksum of a text."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _shown(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)
