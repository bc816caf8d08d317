"""What `mgrpo evaluate` measured of runs, in the shape of the paper's table: base, best and final checkpoints."""

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from statistics import fmean

from mgrpo.evaluation.results import EVALUATION_DIRECTORY, INITIAL, MOMENTUM_SUFFIX, RESULTS_FILE
from mgrpo.evaluation.table_rows import Line, Measured, read_measured
from mgrpo.evaluation.tables import Grid, benchmark_grid, difference_grid
from mgrpo.runs.files import FINAL_DIRECTORY

BASE = "base model"


def compare_benchmarks(
    variants: Mapping[str, Mapping[int, Path]],
    evaluations: Sequence[Path],
    base_models: Set[str],
    baseline: str | None,
) -> list[Grid]:
    """The table of benchmarks, and paired differences: from the base model, the baseline and the momentum model.

    Args:
        variants: run directories by variant and seed.
        evaluations: directories with results of models that are no run's.
        base_models: names of the models that the runs started from.
        baseline: the variant that the others are compared with, or None.

    Returns:
        No table if nothing was measured; a second one if there are samples.

    Raises:
        UserError: if results cannot be read.
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
