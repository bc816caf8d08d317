"""`mgrpo demo`: a study of SRT and M-GRPO on the embedded model, from the same start, with a picture and a verdict."""

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
    "prompts without answers. SRT rewards agreement with the majority of its own answers; M-GRPO lets a slow copy of "
    "the model, the momentum model, vote too. The learning rate was chosen so that SRT collapses within the demo.\n"
)
LABELS = {"srt": "SRT", "m-grpo": "M-GRPO", "m-grpo-filter": "M-GRPO + filter"}


def run_demo(output_directory: Path, *, seed: int, max_steps: int | None, filter: bool) -> int:
    """Run both, draw and judge; returns the exit code.

    Args:
        output_directory: where the runs go; a number is added if it exists.
        seed: of all the runs.
        max_steps: optimizer steps of each run; None: the recipes' own.
        filter: add M-GRPO with the paper's entropy filter.

    Raises:
        UserError: if a run cannot work with these options, or the picture could not be drawn in the end.
    """
    require_matplotlib()
    directories = (output_directory.with_name(f"{output_directory.name}-{i}") for i in range(2, 10_000))
    output_directory = next(path for path in (output_directory, *directories) if not path.exists())
    shared = {"save_strategy": "no"} | ({} if max_steps is None else {"max_steps": max_steps})
    m_grpo = read_recipe_files(["embedded"]) | shared
    variants = {"srt": read_recipe_files(["embedded-srt"]) | shared, "m-grpo": m_grpo}
    if filter:
        variants["m-grpo-filter"] = m_grpo | {"iqr_multiplier": 0.75}
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
    srt, anchored = outcomes["SRT"], outcomes["M-GRPO"]
    if srt is None or anchored is None or not (srt.last_step and anchored.last_step):
        return "The runs were too short to be judged: held-out accuracy was measured at the start alone."
    conclusions = {  # whether SRT collapsed, and M-GRPO
        (True, False): "With this seed the momentum anchor held where plain majority voting collapsed.",
        (False, False): "With this seed and horizon neither collapsed, so this run does not show a difference.",
        (False, True): "With this seed M-GRPO collapsed and SRT did not: the anchor did not help here.",
        (True, True): "With this seed both collapsed: at this learning rate the anchor was not enough.",
    }
    return "\n".join([*lines, conclusions[srt.collapse_step is not None, anchored.collapse_step is not None]])
