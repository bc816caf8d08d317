"""Time a training step of M-GRPO against TRL's own GRPOTrainer at the same group size, side by side in one process.

    python benchmarks/step_time.py [--model smollm2] [--lora] [--tokens 64] [--rounds 5]
    python benchmarks/step_time.py --model embedded --prompts 8 --rows 32 --tokens 14 --rounds 40

M-GRPO samples M + N completions a prompt and learns from M. GRPO samples M + N and learns from all; its reward is the
majority vote of the group, in a few lines. Same model, prompts, reference model, KL and optimizer. But for the
embedded model every completion is as long as it may be, so that both do the same work. A round is one step of each, in
turn. On a CPU times are the process's CPU time, which a busy machine disturbs less.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import statistics
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, get_peft_config

import mgrpo.training.trainer
from mgrpo.answers import get_extractor
from mgrpo.recipe_files import read_recipe_files
from mgrpo.training.config import MGRPOConfig
from mgrpo.training.data import load_data
from mgrpo.training.memory import keep_freed_memory
from mgrpo.training.models import load_model
from mgrpo.training.recipe import Recipe, load_recipe
from mgrpo.training.trainer import MGRPOTrainer

WARM_UP = 2
"""Rounds before the clock counts."""
SHARED_FIELDS = (
    *("learning_rate", "lr_scheduler_type", "warmup_steps", "max_steps", "beta", "epsilon", "temperature", "bf16"),
    *("max_completion_length", "gradient_checkpointing", "use_bias_correction_kl", "generation_kwargs", "use_cpu"),
    *("eval_strategy", "save_strategy", "logging_steps", "report_to", "disable_tqdm"),
)
"""What GRPO takes over from the recipe."""


def clock() -> float:
    """Seconds: of the process's CPUs, or where a GPU works beside them, of the clock on the wall."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


class Turns:
    """Lets two threads run by turns."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._whose = 0

    def wait_for(self, which: int) -> None:
        with self._turn:
            self._turn.wait_for(lambda: self._whose == which)

    def pass_on(self, which: int) -> None:
        with self._turn:
            self._whose = 1 - which
            self._turn.notify_all()


class Steps(TrainerCallback):
    """Times a trainer's steps and their parts; another trainer has its turn between them."""

    def __init__(self, turns: Turns, which: int) -> None:
        self.turns, self.which = turns, which
        self.steps: list[dict[str, float]] = []
        self._parts: dict[str, float] = defaultdict(float)
        self._within: list[str] = []

    def on_train_begin(self, *_, **__) -> None:
        self._parts.clear()
        self._started = clock()

    def on_step_end(self, *_, **__) -> None:
        # the step's logging comes after this, and so counts in the next round
        self.steps.append({**self._parts, "step": clock() - self._started})
        self.turns.pass_on(self.which)
        self.turns.wait_for(self.which)
        self._parts.clear()
        self._started = clock()

    def time(self, owner: Any, name: str, part: str) -> None:
        """Count what `owner.name` takes as `part`, and not as the part that calls it."""
        inner = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread().name != str(self.which):
                return inner(*args, **kwargs)
            started, outer = clock(), dict(self._parts)
            try:
                return inner(*args, **kwargs)
            finally:
                nested = sum(self._parts.values()) - sum(outer.values())
                self._parts[part] += clock() - started - nested

        setattr(owner, name, timed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_size_options(parser)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    keep_freed_memory()
    transformers.utils.logging.set_verbosity_error()
    turns = Turns()
    with tempfile.TemporaryDirectory() as directory:
        # the embedded model's completions are all about as long; kept from ending they would have no answer
        recipe = load(args, directory, is_full_length=args.model != "embedded")
        grpo, mgrpo_ = Steps(turns, 0), Steps(turns, 1)
        trainers = [grpo_trainer(recipe, args, directory), mgrpo_trainer(recipe)]
        mgrpo_.time(mgrpo.training.trainer, "vote", "read, filter, vote")
        threads = []
        for trainer, steps in zip(trainers, (grpo, mgrpo_), strict=True):
            trainer.remove_callback(PrinterCallback)
            trainer.add_callback(steps)
            steps.time(trainer, "_generate_single_turn", "sample")
            steps.time(trainer, "_get_per_token_logps_and_entropies", "log-probabilities")
            steps.time(trainer.accelerator, "backward", "backward")
            trainer.create_optimizer()
            steps.time(trainer.optimizer, "step", "optimizer")
            threads.append(threading.Thread(target=run, args=(trainer, steps), name=str(steps.which)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    report(args, grpo.steps[WARM_UP:], mgrpo_.steps[WARM_UP:])


def add_size_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="smollm2", help="embedded, or one that works arithmetic (%(default)s)")
    parser.add_argument("--lora", action="store_true", help="train an adapter of rank 16 on all linear layers")
    parser.add_argument("--prompts", type=int, default=2, help="a step (%(default)s)")
    parser.add_argument("--num_generations", type=int, default=12, help="M (%(default)s)")
    parser.add_argument("--num_momentum_generations", type=int, default=4, help="N (%(default)s)")
    parser.add_argument("--rows", type=int, default=8, help="in a forward and backward pass (%(default)s)")
    parser.add_argument("--tokens", type=int, default=64, help="in a completion (%(default)s)")
    parser.add_argument("--iqr_multiplier", default="none", help="the filter's k (%(default)s)")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("FIELD", "VALUE"), help="of M-GRPO")


def load(args: argparse.Namespace, directory: str, *, is_full_length: bool) -> Recipe:
    on_gpu = torch.cuda.is_available()
    names = ["embedded"] if args.model == "embedded" else ["smollm2-arithmetic"]
    overrides = {
        "model_name_or_path": args.model,
        "output_dir": directory,
        "max_steps": WARM_UP + args.rounds,
        "dataset_size": args.prompts * (WARM_UP + args.rounds),
        "num_generations": args.num_generations,
        "num_momentum_generations": args.num_momentum_generations,
        "per_device_train_batch_size": args.rows,
        "gradient_accumulation_steps": args.prompts * args.num_generations // args.rows,
        "max_completion_length": args.tokens,
        "generation_kwargs": {"min_new_tokens": args.tokens} if is_full_length else None,
        "iqr_multiplier": args.iqr_multiplier,
        "use_peft": args.lora,
        "lora_target_modules": "all-linear",
        "bf16": on_gpu,
        "use_cpu": not on_gpu,
        "eval_strategy": "no",
        "eval_on_start": False,
        "save_strategy": "no",
        "log_completions": False,
        "probe_prompts": 0,
        "logging_steps": 1,
        "disable_tqdm": True,
    }
    overrides |= dict(args.set)
    return load_recipe(read_recipe_files(names), names[0], overrides)


def grpo_trainer(recipe: Recipe, args: argparse.Namespace, directory: str) -> GRPOTrainer:
    """TRL's trainer on groups of M + N."""
    task, data = load_data(recipe.data, recipe.data.task, "train", recipe.data.dataset_size)
    extract, group = get_extractor(task.extractor), args.num_generations + args.num_momentum_generations

    def vote_reward(completions: list[str], **_: Any) -> list[float]:
        answers = [extract(completion) for completion in completions]
        rewards = []
        for start in range(0, len(answers), group):
            votes = Counter(answer for answer in answers[start : start + group] if answer is not None)
            label = max(votes, key=votes.__getitem__) if votes else None
            rewards += [float(answer is not None and answer == label) for answer in answers[start : start + group]]
        return rewards

    config = GRPOConfig(
        output_dir=directory,
        num_generations=group,
        per_device_train_batch_size=args.rows,
        gradient_accumulation_steps=args.prompts * group // args.rows,
        **{name: getattr(recipe.config, name) for name in SHARED_FIELDS},
    )
    return GRPOTrainer(reward_funcs=vote_reward, args=config, **model_and_data(recipe, data))


def mgrpo_trainer(recipe: Recipe) -> MGRPOTrainer:
    task, data = load_data(recipe.data, recipe.data.task, "train", recipe.data.dataset_size)
    assert isinstance(recipe.config, MGRPOConfig)
    return MGRPOTrainer(
        args=recipe.config,
        answer_fn=get_extractor(task.extractor),
        equivalence=task.equivalence,
        **model_and_data(recipe, data),
    )


def model_and_data(recipe: Recipe, data: Any) -> dict[str, Any]:
    copy = Path(recipe.config.output_dir).parent / f"mgrpo-benchmark-{os.getuid()}"  # the model's, kept
    model, tokenizer = load_model(recipe.model.model_name_or_path, copy_dir=copy)
    return {
        "model": model,
        "train_dataset": data,
        "processing_class": tokenizer,
        "peft_config": get_peft_config(recipe.model),
    }


def run(trainer: GRPOTrainer, steps: Steps) -> None:
    steps.turns.wait_for(steps.which)
    try:
        trainer.train()
    finally:
        steps.turns.pass_on(steps.which)


def report(args: argparse.Namespace, grpo: list[dict[str, float]], mgrpo_: list[dict[str, float]]) -> None:
    ratios = [ours["step"] / theirs["step"] for ours, theirs in zip(mgrpo_, grpo, strict=True)]
    q1, median, q3 = statistics.quantiles(ratios, n=4)
    size = f"{args.prompts} x ({args.num_generations} + {args.num_momentum_generations}), {args.tokens} tokens"
    print(f"{args.model}{', LoRA' * args.lora}, {size}: ratio {median:.3f} (quartiles {q1:.3f} {q3:.3f})")
    theirs, ours = mean_parts(grpo), mean_parts(mgrpo_)
    for part, seconds in ours.items():
        share, other = seconds / ours["step"], theirs.get(part, 0.0)
        ratio = f"{seconds / other:.2f}" if other > 1e-3 * theirs["step"] else ""
        print(f"  {part:20} M-GRPO {seconds:8.3f} s ({share:6.1%})   GRPO {other:8.3f} s   {ratio}")


def mean_parts(steps: list[dict[str, float]]) -> dict[str, float]:
    """Mean seconds of each part of a step, of what no part counted, and of the step."""
    parts = {part: statistics.fmean(step.get(part, 0.0) for step in steps) for step in steps for part in step}
    step = parts.pop("step")
    return {**parts, "the rest": step - sum(parts.values()), "step": step}


if __name__ == "__main__":
    main()
