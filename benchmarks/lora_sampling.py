"""Time policy and momentum model, two LoRA adapters over one base, sampled in one batch and in two.

    python benchmarks/lora_sampling.py [--model embedded] [--prompts 8] [--rounds 20]   # or --model smollm2

A round samples the same number of tokens four ways: in two batches, the momentum weights put in place for the second,
as full fine-tuning has to; in one, as training does (`both_adapters`); in one of PEFT's mixed batches; and all rows
from one adapter, the floor. Times are the process's CPU time, on one thread.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import transformers
from peft import LoraConfig, get_peft_model

from mgrpo.models.load import load_model
from mgrpo.training.sampling.momentum_model import MomentumModel
from mgrpo.training.sampling.two_adapters import both_adapters, paired_layers

PROMPTS = ["12+7*3=", "45-6+2="]
IN_TWO = "two batches"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--policy", type=int, default=12, help="completions a prompt")
    parser.add_argument("--momentum", type=int, default=4, help="completions a prompt")
    parser.add_argument("--tokens", type=int, default=14)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    torch.manual_seed(0)
    model, tokenizer = load_model(args.model)
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
    model = get_peft_model(model, config).eval()
    momentum_model = MomentumModel(model, m=0.99)
    layers = paired_layers(model.get_base_model(), momentum_model)
    model.add_adapter("momentum", config)  # PEFT's way needs one
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(args.prompts)]
    policy, momentum = ([p for p in prompts for _ in range(num)] for num in (args.policy, args.momentum))

    def sample(rows: list[str], **settings: object) -> None:
        inputs = tokenizer(rows, return_tensors="pt", padding=True)
        length = {"max_new_tokens": args.tokens, "min_new_tokens": args.tokens}
        with torch.no_grad():
            model.generate(**inputs, **length, do_sample=True, temperature=1.1, top_k=0, **settings)

    def in_two() -> None:
        sample(policy)
        with momentum_model.in_place_of_policy():
            sample(momentum)

    def in_one() -> None:
        with both_adapters(model.get_base_model(), layers, momentum_model, len(policy), len(momentum)):
            sample(policy + momentum)

    def mixed() -> None:
        sample(policy + momentum, adapter_names=["default"] * len(policy) + ["momentum"] * len(momentum))

    ways = {
        IN_TWO: in_two,
        "one batch": in_one,
        "PEFT's mixed batch": mixed,
        "one adapter": lambda: sample(policy + momentum),
    }
    seconds = in_turns(ways, args.rounds)
    for name, times in seconds.items():
        ratios = [ours / theirs for ours, theirs in zip(times[1:], seconds[IN_TWO][1:], strict=True)]  # 0 warms up
        q1, median, q3 = statistics.quantiles(ratios, n=4)
        print(f"{name}: {1e3 * statistics.median(times[1:]):.0f} ms, ratio {median:.2f} (quartiles {q1:.2f} {q3:.2f})")


def in_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each way in each round; the first of rounds + 1 warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            started = time.process_time()
            way()
            seconds[name].append(time.process_time() - started)
    return seconds


if __name__ == "__main__":
    main()
