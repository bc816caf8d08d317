"""`mgrpo demo`: SRT and M-GRPO on the embedded model, from the same start, side by side, live.

The runs are ordinary ones, each `mgrpo train` in a process of its own; this file only starts, watches and draws them.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from mgrpo.guard.signals import StopSignals
from mgrpo.monitoring.display import progress_bar, summary_line, visible
from mgrpo.monitoring.plot import draw, require_matplotlib
from mgrpo.monitoring.stability import stability, verdict
from mgrpo.recipes.files import read_recipe_file
from mgrpo.runs.files import METRICS_FILE, Row, read_rows

POLL_SECONDS = 0.5
LOG_FILE = "train.log"

INTRODUCTION = (
    "The same small model (103k parameters, chained arithmetic, right about half of the time) trains itself twice on "
    "prompts without answers. SRT rewards agreement with the majority of its own answers; M-GRPO lets a slow copy of "
    "the model, the momentum model, vote too. The learning rate was chosen so that SRT collapses within the demo.\n"
)


@dataclass
class Run:
    """One of the runs that are watched."""

    label: str
    directory: Path
    command: list[str]
    max_steps: int
    process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start the run, its output in its directory."""
        self.directory.mkdir(parents=True)
        with (self.directory / LOG_FILE).open("w") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT)

    def rows(self) -> list[Row]:
        """The metric rows so far."""
        path = self.directory / METRICS_FILE
        return read_rows(path) if path.exists() else []


def run_demo(output_directory: Path, *, seed: int, max_steps: int | None, filter: bool) -> int:
    """Run, watch, draw and judge; returns the exit code.

    Args:
        output_directory: where the runs go; a number is added if it exists.
        seed: of all the runs.
        max_steps: optimizer steps of each run; None: the recipes' own.
        filter: add M-GRPO with the paper's entropy filter.

    Raises:
        UserError: if the picture could not be drawn in the end.
    """
    require_matplotlib()
    output_directory = _unused(output_directory)
    overrides = ["--seed", str(seed), "--dataset_seed", str(seed), "--save_strategy", "no"]
    if max_steps is not None:
        overrides += ["--max_steps", str(max_steps)]
    recipes: dict[str, tuple[str, list[str]]] = {"SRT": ("embedded-srt", []), "M-GRPO": ("embedded", [])}
    if filter:
        recipes["M-GRPO + filter"] = ("embedded", ["--iqr_multiplier", "0.75"])
    runs = []
    for label, (recipe, more) in recipes.items():
        directory = output_directory / label.lower().replace(" + ", "-")
        command = [sys.executable, "-m", "mgrpo", "train", "--config", recipe, "--output_dir", str(directory)]
        steps = max_steps if max_steps is not None else read_recipe_file(recipe)["max_steps"]
        runs.append(Run(label, directory, [*command, *overrides, *more], steps))

    console = Console()
    console.print(INTRODUCTION, highlight=False)
    started = time.monotonic()
    with StopSignals() as signals:
        signals.nothing_to_finish(lambda: f"what was logged is in {output_directory}")
        signals.finish_first("every run finishes its step first")
        try:
            failed = _watch(runs, console, signals)
        finally:
            going = [run.process for run in runs if run.process is not None and run.process.poll() is None]
            for process in going:
                process.terminate()
            for process in going:
                process.wait()
    if signals.asked is not None:
        print(f"mgrpo: interrupted; what was logged is in {output_directory}.", file=sys.stderr)
        return signals.exit_code
    if failed is not None:
        log = (failed.directory / LOG_FILE).read_text().strip().splitlines()
        print(f"mgrpo: {failed.label} failed: {visible(log[-1]) if log else 'no output'}", file=sys.stderr)
        print(f"mgrpo: its whole output is in {failed.directory / LOG_FILE}", file=sys.stderr)
        return 1

    picture = output_directory / "curves.png"
    rows = {run.label: run.rows() for run in runs}
    draw(rows, picture)
    console.print(f"\n{_conclusion(rows)}", highlight=False)
    minutes = (time.monotonic() - started) / 60
    console.print(f"\nCurves: {picture}   Runs: {output_directory}   ({minutes:.1f} minutes)", highlight=False)
    return 0


def _unused(directory: Path) -> Path:
    candidates = [directory, *(directory.with_name(f"{directory.name}-{i}") for i in range(2, 10_000))]
    return next(candidate for candidate in candidates if not candidate.exists())


def _watch(runs: list[Run], console: Console, signals: StopSignals) -> Run | None:
    """Keep one run a core going until all are done, a signal came, or one has failed, which is returned."""
    waiting, going = list(runs), list[Run]()
    with progress_bar(console) as bar:
        tasks = {
            run.label: bar.add_task(run.label.removeprefix("M-GRPO "), total=run.max_steps, numbers="waiting")
            for run in runs
        }
        printed = {run.label: -1 for run in runs}
        while (waiting or going) and signals.asked is None:
            while waiting and len(going) < max(1, os.cpu_count() or 1):
                run = waiting.pop(0)
                run.start()
                bar.update(tasks[run.label], numbers="loading")
                going.append(run)
            time.sleep(POLL_SECONDS)
            for run in list(going):
                assert run.process is not None
                exit_code = run.process.poll()  # before the rows are read, so that none is missed
                rows = run.rows()
                if rows:
                    merged = {name: value for row in rows for name, value in row.items() if value is not None}
                    line = summary_line(merged)
                    bar.update(tasks[run.label], completed=merged["step"], numbers=line)
                    if not console.is_terminal and merged["step"] > printed[run.label]:
                        printed[run.label] = merged["step"]
                        if merged["step"] % 100 == 0:
                            console.print(f"{run.label:15} step {merged['step']:4d}  {line}", highlight=False)
                if exit_code is not None:
                    going.remove(run)
                    if exit_code:
                        return run
    return None


def _conclusion(rows: dict[str, list[Row]]) -> str:
    """Say what happened, in words and numbers, computed from the logs."""
    outcomes = {label: stability(run_rows) for label, run_rows in rows.items()}
    lines = [verdict(label, outcome) for label, outcome in outcomes.items() if outcome is not None]
    srt, anchored = outcomes["SRT"], outcomes["M-GRPO"]
    if srt is None or anchored is None or not (srt.last_step and anchored.last_step):
        return "The runs were too short to be judged: held-out accuracy was measured at the start alone."
    if srt.collapse_step is not None and anchored.collapse_step is None:
        lines.append("With this seed the momentum anchor held where plain majority voting collapsed.")
    elif srt.collapse_step is None and anchored.collapse_step is None:
        lines.append("With this seed and horizon neither collapsed: there was nothing to hold against.")
    elif srt.collapse_step is None:
        lines.append("With this seed M-GRPO collapsed and SRT did not: the anchor did not help here.")
    else:
        lines.append("With this seed both collapsed: at this learning rate the anchor was not enough.")
    return "\n".join(lines)
