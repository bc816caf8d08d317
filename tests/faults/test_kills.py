"""Runs that are killed by SIGKILL, and started again with the same command, end as one that was never killed."""

import json
import os
import random
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

sys.path.append(str(Path(__file__).parent))
from killing import run  # noqa: E402

from mgrpo.recipes.files import read_recipe_files  # noqa: E402

SEED = int(os.environ.get("MGRPO_KILL_SEED", "0"))
"""Of the slow tests: which instants."""
NUM_KILLS = 20
MOST_IN_A_RUN = 4
"""Kills of one run, until another one is begun."""
OF_A_SESSION = ("time", "runtime", "per_second")
SMALL = {
    **{"num_generations": 6, "num_momentum_generations": 2, "per_device_train_batch_size": 12, "dataset_size": 12},
    **{"steps_per_generation": 2, "max_steps": 9, "logging_steps": 2, "save_steps": 3, "save_total_limit": 2},
    **{"eval_steps": 4, "eval_dataset_size": 8, "per_device_eval_batch_size": 8, "probe_prompts": 8},
    **{"log_completions": True, "share_prompts": False},
}
"""Batches that serve two steps, three an epoch; rows, evaluations and checkpoints each at intervals of their own."""
ROLLBACK = {
    **{"learning_rate": 1e-3, "warmup_steps": 4, "probe_prompts": 16, "logging_steps": 1, "save_steps": 2},
    **{"num_momentum_generations": 2, "num_generations": 6, "per_device_train_batch_size": 48, "dataset_size": 64},
    **{"momentum": 0.5, "eval_strategy": "no", "max_steps": 12, "on_collapse": "rollback", "rollback_lr_scale": 0.01},
    **{"max_rollbacks": 2, "share_prompts": False, "log_completions": True},
}
"""At five times the recipe's rate the initial model's answers become unlikely within some steps: it goes back."""


def fields_of(settings, directory):
    return read_recipe_files(["embedded"]) | settings | {"output_dir": str(directory)}


def without_times(row):
    return {name: value for name, value in row.items() if not any(word in name for word in OF_A_SESSION)}


def rows_of(path):
    """Rows of a file that ends with a whole line."""
    text = path.read_text()
    assert text.endswith("\n") or not text
    return [without_times(json.loads(line)) for line in text.splitlines()]


def content_of(path):
    """What must be the same in two runs, of a file; None of one that holds times and paths."""
    if path.suffix == ".jsonl":
        return rows_of(path)
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.name.startswith("loop_state_") and path.suffix == ".json":
        state = json.loads(path.read_text())
        state["metrics"], state["last_row"] = without_times(state["metrics"]), without_times(state["last_row"])
        return state | {"seconds": None}
    if path.name == "trainer_state.json":
        state = json.loads(path.read_text())
        return state | {"log_history": [without_times(row) for row in state["log_history"]]}
    if path.suffix in (".pt", ".pth"):  # torch.save's archives
        return flat(torch.load(path, weights_only=False))
    if path.name in ("config.yaml", "environment.json", "training_args.bin", "manifest.json", "README.md"):
        return None
    return path.read_bytes()


def flat(value):
    if isinstance(value, dict):
        return {name: flat(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [flat(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def assert_same_runs(left, right):
    files = [{path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()} for run in (left, right)]
    assert files[0] == files[1]
    for name in sorted(files[0]):
        assert content_of(left / name) == content_of(right / name), name


def pick(rng, reference, phase, depth):
    """An instant of a run that was killed `depth` times: a phase, which time it begins, and seconds after that."""
    times = [(begin, end) for (begin, name), (end, _) in zip(reference, reference[1:], strict=False) if name == phase]
    number = rng.randrange(max(len(times) // (1 + depth), 1))  # less of it is left each time
    begin, end = times[number]
    return phase, number, rng.uniform(0, end - begin)


def kill_and_go_on(fork, tmp_path, settings, *, num_kills, seed, phases=None, looks_at_each=True):
    """Kill a run at random instants, and after each (or the last) let a copy of what is left go to its end.

    Returns how many kills there were in each phase, and those that were not survived, with the reason.
    """
    rng = random.Random(seed)
    whole, log = tmp_path / "whole", tmp_path / "log"
    reference = run(fork, fields_of(settings, whole), log)
    assert reference.code == 0, log.read_text()
    known = sorted({name for _, name in reference.phases[:-1]} if phases is None else phases)
    killed, lost, left, depth = Counter(), [], [], MOST_IN_A_RUN
    while killed.total() < num_kills:
        if depth == MOST_IN_A_RUN:
            depth, directory = 0, tmp_path / f"killed-{killed.total()}"
            shutil.rmtree(directory, ignore_errors=True)
        if not left:
            left = rng.sample(known, len(known))
        instant = pick(rng, reference.phases, left.pop(), depth)
        ended = run(fork, fields_of(settings, directory), log, instant)
        if ended.code == 0:  # it came to its end before
            depth = MOST_IN_A_RUN
            continue
        depth += 1
        assert ended.code == -signal.SIGKILL, log.read_text()
        killed[instant[0]] += 1
        if not looks_at_each and killed.total() < num_kills:
            continue
        copy = tmp_path / f"copy-{killed.total()}"
        if directory.exists():
            shutil.copytree(directory, copy)
        again = run(fork, fields_of(settings, copy), log)
        try:
            assert again.code == 0, log.read_text()[-2000:]
            assert_same_runs(whole, copy)
        except AssertionError as error:
            lost.append((instant, str(error)))
        shutil.rmtree(copy)
    return killed, lost


def test_three_kills(fork, tmp_path):
    settings = SMALL | {"max_steps": 4, "eval_strategy": "no", "eval_on_start": False, "save_steps": 2}
    phases = ["sampling", "learning", "completing a checkpoint"]
    killed, lost = kill_and_go_on(fork, tmp_path, settings, num_kills=3, seed=0, phases=phases, looks_at_each=False)
    assert not lost
    assert killed.total() == 3


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_twenty_kills(fork, tmp_path):
    """In all phases, start-up and the end among them."""
    killed, lost = kill_and_go_on(fork, tmp_path, SMALL, num_kills=NUM_KILLS, seed=SEED)
    print(f"\nseed {SEED}: survived {NUM_KILLS - len(lost)} of {NUM_KILLS}: {dict(killed)}")
    assert not lost


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_kills_around_a_rollback(fork, tmp_path):
    phases = ["rolling back", "writing an alarm", "saving", "writing the recipe", "sampling"]
    killed, lost = kill_and_go_on(fork, tmp_path, ROLLBACK, num_kills=5, seed=SEED, phases=phases)
    print(f"\nseed {SEED}: survived {5 - len(lost)} of 5: {dict(killed)}")
    assert not lost
