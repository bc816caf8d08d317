"""Samples completions of a model. Each has a seed of its own, so neither its batch nor earlier samples change it.

For each token one number of the sample's own, uniform in [0, 1), selects the first token whose cumulative probability
exceeds it. All numbers are drawn beforehand, so no global random state is read or changed. The only influence of the
batch is the rounding of its matrix products.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from mgrpo.errors import UserError
from mgrpo.evaluation.protocols import SamplingSettings

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

ENGINES = ("transformers", "vllm")
WORTH_SHARING = 8
"""Tokens, at the head of all prompts of a batch, from which on they go through the model once."""


@dataclass(frozen=True)
class Completion:
    """A sampled completion: its text without special tokens, its tokens with the end token, and whether it has one."""

    text: str
    num_tokens: int
    is_finished: bool


class Engine(Protocol):
    """Samples completions; efficient with `batch_size` of them at a time."""

    batch_size: int

    def sample(self, prompts: Sequence[list[int]], seeds: Sequence[int]) -> list[Completion]:
        """Sample one completion for each prompt, given its tokens and the completion's seed."""
        ...


def check_engine(name: str) -> None:
    """Refuse an engine that is not available.

    Raises:
        UserError: if there is no such engine, or vLLM is not installed.
    """
    if name not in ENGINES:
        raise UserError(f"there is no engine {name!r}; name one of {', '.join(ENGINES)}")
    if name == "vllm" and find_spec("vllm") is None:
        raise UserError(
            "engine is vllm, which is not installed: pip install 'mgrpo[vllm]', or use the engine transformers"
        )


def seed_of(seed: int, benchmark: str, question: str, number: int) -> int:
    """The seed of a question's sample with this number, counted from 0."""
    digest = hashlib.sha256(f"{seed} {benchmark} {number} {question}".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:7])


class TransformersEngine:
    """`generate` of transformers, prompts padded on the left; the model is in evaluation mode while it samples.

    What all prompts of a batch begin with, such as worked examples, goes through the model once.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        settings: SamplingSettings,
        batch_size: int,
    ) -> None:
        self.batch_size = batch_size
        self._model, self._tokenizer, self._settings = model, tokenizer, settings

    def sample(self, prompts: Sequence[list[int]], seeds: Sequence[int]) -> list[Completion]:
        """Sample one completion for each prompt, all in one batch."""
        import torch

        with _ready_to_sample(self._model, self._tokenizer) as ends, torch.inference_mode():
            head, cache = self._shared_head(prompts)
            rests = [ids[len(head) :] for ids in prompts]
            batch = self._tokenizer.pad({"input_ids": rests}, padding_side="left", return_tensors="pt")
            batch = batch.to(self._model.device)
            heads = batch["input_ids"].new_tensor(head).expand(len(prompts), -1)
            start = len(head) + batch["input_ids"].shape[1]
            processors = [] if self._settings.temperature == 0 else [_Drawer(seeds, start, self._settings)]
            sequences = self._model.generate(
                torch.cat([heads, batch["input_ids"]], dim=1),
                attention_mask=torch.cat([torch.ones_like(heads), batch["attention_mask"]], dim=1),
                past_key_values=cache,
                max_new_tokens=self._settings.max_tokens,
                do_sample=False,
                use_cache=True,
                logits_processor=processors,
            )
        found = []
        for ids in sequences[:, start:].tolist():
            num_tokens = next((number for number, token in enumerate(ids, start=1) if token in ends), None)
            text = self._tokenizer.decode(ids[:num_tokens], skip_special_tokens=True)
            found.append(Completion(text, num_tokens or len(ids), num_tokens is not None))
        return found

    def _shared_head(self, prompts: Sequence[list[int]]) -> "tuple[list[int], DynamicCache | None]":
        """What all prompts begin with, and its keys and values for each; nothing where they begin differently."""
        import torch
        from transformers.cache_utils import DynamicLayer

        first, last = min(prompts), max(prompts)  # in the order of words: the others begin as these two do
        longest = min(map(len, prompts)) - 1
        num_shared = next((i for i in range(longest) if first[i] != last[i]), longest)
        if num_shared < WORTH_SHARING or len(prompts) == 1:
            return [], None
        head = first[:num_shared]
        cache = self._model(torch.tensor([head], device=self._model.device), use_cache=True).past_key_values
        if not all(type(layer) is DynamicLayer for layer in getattr(cache, "layers", [None])):
            return [], None  # a model that keeps more of a prompt than keys and values
        cache.batch_repeat_interleave(len(prompts))
        return head, cache


class _Drawer:
    """Leaves of each row's distribution only the token that the row's number for this step selects."""

    def __init__(self, seeds: Sequence[int], padded_length: int, settings: SamplingSettings) -> None:
        import torch
        from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        draws = [torch.rand(settings.max_tokens, dtype=torch.float64, generator=each) for each in generators]
        self._draws, self._padded_length = torch.stack(draws), padded_length
        self._warpers: list[Any] = [TemperatureLogitsWarper(settings.temperature)]
        if settings.top_k:
            self._warpers.append(TopKLogitsWarper(settings.top_k))
        if settings.top_p < 1:
            self._warpers.append(TopPLogitsWarper(settings.top_p))

    def __call__(self, input_ids: "Tensor", scores: "Tensor") -> "Tensor":
        import torch

        scores = scores.float()
        for warp in self._warpers:
            scores = warp(input_ids, scores)
        cumulated = scores.softmax(dim=-1).double().cumsum(dim=-1)
        draws = self._draws[:, input_ids.shape[1] - self._padded_length, None].to(scores.device)
        drawn = torch.searchsorted(cumulated, draws * cumulated[:, -1:], right=True)
        chosen = torch.full_like(scores, -torch.inf)
        return chosen.scatter_(1, drawn.clamp(max=scores.shape[1] - 1), 0.0)


@contextmanager
def _ready_to_sample(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> Iterator[list[int]]:
    """Evaluation mode, without what a model's own generation configuration does to its distribution.

    Yields the tokens that end a completion: those of that configuration, and the tokenizer's.
    """
    from transformers import GenerationConfig

    was_training, kept = model.training, model.generation_config
    named = None if kept is None else kept.eos_token_id
    named = named if isinstance(named, list) else [named]
    ends = sorted({token for token in (*named, tokenizer.eos_token_id) if token is not None})
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
    model.eval()
    try:
        yield ends
    finally:
        model.generation_config = kept
        model.train(was_training)


class VllmEngine:
    """vLLM in this process; `max_length` is of the longest prompt and completion together, in tokens."""

    def __init__(
        self, location: str, dtype: str, settings: SamplingSettings, max_length: int, batch_size: int
    ) -> None:
        from vllm import LLM

        self.batch_size, self._settings = batch_size, settings
        self._engine = LLM(model=location, dtype=dtype, max_model_len=max_length, generation_config="vllm")

    def sample(self, prompts: Sequence[list[int]], seeds: Sequence[int]) -> list[Completion]:
        """Sample one completion for each prompt."""
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt

        shared = {name: getattr(self._settings, name) for name in ("temperature", "top_p", "top_k", "max_tokens")}
        parameters = [SamplingParams(**shared, seed=seed) for seed in seeds]
        tokens = [TokensPrompt(prompt_token_ids=ids) for ids in prompts]
        outputs = [output.outputs[0] for output in self._engine.generate(tokens, parameters, use_tqdm=False)]
        return [Completion(out.text, len(out.token_ids), out.finish_reason == "stop") for out in outputs]
