r"""M-GRPO (arXiv 2512.13070) on one page, in plain torch and transformers, to be read from top to bottom.

    python examples/mgrpo_in_one_page.py                 # M-GRPO without the entropy filter: accuracy holds
    python examples/mgrpo_in_one_page.py --method srt    # plain majority voting: accuracy collapses

Either takes under two minutes on one CPU core. A model of 103k parameters, which solves about half of its problems
(chained arithmetic), trains itself on problems without answers, at a learning rate that makes plain voting collapse.

Two models sample answers to each prompt: the policy, which is trained, and the momentum model, a slow average of the
policy's weights. Completions of suspiciously low entropy are dropped, the rest vote, and the policy is rewarded for
agreeing with the majority. Left out is what does not change the method (files, metrics, resuming, engines, GPUs), and
what this task does not need: LoRA, several optimizer steps per batch, answers compared as mathematics (1/2 is 0.5).

The package's `MGRPOTrainer` gives the same labels, advantages, loss and momentum weights for the same batch; a test
compares the two. Symbols are the paper's: pi_q policy, pi_k momentum model, M and N their completions per prompt,
G = M + N the group, k the filter's multiplier, m the momentum. Axes: P prompts, T tokens.
"""

import argparse
import copy
import os
from collections import Counter
from dataclasses import dataclass

os.environ["OMP_NUM_THREADS"] = "1"  # a model this small is slower on two threads than on one

import torch
import transformers
from torch import Tensor, nn

from mgrpo.embedded.task import chains, extract_answer
from mgrpo.models.load import load_model


@dataclass
class Settings:
    """Those of the recipe `embedded`; `embedded-srt` has M = 16 and N = 0."""

    num_policy: int = 12  # M
    num_momentum: int = 4  # N; 0 without a filter is SRT
    iqr_multiplier: float | None = None  # k; the paper's 0.75 does harm on this small task (benchmarks/benchmarks.md)
    momentum: float = 0.99  # m
    kl_coefficient: float = 0.005
    clip: float = 0.2
    temperature: float = 1.1
    max_new_tokens: int = 14
    prompts_per_step: int = 8  # P
    learning_rate: float = 2e-4
    warmup_steps: int = 20
    max_grad_norm: float = 1.0


@dataclass
class Completions:
    """What one model wrote: `num` completions of each prompt, prompt by prompt."""

    prompt_ids: Tensor  # (P * num, prompt tokens), padded on the left
    prompt_mask: Tensor
    ids: Tensor  # (P * num, T), padded on the right
    mask: Tensor  # 1 up to and including the end-of-text token
    entropy: Tensor  # (P, num), nats per token
    answers: list[list[str | None]]  # (P, num)


@torch.no_grad()
def sample(model: nn.Module, tokenizer, prompts: list[str], num: int, settings: Settings) -> Completions:
    """Step 1, rollouts: `num` completions of each prompt from softmax(logits / temperature)."""
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    whole_distribution = {"do_sample": True, "temperature": settings.temperature, "top_k": 0, "top_p": 1.0}
    outputs = {"return_dict_in_generate": True, "output_logits": True, "max_new_tokens": settings.max_new_tokens}
    output = model.eval().generate(**inputs, num_return_sequences=num, **whole_distribution, **outputs)
    ids = output.sequences[:, inputs["input_ids"].shape[1] :]
    is_end = (ids == tokenizer.eos_token_id).long()
    mask = (is_end.cumsum(1) - is_end == 0).long()
    entropy = trajectory_entropy(torch.stack(output.logits, dim=1), mask, settings.temperature)
    answers = [extract_answer(text) for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
    prompt_ids, prompt_mask = (inputs[name].repeat_interleave(num, 0) for name in ("input_ids", "attention_mask"))
    groups = [answers[start : start + num] for start in range(0, len(answers), num)]
    return Completions(prompt_ids, prompt_mask, ids, mask, entropy.view(-1, num), groups)


def trajectory_entropy(logits: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """H_i = mean over the tokens t of  -sum_v p_t(v) log p_t(v),  p_t = softmax(logits_t / temperature)."""
    log_p = (logits / temperature).log_softmax(-1)
    return (-(log_p.exp() * log_p).sum(-1) * mask).sum(1) / mask.sum(1)


def passes_filter(entropy: Tensor, multiplier: float | None) -> Tensor:
    """Step 2: keep completion i where  H_i >= Q1 - k (Q3 - Q1),  the quartiles taken over its group; (P, G)."""
    if multiplier is None:
        return torch.ones_like(entropy, dtype=torch.bool)
    q1, q3 = torch.quantile(entropy, torch.tensor([0.25, 0.75]), dim=1, keepdim=True)
    return entropy >= q1 - multiplier * (q3 - q1)


def majority(answers: list[str | None], keep: list[bool], num_policy: int) -> str | None:
    """Step 3: the pseudo-label  argmax_a |{kept i : answer_i = a}|  over both models' completions of one prompt.

    A completion without an answer does not vote. Ties: more votes from the momentum model, then the earlier answer.
    """
    cast = [answer if kept else None for answer, kept in zip(answers, keep, strict=True)]
    votes, momentum_votes = Counter(cast), Counter(cast[num_policy:])
    del votes[None]
    return max(votes, key=lambda answer: (votes[answer], momentum_votes[answer]), default=None)


def label(answers: list[list[str | None]], entropy: Tensor, settings: Settings) -> tuple[list, Tensor, Tensor]:
    """Steps 2 to 4: each prompt's pseudo-label, the policy's rewards (P, M), and which completions are trained on.

    r_i = 1 if answer_i is the pseudo-label, else 0. A completion is trained on if it passed the filter, in a group
    that has a label and at least two such completions: one alone has no baseline to be better than.
    """
    num_policy = settings.num_policy
    keep = passes_filter(entropy, settings.iqr_multiplier)
    labels = [majority(*group, num_policy) for group in zip(answers, keep.tolist(), strict=True)]
    has_label = torch.tensor([voted is not None for voted in labels])
    agrees = [[a == voted for a in group[:num_policy]] for group, voted in zip(answers, labels, strict=True)]
    reward = torch.tensor(agrees).float() * has_label[:, None]
    kept_policy = keep[:, :num_policy]
    is_trained_on = kept_policy & (has_label & (kept_policy.sum(1) >= 2))[:, None]
    return labels, reward, is_trained_on


def group_advantage(reward: Tensor, is_trained_on: Tensor) -> Tensor:
    """Step 5: A_i = (r_i - mean r) / (std r + 1e-4),  over the group's completions that are trained on; (P, M)."""
    num = is_trained_on.sum(1, keepdim=True)
    mean = (reward * is_trained_on).sum(1, keepdim=True) / num.clamp(min=1)
    deviation = (reward - mean) * is_trained_on
    std = (deviation.square().sum(1, keepdim=True) / (num - 1).clamp(min=1)).sqrt()
    return deviation / (std + 1e-4)


def log_probs(model: nn.Module, batch: Completions, temperature: float) -> Tensor:
    """Log-probability of each completion token under softmax(logits / temperature); (P * M, T)."""
    ids, mask = torch.cat([batch.prompt_ids, batch.ids], 1), torch.cat([batch.prompt_mask, batch.mask], 1)
    num_kept = batch.ids.shape[1] + 1  # the token at t is predicted at t - 1
    logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=num_kept, use_cache=False).logits
    return (logits[:, :-1] / temperature).log_softmax(-1).gather(-1, batch.ids[..., None])[..., 0]


def grpo_loss(policy, initial, batch: Completions, advantage: Tensor, is_trained_on: Tensor, s: Settings) -> Tensor:
    """Step 6: the mean over the trained-on tokens of  -min(rho A, clip(rho, 1 - eps, 1 + eps) A) + beta KL.

    rho = pi_q(token) / pi_q,old(token) and KL = e^d - d - 1 with d = log pi_initial - log pi_q (k3, never negative).
    Momentum completions are not in the batch; dropped ones count in no term, the number of tokens included.
    """
    with torch.no_grad():
        log_initial = log_probs(initial, batch, s.temperature)
    log_p = log_probs(policy, batch, s.temperature)
    rho = (log_p - log_p.detach()).exp()  # 1, with the gradient of log p
    advantage = advantage.view(-1, 1)
    gain = torch.min(rho * advantage, rho.clamp(1 - s.clip, 1 + s.clip) * advantage)
    difference = log_initial - log_p
    kl = difference.exp() - difference - 1
    mask = batch.mask * is_trained_on.view(-1, 1)
    return ((s.kl_coefficient * kl - gain) * mask).sum() / mask.sum().clamp(min=1)


@torch.no_grad()
def update_momentum_(momentum_model: nn.Module, policy: nn.Module, m: float) -> None:
    """Step 7, after each optimizer step: theta_k <- m theta_k + (1 - m) theta_q."""
    torch._foreach_lerp_(list(momentum_model.parameters()), list(policy.parameters()), 1 - m)


class MGRPO:
    """The models, the optimizer, and one training step."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.policy, self.tokenizer = load_model("embedded")
        self.momentum_model = copy.deepcopy(self.policy).requires_grad_(False)  # starts equal to the policy
        self.initial = copy.deepcopy(self.policy).requires_grad_(False)  # never changes
        self.optimizer = torch.optim.AdamW(self.policy.parameters(), lr=settings.learning_rate, weight_decay=0.0)
        warm_up = lambda step: min(1.0, step / max(1, settings.warmup_steps))  # noqa: E731
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, warm_up)

    def step(self, prompts: list[str]) -> float:
        """Train on some prompts; returns the agreement, the share of the completions with their group's label."""
        s = self.settings
        batch = sample(self.policy, self.tokenizer, prompts, s.num_policy, s)
        answers, entropy = batch.answers, batch.entropy
        if s.num_momentum:
            voters = sample(self.momentum_model, self.tokenizer, prompts, s.num_momentum, s)
            answers = [first + second for first, second in zip(answers, voters.answers, strict=True)]
            entropy = torch.cat([entropy, voters.entropy], dim=1)

        _, reward, is_trained_on = label(answers, entropy, s)
        advantage = group_advantage(reward, is_trained_on)

        loss = grpo_loss(self.policy.train(), self.initial, batch, advantage, is_trained_on, s)
        loss.backward()
        nn.utils.clip_grad_norm_(self.policy.parameters(), s.max_grad_norm)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        if s.num_momentum:
            update_momentum_(self.momentum_model, self.policy, s.momentum)
        return reward.mean().item()


def held_out_accuracy(trainer: MGRPO, problems: list) -> float:
    """The share of the problems that the policy solves; the only place where a right answer is read."""
    answers = sample(trainer.policy, trainer.tokenizer, [p.prompt for p in problems], 1, trainer.settings).answers
    return sum(answer == p.answer for (answer,), p in zip(answers, problems, strict=True)) / len(problems)


def main() -> None:
    """Train, and print the accuracy on problems that are not trained on."""
    parser = argparse.ArgumentParser(description="M-GRPO, or SRT, on the embedded model.")
    parser.add_argument("--method", choices=["m-grpo", "srt"], default="m-grpo")
    parser.add_argument("--iqr_multiplier", type=float, help="k of the entropy filter (paper: 0.75); default: off")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    torch.manual_seed(args.seed)
    # the same 16 completions a prompt, with SRT all of them the policy's
    num_policy, num_momentum = (16, 0) if args.method == "srt" else (12, 4)
    trainer = MGRPO(Settings(num_policy, num_momentum, args.iqr_multiplier))
    size = trainer.settings.prompts_per_step
    problems = chains(args.steps * size, seed=args.seed, split="train")
    held_out = chains(256, seed=args.seed, split="test")
    start = accuracy = held_out_accuracy(trainer, held_out)
    print(f"step   0  held-out accuracy {start:.2f}")
    for step in range(1, args.steps + 1):
        agreement = trainer.step([p.prompt for p in problems[(step - 1) * size : step * size]])
        if step % 40 == 0 or step == args.steps:
            accuracy = held_out_accuracy(trainer, held_out)
            print(f"step {step:3d}  held-out accuracy {accuracy:.2f}  agreement {agreement:.2f}", flush=True)
    verdict = "collapsed" if accuracy < 0.8 * start else "held"
    print(f"{args.method}: accuracy {verdict}, from {start:.2f} to {accuracy:.2f}.")


if __name__ == "__main__":
    main()
