import json

import pytest
import yaml

from mgrpo.errors import UserError
from mgrpo.runs.files import read_config
from mgrpo.study.compare import _variants, compare_runs


@pytest.fixture
def make_run(tmp_path, finish):
    def make(name, accuracy=0.5, is_finished=True, **config):
        directory = tmp_path / name
        directory.mkdir(parents=True)
        (directory / "config.yaml").write_text(yaml.safe_dump({"output_dir": name, "seed": 0, **config}))
        row = {"step": 10, "eval_gold/accuracy": accuracy, "kl": 0.25}
        (directory / "metrics.jsonl").write_text(json.dumps(row) + "\n")
        if is_finished:
            finish(directory)
        return directory

    return make


def variants(runs):
    return _variants({run: read_config(run) for run in runs})


def test_runs_that_differ_in_seeds_alone_are_one_variant(make_run):
    first = make_run("out/srt/seed-0", beta=0.1)
    second = make_run("out/srt/seed-1", beta=0.1, seed=1, dataset_seed=1, resume="force")
    other = make_run("out/m-grpo/seed-0", beta=0.2)
    assert variants([first, second, other]) == {"srt": {0: first, 1: second}, "m-grpo": {0: other}}


def test_names(make_run):
    runs = [make_run("srt-0", beta=1), make_run("srt-1", seed=1, beta=1), make_run("run10", beta=2)]
    assert list(variants(runs)) == ["srt", "run10"]


def test_equal_names_are_told_apart_by_their_paths(make_run, tmp_path):
    runs = [make_run("a/srt/seed-0", beta=1), make_run("b/srt/seed-0", beta=2)]
    assert list(variants(runs)) == [str(tmp_path / "a" / "srt"), str(tmp_path / "b" / "srt")]


def test_the_same_run_twice(make_run):
    runs = [make_run("a/srt/seed-0"), make_run("b/srt/seed-0")]
    with pytest.raises(UserError, match="a/srt/seed-0 and .*b/srt/seed-0 are seed 0 of the same settings; leave one"):
        variants(runs)


def test_a_study_s_directory_and_a_run(make_run, tmp_path, capsys):
    make_run("out/srt/seed-0", 0.25, beta=0.1)
    make_run("out/srt/seed-1", 0.5, beta=0.1, seed=1)
    other = make_run("other", 0.75, is_finished=False)
    compare_runs([tmp_path / "out", other], None, "srt")
    said = capsys.readouterr()
    assert [line.split()[:4] for line in said.out.splitlines()[2:4]] == [
        ["srt", "0.38", "0.38", "0.38"],
        ["other", "0.75", "0.75", "0.75"],
    ]
    assert "unfinished" in said.err and said.err.endswith(f"{other}\n") and said.err.count("\n") == 1


def test_tables_and_figure(make_run, tmp_path):
    pytest.importorskip("matplotlib")
    compare_runs([make_run("a", beta=1), make_run("b", beta=2)], tmp_path / "compared", None)
    assert {path.name for path in (tmp_path / "compared").iterdir()} == {
        *("table.parquet", "table.csv", "summary.csv", "summary.md", "curves.png")
    }


def test_no_run(tmp_path, make_run):
    with pytest.raises(UserError, match="nowhere holds no run: there is no metrics.jsonl in it"):
        compare_runs([tmp_path / "nowhere"], None, None)
    run = make_run("a")
    with pytest.raises(UserError, match=r"--baseline is b, which is no variant of these runs; name one of a"):
        compare_runs([run], None, "b")
    (run / "config.yaml").unlink()
    with pytest.raises(UserError, match="config.yaml cannot be read .*, so it is not known what"):
        compare_runs([run], None, None)
