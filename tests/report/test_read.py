import json
from pathlib import Path

import pytest

from mgrpo.errors import UserError
from mgrpo.report.read import RunReader, open_runs, run_labels
from mgrpo.runs.files import MetricsWriter


def read(directory):
    return RunReader(directory, "run").read()


def test_a_finished_run(make_run, finish):
    directory = make_run(recipe="task: gsm8k\nseed: 1\n\n# defaults of this version\nbeta: 0.005\n")
    finish(directory)
    event = {"step": 20, "kind": "alarm", "signals": ["vote/agreement"], "message": "It collapses."}
    (directory / "alarms.jsonl").write_text(json.dumps(event) + "\n")
    record = read(directory)
    assert record.is_finished
    assert record.rows == [{"step": 10, "vote/agreement": 0.5}, {"step": 20, "vote/agreement": 0.5}]
    assert record.alarms == [event]
    assert (record.recipe.given, record.recipe.defaults) == ("task: gsm8k\nseed: 1\n", "beta: 0.005\n")
    assert record.recipe.fields == {"beta": 0.005, "task": "gsm8k", "seed": 1}
    assert record.recipe.given_names == {"task", "seed"}
    assert record.environment == {"mgrpo": "0.1.0", "run_format": 1}
    assert list(record.tables) == [10, 20]
    assert record.notes == []


def test_alarms_have_the_fields_that_the_page_needs(make_run):
    directory = make_run()
    events = [{"step": 10, "kind": "alarm"}, {"step": 20, "kind": "stop", "message": "x" * 20_000, "signals": None}]
    events += [{"kind": "alarm"}, {"step": 20, "kind": "none"}, {"step": 20, "kind": "alarm", "message": {}}, [1], 2]
    (directory / "alarms.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    first, second = read(directory).alarms  # an event without a step has no place, and what is none is left out
    assert first == {"step": 10, "kind": "alarm", "message": "", "signals": []}
    assert second["signals"] == []
    assert len(second["message"]) < 1100 and second["message"].endswith("x …")


def test_a_run_that_is_killed_while_it_writes(make_run):
    directory = make_run()
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "vote/agr')
    (directory / "environment.json").write_text('{"mgrpo": "0.1')
    (directory / "config.yaml").write_text("task: [gsm8k\n")
    record = read(directory)
    assert [row["step"] for row in record.rows] == [10, 20]
    assert not record.is_finished
    assert (record.recipe, record.environment) == (None, None)
    assert record.notes == [
        "environment.json is not whole, and is left out.",
        "config.yaml is not whole, and is left out.",
    ]


def test_a_broken_line_in_the_middle_is_told(make_run):
    directory = make_run(steps=[10])
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "vote\n{"step": 30}\n{"step": 40}\n')
    record = read(directory)
    assert [row["step"] for row in record.rows] == [10]
    assert record.notes == ["metrics.jsonl is broken behind step 10: 3 more lines are left out."]


def test_a_run_that_starts(tmp_path):
    (tmp_path / "config.yaml").write_text("task: gsm8k\n")
    record = read(tmp_path)
    assert (record.rows, record.alarms, record.tables, record.updated) == ([], [], {}, None)


def test_no_run(tmp_path):
    with pytest.raises(UserError, match=r"holds no run: there is no metrics\.jsonl in it; name a run's output_dir"):
        open_runs([tmp_path])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"loss": 1}\n', "metrics.jsonl is no file of a run: line 1 has no step; name a run"),
        (b'{"step": 1}\n[2]\n', "line 2 has no step"),
        (b'{"step": 2}\n{"step": 1}\n', "line 2 is not after the one before"),
    ],
)
def test_another_programs_metrics(tmp_path, content, message):
    (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_a_newer_version(make_run):
    directory = make_run(environment={"mgrpo": "9.1.0", "run_format": 7})
    with pytest.raises(UserError) as refusal:
        read(directory)
    assert str(refusal.value) == (
        f"{directory} was written in run format 7 (mgrpo 9.1.0), and this version reads format 1; install the newer "
        "one."
    )


def test_a_run_older_than_run_formats(make_run):
    assert read(make_run(environment={"mgrpo": "0.1.0"})).rows


def test_tables_that_a_resumed_run_has_not_come_to_yet(make_run):
    directory = make_run(steps=[10, 20, 30])
    MetricsWriter(directory / "metrics.jsonl", last_step=10).close()  # as `mgrpo train` resumes at step 10
    assert list(read(directory).tables) == [10]


def test_secrets_are_left_out(make_run):
    recipe = "hub_token: hf_abc\npad_token: <pad>\nenv: {WANDB_API_KEY: k123, PASSWORD: 123456, A: b}\n"
    command = ["mgrpo", "train", "--hub_token=hf_abc", "--env", "{WANDB_API_KEY: k123}"]
    record = read(make_run(recipe=recipe, environment={"command": command}))
    assert record.recipe.given == (
        "hub_token: (left out)\npad_token: <pad>\nenv: {WANDB_API_KEY: (left out), PASSWORD: (left out), A: b}\n"
    )
    assert record.recipe.fields["hub_token"] == "(left out)"
    assert record.recipe.fields["env"] == {"WANDB_API_KEY": "(left out)", "PASSWORD": "(left out)", "A": "b"}
    assert record.environment["command"][2:] == ["--hub_token=(left out)", "--env", "{WANDB_API_KEY: (left out)}"]


def test_a_file_is_read_again_when_it_has_changed(make_run):
    directory = make_run(steps=[10])
    reader = RunReader(directory, "run")
    before = reader.read()
    assert reader.read().rows is before.rows
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20}\n')
    assert [row["step"] for row in reader.read().rows] == [10, 20]


@pytest.mark.parametrize(
    ("directories", "labels"),
    [
        (["runs/srt"], ["srt"]),
        (["runs/srt", "runs/m-grpo"], ["srt", "m-grpo"]),
        (["a/x/seed-0", "a/y/seed-0"], ["x/seed-0", "y/seed-0"]),
        (["a/x/seed-0", "b/x/seed-0", "b/y/seed-1"], ["a/x/seed-0", "b/x/seed-0", "b/y/seed-1"]),
        (["runs/srt/", "./runs/../runs/m-grpo"], ["srt", "m-grpo"]),
    ],
)
def test_labels_are_the_shortest_that_differ(directories, labels):
    assert run_labels([Path(directory) for directory in directories]) == labels


def test_a_run_that_is_named_twice(make_run):
    directory = make_run()
    with pytest.raises(UserError, match="is named twice; name each run once"):
        open_runs([directory, directory / "."])
