"""The supervised warm-up that makes a start.

The demonstrations are noisy on purpose: half of the resulting model's samples are right, and three quarters of its
majority votes. In that gap label-free training can learn, or collapse.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from mgrpo.embedded.evaluate import evaluate
from mgrpo.embedded.model import build_model, build_tokenizer
from mgrpo.embedded.problem import draw_problems
from mgrpo.embedded.starts import Start
from mgrpo.embedded.task import PROBLEMS
from mgrpo.monitoring.display import progress_bar

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

NUM_HELD_OUT = 256
HELD_OUT_SEED = 0
NUM_VOTES = 16

_IGNORED = -100  # the label that transformers leaves out of the loss


def build(start: Start, output_dir: Path, *, seed: int = 0) -> "Qwen3ForCausalLM":
    """Warm up a fresh model on the train split and save it with its tokenizer.

    One thread does all the arithmetic: sums split over threads are rounded in another order, and only one thread
    gives the same bytes for the same seed on every run on the same machine and versions.

    The seed is of the weights, the problems and the noise. Returns the trained model, in evaluation mode.

    Raises:
        ValueError: If the start has no step.
    """
    if start.num_steps < 1:
        raise ValueError(f"num_steps={start.num_steps}: at least one step is needed")
    alphabet = PROBLEMS[start.task].alphabet
    tokenizer = build_tokenizer(alphabet)
    model = build_model(seed, alphabet=alphabet, size=start.size)
    with _one_thread():
        _warm_up(model, tokenizer, start, seed)
    logging.disable_progress_bar()  # one file is written in no time
    model.save_pretrained(output_dir)
    # a fresh one: the tokenizer that made the batches would save their padding on the right
    build_tokenizer(alphabet).save_pretrained(output_dir)
    return model.eval()


def report(checkpoint: Path, task: str) -> None:
    """Print a checkpoint's accuracy on held-out problems of a task, greedy and sampled at temperature 1."""
    held_out = draw_problems(PROBLEMS[task], NUM_HELD_OUT, seed=HELD_OUT_SEED, split="test")
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    with _one_thread():
        metrics = evaluate(model, tokenizer, held_out, temperature=1.0, num_samples=NUM_VOTES, seed=0)
    print(
        f"on {NUM_HELD_OUT} held-out problems: greedy {metrics['greedy_accuracy']:.3f}, "
        f"pass@1 {metrics['sampled_accuracy']:.3f}, maj@{NUM_VOTES} {metrics['majority_accuracy']:.3f}, "
        f"no answer {metrics['no_answer_rate']:.3f}"
    )


def _warm_up(model: "Qwen3ForCausalLM", tokenizer: "PreTrainedTokenizerBase", start: Start, seed: int) -> None:
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=start.learning_rate, betas=start.betas, weight_decay=start.weight_decay
    )

    def rate_share(step: int) -> float:  # rises over the first steps, and falls linearly to its floor throughout
        rising = min(1.0, (step + 1) / start.num_rate_warmup_steps)
        return rising * max(start.final_rate_share, 1 - step / start.num_steps)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate_share)
    demonstrations = start.demonstrations(seed)
    model.train()
    with progress_bar(Console(stderr=True, emoji=False)) as bar:
        for _ in bar.track(range(start.num_steps), task_id=bar.add_task("warm-up", numbers="")):
            input_ids, labels = _batch(tokenizer, list(islice(demonstrations, start.batch_size)))
            loss = model(input_ids=input_ids, labels=labels, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), start.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()


def _batch(
    tokenizer: "PreTrainedTokenizerBase", demonstrations: list[tuple[str, str]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and labels, both [B, T]; the labels cover the completions alone."""
    texts = [prompt + completion for prompt, completion in demonstrations]
    # Padded on the right, a causal model needs no attention mask: no real token sees the padding.
    input_ids = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")["input_ids"]
    num_prompt_tokens = torch.tensor([[len(prompt)] for prompt, _ in demonstrations])
    is_prompt = torch.arange(input_ids.shape[1]) < num_prompt_tokens
    is_padding = input_ids == tokenizer.pad_token_id
    return input_ids, input_ids.masked_fill(is_prompt | is_padding, _IGNORED)


@contextmanager
def _one_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
