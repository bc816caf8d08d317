"""How the cost of a step grows: group size, prompts and tokens, one at a time; and the label path at 256 x 256.

    python benchmarks/growth.py [--model embedded] [--plot benchmarks/growth.png]

Each line is the time of a step of M-GRPO (a quarter of each group is the momentum model's) per sampled token, every
completion as long as it may be, in passes of up to 16,384 completion tokens; the process's CPU time, or on a GPU the
clock's. The label path reads, compares and votes over 256 groups of 256 completions of math answers.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import tempfile
import time
from types import SimpleNamespace

import matplotlib.pyplot as plt
import torch
import transformers
from step_time import Steps, Turns, clock, load, mgrpo_trainer
from transformers import PrinterCallback

from mgrpo.answers import get_extractor
from mgrpo.models.cpu_allocator import keep_freed_memory
from mgrpo.training.labelling import label
from mgrpo.training.sampling.sampler import Rollouts

BASE = {"group": 16, "prompts": 8, "tokens": 64}
GRID = {
    "group": (8, 16, 32, 64, 128, 256),
    "prompts": (1, 2, 4, 8, 16, 32, 64),
    "tokens": (64, 128, 256, 512, 1024),
}
WARM_UP = 1
ROUNDS, ROUNDS_OF_LARGE, LARGE = 5, 1, 40_000
"""Steps that count; and of those of more than so many tokens."""
TOKENS_IN_A_PASS = 16_384
LABELLED = 256
ANSWERS = (r"\frac{1}{2}", "0.5", r"\frac{2}{4}", r"\sqrt{2}", "3", r"x^2 - 1", r"(x-1)(x+1)", r"50\%", "7", None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded", help="embedded, or one that works arithmetic (%(default)s)")
    parser.add_argument("--lora", action="store_true", help="train an adapter of rank 16 on all linear layers")
    parser.add_argument("--plot", help="file to draw the curves into")
    args = parser.parse_args()
    keep_freed_memory()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    measured: dict[tuple, float] = {}  # one point is on all three curves
    curves: dict[str, dict[int, float]] = {what: {} for what in GRID}
    for what, values in GRID.items():
        for value in values:
            size = {**BASE, what: value}
            num_tokens, key = size["group"] * size["prompts"] * size["tokens"], tuple(size.values())
            if key not in measured:
                measured[key] = 1e6 * seconds(args, size) / num_tokens
            curves[what][value] = measured[key]
            print(f"{what:8} {value:5}   {num_tokens:8,} tokens   {measured[key]:8.2f} us a token", flush=True)
    if args.plot:
        draw(curves, args.plot)
    label_path()


def draw(curves: dict[str, dict[int, float]], path: str) -> None:
    figure, axes = plt.subplots(1, len(curves), figsize=(11, 3), sharey=True)
    for axis, (what, costs) in zip(axes, curves.items(), strict=True):
        axis.plot(costs.keys(), costs.values(), marker="o")
        axis.set_xscale("log", base=2)
        axis.set_xticks(list(costs), [str(value) for value in costs])
        axis.set_xlabel(what)
        axis.minorticks_off()
    axes[0].set_ylim(0, 1.05 * max(cost for costs in curves.values() for cost in costs.values()))
    axes[0].set_ylabel("µs per completion token")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def seconds(args: argparse.Namespace, size: dict[str, int]) -> float:
    """A step, without the first one."""
    num_momentum = size["group"] // 4
    num_policy = size["group"] - num_momentum
    num_tokens = size["group"] * size["prompts"] * size["tokens"]
    options = SimpleNamespace(
        **vars(args),
        prompts=size["prompts"],
        tokens=size["tokens"],
        rows=num_policy * groups_in_a_pass(size["prompts"], num_policy * size["tokens"]),
        num_generations=num_policy,
        num_momentum_generations=num_momentum,
        warm_up=WARM_UP,
        rounds=ROUNDS if num_tokens < LARGE else ROUNDS_OF_LARGE,
        iqr_multiplier="none",
        set=[],
    )
    steps = Steps(Turns(is_alone=True), 0)
    with tempfile.TemporaryDirectory() as directory:
        trainer = mgrpo_trainer(load(options, directory, is_full_length=True))
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(steps)
        trainer.train()
    return statistics.median(step["step"] for step in steps.steps[WARM_UP:])


def groups_in_a_pass(prompts: int, tokens_of_a_group: int) -> int:
    """The largest divisor of `prompts` whose groups' tokens are one pass; 1 at least."""
    fits = [n for n in range(1, prompts + 1) if prompts % n == 0 and n * tokens_of_a_group <= TOKENS_IN_A_PASS]
    return max(fits, default=1)


def label_path() -> None:
    """Time the labelling of 256 prompts with 256 completions each."""
    generator = torch.Generator().manual_seed(0)
    picks = torch.randint(len(ANSWERS), (LABELLED, LABELLED), generator=generator)
    texts = [
        f"Prompt {prompt}. Thinking it over.\nThe answer is \\boxed{{{ANSWERS[pick]}}}."
        if ANSWERS[pick]
        else "I give up."
        for prompt, row in enumerate(picks.tolist())
        for pick in row
    ]
    entropy = torch.rand(len(texts), generator=generator)
    rollouts = Rollouts([[0] * 16] * len(texts), entropy, completions=texts)
    started, started_on_wall = clock(), time.perf_counter()
    label([(rollouts, LABELLED)], get_extractor("boxed"), "math", label_source="policy", iqr_multiplier=0.75)
    took, on_wall = (
        clock() - started,
        time.perf_counter() - started_on_wall,
    )  # workers compare, in processes of their own
    print(
        f"label path, {LABELLED} groups of {LABELLED}: {took:.2f} s, {1e6 * took / len(texts):.1f} us a completion; "
        f"{on_wall:.2f} s on the wall, with the start of the workers"
    )


if __name__ == "__main__":
    main()
