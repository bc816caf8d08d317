"""Which completions the entropy filter dropped: were they right, and in which groups? For results/filter/dropped.csv.

    python studies/dropped.py RUNS    # the directory that `mgrpo study studies/filter.yaml` wrote

Counted over the completions of each logged step, by variant, model, third of the run, and agreement of the group: the
share of its completions, dropped ones too, that give the pseudo-label. `twins`: the other model wrote the same text.
"""

import sys
from pathlib import Path

import pandas as pd

RESULT = Path(__file__).parent / "results" / "filter" / "dropped.csv"
THIRDS = 3


def of_run(variant: str, directory: Path) -> pd.DataFrame:
    """The completions of a run with their third and their group's agreement."""
    steps = sorted((directory / "completions").glob("step-*.parquet"))
    last = int(steps[-1].stem.removeprefix("step-"))
    tables = []
    for path in steps:
        step = int(path.stem.removeprefix("step-"))
        table = pd.read_parquet(path)
        table["group"] = (table["prompt"] != table["prompt"].shift()).cumsum()
        table["agrees"] = table["answer"].notna() & (table["answer"] == table["pseudo_label"])
        table["agreement"] = table.groupby("group")["agrees"].transform("mean")
        table["is_twin"] = table.groupby(["group", "completion"])["model"].transform("nunique") == 2
        table["third"] = min((step - 1) * THIRDS // last + 1, THIRDS)
        tables.append(table)
    return pd.concat(tables).assign(variant=variant)


def count(runs: Path) -> pd.DataFrame:
    """Completions and right ones among them, kept and dropped."""
    every = pd.concat(
        of_run(directory.parent.name, directory)
        for directory in sorted(runs.glob("*/seed-*"))
        if directory.is_dir() and any((directory / "completions").glob("*.parquet"))
    )
    edges = [0, 0.5, 0.8, 1.0]
    every["agreement"] = pd.cut(every["agreement"], edges, labels=["to 0.5", "0.5 to 0.8", "above 0.8"])
    by = ["variant", "model", "third", "agreement", "kept"]
    grouped = every.groupby(by, observed=True)
    return grouped.agg(
        completions=("is_right", "size"),
        right=("is_right", "sum"),
        agree=("agrees", "sum"),
        twins=("is_twin", "sum"),
    ).reset_index()


if __name__ == "__main__":
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    count(Path(sys.argv[1])).to_csv(RESULT, index=False)
    print(RESULT)
