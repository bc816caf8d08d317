import pytest

from mgrpo.errors import UserError
from mgrpo.study.definition import read_study

BASE = "output_dir: elsewhere\nlearning_rate: 1.0e-4\nbeta: 0.005\nenv: {OMP_NUM_THREADS: 1}\n"
STUDY = """
base: base.yaml
fields: {beta: 0.1}
seeds: [0, 3]
baseline: plain
variants:
  plain:
  over:
    recipe: preset.yaml
    momentum: 0.5
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "preset.yaml").write_text("momentum: 0.9\nbeta: 0.2\nnum_generations: 12\n")
    return tmp_path


@pytest.fixture
def read(workplace):
    def read(text):
        (workplace / "study.yaml").write_text(text)
        return read_study("study.yaml")

    return read


def test_what_lies_over_what(read):
    """base < fields < the variant's recipe < its other fields."""
    variants = read(STUDY).variants
    env = {"OMP_NUM_THREADS": "1"}
    plain = {"output_dir": "elsewhere", "learning_rate": 1e-4, "beta": 0.1, "env": env}
    assert variants == {"plain": plain, "over": plain | {"beta": 0.2, "num_generations": 12, "momentum": 0.5}}


def test_several_recipes_and_anchors(read, workplace):
    (workplace / "more.yaml").write_text("learning_rate: 2.0e-4\nenv: {MALLOC_ARENA_MAX: 1}\n")
    study = read("""
base: [base.yaml, more.yaml]
seeds: [0]
definitions:
  slow: &slow {momentum: 0.999}
variants:
  slow: {<<: *slow, recipe: [preset.yaml, more.yaml]}
""")
    assert study.variants["slow"]["learning_rate"] == 2e-4
    assert study.variants["slow"]["momentum"] == 0.999
    assert study.env == {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    assert study.baseline is None


def test_runs(read, tmp_path):
    runs = read(STUDY).runs(tmp_path)
    assert [run.name for run in runs] == ["plain/seed-0", "over/seed-0", "plain/seed-3", "over/seed-3"]
    last = runs[-1]
    assert (last.variant, last.seed, last.directory) == ("over", 3, tmp_path / "over" / "seed-3")
    assert last.log == tmp_path / "over" / "seed-3.log"
    set_by_study = {name: last.fields[name] for name in ("seed", "dataset_seed", "output_dir")}
    assert set_by_study == {"seed": 3, "dataset_seed": 3, "output_dir": str(last.directory)}


def test_grid(read):
    grid = "base: base.yaml\nseeds: [0]\ngrid: {momentum: [0.9, 0.99], iqr_multiplier: [null], task: [file:a/b]}\n"
    assert {name: fields["momentum"] for name, fields in read(grid).variants.items()} == {
        "momentum=0.9,iqr_multiplier=none,task=file:a-b": 0.9,
        "momentum=0.99,iqr_multiplier=none,task=file:a-b": 0.99,
    }


def test_variants_at_each_point_of_a_grid(read):
    study = read(STUDY.replace("baseline: plain", "baseline: plain,beta=1") + "grid: {beta: [1, 2]}\n")
    assert {name: fields["beta"] for name, fields in study.variants.items()} == {
        "plain,beta=1": 1,
        "plain,beta=2": 2,
        "over,beta=1": 1,
        "over,beta=2": 2,
    }


@pytest.mark.parametrize(
    ("replaced", "by", "message"),
    [
        ("seeds:", "seed:", r"study.yaml sets seed \(did you mean 'seeds'\?\), but a study consists of base, fields,"),
        ("base: base.yaml", "base: 3", "study.yaml sets base to 3; name a recipe, or a list"),
        ("base: base.yaml", "base: bas.yaml", "there is no recipe bas.yaml; did you mean base.yaml?"),
        ("recipe: preset.yaml", "recipe: {a: 1}", "variant over sets recipe to {'a': 1}; name a recipe"),
        ("recipe: preset.yaml", "recipe: pre.yaml", "there is no recipe pre.yaml"),
        ("[0, 3]", "3", "sets seeds to 3; write a list of different whole numbers"),
        ("[0, 3]", "[]", r"sets seeds to \[\]; write a list"),
        ("[0, 3]", "[1, 1]", r"sets seeds to \[1, 1\]; write a list of different"),
        ("[0, 3]", "[true]", r"sets seeds to \[True\]"),
        ("[0, 3]", "[-1]", r"sets seeds to \[-1\]"),
        ("seeds: [0, 3]", "", "sets seeds to None"),
        ("baseline: plain", "baseline: plan", r"sets baseline to 'plan' \(did you mean 'plain'\?\), which is no"),
        ("{beta: 0.1}", "0.1", "study.yaml, fields is 0.1; write a mapping"),
        ("{beta: 0.1}", "{seed: 1}", "study.yaml, fields sets seed, which the study itself sets for each run"),
        ("{beta: 0.1}", "{recipe: base}", "study.yaml, fields sets recipe.*put it under base"),
        ("momentum: 0.5", "output_dir: x", "variant over sets output_dir, which the study itself sets"),
        ("momentum: 0.5", "env: {A: 1}", "over has {'OMP_NUM_THREADS': '1', 'A': '1'}, but the runs of a study share"),
        ("  plain:\n", "  a/b: {}\n  plain:\n", "a variant is called 'a/b', which cannot name a directory"),
        ("  plain:\n", "  plain: 3\n", "variant plain is 3; write a mapping"),
        ("variants:", "grid: {beta: 1}\nvariants:", "sets grid to {'beta': 1}; write a mapping of fields to lists"),
        ("variants:", "grid: {beta: [1, 1]}\nvariants:", "two variants called plain,beta=1; a grid's values must"),
        ("variants:", "grid: {seed: [1]}\nvariants:", "variant plain,seed=1 sets seed, which the study itself"),
    ],
)
def test_mistakes(read, replaced, by, message):
    assert replaced in STUDY
    with pytest.raises(UserError, match=message):
        read(STUDY.replace(replaced, by, 1))


@pytest.mark.parametrize("text", ["base: base.yaml\nseeds: [0]\n", "base: base.yaml\nseeds: [0]\nvariants: {}\n"])
def test_nothing_to_run(read, text):
    with pytest.raises(UserError, match="neither variants nor a grid|sets variants to {}; write a mapping"):
        read(text)


def test_no_such_study():
    with pytest.raises(UserError, match="there is no study embedded; name a YAML file"):
        read_study("embedded")
