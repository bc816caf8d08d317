"""Where a step of M-GRPO could go: operations and bytes of its phases, against what this machine can do.

    python benchmarks/roofline.py [--model smollm2] [--prompts 2] [--rows 4] [--tokens 64]

All weights trained, in float32. Counted are matrix products and attention, weights once for each pass that reads them,
keys and values once for each token; the optimizer reads and writes 28 bytes a parameter, the momentum update 12. What
the machine can do is measured here: the fastest of some matrix products, and a plain copy. A phase's floor is the
longer of its operations over the one and its bytes over the other. Times are those of a step; on a CPU the process's
CPU time.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from step_time import OURS, add_size_options, clock, load, model_and_data, side_by_side
from trl import ModelConfig

from mgrpo.commands.gpu_memory import cache_bytes
from mgrpo.commands.model_shape import Shape, read_shape
from mgrpo.models.cpu_allocator import keep_freed_memory
from mgrpo.models.load import load_config
from mgrpo.recipes.recipe import load_data

PRODUCTS = ((4096, 576, 1536), (2048, 1536, 1536), (1024, 2048, 2048))
REPEATS = 7


@dataclass(frozen=True)
class Work:
    """What a phase has to do: floating-point operations, and bytes read and written."""

    operations: float
    num_bytes: float

    def __add__(self, other: "Work") -> "Work":
        return Work(self.operations + other.operations, self.num_bytes + other.num_bytes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_size_options(parser)
    parser.add_argument("--rounds", type=int, default=1, help="steps that count (%(default)s)")
    args = parser.parse_args()
    args.lora, args.only, args.peer, args.seconds, args.vllm = False, OURS, "grpo", math.inf, False
    keep_freed_memory()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    shape = read_shape(load_config(args.model), ModelConfig(use_peft=True, lora_target_modules="all-linear"))
    peak, bandwidth = max(product(*sizes) for sizes in PRODUCTS), copied()
    print(f"this machine: {peak / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.1f} GB/s of a copy")
    for rows in sorted({1, 4, args.prompts * args.num_momentum_generations, args.prompts * args.num_generations}):
        reached = product(rows, shape.hidden_size, shape.intermediate_size)
        print(f"  products of {rows:3} rows: {reached / 1e9:.0f} GFLOP/s")
    work = phases(shape, args, prompt_length(args))
    steps = side_by_side(args)[OURS]
    for name, needed in work.items():
        took = statistics.fmean(step.get(name, 0.0) for step in steps)
        floor = max(needed.operations / peak, needed.num_bytes / bandwidth)
        bound = "operations" if needed.operations / peak > needed.num_bytes / bandwidth else "bytes"
        print(
            f"{name:18} {needed.operations / 1e12:7.3f} TFLOP {needed.num_bytes / 1e9:7.1f} GB   floor {floor:7.2f} s "
            f"({bound})   measured {took:7.2f} s   {floor / took:5.0%}"
        )
    print(f"step               measured {statistics.fmean(step['step'] for step in steps):.2f} s")


def phases(shape: Shape, args: argparse.Namespace, length: float) -> dict[str, Work]:
    """The work of each part of a step that `step_time` tells apart."""
    rows, voting = args.prompts * args.num_generations, args.prompts * args.num_momentum_generations
    num_passes = rows // args.rows
    head = shape.vocab_size * shape.hidden_size
    layers = shape.parameters - shape.embeddings
    weights = 4 * shape.parameters

    def forward(num_rows: int, num_tokens: float, scored: float, before: float = 0) -> float:
        """Operations of `num_tokens` tokens a row behind `before` others, `scored` of which go through the head."""
        attended = num_tokens * (before + num_tokens / 2)
        attention = 4 * shape.num_layers * shape.num_heads * shape.head_dim * attended
        return num_rows * (2 * layers * num_tokens + 2 * head * scored + attention)

    def sampling(num_rows: int) -> Work:
        cache = num_rows * cache_bytes(shape, 8) * args.tokens * (length + args.tokens / 2)
        prompts = Work(forward(num_rows, length, 1), weights)
        tokens = forward(num_rows, args.tokens - 1, args.tokens - 1, before=length)
        return prompts + Work(tokens, weights * (args.tokens - 1) + cache)

    scored = forward(rows, length + args.tokens, args.tokens)
    # the fused head computes its logits again when it goes backward
    backward = 2 * scored + 2 * head * args.tokens * rows
    return {
        "sample": sampling(rows) + sampling(voting),
        "log-probabilities": Work(2 * scored, 2 * weights * num_passes),  # the reference model's, and the policy's
        "backward": Work(backward, 2 * weights * num_passes),
        "optimizer": Work(0, 28 * shape.parameters),
        "momentum update": Work(0, 12 * shape.parameters),
    }


def prompt_length(args: argparse.Namespace) -> float:
    """Mean number of tokens in a prompt."""
    recipe = load(args, str(Path(tempfile.gettempdir(), "unused")), is_full_length=True)
    _, data = load_data(recipe.data, recipe.data.task, "train", recipe.data.dataset_size)
    tokenizer = model_and_data(recipe, data)["processing_class"]
    return statistics.fmean(len(ids) for ids in tokenizer(list(data["prompt"]))["input_ids"])


def product(rows: int, inputs: int, outputs: int) -> float:
    """Operations a second of x W^T over many weights, as the layers of a model are."""
    x = torch.randn(rows, inputs)
    weights = [torch.randn(outputs, inputs) for _ in range(12)]

    def multiply() -> None:
        for weight in weights:
            F.linear(x, weight)

    return 2 * rows * inputs * outputs * len(weights) / fastest(multiply)


def copied() -> float:
    """Bytes read and written a second by a copy."""
    source = torch.zeros(64 << 20)
    return 8 * source.numel() / fastest(partial(torch.empty_like(source).copy_, source))


def fastest(call: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        started = clock()
        call()
        times.append(clock() - started)
    return min(times)


if __name__ == "__main__":
    main()
