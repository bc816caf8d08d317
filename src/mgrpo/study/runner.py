"""The runs of a study, side by side: finished ones are skipped, interrupted ones are resumed."""

import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mgrpo.errors import EXIT_TERMINATED, UserError
from mgrpo.guard.lock import run_lock
from mgrpo.guard.signals import StopSignals
from mgrpo.monitoring.plot import require_matplotlib
from mgrpo.runs.files import CONFIG_FILE, is_finished, read_config
from mgrpo.study.definition import Study, StudyRun, read_study
from mgrpo.study.processes import Pool, make_pool
from mgrpo.study.progress import POLL_SECONDS, StudyProgress
from mgrpo.study.report import write_report
from mgrpo.study.tables import read_studied_run

if TYPE_CHECKING:
    from mgrpo.recipes.recipe import Recipe

STUDY_FILE = "study.yaml"
EXIT_FAILED = 1


def run_study(name: str, output_directory: Path | None, *, workers: int | None, tables_only: bool) -> int:
    """Run what is not finished of a study, and write its tables and its figure; returns the exit code.

    Args:
        name: the study's file.
        output_directory: where its runs go; None: `runs/` and the file's name.
        workers: how many runs at a time; None: one a core, or one a GPU.
        tables_only: run nothing.

    Raises:
        UserError: for a mistake in the study or one of its recipes, before anything is run.
    """
    study = read_study(name)
    require_matplotlib()
    if workers is not None and workers < 1:
        raise UserError(f"--workers is {workers}; set it to 1 or more.")
    output_directory = output_directory or Path("runs") / Path(name).stem
    code = 0
    if not tables_only:
        code = run_all(study, output_directory, workers, resume_hint="the same command resumes what is unfinished")
    runs = sorted(study.runs(output_directory), key=lambda run: list(study.variants).index(run.variant))
    finished = [run for run in runs if is_finished(run.directory)]
    if finished:
        studied = [read_studied_run(run.variant, run.seed, run.directory, run.fields) for run in finished]
        write_report(studied, output_directory, study.baseline)
    elif tables_only:
        raise UserError(f"{output_directory} holds no finished run of {name}; run the study first.")
    return code


def run_all(study: Study, output_directory: Path, workers: int | None, *, resume_hint: str) -> int:
    """Run what is not finished of a study; returns the exit code. The arguments are `run_study`'s.

    `resume_hint` says what can be done after an interruption.

    Raises:
        UserError: for a mistake in a recipe, a run with other settings, or another process that runs a study there.
    """
    with run_lock(output_directory, ".lock", "study"):
        return _run_all(study, output_directory, workers, resume_hint)


def _run_all(study: Study, output_directory: Path, workers: int | None, resume_hint: str) -> int:
    on_cpu = all(fields.get("use_cpu") is True for fields in study.variants.values())
    pool = make_pool(study.env, workers, num_runs=len(study.variants) * len(study.seeds), on_cpu=on_cpu)
    # Only now, with the environment set; the process that runs are forked from imports the same at the same time.
    from mgrpo.commands.build_trainer import check_before_data
    from mgrpo.recipes.recipe import load_recipe

    runs = study.runs(output_directory)
    recipes = {run.variant: load_recipe(run.fields, run.source) for run in runs[: len(study.variants)]}
    for variant, recipe in recipes.items():
        try:
            check_before_data(recipe)
        except UserError as error:
            raise UserError(f"{study.source}, variant {variant}: {error}") from error
    steps = {run.name: find_step(run, recipes[run.variant]) for run in runs}
    if study.file is not None:
        shutil.copyfile(study.file, output_directory / STUDY_FILE)
    start_steps = {name: step for name, step in steps.items() if step is not None}
    to_do = [run for run in runs if run.name in start_steps]
    max_steps = {run.name: recipes[run.variant].config.max_steps for run in to_do}
    progress = StudyProgress(max_steps, num_runs=len(runs), start_steps=start_steps)
    with progress, StopSignals() as signals:
        signals.tell = progress.say
        signals.nothing_to_finish(lambda: resume_hint)
        signals.finish_first("every run finishes its step and saves it first")
        try:
            _run_in(pool, to_do, start_steps, progress, signals)
        finally:
            pool.stop()
    if signals.asked is not None:
        progress.interrupted(resume_hint)
        return signals.exit_code
    return EXIT_FAILED if progress.num_failed else 0


def _run_in(
    pool: Pool,
    to_do: Sequence[StudyRun],
    start_steps: Mapping[str, int],
    progress: StudyProgress,
    signals: StopSignals,
) -> None:
    """Keep the pool full until all runs have ended; after a signal, until those that are running have."""
    waiting = list(to_do)
    while waiting or pool.running:
        if signals.asked is not None:
            waiting.clear()
            pool.interrupt()
        while waiting and not pool.is_full:
            run = waiting.pop(0)
            run.directory.mkdir(parents=True, exist_ok=True)
            if not start_steps[run.name]:
                run.log.unlink(missing_ok=True)
            pool.start(run)
            progress.started(run)
        for run, exit_code in pool.ended(timeout=POLL_SECONDS):
            if signals.asked is None or exit_code not in (EXIT_TERMINATED, -signal.SIGTERM):
                progress.ended(run, exit_code)
        progress.show()


def find_step(run: StudyRun, recipe: "Recipe") -> int | None:
    """How far a run is; its directory is not changed. Where it really resumes, it decides itself (commands/resume.py).

    Returns:
        The optimizer step of its last complete checkpoint; 0 without one; None if nothing is left to do.

    Raises:
        UserError: if it holds a run with other settings.
    """
    from mgrpo.commands.resume import described, differing_fields
    from mgrpo.runs.checkpoints import checkpoints, fault_of

    if (run.directory / CONFIG_FILE).exists():
        seeds = {"seed": run.seed, "dataset_seed": run.seed}
        recipe = replace(recipe, resolved=recipe.resolved | seeds)
        if changed := differing_fields(recipe, run.directory, read_config(run.directory)):
            raise UserError(
                f"{run.directory} holds a run with other settings than the study's ({described(changed)}); give "
                "another --output_dir, or remove that run."
            )
    if is_finished(run.directory):
        return None
    complete = (step for step, path in checkpoints(run.directory) if fault_of(path, with_checksums=False) is None)
    return next(complete, 0)
