"""One long run, and what must not grow in it. 200 steps with every test run; `make soak` makes it 5,000.

Memory is judged by what malloc and Python have given out and not got back. Pages in RAM say the same over thousands of
steps, but over 200 the heap's own growth by leaps would hide 1 MB in 1,000 steps; there they only have a coarse limit.
"""

import json
import os
import statistics
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from mgrpo.runs.files import read_rows
from mgrpo.training.callbacks import ROWS_IN_STATE

NUM_STEPS = int(os.environ.get("MGRPO_SOAK_STEPS", "200"))
EVERY = max(NUM_STEPS // 100, 10)
WARM_UP = max(ROWS_IN_STATE, NUM_STEPS // 10)
IS_LONG = NUM_STEPS >= 2000
MEBIBYTE = 1 << 20
BLOCK = 64
"""Bytes that a block of Python's allocator is counted as."""

FIELDS = {
    "max_steps": NUM_STEPS,
    "seed": 0,
    "logging_steps": 1,  # each writes a row and a table of completions
    "completions_total_limit": 50,
    "learning_rate": 1e-6,  # the last step samples texts as long as the first
    "dataset_size": 32,
    "num_generations": 4,
    "num_momentum_generations": 2,
    "per_device_train_batch_size": 8,
    "steps_per_generation": 4,
    "share_prompts": "false",
    "probe_prompts": 2,
    "eval_steps": 100,
    "eval_on_start": "false",
    "eval_dataset_size": 16,
    "per_device_eval_batch_size": 16,
    "save_steps": 50,
    "save_total_limit": 2,
}

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.timeout(300 if NUM_STEPS <= 200 else 4 * 60 * 60),
]


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory):
    """A run's directory, with its readings."""
    directory = tmp_path_factory.mktemp("soak") / "run"
    command = [
        sys.executable,
        Path(__file__).with_name("watched_run.py"),
        str(EVERY),
        "--config",
        "embedded",
        "--quiet",
    ]
    for name, value in {"output_dir": directory, **FIELDS}.items():
        command += [f"--{name}", str(value)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return directory


@pytest.fixture(scope="module")
def readings(run_directory):
    """Those after the warm-up."""
    read = map(json.loads, (run_directory / "readings.jsonl").read_text().splitlines())
    return [reading for reading in read if reading["step"] >= WARM_UP]


def slope(readings, value):
    """Theil-Sen: the median of the slopes between all pairs of readings, per 1,000 steps."""
    points = [(reading["step"], value(reading)) for reading in readings]
    return 1000 * statistics.median(
        (later - earlier) / (step - before)
        for i, (before, earlier) in enumerate(points)
        for step, later in points[i + 1 :]
    )


def test_the_run_is_as_long_as_asked(run_directory, readings):
    assert [row["step"] for row in read_rows(run_directory / "metrics.jsonl")] == list(range(1, NUM_STEPS + 1))
    assert len(readings) >= 6


def test_memory_that_is_given_out_is_given_back(readings):
    growth = slope(readings, lambda reading: reading["in_use"] + BLOCK * reading["blocks"])
    print(f"memory given out: {growth / MEBIBYTE:.3f} MiB per 1,000 steps, seed {FIELDS['seed']}")
    assert growth < MEBIBYTE


def test_memory_in_ram_is_flat(readings):
    growth = slope(readings, lambda reading: reading["anonymous"])
    print(f"memory in RAM: {growth / MEBIBYTE:.3f} MiB per 1,000 steps, at last {readings[-1]['anonymous'] >> 20} MiB")
    if IS_LONG:
        assert growth < MEBIBYTE
    else:
        assert readings[-1]["anonymous"] - readings[0]["anonymous"] < 16 * MEBIBYTE


@pytest.mark.parametrize("what", ["files", "threads", "children"])
def test_nothing_that_is_open_adds_up(readings, what):
    assert {reading[what] for reading in readings} == {readings[0][what]}


def test_a_step_takes_as_long_at_the_end_as_at_the_beginning(readings):
    # processor time, which other processes change only through the caches
    steps = [(after["seconds"] - before["seconds"]) / EVERY for before, after in pairwise(readings)]
    third = max(len(steps) // 3, 1)
    first, last = statistics.median(steps[:third]), statistics.median(steps[-third:])
    print(f"processor time a step: {first:.4f} s in the first third, {last:.4f} s in the last")
    assert last < (1.15 if IS_LONG else 2) * first


def test_logs_grow_by_the_same_with_each_step(run_directory, readings):
    # every fourth row tells of a new batch, and every hundredth of an evaluation: 20 steps at least make a mean
    apart = readings[:: max(20 // EVERY, 1)]
    rows = [(after["metrics_bytes"] - before["metrics_bytes"]) for before, after in pairwise(apart)]
    assert max(rows) < 1.2 * min(rows)
    tables = sorted((run_directory / "completions").iterdir())
    assert len(tables) == FIELDS["completions_total_limit"]
    steps = [int(path.stem.removeprefix("step-")) for path in tables]
    assert steps == list(range(NUM_STEPS - 199, NUM_STEPS + 1, FIELDS["steps_per_generation"]))
    checkpoints = [
        json.loads((path / "trainer_state.json").read_text()) for path in run_directory.glob("checkpoint-*")
    ]
    assert [len(state["log_history"]) for state in checkpoints] == [ROWS_IN_STATE] * 2
