"""`mgrpo compare`: the tables and the figure of a study, and benchmarks, for runs that exist.

What `mgrpo evaluate` measured has the shape of the paper's table: base, best and final checkpoints.
"""

import re
import sys
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from statistics import fmean
from typing import Any

from mgrpo.errors import UserError, did_you_mean
from mgrpo.evaluation.render import show_grids, write_grids
from mgrpo.evaluation.results import EVALUATION_DIRECTORY, INITIAL, MOMENTUM_SUFFIX, RESULTS_FILE
from mgrpo.evaluation.samples import SETTINGS_FILE
from mgrpo.evaluation.table_rows import Line, Measured, read_measured
from mgrpo.evaluation.tables import Grid, benchmark_grid, difference_grid
from mgrpo.runs.files import FINAL_DIRECTORY, METRICS_FILE, NOT_COMPARED, is_finished, read_config
from mgrpo.study.report import show_summary, write_report
from mgrpo.study.tables import read_studied_run, summarize

SEEDS = ("seed", "dataset_seed")
"""Runs of one variant may differ in these."""
BASE = "base model"


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
    unfinished = [str(run) for run in found if not is_finished(run)]
    if unfinished:
        print(f"mgrpo: unfinished, and counted as far as they have run: {', '.join(unfinished)}", file=sys.stderr)
    base_models = {str(configs[run].get("model_name_or_path")) for run in found}
    benchmarks = _compare_benchmarks(variants, list(evaluations), base_models, baseline)
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
        of_seeds = by_settings.setdefault(repr(sorted(settings.items())), {})
        seed = config.get("seed", 0)
        if not isinstance(seed, int) or not 0 <= seed < 2**31:
            raise UserError(f"{directory} has the seed {seed!r:.40}, which is no whole number; leave that run out.")
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


def _compare_benchmarks(
    variants: Mapping[str, Mapping[int, Path]],
    evaluations: Sequence[Path],
    base_models: Set[str],
    baseline: str | None,
) -> list[Grid]:
    """The table of benchmarks, none if nothing was measured, and one of paired differences, if there are samples.

    The differences are from the base model, the baseline and the momentum model.
    """
    measured = {
        variant: {seed: _measured_of(run) for seed, run in of_seeds.items()} for variant, of_seeds in variants.items()
    }
    others = [Line(other.results.model.name, {None: other}) for other in map(read_measured, evaluations)]
    bases = [line for line in others if line.name in base_models]
    rest = [line for line in others if line.name not in base_models]
    if len(bases) == 1:  # several models, or several protocols, keep their names
        bases = [Line(BASE, bases[0].runs)]
    elif not bases and len(base_models) == 1:
        runs = [labels for of_seeds in measured.values() for labels in of_seeds.values()]
        bases = [Line(BASE, {None: labels[INITIAL]}) for labels in runs if INITIAL in labels][:1]
    of_variants = {variant: _lines(variant, of_seeds) for variant, of_seeds in measured.items()}
    lines = [*bases, *rest, *(line for of_variant in of_variants.values() for line in of_variant)]
    if not lines:
        return []
    differences = difference_grid(_pairs(bases, rest, of_variants, baseline))
    return [benchmark_grid(lines), *([] if differences is None else [differences])]


def _measured_of(run: Path) -> dict[str, Measured]:
    """What was measured of a run's models, by their labels."""
    found = sorted((run / EVALUATION_DIRECTORY).glob(f"*/{RESULTS_FILE}"))
    return {path.parent.name: read_measured(path.parent) for path in found}


def _lines(variant: str, of_seeds: Mapping[int, Mapping[str, Measured]]) -> list[Line]:
    """A variant's best checkpoint, where it is not the last one, its final model, and its final momentum model."""
    finals, momentum = (_of_seeds(of_seeds, FINAL_DIRECTORY + suffix) for suffix in ("", MOMENTUM_SUFFIX))
    best: dict[int | None, Measured] = {
        seed: of_run for seed, labels in of_seeds.items() if (of_run := _best(labels)) is not None
    }
    lines = []
    if any(of_run is not finals.get(seed) for seed, of_run in best.items()):
        lines.append(Line(f"{variant} best", best, is_chosen_by_gold=True))
    if finals:
        lines.append(Line(f"{variant} final", finals))
    if momentum:
        lines.append(Line(f"{variant} final, momentum", momentum, is_momentum=bool(finals)))
    return lines


def _of_seeds(of_seeds: Mapping[int, Mapping[str, Measured]], label: str) -> dict[int | None, Measured]:
    return {seed: labels[label] for seed, labels in of_seeds.items() if label in labels}


def _best(labels: Mapping[str, Measured]) -> Measured | None:
    """Of a run's policies the one with the highest mean over benchmarks, the earliest of equals.

    None if only one was measured, or they share no benchmark.
    """
    policies = [
        labels[label]
        for label in sorted(labels, key=lambda label: (labels[label].step, label != FINAL_DIRECTORY))
        if label != INITIAL and labels[label].results.model.weights == "policy"
    ]
    shared = set.intersection(*(set(found.results.benchmarks) for found in policies)) if len(policies) > 1 else None
    if not shared:
        return None
    return max(policies, key=lambda found: fmean(found.results.benchmarks[name].headline.value for name in shared))


def _pairs(
    bases: Sequence[Line], rest: Sequence[Line], of_variants: Mapping[str, Sequence[Line]], baseline: str | None
) -> list[tuple[Line, Line]]:
    """Which lines are compared: of each variant its final model, with three others.

    These are the base model (else the first one that is no run's), the baseline's, and its own momentum model.
    """
    finals = {
        variant: line
        for variant, lines in of_variants.items()
        for line in lines
        if not (line.is_momentum or line.is_chosen_by_gold)
    }
    references = bases or rest[:1]
    pairs = [(line, other) for line in (*rest, *finals.values()) for other in references if line is not other]
    if baseline in finals:
        pairs += [(final, finals[baseline]) for variant, final in finals.items() if variant != baseline]
    pairs += [(finals[variant], line) for variant, lines in of_variants.items() for line in lines if line.is_momentum]
    return pairs
