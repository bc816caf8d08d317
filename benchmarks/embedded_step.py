"""Time a training step of the embedded model against the same work in a bare loop, side by side in one process.

    python benchmarks/embedded_step.py [--config embedded] [--rounds 60]   # or --config embedded-srt

The bare loop is what one writes without TRL: transformers' `generate`, a `Counter` for the vote, the loss in ten
lines, torch's AdamW. It logs nothing. A round is one step of `MGRPOTrainer`, everything included (data, metrics,
files), and one of the bare loop. Times are the process's CPU time, on one thread: a busy machine disturbs it less.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # the embedded model is slower on two threads than on one
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import copy
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from itertools import cycle

import torch
import transformers
from transformers import PrinterCallback, TrainerCallback

from mgrpo.answers import get_extractor
from mgrpo.models.cpu_allocator import keep_freed_memory
from mgrpo.models.load import load_model
from mgrpo.recipes.data import load_data
from mgrpo.recipes.files import read_recipe_files
from mgrpo.recipes.recipe import Recipe, load_recipe
from mgrpo.training.trainer import MGRPOTrainer

WARM_UP = 5
"""Rounds before the clock counts."""
PROBE_LOOKS = 15


class BareLoop:
    """M-GRPO, or SRT where N = 0, without a filter, in plain transformers and torch."""

    def __init__(self, recipe: Recipe) -> None:
        config = self.config = recipe.config
        task, data = load_data(recipe.data, recipe.data.task, "train", recipe.data.dataset_size)
        self.extract = get_extractor(task.extractor)
        self.policy, self.tokenizer = load_model(recipe.model.model_name_or_path)
        self.reference = copy.deepcopy(self.policy).requires_grad_(False)
        self.weights = [p.detach() for p in self.policy.parameters()]
        self.momentum = [w.clone() for w in self.weights]
        self.optimizer = torch.optim.AdamW(self.policy.parameters(), lr=config.learning_rate, weight_decay=0.0)
        self.prompts = cycle(data["prompt"])
        self.num_prompts = config.per_device_train_batch_size // config.num_generations

    def generate(self, inputs: dict, num: int) -> torch.Tensor:
        width = inputs["input_ids"].shape[1]
        output = self.policy.generate(
            **inputs,
            num_return_sequences=num,
            do_sample=True,
            temperature=self.config.temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=self.config.max_completion_length,
        )
        return output[:, width:]

    def log_probs(
        self, model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor, num_tokens: int
    ) -> torch.Tensor:
        logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=num_tokens + 1, use_cache=False).logits
        log_p = (logits[:, :-1] / self.config.temperature).log_softmax(-1)
        return log_p.gather(-1, ids[:, -num_tokens:, None])[..., 0]

    def step(self) -> None:
        config, m, n = self.config, self.config.num_generations, self.config.num_momentum_generations
        prompts = [next(self.prompts) for _ in range(self.num_prompts)]
        inputs = self.tokenizer(prompts, return_tensors="pt", padding=True)
        with torch.no_grad():
            self.policy.eval()
            completions = self.generate(inputs, m)
            answers = self.read(completions, m)
            if n:
                kept = [w.clone() for w in self.weights]
                torch._foreach_copy_(self.weights, self.momentum)
                answers = [a + b for a, b in zip(answers, self.read(self.generate(inputs, n), n), strict=True)]
                torch._foreach_copy_(self.weights, kept)
        rewards = []
        for group in answers:
            votes = Counter(answer for answer in group if answer is not None)
            label = max(votes, key=votes.get) if votes else None
            rewards.append([float(answer is not None and answer == label) for answer in group[:m]])
        reward = torch.tensor(rewards)
        advantage = ((reward - reward.mean(1, keepdim=True)) / (reward.std(1, keepdim=True) + 1e-4)).flatten()

        is_end = completions == self.tokenizer.eos_token_id
        mask = (is_end.cumsum(1) - is_end.long() == 0).long()
        ids = torch.cat([inputs["input_ids"].repeat_interleave(m, 0), completions], 1)
        attention_mask = torch.cat([inputs["attention_mask"].repeat_interleave(m, 0), mask], 1)
        num_tokens = completions.shape[1]
        with torch.no_grad():
            log_ref = self.log_probs(self.reference, ids, attention_mask, num_tokens)
        self.policy.train()
        log_p = self.log_probs(self.policy, ids, attention_mask, num_tokens)
        ratio = (log_p - log_p.detach()).exp()
        clipped = ratio.clamp(1 - config.epsilon, 1 + config.epsilon)
        gain = torch.min(ratio * advantage[:, None], clipped * advantage[:, None])
        kl = (log_ref - log_p).exp() - (log_ref - log_p) - 1
        (((config.beta * kl - gain) * mask).sum() / mask.sum()).backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if n:
            torch._foreach_lerp_(self.momentum, self.weights, 1 - config.momentum)

    def read(self, completions: torch.Tensor, num: int) -> list[list[str | None]]:
        texts = self.tokenizer.batch_decode(completions, skip_special_tokens=True)
        answers = [self.extract(text) for text in texts]
        return [answers[start : start + num] for start in range(0, len(answers), num)]


class Rounds(TrainerCallback):
    """After each of the trainer's steps, one of the bare loop; times both."""

    def __init__(self, bare: BareLoop) -> None:
        self.bare = bare
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self.parts: list[dict[str, float]] = []
        self.seconds: dict[str, float] = defaultdict(float)

    def on_train_begin(self, *_, **__) -> None:
        self.seconds.clear()
        self.started = time.process_time()

    def on_step_end(self, *_, **__) -> None:
        # the step's logging comes after this, and so counts in the next round
        between = time.process_time()
        self.ours.append(between - self.started)
        self.parts.append(dict(self.seconds))
        self.bare.step()
        self.theirs.append(time.process_time() - between)
        self.seconds.clear()
        self.started = time.process_time()

    def time(self, owner: object, name: str, part: str) -> None:
        """Count the time within `owner.name` as `part`."""
        inner = getattr(owner, name)

        def timed(*args, **kwargs):
            started = time.process_time()
            try:
                return inner(*args, **kwargs)
            finally:
                self.seconds[part] += time.process_time() - started

        setattr(owner, name, timed)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", nargs="+", default=["embedded"], help="recipes, later ones win")
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    keep_freed_memory()  # as `mgrpo train` does on a CPU; the bare loop gains by it as well
    transformers.utils.logging.set_verbosity_error()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as directory:
        overrides = {
            "output_dir": directory,
            "max_steps": WARM_UP + args.rounds,
            "eval_strategy": "no",
            "eval_on_start": False,
            "save_strategy": "no",
            "disable_tqdm": True,
        }
        recipe = load_recipe(read_recipe_files(args.config), " ".join(args.config), overrides)
        rounds = Rounds(BareLoop(recipe))
        trainer = build_trainer(recipe)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(rounds)
        rounds.time(trainer, "_generate_single_turn", "sampling")
        rounds.time(trainer, "_get_per_token_logps_and_entropies", "log-probabilities, reference and policy")
        rounds.time(trainer.accelerator, "backward", "backward")
        trainer.create_optimizer()
        rounds.time(trainer.optimizer, "step", "optimizer")
        trainer.train()
        looks = []
        for _ in range(PROBE_LOOKS):
            started = time.process_time()
            trainer.probe_metrics()
            looks.append(time.process_time() - started)
    report(" ".join(args.config), rounds)
    look, step = statistics.median(looks), statistics.median(rounds.ours)
    print(f"a look at the probe, once a logged step: {look / step:.2f} of a step")


def build_trainer(recipe: Recipe) -> MGRPOTrainer:
    task, data = load_data(recipe.data, recipe.data.task, "train", recipe.data.dataset_size)
    model, tokenizer = load_model(recipe.model.model_name_or_path)
    return MGRPOTrainer(
        model,
        args=recipe.config,
        train_dataset=data,
        processing_class=tokenizer,
        answer_fn=get_extractor(task.extractor),
        equivalence=task.equivalence,
    )


def report(config: str, rounds: Rounds) -> None:
    ours, theirs, parts = rounds.ours[WARM_UP:], rounds.theirs[WARM_UP:], rounds.parts[WARM_UP:]
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    q1, median, q3 = statistics.quantiles(ratios, n=4)
    print(
        f"{config}: a step takes {1e3 * statistics.median(ours):.0f} ms, in the bare loop "
        f"{1e3 * statistics.median(theirs):.0f} ms; ratio {median:.2f} (quartiles {q1:.2f} {q3:.2f}), of all "
        f"{len(ratios)} rounds together {sum(ours) / sum(theirs):.2f}"
    )
    named = {part: statistics.median(p[part] for p in parts) for part in parts[0]}
    named["the rest"] = statistics.median(a - sum(p.values()) for a, p in zip(ours, parts, strict=True))
    print("  " + ", ".join(f"{part} {1e3 * seconds:.0f}" for part, seconds in named.items()) + " ms")


if __name__ == "__main__":
    main()
