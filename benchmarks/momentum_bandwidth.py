"""Momentum update and change of places against a plain copy of the same weights, as shares of its memory bandwidth.

    python benchmarks/momentum_bandwidth.py [--dtype bfloat16] [--rounds 9]

135 million parameters in the shapes of SmolLM2-135M, each way and a plain float32 `copy_` by turns in one process. A
copy reads and writes 8 bytes a parameter; the update of a float32 policy reads two weights and writes one, 12 bytes.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from step_time import clock
from transformers import AutoModelForCausalLM, LlamaConfig

from mgrpo.training.sampling.momentum_model import MomentumModel

SMOLLM2 = LlamaConfig(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    tie_word_embeddings=True,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="the policy's")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="file for the shares")
    args = parser.parse_args()
    shares = {}
    ways = ways_of(getattr(torch, args.dtype))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds + 1):
        for name, (way, _) in ways.items():
            started = clock()
            way()
            seconds[name].append(clock() - started)
    copy, copied = statistics.median(seconds["copy"][1:]), ways["copy"][1]
    for name, (_, num_bytes) in ways.items():
        took = statistics.median(seconds[name][1:])
        told = "nothing is copied"
        if num_bytes:
            shares[name] = num_bytes / took / (copied / copy)
            told = f"{num_bytes / took / 1e9:6.2f} GB/s, {shares[name]:.2f} of a copy's"
        print(f"{name:32} {1e3 * took:8.2f} ms  {told}")
    if args.json:
        args.json.write_text(json.dumps(shares))


def ways_of(dtype: torch.dtype) -> dict[str, tuple[Callable[[], object], float]]:
    """What is timed, with the bytes that it cannot help but read and write."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = AutoModelForCausalLM.from_config(SMOLLM2, dtype=dtype).to(device)
    here, on_cpu = MomentumModel(policy, m=0.99), MomentumModel(policy, m=0.99, on_cpu=True)
    num, size = sum(p.numel() for p in policy.parameters()), dtype.itemsize
    sources = [torch.zeros(p.shape, device=device) for p in policy.parameters()]
    targets = [torch.zeros_like(source) for source in sources]

    def copy() -> None:
        for source, target in zip(sources, targets, strict=True):
            target.copy_(source)

    def change_places(model: MomentumModel) -> None:
        with model.in_place_of_policy():
            pass

    # float32 weights are pointed at; others are rounded into new memory. From the CPU's memory each changes places by
    # way of a copy, twice; those that are not float32 are rounded first
    pointed = 0.0 if size == 4 else (4 + size) * num
    exchanged = (2 * 6 * size + (0 if size == 4 else 4 + size)) * num
    return {
        "copy": (copy, 8 * num),
        "update": (here.update, (8 + size) * num),
        "in place of the policy and back": (lambda: change_places(here), pointed),
        "update in the CPU's memory": (on_cpu.update, (8 + size) * num),
        "from the CPU's memory and back": (lambda: change_places(on_cpu), exchanged),
    }


if __name__ == "__main__":
    main()
