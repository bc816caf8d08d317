"""studies/smollm2.yaml on one GPU, at its higher rate: as many of its methods and steps as fit into the minutes given.

A short warm-up is timed. Each run then gets the study's 100 steps, or as many as fit; where that would be fewer than
50, methods are left out from the end of `ORDER`. A model of a billion parameters or more is trained by an adapter.
run.sh starts this file.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from mgrpo.commands.model_shape import read_shape
from mgrpo.errors import UserError
from mgrpo.models.load import load_config
from mgrpo.options import read_words
from mgrpo.recipes.files import read_recipe_file
from mgrpo.runs import metrics as names
from mgrpo.runs.files import Row, read_run, series

STUDY = Path(__file__).resolve().parents[2] / "studies" / "smollm2.yaml"
ORDER = ("srt", "lagged-voters", "grpo-gold", "m-grpo-no-filter", "srt-kl-0.1", "m-grpo", "frozen-cool")
WARM_UP_STEPS = 3
MIN_STEPS, FEWEST_METHODS = 50, 2
ADAPTER_FROM = 1e9  # parameters: a run writes all trained weights twice, of 4B 32 GB
NUM_EVALS = 11  # one before the first step
RESERVE = 0.15  # of the time left after the warm-up: SRT is trained on a third more rows than the method it times


def main() -> int:
    options, words = _options()
    output: Path = options.output_dir
    if output.exists() and any(output.iterdir()):
        raise UserError(f"{output} is not empty; name another directory")
    output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    study = _read_study(options, read_words(words))

    timed = {"max_steps": WARM_UP_STEPS, "eval_steps": WARM_UP_STEPS, "logging_steps": 1}
    _run_study(study, {"lagged-voters": study["variants"]["lagged-voters"] | timed}, output / "warm-up")
    wall_seconds = time.monotonic() - started
    rows = read_run(output / "warm-up" / "lagged-voters" / f"seed-{options.seed}")
    methods, steps, estimate = plan(rows, wall_seconds, 60 * options.minutes, study["fields"]["max_steps"])
    (output / "plan.json").write_text(json.dumps({"methods": methods, "steps": steps, **estimate}, indent=2) + "\n")
    print(f"{steps} steps of {', '.join(methods)}: {json.dumps(estimate)}", flush=True)

    study["fields"] |= {"max_steps": steps, "eval_steps": max(1, steps // (NUM_EVALS - 1))}
    return _run_study(study, {method: study["variants"][method] for method in methods}, output / "study")


def _options() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Other options are fields of the study's recipe: --beta 0.01 --use_peft true.",
        allow_abbrev=False,
    )
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--minutes", type=float, default=9.5, help="for everything, start-up included (%(default)s)")
    parser.add_argument("--model", default="smollm2", help="GGUF file, model directory or Hub name (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_known_args()


def _read_study(options: argparse.Namespace, fields: dict[str, Any]) -> dict[str, Any]:
    """The study with its higher rate alone, for this machine, this model and one seed."""
    import torch
    from trl import ModelConfig

    on_gpu = torch.cuda.is_available()
    study = read_recipe_file(str(STUDY))
    rate = max(study.pop("grid")["learning_rate"])
    adapter = {"use_peft": True, "lora_target_modules": "all-linear", "learning_rate": 10 * rate}
    is_large = read_shape(load_config(options.model), ModelConfig()).parameters >= ADAPTER_FROM
    study["fields"] |= {
        "learning_rate": rate,
        "model_name_or_path": options.model,
        "use_cpu": not on_gpu,
        "bf16": on_gpu,
        **(adapter if is_large else {}),
        **fields,
    }
    return study | {"seeds": [options.seed], "baseline": "srt"}


def _run_study(study: dict[str, Any], variants: dict[str, Any], output: Path) -> int:
    file = output.with_suffix(".yaml")
    known = {"baseline": study["baseline"]} if study["baseline"] in variants else {"baseline": None}
    file.write_text(json.dumps({**study, **known, "variants": variants}, indent=2))  # YAML, too
    words = ["study", str(file), "--output_dir", str(output), "--workers", "1"]
    print(f"$ mgrpo {' '.join(words)}", flush=True)
    return subprocess.run([sys.executable, "-m", "mgrpo", *words], check=True).returncode


def plan(
    warm_up: list[Row], wall_seconds: float, seconds: float, most_steps: int
) -> tuple[list[str], int, dict[str, float]]:
    """Which methods are run, how many steps each gets, and what that was worked out from, in seconds.

    Args:
        warm_up: the metric rows of a run of `WARM_UP_STEPS` steps and two evaluations.
        wall_seconds: what it took, start-up included.
        seconds: for everything.
        most_steps: no run gets more.
    """
    step_times = series(warm_up, names.TIME_STEP)[1]
    evaluations = series(warm_up, "eval_runtime")[1]
    step, evaluation = median(step_times[1:]), min(evaluations)
    start_up = max(0.0, wall_seconds - sum(step_times) - sum(evaluations))
    left = (seconds - wall_seconds) * (1 - RESERVE)
    num_methods = len(ORDER)
    while True:
        steps = int((left / num_methods - start_up - NUM_EVALS * evaluation) / step)
        if steps >= MIN_STEPS or num_methods == FEWEST_METHODS:
            break
        num_methods -= 1
    steps = max(2, min(steps, most_steps))
    if steps >= NUM_EVALS - 1:
        steps -= steps % (NUM_EVALS - 1)  # the last evaluation then falls on the last step
    estimate = {"step": step, "evaluation": evaluation, "start_up": start_up, "left_after_warm_up": left}
    return list(ORDER[:num_methods]), steps, estimate


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"compare.py: {error}", file=sys.stderr)
        sys.exit(2)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
