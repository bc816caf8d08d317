"""Peak memory of M-GRPO over TRL's own GRPOTrainer at the same M, each in a process of its own.

    python benchmarks/peak_memory.py [--model smollm2] [--lora] [--tokens 64]

GRPO samples M completions a prompt and learns from them; M-GRPO samples N more, which vote. Peak is the process's
resident memory (the GPU's allocated memory where there is one), over three steps.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import resource
import subprocess
import sys
import tempfile

import torch
import transformers
from step_time import add_size_options, grpo_trainer, load, mgrpo_trainer
from transformers import PrinterCallback

TRAINERS = ("grpo", "m-grpo")
ROUNDS = 1  # and two that warm up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_size_options(parser)
    parser.add_argument("--only", choices=TRAINERS, help="train this one here, and print peak bytes and weights")
    args = parser.parse_args()
    args.rounds = ROUNDS
    if args.only:
        print(*peak(args))
        return
    peaks = {}
    for trainer in TRAINERS:
        done = subprocess.run(
            [sys.executable, *sys.argv, "--only", trainer], stdout=subprocess.PIPE, text=True, check=True
        )
        *_, peak_bytes, num_weights = done.stdout.split()
        peaks[trainer] = int(peak_bytes)
        print(f"{trainer}: {peaks[trainer] / 2**30:.3f} GiB")
    more = peaks["m-grpo"] - peaks["grpo"]
    print(f"M-GRPO takes {more / int(num_weights):.2f} bytes a weight more, {more / peaks['grpo']:.1%}")


def peak(args: argparse.Namespace) -> tuple[int, int]:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as directory:
        recipe = load(args, directory, is_full_length=True)
        if args.only == "grpo":
            args.num_momentum_generations = 0
            trainer = grpo_trainer(recipe, args, directory)
        else:
            trainer = mgrpo_trainer(recipe)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    num_weights = sum(p.numel() for p in trainer.model.parameters())
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated(), num_weights
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, num_weights


if __name__ == "__main__":
    main()
