"""The built-in studies can be run, and the documents say what their tables say."""

import importlib.util
import sys
from pathlib import Path

import pytest

from mgrpo.recipes.recipe import load_recipe
from mgrpo.study.definition import read_study

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))


@pytest.fixture(scope="module")
def write():
    sys.path.insert(0, str(ROOT / "studies"))  # as python puts it there for the script
    spec = importlib.util.spec_from_file_location("write", ROOT / "studies" / "write.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / "studies"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_variant_is_a_whole_recipe(path, tmp_path):
    study = read_study(str(path))
    for run in study.runs(tmp_path)[: len(study.variants)]:
        load_recipe(run.fields, source=run.name)


@pytest.mark.parametrize("document", ["stability.md", "monitoring.md", "evidence.md"])
def test_the_documents_are_what_the_tables_say(write, document):
    committed = (write.DOCUMENTS[document] / document).read_text(encoding="utf-8")
    assert committed == write.write(document), "run python studies/write.py"


def test_a_table_read_back_is_what_the_study_saw(write):
    """Against the summary that `mgrpo study` wrote from the runs themselves."""
    import pandas as pd

    from mgrpo.study.tables import summarize

    for name in write.studies_there():
        seen = pd.read_csv(write.RESULTS / name / "summary.csv").set_index("variant")
        again = summarize(write.runs_of(name), read_study(str(ROOT / "studies" / f"{name}.yaml")).baseline)
        again = again.set_index("variant").loc[seen.index]
        columns = ["seeds", "start", "final", "peak", "collapsed", "wins", "losses"]
        pd.testing.assert_frame_equal(again[columns].astype(float), seen[columns].astype(float), rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("`grpo-gold`", "grpo-gold"),
        ("`co-rewarding-ii`", "co-rewarding-ii"),
        ("`label_source: frozen`", "frozen"),
        ("`srt --beta 0.1`", "srt-kl-0.1"),
        ("`m-grpo-no-filter`", "m-grpo-no-filter"),
        ("`m-grpo`", "m-grpo"),
        ("`srt`", "srt"),
    ],
)
def test_the_readme_says_the_same(write, name, variant):
    numbers = f"| {name} | {write.mean('headline', variant)} | {write.collapsed('headline', variant)} of 5 |"
    assert numbers in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readmes_other_numbers(write):
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    lagged, gold = (write.mean("stable", variant) for variant in ("lagged-cool-voters", "grpo-gold"))
    assert f"no run collapsed; it ended at {lagged}, right answers at {gold}" in readme
    assert write.collapsed("stable", "lagged-cool-voters") == 0
    alone, back = (write.mean("rollback", variant) for variant in ("warn", "rollback"))
    assert f"5 of 5 seeds and ends at {alone}, ends at {back} when it is rolled back" in readme
    assert write.collapsed("rollback", "warn") == 5
    assert float(write.mean("long", "m-grpo-no-filter")) < float(write.mean("long", "m-grpo-no-filter", "start"))
    for size in ("50k", "200k", "1m"):  # "it held ...; M-GRPO did not"
        for variant, holds in ((f"lagged-voters-{size}", True), (f"m-grpo-no-filter-{size}", False)):
            assert (float(write.mean("sizes", variant)) > float(write.mean("sizes", variant, "start"))) == holds
    assert 0.2 < float(write.of_filtered("k=0.75", "momentum", False, "completions")) < 0.3
    assert float(write.of_filtered("k=0.75", "policy", False, "completions")) < 0.05
