"""Time a training step of the embedded model against the same work without TRL, side by side in one process.

    python benchmarks/embedded_step.py [--config embedded] [--rounds 60]   # or --config embedded-srt

The other side is `examples/mgrpo_in_one_page.py`, in plain torch and transformers, which logs nothing. A round is one
step of `MGRPOTrainer`, everything included (data, metrics, files), and one of the one-page version. Times are the
process's CPU time, on one thread: a busy machine disturbs it less.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # the embedded model is slower on two threads than on one
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from itertools import cycle
from pathlib import Path

import torch
import transformers
from transformers import PrinterCallback, TrainerCallback

from mgrpo.answers import get_extractor
from mgrpo.models.cpu_allocator import keep_freed_memory
from mgrpo.models.load import load_model
from mgrpo.recipes.files import read_recipe_files
from mgrpo.recipes.recipe import Recipe, load_data, load_recipe
from mgrpo.training.trainer import MGRPOTrainer

sys.path.append(str(Path(__file__).parents[1] / "examples"))
import mgrpo_in_one_page  # noqa: E402

WARM_UP = 5
"""Rounds that are not counted."""
PROBE_MEASUREMENTS = 15


class OnePageSteps:
    """Steps of the one-page version with a recipe's settings, on the recipe's prompts."""

    def __init__(self, recipe: Recipe) -> None:
        config = recipe.config
        self.prompts_per_step = config.per_device_train_batch_size // config.num_generations
        settings = mgrpo_in_one_page.Settings(
            num_policy=config.num_generations,
            num_momentum=config.num_momentum_generations,
            iqr_multiplier=config.iqr_multiplier,
            momentum=config.momentum,
            kl_coefficient=config.beta,
            clip=config.epsilon,
            temperature=config.temperature,
            max_new_tokens=config.max_completion_length,
            prompts_per_step=self.prompts_per_step,
            learning_rate=config.learning_rate,
            warmup_steps=int(config.warmup_steps),
            max_grad_norm=config.max_grad_norm,
        )
        self.trainer = mgrpo_in_one_page.MGRPO(settings)
        _, data = load_data(recipe.data, recipe.data.task, "train", recipe.data.dataset_size)
        self.prompts = cycle(data["prompt"])

    def step(self) -> None:
        self.trainer.step([next(self.prompts) for _ in range(self.prompts_per_step)])


class Rounds(TrainerCallback):
    """After each of the trainer's steps, one of the one-page version; times both."""

    def __init__(self, one_page: OnePageSteps) -> None:
        self.one_page = one_page
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
        self.one_page.step()
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
    keep_freed_memory()  # as `mgrpo train` does on a CPU; the one-page version gains by it as well
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
        rounds = Rounds(OnePageSteps(recipe))
        trainer = build_trainer(recipe)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(rounds)
        rounds.time(trainer, "_generate_single_turn", "sampling")
        rounds.time(trainer, "_get_per_token_logps_and_entropies", "log-probabilities, reference and policy")
        rounds.time(trainer.accelerator, "backward", "backward")
        trainer.create_optimizer()
        rounds.time(trainer.optimizer, "step", "optimizer")
        trainer.train()
        probe_times = []
        for _ in range(PROBE_MEASUREMENTS):
            started = time.process_time()
            trainer.probe.metrics()
            probe_times.append(time.process_time() - started)
    report(" ".join(args.config), rounds)
    probe, step = statistics.median(probe_times), statistics.median(rounds.ours)
    print(f"measuring the probe, once a logged step: {probe / step:.2f} of a step")


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
        f"{config}: a step takes {1e3 * statistics.median(ours):.0f} ms, of the one-page version "
        f"{1e3 * statistics.median(theirs):.0f} ms; ratio {median:.2f} (quartiles {q1:.2f} {q3:.2f}), of all "
        f"{len(ratios)} rounds together {sum(ours) / sum(theirs):.2f}"
    )
    named = {part: statistics.median(p[part] for p in parts) for part in parts[0]}
    named["the rest"] = statistics.median(a - sum(p.values()) for a, p in zip(ours, parts, strict=True))
    print("  " + ", ".join(f"{part} {1e3 * seconds:.0f}" for part, seconds in named.items()) + " ms")


if __name__ == "__main__":
    main()
