import json
import math
import shutil

import pyarrow.parquet as pq
import pytest

from mgrpo.errors import UserError
from mgrpo.runs import files
from mgrpo.runs import metrics as names
from mgrpo.runs.files import (
    MetricsWriter,
    drop_completions_after,
    put_in_place,
    read_rows,
    read_run,
    series,
    unfinished_path,
    write_completions,
    write_whole,
)


def test_one_object_a_step(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    writer = MetricsWriter(path)
    writer.write({"step": 1, "loss": 0.123456789, "kl": 1})
    writer.write({"step": 2, "loss": 0.5})
    writer.write({"step": 2, "eval_gold/accuracy": 0.25})
    assert read_rows(path) == [  # before it is closed: each row is flushed
        {"step": 1, "loss": 0.123456789, "kl": 1},
        {"step": 2, "loss": 0.5, "eval_gold/accuracy": 0.25},
    ]
    writer.close()


def test_a_row_that_becomes_shorter_leaves_nothing_behind(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = MetricsWriter(path)
    writer.write({"step": 1, "loss": 0.123456789})
    writer.write({"step": 1, "loss": 1})
    writer.write({"step": 2})
    writer.close()
    assert path.read_text() == '{"step": 1, "loss": 1}\n{"step": 2}\n'


def test_numbers_that_are_not_finite_become_null_and_are_counted(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = MetricsWriter(path)
    writer.write({"step": 1, "a": math.nan, "b": math.inf, "c": -math.inf, "d": 0.0, "e": "text", "f": None})
    writer.write({"step": 1, "eval_a": math.nan, "eval_b": 0.5})  # joins the row
    writer.close()
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "step": 1,
        **dict.fromkeys("abcf"),
        "nonfinite/metrics": 3,
        "d": 0.0,
        "e": "text",
        "eval_a": None,
        "eval_b": 0.5,
        names.NONFINITE_METRICS: 4,
    }


def test_the_newest_tables_of_completions_are_kept(tmp_path):
    for step in (999_990, 1_000_000, 1_000_010):  # as text the first is the last
        write_completions([{"group": 0, "completion": "4"}], tmp_path, step, keep=2)
    assert {path.stem for path in (tmp_path / "completions").iterdir()} == {"step-1000000", "step-1000010"}


def test_a_new_run_begins_a_new_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 9}\n')
    MetricsWriter(path).close()
    assert path.read_text() == ""


def test_a_resumed_run_keeps_the_rows_up_to_its_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 10, "loss": 1}\n{"step": 20, "loss": 2}\n{"step": 30, "loss": 3}\n{"step": 40, "lo')
    writer = MetricsWriter(path, last_step=20)
    writer.write({"step": 20, "eval_gold/accuracy": 0.5})  # joins the last row that was kept
    writer.write({"step": 30, "loss": 4})
    writer.close()
    assert read_rows(path) == [
        {"step": 10, "loss": 1},
        {"step": 20, "loss": 2, "eval_gold/accuracy": 0.5},
        {"step": 30, "loss": 4},
    ]


def test_resuming_without_an_earlier_file(tmp_path):
    writer = MetricsWriter(tmp_path / "metrics.jsonl", last_step=20)
    writer.write({"step": 30})
    writer.close()
    assert read_rows(tmp_path / "metrics.jsonl") == [{"step": 30}]


@pytest.mark.parametrize("half", ['{"step": 2, "loss', "{", ""])
def test_a_line_that_is_still_being_written_is_left_out(tmp_path, half):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n' + half)
    assert read_run(tmp_path) == [{"step": 1}]


def test_no_run(tmp_path):
    with pytest.raises(UserError, match=r"holds no run: there is no metrics\.jsonl in it; name a run's output_dir"):
        read_run(tmp_path)


def test_series():
    rows = [{"step": 1, "a": 0.5}, {"step": 2, "b": 1}, {"step": 3, "a": None}, {"step": 4, "a": 0.0}]
    assert series(rows, "a") == ([1, 4], [0.5, 0.0])
    assert series(rows, "c") == ([], [])


def test_completions(tmp_path):
    rows = [{"completion": "7", "reward": 1.0, "entropy": None}, {"completion": "8", "reward": 0.0, "entropy": 0.5}]
    write_completions(rows, tmp_path, step=20)
    assert pq.read_table(tmp_path / "completions" / "step-000020.parquet").to_pylist() == rows


def test_a_lone_surrogate_does_not_end_a_run(tmp_path):
    write_completions([{"completion": "a\ud800b", "answer": None, "kept": True}], tmp_path, step=3)
    assert pq.read_table(tmp_path / "completions" / "step-000003.parquet").to_pylist() == [
        {"completion": "a?b", "answer": None, "kept": True}
    ]


def test_what_could_not_be_written_is_written_with_the_next_row(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = MetricsWriter(path)
    writer.write({"step": 1})
    full = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115
    file, writer._file = writer._file, full
    for row in ({"step": 2}, {"step": 2, "kl": 1}, {"step": 3}):
        with pytest.raises(OSError):
            writer.write(row)
    with pytest.raises(OSError):
        writer.flush()
    writer._file = file
    writer.flush()
    assert read_rows(path) == [{"step": 1}, {"step": 2, "kl": 1}, {"step": 3}]
    writer.write({"step": 3, "loss": 2})
    writer.close()
    full.close()
    assert path.read_text().splitlines()[-1] == '{"step": 3, "loss": 2}'


def test_a_file_that_vanished_is_begun_anew(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    writer = MetricsWriter(path)
    writer.write({"step": 1})
    shutil.rmtree(path.parent)
    writer.write({"step": 2})
    writer.write({"step": 3})
    assert read_rows(path) == [{"step": 2}, {"step": 3}]


def test_the_last_row_is_what_it_was_when_the_checkpoint_was_written(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo')  # killed while an evaluation joined it
    MetricsWriter(path, 2, last_row={"step": 2, "loss": 1}).close()
    assert read_rows(path) == [{"step": 1}, {"step": 2, "loss": 1}]


def test_a_file_takes_its_name_when_it_is_complete(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_whole(path, "1")
    monkeypatch.setattr(files, "flush_tree", lambda unfinished: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        write_whole(path, "2")
    assert path.read_text() == "1"


def test_a_directory_takes_its_name_with_all_that_is_in_it(tmp_path):
    unfinished = unfinished_path(tmp_path / "final")
    (unfinished / "momentum").mkdir(parents=True)
    (unfinished / "momentum" / "weights").write_text("1")
    put_in_place(unfinished, tmp_path / "final")
    assert [path.name for path in tmp_path.rglob("*")] == ["final", "momentum", "weights"]


def test_tables_behind_a_step_and_half_ones_are_dropped(tmp_path):
    for step in (1, 2, 3):
        write_completions([{"completion": "7"}], tmp_path, step)
    (tmp_path / "completions" / "step-000001.parquet.unfinished").touch()
    drop_completions_after(tmp_path, 2)
    names = sorted(path.name for path in (tmp_path / "completions").iterdir())
    assert names == ["step-000001.parquet", "step-000002.parquet"]
