"""What an alarm leaves in a run's directory, and the way back to the last healthy checkpoint."""

import json

import pytest

from mgrpo.monitoring.alarms import healthy_checkpoint, roll_back, rollbacks
from mgrpo.monitoring.collapse import Event
from mgrpo.runs.files import read_rows


def alarm(step, healthy_step):
    return Event(step, "alarm", ["probe/log_prob_change"], "it falls", healthy_step)


@pytest.fixture
def run_directory(tmp_path):
    """A run of 8 steps with checkpoints at 2, 4, 6 and 8."""
    for step in (2, 4, 6, 8):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps({"step": step}) + "\n" for step in range(1, 9)))
    (tmp_path / "completions").mkdir()
    for step in range(1, 9):
        (tmp_path / "completions" / f"step-{step:06d}.parquet").touch()
    return tmp_path


@pytest.mark.parametrize(("healthy_step", "name"), [(5, "checkpoint-4"), (4, "checkpoint-4"), (1, None)])
def test_a_checkpoint_is_healthy_that_no_alarm_condemns(run_directory, healthy_step, name):
    found = healthy_checkpoint(run_directory, alarm(8, healthy_step))
    assert (found and found.name) == name


def test_rolling_back_keeps_the_numbers_and_takes_the_checkpoints(run_directory):
    assert roll_back(run_directory, alarm(8, 5), {"learning_rate": 1e-4}) == run_directory / "checkpoint-4"
    assert sorted(path.name for path in run_directory.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    kept = run_directory / "rolled-back" / "1"
    assert [row["step"] for row in read_rows(kept / "metrics.jsonl")] == [5, 6, 7, 8]
    assert len(list((kept / "completions").iterdir())) == 4 == len(list((run_directory / "completions").iterdir()))
    (row,) = rollbacks(run_directory)
    assert row["message"] == "rolled back to checkpoint-4, on with learning_rate 0.0001"
    assert (row["step"], row["healthy_step"], row["settings"]) == (8, 4, {"learning_rate": 1e-4})


def test_rolling_back_before_the_first_checkpoint_begins_anew(run_directory):
    assert roll_back(run_directory, alarm(3, 1), {}) is None
    assert not list(run_directory.glob("checkpoint-*"))
    assert "back to the beginning" in rollbacks(run_directory)[0]["message"]
