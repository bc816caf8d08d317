"""Run directories that someone else wrote: whatever is in a file's place, every command ends with a clear message."""

import os
from itertools import product

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mgrpo.cli import main
from mgrpo.commands.resume import find_start
from mgrpo.errors import UserError
from mgrpo.monitoring.alarms import rollbacks
from mgrpo.recipes.recipe import load_recipe
from mgrpo.report.serve import LiveRuns
from mgrpo.runs.files import MetricsWriter, write_completions
from mgrpo.study.compare import compare_runs

BOMB = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
DEEP = "[" * 100_000 + "]" * 100_000
CONTENTS = {
    "nothing": b"",
    "zeros": bytes(1000),
    "bytes": bytes(range(256)) * 9,
    "deep": DEEP.encode(),
    "deep in a row": b'{"step": 10, "a": ' + DEEP.encode() + b"}\n",
    "bomb": BOMB.encode(),
    "a list": b"[1, 2]\n",
    "a number": b"1\n",
    "a text": b'"x"\n',
    "types": b'{"step": 10, "vote/agreement": {"a": [1]}, "eval_gold/accuracy": "x", "kl": true, "kind": 1}\n',
    "types of an event": b'{"step": 10, "kind": "alarm", "signals": [[1]], "message": {}, "settings": []}\n',
    "a rollback": b'{"step": 10, "kind": "rollback", "settings": {"learning_rate": "x"}}\n',
    "steps": b'{"step": 10}\n{"step": 10}\n{"step": 2}\n',
    "a step": b'{"step": 99999999999}\n',
    "numbers": b'{"step": 10, "vote/agreement": NaN, "eval_gold/accuracy": Infinity, "kl": 1e308}\n'
    b'{"step": 11, "kl": -1e308}\n',
    "digits": b'{"step": 10, "kl": ' + b"9" * 5000 + b"}\n",
    "keys": b"? 1\n: {1: 2, a: [3]}\nenv: [1]\nseed: [2]\ntask: {a: b}\nmax_steps: .inf\n",
    "python": b"!!python/object/apply:os.abort []\n",
}
KINDS = ("pipe", "directory", "device", "loop", "huge")
FILES = ("metrics.jsonl", "config.yaml", "environment.json", "alarms.jsonl", "completions/step-000010.parquet")
FILES += (
    "evaluation/final/results.json",
    "evaluation/final/mine/settings.json",
    "evaluation/final/mine/samples.jsonl",
)
RECIPE = {"model_name_or_path": "embedded", "task": "embedded:chains", "max_steps": 10}


def put(path, kind):
    if path.exists():
        path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "huge":
        path.touch()
        os.truncate(path, 2**40)
    else:
        path.write_bytes(CONTENTS[kind])


@pytest.fixture
def run_directory(tmp_path):
    run = tmp_path / "run"
    for path in map(run.joinpath, FILES):
        path.parent.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text("task: gsm8k\nseed: 0\n")
    (run / "environment.json").write_text('{"mgrpo": "0.2.0"}')
    (run / "alarms.jsonl").write_text('{"step": 10, "kind": "alarm", "signals": ["kl"], "message": "x"}\n')
    writer = MetricsWriter(run / "metrics.jsonl")
    writer.write({"step": 10, "vote/agreement": 0.5, "eval_gold/accuracy": 0.5})
    writer.write({"step": 20, "vote/agreement": 0.5, "eval_gold/accuracy": 0.5})
    writer.close()
    write_completions([{"prompt": "1+1=", "completion": "2", "answer": "2"}], run, 10)
    return run


@pytest.mark.parametrize(("file", "kind"), list(product(FILES, (*CONTENTS, *KINDS))))
def test_a_damaged_file_ends_in_a_sentence(run_directory, file, kind, capsys):
    put(run_directory / file, kind)

    def start():
        find_start(load_recipe({**RECIPE, "output_dir": str(run_directory)}, "the test"))
        rollbacks(run_directory)

    for act in (lambda: LiveRuns([run_directory]).data(), lambda: compare_runs([run_directory], None, None), start):
        try:
            act()
        except UserError as error:
            assert len(str(error)) < 600 and "\n" not in str(error)


@pytest.mark.parametrize("kind", ["pipe", "types", "numbers", "deep in a row"])
def test_pages_and_pictures(run_directory, kind, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    put(run_directory / "metrics.jsonl", kind)
    for command in ("report", "plot"):
        assert main([command, str(run_directory), "-o", str(tmp_path / "out.png")]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "table",
    [
        {"prompt": [1], "completion": [[2]]},
        {"prompt": [None], "completion": [None], "group": [None], "kept": [None], "entropy": [None]},
        {"prompt": ["a"], "completion": [b"\xff"]},
        {"prompt": [{"a": 1}], "completion": ["x"]},
        {"prompt": ["a"], "completion": ["x"], "entropy": ["x"]},
        {"prompt": ["a"], "completion": ["x"], "entropy": [float("nan")], "model": ["policy"], "reward": [1e308]},
    ],
)
def test_tables_of_other_types(run_directory, table, tmp_path):
    pq.write_table(pa.table(table), run_directory / "completions" / "step-000010.parquet")
    (run_directory / "completions" / "step-x.parquet").touch()
    assert main(["report", str(run_directory), "-o", str(tmp_path / "report.html")]) == 0


def test_recipes_and_studies(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind in (*CONTENTS, *KINDS):
        path = tmp_path / "hostile.yaml"
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        put(path, kind)
        for command in (["train", "--config", path.name, "--output_dir", "out"], ["study", path.name]):
            assert main(command) == 2, kind
    assert "Traceback" not in capsys.readouterr().err
