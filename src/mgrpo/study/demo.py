"""`mgrpo demo`: a study of SRT and lagged voters on the embedded model, from the same start, drawn and judged."""

import time
from pathlib import Path

from rich.console import Console

from mgrpo.monitoring.plot import draw, require_matplotlib
from mgrpo.monitoring.stability import stability, verdict
from mgrpo.recipes.files import read_recipe_files
from mgrpo.runs.files import Row, read_run
from mgrpo.study.definition import Study
from mgrpo.study.runner import run_all

INTRODUCTION = (
    "The same small model (103k parameters, chained arithmetic, right about half of the time) trains itself twice on "
    "prompts without answers. SRT rewards agreement with the majority of its own answers. With lagged voters, the "
    "setting that we recommend, a slow copy of the model, the momentum model, votes in its place. The learning rate "
    "was chosen so that SRT collapses within the demo.\n"
)
LABELS = {"srt": "SRT", "lagged-voters": "lagged voters", "m-grpo": "M-GRPO"}
"""Of the presets that are run."""


def run_demo(output_directory: Path, *, seed: int, max_steps: int | None, m_grpo: bool) -> int:
    """Run both, draw and judge; returns the exit code.

    Args:
        output_directory: where the runs go; a number is added if it exists.
        seed: of all the runs.
        max_steps: optimizer steps of each run; None: the recipes' own.
        m_grpo: add the paper's method, in which both models vote and an entropy filter drops completions.

    Raises:
        UserError: if a run cannot work with these options, or the picture could not be drawn in the end.
    """
    require_matplotlib()
    directories = (output_directory.with_name(f"{output_directory.name}-{i}") for i in range(2, 10_000))
    output_directory = next(path for path in (output_directory, *directories) if not path.exists())
    shared = {"save_strategy": "no"} | ({} if max_steps is None else {"max_steps": max_steps})
    recipes = {"srt": ["embedded-srt"], "lagged-voters": ["embedded", "lagged-voters"]}
    recipes |= {"m-grpo": ["embedded", "m-grpo"]} if m_grpo else {}
    variants = {variant: read_recipe_files(names) | shared for variant, names in recipes.items()}
    study = Study("mgrpo demo", variants, [seed], baseline=None)

    console = Console()
    console.print(INTRODUCTION, highlight=False)
    started = time.monotonic()
    code = run_all(study, output_directory, workers=None, resume_hint=f"what was logged is in {output_directory}")
    if code:
        return code
    rows = {LABELS[run.variant]: read_run(run.directory) for run in study.runs(output_directory)}
    picture = output_directory / "curves.png"
    draw(rows, picture)
    console.print(f"\n{_conclusion(rows)}", highlight=False)
    minutes = (time.monotonic() - started) / 60
    console.print(f"\nCurves: {picture}   Runs: {output_directory}   ({minutes:.1f} minutes)", highlight=False)
    return 0


def _conclusion(rows: dict[str, list[Row]]) -> str:
    """Say what happened, in words and numbers, computed from the logs."""
    outcomes = {label: stability(run_rows) for label, run_rows in rows.items()}
    lines = [verdict(label, outcome) for label, outcome in outcomes.items() if outcome is not None]
    srt, lagged = outcomes[LABELS["srt"]], outcomes[LABELS["lagged-voters"]]
    if srt is None or lagged is None or not (srt.last_step and lagged.last_step):
        return "The runs were too short to be judged: held-out accuracy was measured at the start alone."
    conclusions = {  # whether SRT collapsed, and lagged voters
        (True, False): "With this seed the momentum model's votes held where plain majority voting collapsed.",
        (False, False): "With this seed and horizon neither collapsed, so this run does not show a difference.",
        (False, True): "With this seed lagged voters collapsed and SRT did not: the momentum model did not help here.",
        (True, True): "With this seed both collapsed: at this learning rate the momentum model was not enough.",
    }
    return "\n".join([*lines, conclusions[srt.collapse_step is not None, lagged.collapse_step is not None]])
