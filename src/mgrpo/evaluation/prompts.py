"""A benchmark's questions in a model's tokens."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mgrpo.errors import UserError
from mgrpo.evaluation.benchmark import Benchmark
from mgrpo.evaluation.protocols import SamplingSettings
from mgrpo.tasks.check import encode_prompts
from mgrpo.tasks.load import PLACEHOLDER, Prompt, make_prompts
from mgrpo.tasks.task import is_known

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Questions:
    """A benchmark's questions as a model sees them.

    Attributes:
        benchmark: the benchmark.
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


def encode_questions(
    benchmark: Benchmark, tokenizer: "PreTrainedTokenizerBase", settings: SamplingSettings, context: int | None
) -> Questions:
    """Encode a benchmark's questions.

    Raises:
        UserError: if the tokenizer cannot encode a question, or the longest prompt and `max_tokens` exceed the model's
            context.
    """
    task = benchmark.task
    is_chat = bool(tokenizer.chat_template) if settings.conversational is None else settings.conversational
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
