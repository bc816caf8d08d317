"""Time policy and momentum model, all weights trained, sampled in two batches and in ways that could be sooner.

    python benchmarks/full_sampling.py [--model smollm2] [--prompts 2] [--tokens 16] [--rounds 3]

A round samples the same number of tokens four ways: in two batches, the momentum weights put in place for the second,
as training does; the same with each prompt read once (`share_prompts`); in one batch, each linear layer multiplying
the policy's rows by its weights and the others by the momentum model's; and all rows from one model, which no way with
two can reach. Times are the process's CPU time, on one thread.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from lora_sampling import in_turns
from torch import nn

from mgrpo.models.cpu_allocator import keep_freed_memory
from mgrpo.models.load import load_model
from mgrpo.training.sampling.momentum_model import MomentumModel
from mgrpo.training.sampling.shared_prompts import generate_with_shared_prompts

EXAMPLE = "<|im_start|>user\n41 - 17 =<|im_end|>\n<|im_start|>assistant\n41 - 17 = 24<|im_end|>\n<|im_start|>user\n"
QUESTIONS = ["12 + 73 =", "45 - 62 =", "7 * 8 =", "90 - 15 ="]
IN_TWO = "two batches"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--policy", type=int, default=12, help="completions a prompt")
    parser.add_argument("--momentum", type=int, default=4, help="completions a prompt")
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    keep_freed_memory()
    model, tokenizer = load_model(args.model, copy_dir=Path(tempfile.gettempdir(), f"mgrpo-benchmark-{os.getuid()}"))
    model.eval()
    momentum_model = MomentumModel(model, m=0.99)
    prompts = [EXAMPLE + QUESTIONS[i % len(QUESTIONS)] for i in range(args.prompts)]
    policy, momentum = ([p for p in prompts for _ in range(num)] for num in (args.policy, args.momentum))

    def sample(rows: list[str]) -> None:
        inputs = tokenizer(rows, return_tensors="pt", padding=True)
        length = {"max_new_tokens": args.tokens, "min_new_tokens": args.tokens}
        with torch.no_grad():
            model.generate(**inputs, **length, do_sample=True, temperature=1.1, top_k=0)

    def in_two(*, shares_prompts: bool = False) -> None:
        with generate_with_shared_prompts(model) if shares_prompts else nullcontext():
            sample(policy)
            with momentum_model.in_place_of_policy():
                sample(momentum)

    def in_one() -> None:
        with both_weights(model, momentum_model, len(policy)):
            sample(policy + momentum)

    ways = {
        IN_TWO: in_two,
        "two batches, prompts shared": lambda: in_two(shares_prompts=True),
        "one batch, two weights a layer": in_one,
        "one model": lambda: sample(policy + momentum),
    }
    seconds = in_turns(ways, args.rounds)
    for name, times in seconds.items():
        ratios = sorted(ours / theirs for ours, theirs in zip(times[1:], seconds[IN_TWO][1:], strict=True))
        print(
            f"{name:32} {statistics.median(times[1:]):6.2f} s, ratio {statistics.median(ratios):.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


@contextmanager
def both_weights(model: nn.Module, momentum_model: MomentumModel, num_policy: int) -> Iterator[None]:
    """Within the block linear layers take the momentum model's weights for the rows behind the first `num_policy`.

    Norms and embeddings, a hundredth of the time, stay the policy's: good enough for a clock.
    """
    weights = {id(parameter): weight for parameter, weight in momentum_model.pairs}

    def forward_of(layer: nn.Linear):  # type: ignore[no-untyped-def]
        other = weights[id(layer.weight)]

        def forward(x: torch.Tensor) -> torch.Tensor:
            return torch.cat([F.linear(x[:num_policy], layer.weight), F.linear(x[num_policy:], other)])

        return forward

    with ExitStack() as around:
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.forward = forward_of(layer)
                around.callback(delattr, layer, "forward")
        yield


if __name__ == "__main__":
    main()
