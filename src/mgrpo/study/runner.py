"""The runs of a study, side by side: what is finished is skipped, what was interrupted goes on."""

import contextlib
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mgrpo.errors import EXIT_TERMINATED, UserError
from mgrpo.guard.signals import StopSignals
from mgrpo.monitoring.plot import require_matplotlib
from mgrpo.study.definition import Study, StudyRun, read_study
from mgrpo.study.pool import Pool, make_pool, use_gpus
from mgrpo.study.progress import StudyProgress
from mgrpo.study.report import read_finished, write_report

if TYPE_CHECKING:
    from mgrpo.study.directory import RunState

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
    if tables_only:
        code = 0
    else:
        output_directory.mkdir(parents=True, exist_ok=True)
        with _alone_in(output_directory):
            code = _run(study, output_directory, workers)
    finished = read_finished(study, output_directory)
    if finished:
        write_report(finished, output_directory, study.baseline)
    elif tables_only:
        raise UserError(f"{output_directory} holds no finished run of {name}; run the study first.")
    return code


def _run(study: Study, output_directory: Path, workers: int | None) -> int:
    """Check every recipe and every run that is there, then run what is left."""
    on_cpu = all(fields.get("use_cpu") is True for fields in study.variants.values())
    pool = make_pool(study.env, workers, on_cpu=on_cpu)
    # Only now, with the environment set; the process that runs are forked from imports the same at the same time.
    from mgrpo.recipes.recipe import load_recipe
    from mgrpo.study.directory import find_state

    recipes = {
        variant: load_recipe(study.run(variant, study.seeds[0], output_directory).fields, study.source_of(variant))
        for variant in study.variants
    }
    if not on_cpu:
        use_gpus(pool, workers)
    runs = study.runs(output_directory)
    states = {run.name: find_state(run, recipes[run.variant]) for run in runs}
    shutil.copyfile(Path(study.source).expanduser(), output_directory / STUDY_FILE)
    to_do = [run for run in runs if not states[run.name].is_finished]
    progress = StudyProgress(
        {run.name: recipes[run.variant].config.max_steps for run in to_do},
        num_runs=len(runs),
        start_steps={run.name: states[run.name].step for run in to_do},
    )
    with progress, StopSignals() as signals:
        signals.tell = progress.say
        signals.nothing_to_finish(lambda: "the same command goes on with what is unfinished")
        signals.finish_first("every run finishes its step and saves it first")
        try:
            _watch(study, to_do, states, pool, progress, signals)
        finally:
            pool.stop()
    if signals.asked is not None:
        progress.interrupted()
        return signals.exit_code
    return EXIT_FAILED if progress.num_failed else 0


def _watch(
    study: Study,
    to_do: Sequence[StudyRun],
    states: Mapping[str, "RunState"],
    pool: Pool,
    progress: StudyProgress,
    signals: StopSignals,
) -> None:
    """Keep the pool full until all runs have ended, or those that are going when a signal comes."""
    waiting = list(to_do)
    while waiting or pool.going:
        if signals.asked is not None:
            waiting.clear()
            pool.interrupt()
        while waiting and not pool.is_full:
            run = waiting.pop(0)
            run.directory.mkdir(parents=True, exist_ok=True)
            if not states[run.name].step:
                run.log.unlink(missing_ok=True)
            pool.start(run, run.fields, study.source_of(run.variant))
            progress.started(run)
        for run, exit_code in pool.ended(timeout=progress.POLL_SECONDS):
            if signals.asked is None or exit_code not in (EXIT_TERMINATED, -signal.SIGTERM):
                progress.ended(run, exit_code)
        progress.show()


@contextlib.contextmanager
def _alone_in(output_directory: Path) -> Iterator[None]:
    """Refuse to run where another process runs a study, for as long as this one does."""
    import fcntl

    with (output_directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is running a study in {output_directory}; wait for it, or give another --output_dir."
            ) from None
        yield
