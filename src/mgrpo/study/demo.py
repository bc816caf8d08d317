"""`mgrpo demo`: a study of SRT and lagged voters, from the same start, drawn and judged."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from mgrpo.models.source import SMOLLM2, find_model
from mgrpo.monitoring.display import progress_bar
from mgrpo.monitoring.plot import draw, require_matplotlib
from mgrpo.monitoring.stability import COLLAPSE_SHARE, Stability, stability, verdict
from mgrpo.recipes.files import read_recipe_files
from mgrpo.runs import metrics as names
from mgrpo.runs.files import Row, read_run, series
from mgrpo.study.definition import Study
from mgrpo.study.processes import count_cores
from mgrpo.study.runner import run_all

LABELS = {"srt": "SRT", "lagged-voters": "lagged voters", "m-grpo": "M-GRPO"}
"""Of the presets that are run."""
SIXTEEN = {"num_generations": 16, "per_device_train_batch_size": 128}
"""In SRT as many completions vote as in the others, there of both models."""
BASE_SAMPLES = 16


@dataclass(frozen=True)
class Demo:
    """What is shown with a model: its recipe, and what the demo sets over that."""

    introduction: str
    recipe: str
    fields: Mapping[str, Any] = field(default_factory=dict)


DEMOS = {
    "embedded": Demo(
        "The same small model (103k parameters, chained arithmetic, right about half of the time) trains itself twice "
        "on prompts without answers. SRT rewards agreement with the majority of its own answers. With lagged voters, "
        "the setting that we recommend, a slow copy of the model, the momentum model, votes in its place. The "
        "learning rate was chosen so that SRT collapses within the demo.\n",
        recipe="embedded",
    ),
    SMOLLM2: Demo(
        "SmolLM2-135M-Instruct, which gets about a quarter of small sums and products right, trains itself twice on "
        "prompts without answers. SRT rewards agreement with the majority of its own answers. With lagged voters, the "
        "setting that we recommend, a slow copy of the model, the momentum model, votes in its place. What training "
        "has to beat, the untrained model's greedy answers and the majority of its samples, is measured at the end.\n",
        recipe="smollm2-sums",
        fields={
            "max_steps": 60,
            "logging_steps": 2,
            "eval_benchmarks": ["smollm2-sums"],
            "eval_benchmarks_limit": 128,
            "eval_benchmarks_steps": 20,
            "probe_prompts": 0,
            "use_cpu": True,
        },
    ),
}
"""The demos by their models' names."""


def run_demo(output_directory: Path, *, model: str, seed: int, max_steps: int | None, m_grpo: bool) -> int:
    """Run both, draw and judge; returns the exit code.

    Args:
        output_directory: where the runs go; a number is added if it exists.
        model: of `DEMOS`.
        seed: of all the runs.
        max_steps: optimizer steps of each run; None: the demo's own.
        m_grpo: add the paper's method, in which both models vote and an entropy filter drops completions.

    Raises:
        UserError: if the model is not installed, a run cannot work with these options, or the picture could not be
            drawn in the end.
    """
    require_matplotlib()
    find_model(model)
    demo = DEMOS[model]
    directories = (output_directory.with_name(f"{output_directory.name}-{i}") for i in range(2, 10_000))
    output_directory = next(path for path in (output_directory, *directories) if not path.exists())
    fields = {**demo.fields, "save_strategy": "no"} | ({} if max_steps is None else {"max_steps": max_steps})
    presets = [preset for preset in LABELS if m_grpo or preset != "m-grpo"]
    variants = {preset: read_recipe_files([demo.recipe, preset]) | fields for preset in presets}
    variants["srt"] |= SIXTEEN
    study = Study("mgrpo demo", variants, [seed], baseline=None)

    console = Console(emoji=False)
    console.print(demo.introduction, highlight=False)
    started = time.monotonic()
    code = run_all(study, output_directory, workers=None, resume_hint=f"what was logged is in {output_directory}")
    if code:
        return code
    rows = {LABELS[run.variant]: read_run(run.directory) for run in study.runs(output_directory)}
    levels = {}
    if benchmarks := demo.fields.get("eval_benchmarks"):
        greedy = series(rows["SRT"], names.benchmark_metric(benchmarks[0], names.POLICY))[1]
        majority = _majority_of_base(variants["srt"])
        levels = {"no training, greedy": greedy[0], f"no training, majority of {BASE_SAMPLES}": majority}
    picture = output_directory / "curves.png"
    draw(rows, picture, levels)
    console.print(f"\n{_conclusion(rows, levels)}", highlight=False)
    minutes = (time.monotonic() - started) / 60
    console.print(f"\nCurves: {picture}   Runs: {output_directory}   ({minutes:.1f} minutes)", highlight=False)
    return 0


def _majority_of_base(fields: Mapping[str, Any]) -> float:
    """The accuracy of the untrained model's majority on the questions that a run's benchmark measures."""
    import torch

    from mgrpo.evaluation.benchmark import encode_questions
    from mgrpo.evaluation.benchmarks import load_benchmark
    from mgrpo.evaluation.engines import TransformersEngine
    from mgrpo.evaluation.protocols import SamplingSettings
    from mgrpo.evaluation.runner import sample_batch
    from mgrpo.evaluation.samples import measure_samples
    from mgrpo.models.load import load_model
    from mgrpo.models.precision import uses_bfloat16
    from mgrpo.training.config import MGRPOConfig
    from mgrpo.training.patches import bfloat16_products, weights_cast_once

    settings = SamplingSettings(temperature=MGRPOConfig.temperature, max_tokens=fields["max_completion_length"])
    benchmark = load_benchmark(fields["eval_benchmarks"][0], settings, limit=fields["eval_benchmarks_limit"])
    model, tokenizer = load_model(fields["model_name_or_path"])
    questions = encode_questions(benchmark, tokenizer, None)
    engine = TransformersEngine(model, tokenizer, settings, len(questions.rows))
    samples = []
    precision = bfloat16_products(is_on=uses_bfloat16("auto"))
    num_threads = torch.get_num_threads()
    torch.set_num_threads(count_cores())  # the runs shared them
    try:
        with progress_bar(Console(stderr=True, emoji=False)) as bar, precision, weights_cast_once():
            for number in bar.track(range(BASE_SAMPLES), task_id=bar.add_task("untrained model", numbers="")):
                samples.append(sample_batch(questions, engine, [(row, number) for row in questions.rows], settings))
    finally:
        torch.set_num_threads(num_threads)
    measured, _ = measure_samples(questions, [list(of_question) for of_question in zip(*samples, strict=True)])
    return measured.metrics[f"maj@{BASE_SAMPLES}"].value


def _conclusion(rows: Mapping[str, list[Row]], levels: Mapping[str, float]) -> str:
    """Say what happened, in words and numbers, computed from the logs."""
    outcomes = {label: stability(run_rows) for label, run_rows in rows.items()}
    srt, lagged = outcomes[LABELS["srt"]], outcomes[LABELS["lagged-voters"]]
    if srt is None or lagged is None or not (srt.last_step and lagged.last_step):
        return "The runs were too short to be judged: held-out accuracy was measured at the start alone."
    lines = [verdict(label, outcome) for label, outcome in outcomes.items() if outcome is not None]
    for label, run_rows in rows.items():
        for metric in sorted({name for row in run_rows for name in row if name.endswith(f"/{names.POLICY}")}):
            greedy = series(run_rows, metric)[1]
            lines.append(f"{label}: greedy accuracy began at {greedy[0]:.2f} and ended at {greedy[-1]:.2f}.")
    lines += [
        f"{label[0].upper()}{label[1:]}: {value:.2f} of the answers are right." for label, value in levels.items()
    ]
    return "\n".join([*lines, _comparison(srt, lagged)])


def _comparison(srt: Stability, lagged: Stability) -> str:
    neither = srt.collapse_step is None and lagged.collapse_step is None
    if neither and srt.final < COLLAPSE_SHARE * srt.start and lagged.final >= lagged.start:
        return "With this seed the momentum model's votes held where plain majority voting fell far below its start."
    conclusions = {  # whether SRT collapsed, and lagged voters
        (True, False): "With this seed the momentum model's votes held where plain majority voting collapsed.",
        (False, False): "With this seed and horizon neither collapsed, so this run does not show a difference.",
        (False, True): "With this seed lagged voters collapsed and SRT did not: the momentum model did not help here.",
        (True, True): "With this seed both collapsed: at this learning rate the momentum model was not enough.",
    }
    return conclusions[srt.collapse_step is not None, lagged.collapse_step is not None]
