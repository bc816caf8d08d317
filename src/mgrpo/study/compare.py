"""`mgrpo compare`: the tables and the figure of a study, and benchmarks, for runs that exist."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mgrpo.errors import UserError, did_you_mean
from mgrpo.evaluation.render import show_grids, write_grids
from mgrpo.evaluation.results import EVALUATION_DIRECTORY, RESULTS_FILE
from mgrpo.evaluation.samples import SETTINGS_FILE
from mgrpo.runs.files import FINAL_DIRECTORY, METRICS_FILE, NOT_COMPARED
from mgrpo.study.benchmarks import compare_benchmarks
from mgrpo.study.report import show_summary, write_report
from mgrpo.study.tables import read_config, read_studied_run, summarize

SEEDS = ("seed", "dataset_seed")
"""Runs of one variant may differ in these."""


def compare_runs(directories: Sequence[Path], output_directory: Path | None, baseline: str | None) -> None:
    """Show the summary of runs and what `mgrpo evaluate` measured of them; write it if a directory for it is given.

    Args:
        directories: runs, evaluations of models that are no run's, or directories of those, as a study's.
        output_directory: where tables and figure go, or None.
        baseline: the variant that the others are compared with, or None.

    Raises:
        UserError: if a directory holds no run and no results, two runs are the same, or there is no such baseline.
    """
    found = dict.fromkeys(run.resolve() for directory in directories for run in _runs_in(directory))
    evaluations = dict.fromkeys(path.resolve() for directory in directories for path in _evaluations_in(directory))
    configs = {run: read_config(run) for run in found}
    variants = _variants(configs)
    if baseline is not None and baseline not in variants:
        known = f"name one of {', '.join(variants)}" if variants else "there is no run here; leave it out"
        raise UserError(
            f"--baseline is {baseline}{did_you_mean(baseline, variants)}, which is no variant of these runs; {known}."
        )
    unfinished = [str(run) for run in found if not (run / FINAL_DIRECTORY).exists()]
    if unfinished:
        print(f"mgrpo: unfinished, and counted as far as they have run: {', '.join(unfinished)}", file=sys.stderr)
    base_models = {str(configs[run].get("model_name_or_path")) for run in found}
    benchmarks = compare_benchmarks(variants, list(evaluations), base_models, baseline)
    runs = [
        read_studied_run(variant, seed, directory, configs[directory])
        for variant, of_seeds in variants.items()
        for seed, directory in of_seeds.items()
    ]
    if output_directory is not None and benchmarks:
        write_grids(benchmarks, output_directory)
        print(f"benchmarks: {output_directory}")
    if runs and output_directory is not None:
        write_report(runs, output_directory, baseline)
    elif runs:
        show_summary(summarize(runs, baseline), runs)
    show_grids(benchmarks)


def _runs_in(directory: Path) -> list[Path]:
    if directory.name == EVALUATION_DIRECTORY and (directory.parent / METRICS_FILE).exists():
        directory = directory.parent
    if (directory / METRICS_FILE).exists():
        return [directory]
    # What `mgrpo evaluate` leaves has metrics for the report, too.
    runs = [path.parent for path in directory.rglob(METRICS_FILE) if not (path.parent / SETTINGS_FILE).exists()]
    if not runs and not _evaluations_in(directory):
        raise UserError(
            f"{directory} holds no run: there is no {METRICS_FILE} in it; name a run's output_dir, or what "
            "`mgrpo evaluate` wrote."
        )
    return sorted(runs)


def _evaluations_in(directory: Path) -> list[Path]:
    """Evaluations of models that are no run's."""
    found = sorted(path.parent for path in directory.rglob(RESULTS_FILE))
    return [path for path in found if not (path.parent.parent / METRICS_FILE).exists()]


def _variants(configs: Mapping[Path, dict[str, Any]]) -> dict[str, dict[int, Path]]:
    """The runs by variant and seed; runs of one variant agree in all fields but seeds and directory."""
    by_settings: dict[str, dict[int, Path]] = {}
    for directory, config in configs.items():
        settings = {name: value for name, value in config.items() if name not in (*NOT_COMPARED, *SEEDS)}
        of_seeds = by_settings.setdefault(json.dumps(settings, sort_keys=True, default=str), {})
        seed = config.get("seed", 0)
        if seed in of_seeds:
            raise UserError(
                f"{of_seeds[seed]} and {directory} are seed {seed} of the same settings; leave one of them out."
            )
        of_seeds[seed] = directory
    places = [_place(*next(iter(of_seeds.items()))) for of_seeds in by_settings.values()]
    names = [place.name for place in places]
    if len(set(names)) < len(names):
        names = [str(place) for place in places]
    return dict(zip(names, by_settings.values(), strict=True))


def _place(seed: int, directory: Path) -> Path:
    """A run's path without its seed: `runs/srt` for `runs/srt/seed-0` and for `runs/srt-0`."""
    name = re.sub(rf"(^|[-_.])(seed)?[-_=]?{seed}$", "", directory.name)
    return directory.parent / name if name else directory.parent
