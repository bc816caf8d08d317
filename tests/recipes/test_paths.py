"""Paths in recipes."""

import pytest

from mgrpo.errors import UserError
from mgrpo.recipes.recipe import load_fields


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("output_dir", "~/run", "/home/me/run"),
        ("rescue_dir", "../x", "HERE/../x"),
        ("vllm_server_log", "~/log", "/home/me/log"),
        ("eval_benchmarks_data", "data", "HERE/data"),
        ("eval_benchmarks", ["math500", "file:c.jsonl"], ["math500", "file:HERE/c.jsonl"]),
        ("resume", "~/run/checkpoint-1", "/home/me/run/checkpoint-1"),
        ("model_name_or_path", "model", "HERE/model"),
        ("task", "file:~/a.jsonl", "file:/home/me/a.jsonl"),
        ("eval_task", "gsm8k:./b.jsonl", "gsm8k:HERE/b.jsonl"),
        ("deepspeed", "d.json", "HERE/d.json"),
    ],
)
def test_paths_are_the_same_in_every_directory(tmp_path, monkeypatch, name, given, expected):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "model").mkdir()
    found = load_fields({name: given}, "x")[name]
    for values in ([found, expected],) if isinstance(found, str) else zip(found, expected, strict=True):
        assert values[0] == values[1].replace("HERE/..", str(tmp_path.parent)).replace("HERE", str(tmp_path))


def test_names_stay_names():
    fields = {"model_name_or_path": "owner/model", "task": "hub:owner/data", "eval_task": "gsm8k:owner/data"}
    fields |= {"resume": "force", "eval_benchmarks": ["embedded:chains", "mine:task"], "deepspeed": {"a": 1}}
    assert {name: load_fields(fields, "x")[name] for name in fields} == fields


@pytest.mark.parametrize("name", ["output_dir", "task", "model_name_or_path"])
def test_a_home_that_does_not_exist(name):
    value = ("file:" if name == "task" else "") + "~nobody-here/x"
    with pytest.raises(UserError, match="~nobody-here/x names no home directory"):
        load_fields({name: value}, "x")
