"""How far the entropies that an engine's log-probabilities allow are from the exact ones, completion by completion.

    python benchmarks/entropy_estimates.py --model smollm2 --prompts 6 --completions 8 --tokens 96

Samples groups with transformers, and computes of the same completions, from the same logits, nats per token:

exact    -sum of p log p over the vocabulary
sampled  -log p of the sampled token, `entropy_source: sampled`
lump     -sum of p log p over the 20 likeliest tokens, and over the rest as if it were one token
top_20   that, and an unbiased estimate of what the rest has more, `entropy_source: top_20`

Two errors each: the mean absolute one, and the correlation with the exact entropies within a group, which the filter
compares.
"""

import argparse

import torch

from mgrpo.algorithm import token_entropy
from mgrpo.embedded.task import chains
from mgrpo.models.load import load_model

NUM_TOP = 20


def estimates(logits: torch.Tensor, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Each token's entropies, (T,), from its logits (T, V)."""
    log_p = logits.log_softmax(dim=-1)
    top = log_p.topk(min(NUM_TOP, log_p.shape[-1]), dim=-1).values
    rest = (1 - top.exp().sum(dim=-1)).clamp(min=1e-12)
    lump = -(top.exp() * top).sum(dim=-1) - rest * rest.log()
    sampled = log_p.gather(1, ids[:, None])[:, 0]
    return {
        "exact": token_entropy(logits, 1.0),
        "sampled": -sampled,
        "lump": lump,
        "top_20": lump + torch.where(sampled < top[:, -1], rest.log() - sampled, 0.0),
    }


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--completions", type=int, default=12, help="in a group")
    parser.add_argument("--tokens", type=int, default=14)
    parser.add_argument("--temperature", type=float, default=1.1)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model, tokenizer = load_model(arguments.model)
    groups = []
    for chain in chains(arguments.prompts, seed=0, split="train"):
        question = chain.prompt
        if arguments.model != "embedded":
            message = [{"role": "user", "content": f"What is {chain.prompt.rstrip('=')}? Think step by step."}]
            question = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        inputs = tokenizer([question] * arguments.completions, return_tensors="pt")
        start = inputs["input_ids"].shape[1]
        rows = model.generate(
            **inputs, do_sample=True, top_k=0, temperature=arguments.temperature, max_new_tokens=arguments.tokens
        )
        logits = model(rows).logits[:, start - 1 : -1].float() / arguments.temperature
        group = []
        for row_logits, ids in zip(logits, rows[:, start:], strict=True):
            is_end = (ids == tokenizer.eos_token_id).nonzero()
            num_tokens = is_end[0].item() + 1 if len(is_end) else len(ids)
            found = estimates(row_logits[:num_tokens], ids[:num_tokens])
            group.append(torch.stack([values.mean() for values in found.values()]))
        groups.append(torch.stack(group))
    values = torch.stack(groups)  # prompts, completions, estimates
    exact = values[..., 0]
    print(
        f"{arguments.model}: {arguments.prompts} groups of {arguments.completions}, {arguments.tokens} tokens at most"
    )
    print(f"exact: {exact.mean():.3f} nats per token, standard deviation within a group {exact.std(dim=1).mean():.3f}")
    for i, name in enumerate(["sampled", "lump", "top_20"], start=1):
        error = (values[..., i] - exact).abs().mean()
        bias = (values[..., i] - exact).mean()
        pairs = zip(values[..., i], exact, strict=True)
        correlation = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs]).nanmean()
        print(f"{name}: error {error:.4f}, bias {bias:+.4f}, correlation within groups {correlation:.3f}")


if __name__ == "__main__":
    main()
