"""How well a model solves its task, measured against gold answers that training never sees."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from mgrpo.embedded.problem import Problem
from mgrpo.embedded.task import extract_answer
from mgrpo.evaluation import metrics

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_BATCH_SIZE = 512
# top_k=0 and top_p=1 switch off the truncation that a generation config may ask for: pass@1 is of the model's whole
# distribution.
_SAMPLING = {"do_sample": True, "top_k": 0, "top_p": 1.0, "min_p": None}


def evaluate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    problems: Sequence[Problem],
    *,
    temperature: float = 1.0,
    num_samples: int = 1,
    seed: int,
) -> dict[str, float]:
    """Measure a model on problems; the model's mode and the global random state are left as they were.

    Args:
        model: Any causal language model with the tokenizer's vocabulary.
        tokenizer: The tokenizer of the problems' task.
        problems: Of one task, usually from the test split.
        temperature: Of the sampled completions.
        num_samples: Sampled completions per problem.
        seed: Of the sampling.

    Returns:
        Shares between 0 and 1: `greedy_accuracy`; `sampled_accuracy`, pass@1 at the temperature; `no_answer_rate`,
        the sampled completions that did not end in an answer and end-of-text; and, with more than one sample,
        `majority_accuracy`, with ties as in `evaluation.metrics.majority`.

    Raises:
        ValueError: If there are no problems, no samples, or the temperature is not positive.
    """
    if not problems or num_samples < 1 or not temperature > 0:
        raise ValueError(
            f"{len(problems)} problems, num_samples={num_samples}, temperature={temperature}: each must be above 0"
        )
    prompts = [problem.prompt for problem in problems]
    length = problems[0].max_completion_tokens
    with _undisturbed(model, seed):
        greedy = _answers(model, tokenizer, prompts, max_new_tokens=length, do_sample=False)
        repeated = [prompt for prompt in prompts for _ in range(num_samples)]
        sampled = _answers(model, tokenizer, repeated, max_new_tokens=length, temperature=temperature, **_SAMPLING)
    gold = np.array([problem.answer for problem in problems])[:, None]
    ids = {answer: index for index, answer in enumerate(sorted(set(filter(None, sampled))))}
    answer_ids = np.array([-1 if answer is None else ids[answer] for answer in sampled]).reshape(-1, num_samples)
    is_right = np.array(sampled).reshape(-1, num_samples) == gold
    found = {
        "greedy_accuracy": np.array(greedy)[:, None] == gold,
        "sampled_accuracy": is_right,
        "no_answer_rate": metrics.no_answer_rate(answer_ids),
    }
    if num_samples > 1:
        found["majority_accuracy"] = metrics.majority(is_right, answer_ids)
    return {name: float(of_problems.mean()) for name, of_problems in found.items()}


def _answers(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[str], **generation: object
) -> list[str | None]:
    answers: list[str | None] = []
    for first in range(0, len(prompts), _BATCH_SIZE):
        texts = list(prompts[first : first + _BATCH_SIZE])
        batch = tokenizer(texts, padding=True, padding_side="left", return_tensors="pt").to(model.device)
        sequences = model.generate(
            **batch,
            # training with gradient checkpointing switches the cache off in the config
            use_cache=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **generation,
        )
        completions = sequences[:, batch["input_ids"].shape[1] :]
        has_ended = (completions == tokenizer.eos_token_id).any(dim=1).tolist()
        texts = tokenizer.batch_decode(completions, skip_special_tokens=True)
        answers += [extract_answer(text) if ended else None for text, ended in zip(texts, has_ended, strict=True)]
    return answers


@contextmanager
def _undisturbed(model: "PreTrainedModel", seed: int) -> Iterator[None]:
    was_training = model.training
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        model.eval()
        try:
            yield
        finally:
            model.train(was_training)
