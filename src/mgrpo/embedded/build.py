"""The supervised warm-up that makes the embedded checkpoint.

The demonstrations are noisy on purpose: the model that comes out answers half of its samples rightly, and three
quarters by majority vote. That gap is the room in which label-free training can learn, or collapse.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mgrpo.embedded.evaluate import evaluate
from mgrpo.embedded.model import build_model, build_tokenizer
from mgrpo.embedded.task import Chain, chains, noisy_results, stream, write_completion

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

NUM_STEPS = 900
BATCH_SIZE = 256
LEARNING_RATE = 3e-3
NUM_RATE_WARMUP_STEPS = 100
FINAL_RATE_SHARE = 0.05
MAX_GRAD_NORM = 1.0

NUM_HELD_OUT = 256
HELD_OUT_SEED = 0
NUM_VOTES = 16

_IGNORED = -100  # the label that transformers leaves out of the loss


def build(output_dir: Path, *, seed: int = 0, num_steps: int = NUM_STEPS) -> "Qwen3ForCausalLM":
    """Warm up a fresh model on the train split and save it with its tokenizer.

    One thread does all the arithmetic: sums split over threads are rounded in another order, and only one thread
    gives the same bytes for the same seed on every run on the same machine and versions.

    Args:
        output_dir: Where to save; made if missing.
        seed: Of the weights, the problems and the noise.
        num_steps: Optimizer steps; the learning rate's schedule stretches with them.

    Returns:
        The trained model, in evaluation mode.

    Raises:
        ValueError: If `num_steps` is not positive.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps={num_steps}: at least one step is needed")

    tokenizer = build_tokenizer()
    model = build_model(seed)
    with _one_thread():
        _warm_up(model, tokenizer, seed=seed, num_steps=num_steps)
    model.save_pretrained(output_dir)
    # a fresh one: the tokenizer that made the batches would save their padding on the right
    build_tokenizer().save_pretrained(output_dir)
    return model.eval()


def build_and_report(output_dir: Path, *, seed: int = 0, num_steps: int = NUM_STEPS) -> None:
    """Build a checkpoint and print how it does on held-out problems, greedy and sampled at temperature 1."""
    transformers.utils.logging.disable_progress_bar()  # one file is written in no time
    began = time.perf_counter()
    model = build(output_dir, seed=seed, num_steps=num_steps)
    print(f"{num_steps} steps in {time.perf_counter() - began:.0f} s, saved in {output_dir}")

    held_out = chains(NUM_HELD_OUT, seed=HELD_OUT_SEED, split="test")
    with _one_thread():
        metrics = evaluate(model, build_tokenizer(), held_out, temperature=1.0, num_samples=NUM_VOTES, seed=0)
    print(
        f"on {NUM_HELD_OUT} held-out problems: greedy {metrics['greedy_accuracy']:.3f}, "
        f"pass@1 {metrics['sampled_accuracy']:.3f}, maj@{NUM_VOTES} {metrics['majority_accuracy']:.3f}, "
        f"no answer {metrics['no_answer_rate']:.3f}"
    )


def _warm_up(model: "Qwen3ForCausalLM", tokenizer: "PreTrainedTokenizerBase", *, seed: int, num_steps: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate_share(step, num_steps))
    problems = stream(seed=seed, split="train")
    noise = random.Random(f"noise {seed}")
    model.train()
    for _ in _track(num_steps):
        input_ids, labels = _batch(tokenizer, list(islice(problems, BATCH_SIZE)), noise)
        loss = model(input_ids=input_ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


def _batch(
    tokenizer: "PreTrainedTokenizerBase", problems: list[Chain], noise: random.Random
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and labels, both [B, T]; the labels cover the completions alone."""
    texts = [problem.prompt + write_completion(noisy_results(problem, noise)) for problem in problems]
    # Padded on the right, a causal model needs no attention mask: no real token sees the padding.
    input_ids = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")["input_ids"]
    num_prompt_tokens = torch.tensor([[len(problem.prompt)] for problem in problems])
    is_prompt = torch.arange(input_ids.shape[1]) < num_prompt_tokens
    is_padding = input_ids == tokenizer.pad_token_id
    return input_ids, input_ids.masked_fill(is_prompt | is_padding, _IGNORED)


def _rate_share(step: int, num_steps: int) -> float:
    """Share of the learning rate: rises over the first steps, and falls linearly to its floor throughout."""
    return min(1.0, (step + 1) / NUM_RATE_WARMUP_STEPS) * max(FINAL_RATE_SHARE, 1 - step / num_steps)


def _track(num_steps: int) -> Iterator[int]:
    console = Console()
    columns = (TextColumn("warm-up"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield from progress.track(range(num_steps))


@contextmanager
def _one_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
