"""SRT, M-GRPO with the entropy filter and M-GRPO without it: the same model, prompts, seed and number of steps.

A short timed warm-up decides the number of steps, so that all three runs together fit into the minutes given. Each
run is an ordinary `mgrpo train` of the recipe smollm2-arithmetic in a process of its own; run.sh starts this file.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean, median
from typing import Any

from mgrpo.runs import metrics as names
from mgrpo.runs.files import Row, read_run, series

RECIPE = "smollm2-arithmetic"
WARM_UP_STEPS = 3
MIN_STEPS = 2
MAX_PROMPTS = 26_000  # of the 26989 in the training split, so that none comes twice
NUM_EVALS = 6  # one before the first step
RESERVE = 0.15  # of the time left after the warm-up; SRT, which the warm-up does not time, learns from 1/3 more rows
SKIPPED_STEPS = 2  # at the head of a run, not timed: kernels are chosen and memory is first allocated there
SUMMARIZED = (
    names.AGREEMENT,
    names.GOLD_ACCURACY,
    names.GOLD_LABEL_ACCURACY,
    names.ENTROPY,
    names.DROPPED_RATE,
    names.UNLABELLED_RATE,
    names.TIE_RATE,
    names.NONE_RATE,
    names.TOP_SHARE,
    names.LENGTH,
    names.KL,
    names.GRAD_NORM,
    names.DISTANCE,
)


def main() -> int:
    options = _options()
    output: Path = options.output_dir
    if output.exists() and any(output.iterdir()):
        print(f"compare.py: {output} is not empty; name another directory", file=sys.stderr)
        return 2
    started = time.monotonic()
    common = _common_fields(options)
    group = options.num_generations + options.num_momentum_generations
    methods = {
        "srt": _sizes(options.prompts, group, 0),
        "m-grpo-no-filter": _sizes(options.prompts, options.num_generations, options.num_momentum_generations),
        "m-grpo": _sizes(options.prompts, options.num_generations, options.num_momentum_generations),
    }

    # The first run reads the GGUF file (tens of seconds); the others load the plain copy that it leaves.
    warm_up = output / "warm-up"
    fields = {**common, **methods["m-grpo"], "max_steps": WARM_UP_STEPS, "eval_steps": WARM_UP_STEPS}
    commands = {"warm-up": _train(warm_up, "m-grpo", {**fields, "dataset_size": options.prompts * WARM_UP_STEPS})}
    if (warm_up / "initial").is_dir():
        common["model_name_or_path"] = str(warm_up / "initial")
    seconds_left = options.minutes * 60 - (time.monotonic() - started)
    steps, estimate = _num_steps(read_run(warm_up), seconds_left, options.prompts)
    print(f"{steps} steps a run: {json.dumps(estimate)}", flush=True)

    common |= {"max_steps": steps, "dataset_size": steps * options.prompts}
    common["eval_steps"] = max(1, steps // (NUM_EVALS - 1))
    wall_seconds = {}
    for name, sizes in methods.items():
        run_started = time.monotonic()
        commands[name] = _train(output / name, name, {**common, **sizes})
        wall_seconds[name] = time.monotonic() - run_started
    results = {
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()},
        "environment": json.loads((output / "srt" / "environment.json").read_text()),
        "commands": commands,
        "steps": steps,
        "estimate": estimate,
        "wall_seconds": wall_seconds | {"all": time.monotonic() - started},
        "runs": {name: summarize(read_run(output / name)) for name in methods},
    }
    results["environment"].pop("command")  # one run's; `commands` has them all
    (output / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    _mgrpo("plot", *(str(output / name) for name in methods), "-o", str(output / "curves.png"))
    print(output / "results.json")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--minutes", type=float, default=10, help="for everything, start-up included (%(default)s)")
    parser.add_argument("--model", default="smollm2", help="GGUF file or model directory (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompts", type=int, default=8, help="a step (%(default)s)")
    parser.add_argument("--num_generations", type=int, default=24, help="the policy's, a prompt (%(default)s)")
    parser.add_argument("--num_momentum_generations", type=int, default=8, help="a prompt (%(default)s)")
    parser.add_argument("--tokens", type=int, default=32, help="most of them in a completion (%(default)s)")
    parser.add_argument("--eval_prompts", type=int, default=256, help="held out (%(default)s)")
    parser.add_argument("--learning_rate", default=None, help="default: the recipe's")
    return parser.parse_args()


def _common_fields(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    on_gpu = torch.cuda.is_available()
    fields = {
        "model_name_or_path": options.model,
        "seed": options.seed,
        "dataset_seed": options.seed,
        "max_completion_length": options.tokens,
        "eval_dataset_size": options.eval_prompts,
        "per_device_eval_batch_size": options.eval_prompts,
        "bf16": on_gpu,
        "use_cpu": not on_gpu,
        "logging_steps": 1,
        "log_completions": False,
        "save_strategy": "no",
    }
    return fields | ({} if options.learning_rate is None else {"learning_rate": options.learning_rate})


def _sizes(prompts: int, num_policy: int, num_momentum: int) -> dict[str, Any]:
    return {
        "num_generations": num_policy,
        "num_momentum_generations": num_momentum,
        "per_device_train_batch_size": prompts * num_policy,
    }


def _train(directory: Path, preset: str, fields: dict[str, Any]) -> str:
    """Run `mgrpo train` with a preset; returns the command."""
    words = [word for name, value in fields.items() for word in (f"--{name}", str(value).lower())]
    words[words.index("--model_name_or_path") + 1] = fields["model_name_or_path"]
    return _mgrpo("train", "--config", RECIPE, preset, "--output_dir", str(directory), *words)


def _mgrpo(*words: str) -> str:
    command = shlex.join(("mgrpo", *words))
    print(f"$ {command}", flush=True)
    subprocess.run([sys.executable, "-m", "mgrpo", *words], check=True)
    return command


def _num_steps(warm_up: list[Row], seconds_left: float, prompts: int) -> tuple[int, dict[str, float]]:
    """How many steps each of three runs can do in the time left, and what that was worked out from, in seconds."""
    step = median(series(warm_up, names.TIME_STEP)[1][1:])
    evaluation = median(series(warm_up, "eval_runtime")[1])
    start_up = _seconds_to_start()
    per_run = seconds_left * (1 - RESERVE) / 3 - start_up - NUM_EVALS * evaluation
    steps = max(MIN_STEPS, min(int(per_run / step), MAX_PROMPTS // prompts))
    if steps >= NUM_EVALS - 1:
        steps -= steps % (NUM_EVALS - 1)  # the last evaluation then falls on the last step
    return steps, {
        "step": step,
        "evaluation": evaluation,
        "start_up": start_up,
        "left_after_warm_up": seconds_left,
    }


def _seconds_to_start() -> float:
    """Start-up of a process: imports, timed here; a plain copy of the model loads in another second or two."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import mgrpo.commands.train"], check=True)
    return time.monotonic() - started + 3


def summarize(rows: list[Row]) -> dict[str, Any]:
    """Boil a run down: each metric's ends and range, held-out accuracy in full, median seconds of a step by phase."""
    metrics = {}
    for name in SUMMARIZED:
        values = series(rows, name)[1]
        if values:
            end = max(1, len(values) // 10)
            metrics[name] = {
                "first_tenth": fmean(values[:end]),
                "last_tenth": fmean(values[-end:]),
                "min": min(values),
                "max": max(values),
            }
    timed = [row for row in rows if names.TIME_STEP in row]
    timed = timed[SKIPPED_STEPS:] or timed
    seconds = {name: median(row.get(name, 0.0) for row in timed) for name in (*names.SAMPLING_PHASES, names.TIME_STEP)}
    seconds["learn"] = median(
        row[names.TIME_STEP] - sum(row.get(name, 0.0) for name in names.SAMPLING_PHASES) for row in timed
    )
    return {
        "metrics": metrics,
        names.HELD_OUT_ACCURACY: dict(zip(*series(rows, names.HELD_OUT_ACCURACY), strict=True)),
        "seconds_per_step": seconds,
        "train_runtime": series(rows, "train_runtime")[1][-1],
    }


if __name__ == "__main__":
    sys.exit(main())
