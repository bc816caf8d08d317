"""Peak memory of M-GRPO over TRL's own GRPOTrainer at the same M, each in a process of its own.

    python benchmarks/peak_memory.py [--model smollm2] [--lora] [--tokens 64] [--repeats 2]

GRPO samples M completions a prompt and learns from them; M-GRPO samples N more, which vote. The peak is that of the
steps behind the first, in which the optimizer makes its state: of the GPU's allocated memory where there is one, else
of the process's resident memory, files aside. There the C library is told to give freed memory back at once, so that
the peak is what is alive, and not what the allocator keeps.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from step_time import add_size_options, grpo_trainer, load, mgrpo_trainer
from transformers import PrinterCallback, TrainerCallback

TRAINERS = ("grpo", "m-grpo")
GIVE_BACK = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
"""Of glibc: blocks above 64 KiB are mapped and unmapped one by one."""


class AfterFirstStep(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 1:
            forget_peak()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_size_options(parser)
    parser.add_argument("--repeats", type=int, default=1, help="of each; the least counts (%(default)s)")
    parser.add_argument("--only", choices=TRAINERS, help="train this one here, and print peak bytes and weights")
    parser.add_argument("--json", type=Path, help="file for what came out")
    args = parser.parse_args()
    args.warm_up, args.rounds = 1, 1
    if args.only:
        print(*peak(args))
        return
    peaks: dict[str, list[int]] = {trainer: [] for trainer in TRAINERS}
    for _ in range(args.repeats):
        for trainer in TRAINERS:
            command = [sys.executable, *sys.argv, "--only", trainer]
            environment = {**os.environ, **GIVE_BACK}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            *_, peak_bytes, num_weights = done.stdout.split()
            peaks[trainer].append(int(peak_bytes))
            print(f"{trainer:6} {int(peak_bytes) / 2**30:.3f} GiB", flush=True)
    more = min(peaks["m-grpo"]) - min(peaks["grpo"])
    result = {"bytes_a_weight": more / int(num_weights), "share": more / min(peaks["grpo"])}
    print(f"M-GRPO takes {result['bytes_a_weight']:.2f} bytes a weight more, {result['share']:.2%}")
    if args.json:
        args.json.write_text(json.dumps(result))


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
        trainer.add_callback(AfterFirstStep())
        trainer.train()
    return peak_bytes(), sum(p.numel() for p in trainer.model.parameters())


def forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    kilobytes = {name: int(rest[0]) for name, *rest in lines if name in ("VmHWM:", "RssFile:")}
    return 1024 * (kilobytes["VmHWM:"] - kilobytes["RssFile:"])


if __name__ == "__main__":
    main()
