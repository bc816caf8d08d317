"""Time a training step of M-GRPO against TRL's own GRPOTrainer at the same group size, side by side in one process.

    python benchmarks/step_time.py [--model smollm2] [--lora] [--tokens 64] [--rounds 5]
    python benchmarks/step_time.py --model embedded --prompts 8 --rows 32 --tokens 14 --rounds 40
    python benchmarks/step_time.py --peer no-filter --iqr_multiplier 0.75   # M-GRPO with the filter against without

M-GRPO samples M + N completions a prompt and learns from M. GRPO samples M + N and learns from all; its reward is the
majority vote of the group, in a few lines. Same model, prompts, reference model, KL and optimizer. But for the
embedded model every completion is as long as it may be, so that both do the same work. A round is one step of each, in
turn. On a CPU times are the process's CPU time, which a busy machine disturbs less.

`--vllm` samples through colocated vLLM, of which a process has one engine: each trainer then has a process of its own,
and the ratio is that of their median steps.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import json
import math
import statistics
import subprocess
import sys
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
from mgrpo.models.cpu_allocator import keep_freed_memory
from mgrpo.models.load import load_model
from mgrpo.recipes.files import read_recipe_files
from mgrpo.recipes.recipe import Recipe, load_data, load_recipe
from mgrpo.training.config import MGRPOConfig
from mgrpo.training.sampling.momentum_model import MomentumModel
from mgrpo.training.trainer import MGRPOTrainer

WARM_UP = 2
"""Rounds before the clock counts."""
PEERS = {"grpo": "GRPO", "no-filter": "no filter"}
OURS = "m-grpo"
VLLM = {"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.3, "entropy_source": "top_20"}
SHARED_FIELDS = (
    *("learning_rate", "lr_scheduler_type", "warmup_steps", "max_steps", "beta", "epsilon", "temperature", "bf16"),
    *("max_completion_length", "gradient_checkpointing", "use_bias_correction_kl", "generation_kwargs", "use_cpu"),
    *("eval_strategy", "save_strategy", "logging_steps", "report_to", "disable_tqdm"),
    *("use_vllm", "vllm_mode", "vllm_gpu_memory_utilization"),
)
"""What GRPO takes over from the recipe."""


def clock() -> float:
    """Seconds: of the process's CPUs, or where a GPU works beside them, of the clock on the wall."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


class Turns:
    """Lets two threads run by turns, or one alone, until they are over."""

    def __init__(self, *, is_alone: bool = False) -> None:
        self.is_over = False
        self._is_alone = is_alone
        self._turn = threading.Condition()
        self._whose = 0

    def ends_round(self, which: int) -> bool:
        return which == 1 or self._is_alone

    def wait_for(self, which: int) -> None:
        with self._turn:
            self._turn.wait_for(lambda: self._whose == which)

    def pass_on(self, which: int) -> None:
        with self._turn:
            self._whose = which if self._is_alone else 1 - which
            self._turn.notify_all()


class Steps(TrainerCallback):
    """Times a trainer's steps and their parts; another trainer has its turn between them."""

    def __init__(self, turns: Turns, which: int, ends: float = math.inf, at_least: int = 0) -> None:
        self.turns, self.which = turns, which
        self._ends, self._at_least = ends, at_least
        self.steps: list[dict[str, float]] = []
        self._parts: dict[str, float] = defaultdict(float)
        self._within: list[str] = []

    def on_train_begin(self, *_, **__) -> None:
        self._parts.clear()
        self._started = clock()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # the step's logging comes after this, and so counts in the next round
        self.steps.append({**self._parts, "step": clock() - self._started})
        if self.turns.ends_round(self.which) and len(self.steps) >= self._at_least and time.monotonic() > self._ends:
            self.turns.is_over = True  # for the other too
        self.turns.pass_on(self.which)
        self.turns.wait_for(self.which)
        control.should_training_stop |= self.turns.is_over
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
    parser.add_argument("--rounds", type=int, default=5, help="at most (%(default)s)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="after which no round begins, of 2 at least")
    parser.add_argument("--peer", choices=PEERS, default="grpo", help="what M-GRPO is timed against (%(default)s)")
    parser.add_argument("--vllm", action="store_true", help="sample through vLLM")
    parser.add_argument("--only", choices=("peer", OURS), help="time this one alone")
    parser.add_argument("--json", type=Path, help="file for the steps' seconds")
    args = parser.parse_args()
    args.set += [(name, value) for name, value in VLLM.items() if args.vllm]
    keep_freed_memory()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    timed = apart(args) if args.vllm and not args.only else side_by_side(args)
    if args.json:
        args.json.write_text(json.dumps(timed))
    if args.only:
        print(f"{args.only}: {statistics.median(step['step'] for step in timed[args.only]):.3f} s a step")
    else:
        report(args, timed["peer"], timed[OURS])


def apart(args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Time each trainer in a process of its own."""
    timed = {}
    with tempfile.TemporaryDirectory() as directory:
        for only in ("peer", OURS):
            path = Path(directory, "steps.json")
            subprocess.run([sys.executable, *sys.argv, "--only", only, "--json", path], check=True)
            timed |= json.loads(path.read_text())
    return timed


def side_by_side(args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Time the trainers by turns; returns the steps of each behind the warm-up."""
    which = [args.only] if args.only else ["peer", OURS]
    turns = Turns(is_alone=len(which) == 1)
    ends, at_least = time.monotonic() + args.seconds, args.warm_up + 2
    with tempfile.TemporaryDirectory() as directory:
        steps = {name: Steps(turns, place, ends, at_least) for place, name in enumerate(which)}
        if OURS in steps:
            steps[OURS].time(mgrpo.training.trainer, "label", "read, filter, vote")
            for method in ("update", "distance"):
                steps[OURS].time(MomentumModel, method, f"momentum {method}")
        threads = []
        for name, timer in steps.items():
            trainer = make_trainer(name, args, directory)
            trainer.remove_callback(PrinterCallback)
            trainer.add_callback(timer)
            timer.time(trainer, "_generate_single_turn", "sample")
            timer.time(trainer, "_get_per_token_logps_and_entropies", "log-probabilities")
            timer.time(trainer.accelerator, "backward", "backward")
            trainer.create_optimizer()
            timer.time(trainer.optimizer, "step", "optimizer")
            threads.append(threading.Thread(target=run, args=(trainer, timer), name=str(timer.which)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return {name: timer.steps[args.warm_up :] for name, timer in steps.items()}


def make_trainer(name: str, args: argparse.Namespace, directory: str) -> GRPOTrainer:
    """M-GRPO's trainer, or the peer's."""
    if name == "peer" and args.peer == "no-filter":
        args = argparse.Namespace(**{**vars(args), "iqr_multiplier": "none"})
    # the embedded model's completions are all about as long; kept from ending they would have no answer
    recipe = load(args, directory, is_full_length=args.model != "embedded")
    return grpo_trainer(recipe, args, directory) if (name, args.peer) == ("peer", "grpo") else mgrpo_trainer(recipe)


def add_size_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="smollm2", help="embedded, or one that works arithmetic (%(default)s)")
    parser.add_argument("--lora", action="store_true", help="train an adapter of rank 16 on all linear layers")
    parser.add_argument("--prompts", type=int, default=2, help="a step (%(default)s)")
    parser.add_argument("--num_generations", type=int, default=12, help="M (%(default)s)")
    parser.add_argument("--num_momentum_generations", type=int, default=4, help="N (%(default)s)")
    parser.add_argument("--rows", type=int, default=8, help="in a forward and backward pass (%(default)s)")
    parser.add_argument("--tokens", type=int, default=64, help="in a completion (%(default)s)")
    parser.add_argument("--iqr_multiplier", default="none", help="the filter's k (%(default)s)")
    parser.add_argument("--warm_up", type=int, default=WARM_UP, help="rounds before the clock counts (%(default)s)")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("FIELD", "VALUE"), help="of M-GRPO")


def load(args: argparse.Namespace, directory: str, *, is_full_length: bool) -> Recipe:
    on_gpu = torch.cuda.is_available()
    names = ["embedded" if args.model == "embedded" else "smollm2-arithmetic", "m-grpo-no-filter"]
    overrides = {
        "model_name_or_path": args.model,
        "output_dir": directory,
        "max_steps": args.warm_up + args.rounds,
        "dataset_size": args.prompts * (args.warm_up + args.rounds),
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
    trainer = MGRPOTrainer(
        args=recipe.config,
        answer_fn=get_extractor(task.extractor),
        equivalence=task.equivalence,
        **model_and_data(recipe, data),
    )
    trainer.remove_callback(trainer.collapse_watch)  # completions that may not end have no answer
    return trainer


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


def report(args: argparse.Namespace, peer: list[dict[str, float]], mgrpo_: list[dict[str, float]]) -> None:
    median, q1, q3 = ratio_of(peer, mgrpo_, are_apart=args.vllm)
    size = f"{args.prompts} x ({args.num_generations} + {args.num_momentum_generations}), {args.tokens} tokens"
    print(f"{args.model}{', LoRA' * args.lora}, {size}: ratio {median:.3f} (quartiles {q1:.3f} {q3:.3f})")
    theirs, ours = mean_parts(peer), mean_parts(mgrpo_)
    for part, seconds in ours.items():
        share, other = seconds / ours["step"], theirs.get(part, 0.0)
        ratio = f"{seconds / other:.2f}" if other > 1e-3 * theirs["step"] else ""
        print(f"  {part:20} M-GRPO {seconds:8.3f} s ({share:6.2%})   {PEERS[args.peer]} {other:8.3f} s   {ratio}")


def ratio_of(
    peer: list[dict[str, float]], mgrpo_: list[dict[str, float]], *, are_apart: bool = False
) -> tuple[float, float, float]:
    """Median and quartiles of the rounds' ratios; for steps that were no rounds the ratio of their medians."""
    if are_apart:
        ratio = statistics.median(s["step"] for s in mgrpo_) / statistics.median(s["step"] for s in peer)
        return ratio, math.nan, math.nan
    q1, median, q3 = statistics.quantiles([o["step"] / p["step"] for o, p in zip(mgrpo_, peer, strict=True)], n=4)
    return median, q1, q3


def mean_parts(steps: list[dict[str, float]]) -> dict[str, float]:
    """Mean seconds of each part of a step, of what no part counted, and of the step."""
    parts = {part: statistics.fmean(step.get(part, 0.0) for step in steps) for step in steps for part in step}
    step = parts.pop("step")
    return {**parts, "the rest": step - sum(parts.values()), "step": step}


if __name__ == "__main__":
    main()
