"""How the cost of a step grows: group size, prompts and tokens, one at a time; and the label path at 256 x 256.

    python benchmarks/growth.py [--model embedded] [--plot growth.png]

Each line is the time of a step of M-GRPO (a quarter of each group is the momentum model's) per sampled token, every
completion as long as it may be; the process's CPU time, or on a GPU the clock's. The label path reads, compares and
votes over 256 groups of 256 completions of math answers.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import tempfile
from types import SimpleNamespace

import matplotlib.pyplot as plt
import torch
import transformers
from step_time import WARM_UP, Steps, Turns, clock, load, mgrpo_trainer
from transformers import PrinterCallback

from mgrpo.answers import get_extractor
from mgrpo.training.memory import keep_freed_memory
from mgrpo.training.rollout import Rollouts
from mgrpo.training.voting import vote

BASE = {"group": 16, "prompts": 8, "tokens": 64}
GRID = {"group": (8,), "prompts": (1,), "tokens": (64, 1024)}
ROUNDS = 3
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
    figure, axes = plt.subplots(1, len(GRID), figsize=(12, 3.2), sharey=True)
    for axis, (what, values) in zip(axes, GRID.items(), strict=True):
        costs = []
        for value in values:
            size = {**BASE, what: value}
            costs.append(1e6 * seconds(args, size) / (size["group"] * size["prompts"] * size["tokens"]))
            print(f"{what:8} {value:5}   {costs[-1]:8.2f} us a completion token", flush=True)
        axis.plot(values, costs, marker="o")
        axis.set(xscale="log", xlabel=what, ylim=(0, None))
    axes[0].set_ylabel("us per completion token")
    figure.tight_layout()
    if args.plot:
        figure.savefig(args.plot, dpi=110)
    label_path()


def seconds(args: argparse.Namespace, size: dict[str, int]) -> float:
    """A step, without the first ones."""
    num_momentum = size["group"] // 4
    options = SimpleNamespace(
        **vars(args),
        prompts=size["prompts"],
        tokens=size["tokens"],
        rows=(size["group"] - num_momentum) * min(size["prompts"], 8),
        num_generations=size["group"] - num_momentum,
        num_momentum_generations=num_momentum,
        rounds=ROUNDS,
        iqr_multiplier="none",
        set=[],
    )
    alone = Turns()
    alone.pass_on = lambda which: None
    steps = Steps(alone, 0)
    with tempfile.TemporaryDirectory() as directory:
        trainer = mgrpo_trainer(load(options, directory, is_full_length=True))
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(steps)
        trainer.train()
    return statistics.median(step["step"] for step in steps.steps[WARM_UP:])


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
    rollouts = Rollouts(texts, [16] * len(texts), entropy)
    started = clock()
    vote(
        rollouts,
        None,
        num_policy=LABELLED,
        num_momentum=0,
        extractor=get_extractor("boxed"),
        equivalence="math",
        label_source="policy",
        iqr_multiplier=0.75,
    )
    took = clock() - started
    print(f"label path, {LABELLED} groups of {LABELLED}: {took:.2f} s, {1e6 * took / len(texts):.1f} us a completion")


if __name__ == "__main__":
    main()
