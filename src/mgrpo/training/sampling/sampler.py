"""Sampling one batch of groups from both models: what an engine is given and returns, and transformers' engine."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel
from trl.chat_template_utils import parse_response

from mgrpo.answers.completions import Completion
from mgrpo.training.patches import fast_draws, replaced, weights_cast_once
from mgrpo.training.sampling.entropy import EntropyRecorder
from mgrpo.training.sampling.momentum_model import MomentumModel
from mgrpo.training.sampling.shared_prompts import generate_with_shared_prompts


@dataclass(frozen=True)
class PromptRows:
    """Tokenized prompts, a row for each completion that is asked for, prompt by prompt.

    Attributes:
        ids: the tokens of each row's prompt.
        images: of each row, or None.
        fields: what a processor adds for images.
        num_per_prompt: completions for each prompt.
    """

    ids: list[list[int]]
    images: Any
    fields: dict[str, Any]
    num_per_prompt: int


@dataclass(frozen=True)
class Rollouts:
    """Completions of one model for one batch of prompts, prompt by prompt.

    Attributes:
        completion_ids: their tokens, end-of-text included.
        entropy: trajectory entropies in nats per token, shape (B,), or None if nobody asked for them.
        self_certainty: mean self-certainty in nats per token, shape (B,), or None if nobody asked for it.
        prompt_ids: the tokens of each one's prompt.
        log_probs: of the sampled tokens, where the engine reports them.
        seconds: that sampling took.
        completions: the texts or messages, once they are decoded.
    """

    completion_ids: list[list[int]]
    entropy: Tensor | None
    self_certainty: Tensor | None = None
    prompt_ids: list[list[int]] = field(default_factory=list)
    log_probs: list | None = None
    seconds: float = 0.0
    completions: list[Completion] = field(default_factory=list)

    def split(self, num_first: int) -> tuple["Rollouts", "Rollouts"]:
        """The first rows, and the others; the time in proportion."""
        first, rest = slice(num_first), slice(num_first, None)
        share = num_first / len(self.completion_ids)
        return self._part(first, share), self._part(rest, 1 - share)

    def _part(self, rows: slice, share: float) -> "Rollouts":
        return Rollouts(
            self.completion_ids[rows],
            None if self.entropy is None else self.entropy[rows],
            None if self.self_certainty is None else self.self_certainty[rows],
            self.prompt_ids[rows],
            None if self.log_probs is None else self.log_probs[rows],
            self.seconds * share,
        )


def decoded(rollouts: Rollouts, processor: Any, *, is_chat: bool) -> Rollouts:
    """The rollouts with their completions, which are what TRL makes of the same tokens.

    Args:
        rollouts: tokens.
        processor: TRL's `processing_class`.
        is_chat: whether prompts are conversations.
    """
    ids, tokenizer = rollouts.completion_ids, getattr(processor, "tokenizer", processor)
    parsers = (getattr(tokenizer, name, None) for name in ("response_template", "response_schema"))
    completions: list[Any]
    if is_chat and any(parser is not None for parser in parsers):
        rows = zip(rollouts.prompt_ids, ids, strict=True)
        completions = [[parse_response(tokenizer, row, prefix=prompt)] for prompt, row in rows]
    else:
        completions = processor.batch_decode(ids, skip_special_tokens=True)
        if is_chat:
            completions = [[{"role": "assistant", "content": text}] for text in completions]
    return replace(rollouts, completions=completions)


@dataclass
class Sampler(ABC):
    """Samples completions of both models through one engine.

    This class samples one model after the other: the momentum model's weights take the policy's place meanwhile.

    Attributes:
        generate: TRL's sampling from the weights in the model: completions as tokens, and log-probabilities or None.
        momentum_model: the second model, if there is one.
        momentum_temperature: at which it is sampled.
    """

    generate: Callable[[PromptRows], tuple[list[list[int]], list | None]]
    momentum_model: MomentumModel | None
    momentum_temperature: float

    def sample(self, policy: PromptRows, momentum: PromptRows | None = None) -> tuple[Rollouts, Rollouts | None]:
        """Sample from the policy, then from the momentum model.

        Args:
            policy: M rows for each prompt.
            momentum: N rows for each prompt; None: the policy alone is sampled.
        """
        return self.run(policy), None if momentum is None else self.sample_momentum(momentum)

    def sample_momentum(self, rows: PromptRows) -> Rollouts:
        """Sample from the momentum model alone."""
        assert self.momentum_model is not None
        started = time.perf_counter()
        with self.at_temperature(self.momentum_temperature), self.momentum_model.in_place_of_policy():
            rollouts = self.run(rows)
        return replace(rollouts, seconds=time.perf_counter() - started)

    def sample_together(
        self, policy: PromptRows, momentum: PromptRows, both: AbstractContextManager
    ) -> tuple[Rollouts, Rollouts]:
        """Sample from both in one batch; within `both` the engine knows which of its rows is whose."""
        with both:
            rollouts = self.run(replace(policy, ids=policy.ids + momentum.ids))
        return rollouts.split(len(policy.ids))

    @abstractmethod
    def run(self, rows: PromptRows) -> Rollouts:
        """Sample from the weights in the model, with entropies."""

    @abstractmethod
    def at_temperature(self, temperature: float) -> AbstractContextManager:
        """Within the block the engine samples at a temperature, and entropies are those of its distribution."""


@dataclass
class TransformersSampler(Sampler):
    """Samples through transformers' `generate`, with entropies read off its forward passes.

    Attributes:
        model: the one whose output has the logits.
        recorder: reads entropies.
        generation_config: what `generate` samples by; it and `generation_kwargs` hold the temperature.
        generation_kwargs: the same, by which TRL corrects the model's own.
        share_prompts: whether each prompt goes through the model once.
    """

    model: PreTrainedModel
    recorder: EntropyRecorder
    generation_config: GenerationConfig
    generation_kwargs: dict[str, Any]
    share_prompts: bool

    def run(self, rows: PromptRows) -> Rollouts:
        """Sample from the weights in the model, with entropies."""
        started = time.perf_counter()
        sharing = generate_with_shared_prompts(self.model) if self.share_prompts else nullcontext()
        # the model's own would shape the distribution where TRL's says nothing (no_repeat_ngram_size)
        plain = replaced(self.model, "generation_config", GenerationConfig())
        with self.recorder.watch(self.model), fast_draws(), weights_cast_once(), sharing, plain:
            ids, log_probs = self.generate(rows)
        return Rollouts(
            ids,
            self.recorder.trajectory_entropy(ids),
            self.recorder.trajectory_self_certainty(ids),
            rows.ids,
            log_probs,
            time.perf_counter() - started,
        )

    @contextmanager
    def at_temperature(self, temperature: float) -> Iterator[None]:
        """Within the block the engine samples at a temperature, and entropies are those of its distribution."""
        kept = self.generation_kwargs["temperature"]
        with (
            replaced(self.generation_config, "temperature", temperature),
            replaced(self.recorder, "temperature", temperature),
        ):
            self.generation_kwargs["temperature"] = temperature
            try:
                yield
            finally:
                self.generation_kwargs["temperature"] = kept
