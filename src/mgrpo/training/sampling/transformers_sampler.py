"""Sampling through transformers' `generate`, with entropies read off its forward passes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from transformers import GenerationConfig, PreTrainedModel

from mgrpo.training.patches import replaced
from mgrpo.training.sampling.entropy import EntropyRecorder
from mgrpo.training.sampling.sampler import PromptRows, Rollouts, Sampler
from mgrpo.training.sampling.shared_prompts import generate_with_shared_prompts


@dataclass
class TransformersSampler(Sampler):
    """Samples one model after the other.

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
        with self.recorder.watch(self.model), sharing:
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
