"""Write stability.md, monitoring.md and docs/explanation/evidence.md: every number in *.md.in is taken from results/.

    python studies/write.py                    write them
    python studies/write.py STUDY RUNS         first take over the table, summary and curves that `mgrpo study` wrote

A test asks that what is committed is what this script writes.
"""

import json
import shutil
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import alarm_trial
import alarms
import pandas as pd
from jinja2 import Environment, StrictUndefined
from PIL import Image

from mgrpo.study.tables import StudiedRun, best_signal, measures, signal_table, summarize

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PICTURES = HERE / "pictures"
DOCUMENTS = {
    "stability.md": HERE,
    "monitoring.md": HERE,
    "evidence.md": HERE.parent / "docs" / "explanation",
}
"""The documents, and where they are."""
COLOURS = 48
KEPT = ("table.parquet", "summary.csv")

COLUMNS = {
    "start": "start",
    "peak": "peak",
    "final": "final",
    "final_to_peak": "final/peak",
    "final_agreement": "agreement",
    "final_entropy": "entropy",
    "final_kl": "KL",
}


@cache
def runs_of(study: str) -> list[StudiedRun]:
    """The runs of a committed table, as `mgrpo study` saw them."""
    table = pd.read_parquet(RESULTS / study / "table.parquet")
    runs = []
    for (variant, seed), of_run in table.groupby(["variant", "seed"], sort=False):
        runs.append(StudiedRun(str(variant), int(seed), alarms.rows_of(of_run)))
    return runs


@cache
def measured(study: str) -> dict[str, list[dict[str, float]]]:
    """The measures of each variant's runs, in the order of the seeds."""
    signal, found = best_signal(runs_of(study)), defaultdict(list)
    for run in sorted(runs_of(study), key=lambda run: run.seed):
        found[run.variant].append(measures(run, signal))
    return dict(found)


def by_seed(study: str, variant: str, measure: str) -> list[float]:
    """One measure of a variant's runs, in the order of the seeds."""
    return [of_run[measure] for of_run in measured(study)[variant]]


def mean(study: str, variant: str, measure: str = "final", digits: int = 2) -> str:
    """The mean over seeds, as text."""
    values = pd.Series(by_seed(study, variant, measure)).dropna()
    return f"{values.mean():.{digits}f}"


def seeds(study: str, variant: str, measure: str = "final", digits: int = 2) -> str:
    """Every seed's value, as text: `.57 .60 .56`."""
    values = by_seed(study, variant, measure)
    if measure == "collapse_step":
        return " ".join("none" if pd.isna(value) else f"{value:.0f}" for value in values)
    return " ".join(f"{value:.{digits}f}".replace("0.", ".", 1) for value in values)


def collapsed(study: str, variant: str) -> int:
    """How many seeds collapsed."""
    return sum(not pd.isna(step) for step in by_seed(study, variant, "collapse_step"))


def wins(study: str, variant: str, other: str) -> str:
    """In how many seeds a variant ends above another: `4 of 5`."""
    pairs = list(zip(by_seed(study, variant, "final"), by_seed(study, other, "final"), strict=True))
    return f"{sum(ours > theirs for ours, theirs in pairs)} of {len(pairs)}"


def share(study: str, variant: str, other_study: str, other: str, measure: str = "final") -> str:
    """A variant's mean as a share of another's, in percent, over the seeds that both have."""
    ours, theirs = by_seed(study, variant, measure), by_seed(other_study, other, measure)
    num = min(len(ours), len(theirs))
    return f"{100 * sum(ours[:num]) / sum(theirs[:num]):.0f}%"


def of_filtered(variant: str, model: str, kept: bool, what: str) -> str:
    """Of a model's completions that the filter kept or dropped: a share of them.

    Args:
        variant: of the study filter.
        model: `policy` or `momentum`.
        kept: the kept or the dropped ones.
        what: `right`, `agree` (with the pseudo-label), `twins` (of the other model's), or `completions`, their share.
    """
    table = pd.read_csv(RESULTS / "filter" / "dropped.csv").query("variant == @variant and model == @model")
    counts = table[table["kept"] == kept]
    total = table if what == "completions" else counts
    return f"{counts[what].sum() / total['completions'].sum():.2f}"


def greedy(study: str, variant: str) -> str:
    """The mean greedy accuracy of a variant's final policies, or of the `start`."""
    table = pd.read_csv(RESULTS / study / "greedy.csv")
    return f"{table[table['variant'] == variant]['greedy'].mean():.2f}"


def num_runs(*studies: str) -> int:
    """How many runs are in the tables."""
    return sum(len(runs_of(study)) for study in studies or studies_there())


def studies_there() -> list[str]:
    """The studies that have a table."""
    return sorted(path.parent.name for path in RESULTS.glob("*/table.parquet"))


def metric(study: str, variant: str, name: str, digits: int = 2, last: int | None = None) -> str:
    """The mean of a metric over a variant's runs, over all or the last evaluations; a dash where none logged it."""
    values = []
    for run in runs_of(study):
        of_run = [row[name] for row in run.rows if name in row]
        if run.variant == variant and of_run:
            of_run = of_run[-last:] if last else of_run
            values.append(sum(of_run) / len(of_run))
    return f"{sum(values) / len(values):.{digits}f}" if values else "–"


def summary(study: str, baseline: str | None = None) -> str:
    """A study's summary as a Markdown table: means over seeds, final accuracy with its interval and its seeds."""
    frame = summarize(runs_of(study), baseline).set_index("variant")
    head = ["variant", "seeds", *COLUMNS.values(), "collapsed", "final, seed by seed"]
    if baseline:
        head[-1:-1] = [f"won-lost against {baseline}", "p"]
    lines = [head, ["---"] * len(head)]
    for variant in sorted(frame.index, key=lambda name: -frame.loc[name, "final"]):
        line = frame.loc[variant]
        cells = [variant, f"{line['seeds']:.0f}"]
        for measure in COLUMNS:
            cell = f"{line[measure]:.2f}"
            if measure == "final" and not pd.isna(line["final_low"]):
                cell = f"**{cell}** [{line['final_low']:.2f}, {line['final_high']:.2f}]"
            cells.append(cell if cell != "nan" else "")
        at = f" at {line['collapse_step']:.0f}" if line["collapsed"] else ""
        cells.append(f"{line['collapsed']:.0f} of {line['seeds']:.0f}{at}")
        if baseline:
            is_baseline = pd.isna(line["wins"])
            cells += ["", ""] if is_baseline else [f"{line['wins']:.0f}-{line['losses']:.0f}", f"{line['p']:.3f}"]
        lines.append([*cells, seeds(study, variant)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def signals(study: str) -> str:
    """What each label-free signal would have picked, as a Markdown table."""
    table = signal_table(runs_of(study))
    lines = ["| checkpoint picked by | mean held-out accuracy | runs |", "| --- | --- | --- |"]
    lines += [f"| {line.signal} | {line.accuracy:.3f} | {line.runs} |" for line in table.itertuples()]
    return "\n".join(lines)


def write(document: str) -> str:
    """A document's text."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    environment.globals |= {
        function.__name__: function
        for function in (
            mean,
            seeds,
            collapsed,
            wins,
            share,
            of_filtered,
            greedy,
            num_runs,
            metric,
            summary,
            signals,
            studies_there,
        )
    }
    template = (HERE / f"{document}.in").read_text(encoding="utf-8")
    return environment.from_string(template).render(alarms=alarms, alarm_trial=alarm_trial)


def take_over(study: str, runs: Path) -> None:
    """Copy what is committed of a study's output directory."""
    directory = RESULTS / study
    directory.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        if (runs / name).exists():
            shutil.copy(runs / name, directory / name)
    curves = Image.open(runs / "curves.png").convert("RGB").quantize(COLOURS)  # a third of the size
    curves.save(PICTURES / f"{study}.png", optimize=True)
    environments = [json.loads(path.read_text()) for path in sorted(runs.glob("**/environment.json"))]
    kept = {name: value for name, value in environments[0].items() if name in ("python", "packages", "git_commit")}
    (directory / "environment.json").write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        take_over(sys.argv[1], Path(sys.argv[2]))
    for document, directory in DOCUMENTS.items():
        (directory / document).write_text(write(document), encoding="utf-8")
        print(directory / document)
