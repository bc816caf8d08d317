"""Engines and data loaders that never come back, in real runs of the embedded model."""

import ctypes
import threading
from types import SimpleNamespace

import psutil
import pytest

from mgrpo.answers.worker import in_workers
from mgrpo.cli import main
from mgrpo.errors import UserError
from mgrpo.guard import guard, watchdog
from mgrpo.guard.lock import run_lock
from mgrpo.guard.watchdog import Watchdog
from mgrpo.training.trainer import MGRPOTrainer

SETTINGS = ["--dataset_size", "48", "--num_generations", "6", "--num_momentum_generations", "2"]
SETTINGS += ["--per_device_train_batch_size", "12", "--probe_prompts", "0", "--eval_strategy", "no"]
SETTINGS += ["--save_steps", "1", "--logging_steps", "1"]


def run(directory):
    return main(["train", "--config", "embedded", *SETTINGS, "--output_dir", str(directory)])


@pytest.fixture
def minutes_are_seconds(monkeypatch):
    """A watchdog of five seconds."""
    monkeypatch.setattr(guard, "Watchdog", lambda minutes: Watchdog(5 / 60))


@pytest.fixture
def stuck_in_second_step(monkeypatch):
    """Something else happens in the second step, instead of the rewards."""
    real, calls = MGRPOTrainer._calculate_rewards, [0]

    def stick(act):
        def calculate(*args, **kwargs):
            calls[0] += 1
            if calls[0] == 2:
                act()
            return real(*args, **kwargs)

        monkeypatch.setattr(MGRPOTrainer, "_calculate_rewards", calculate)

    return stick


def wait_for_ever():
    threading.Event().wait()


def test_a_stuck_engine_ends_the_run(tmp_path, stuck_in_second_step, in_child, minutes_are_seconds, are_gone):
    def begin_waiting():
        in_workers("os.path:basename", [("a/b",)])
        (tmp_path / "workers").write_text(" ".join(str(child.pid) for child in psutil.Process().children()))
        wait_for_ever()

    stuck_in_second_step(begin_waiting)
    code, said = in_child(lambda: run(tmp_path / "run"))
    assert code == 1
    assert "Timeout (0:00:05)!" in said and "in wait_for_ever" in said and "in _generate_and_score_completions" in said
    workers = [int(pid) for pid in (tmp_path / "workers").read_text().split()]
    assert workers and are_gone(workers)
    with run_lock(tmp_path / "run"):  # the lock of the process that ended is free
        assert (tmp_path / "run" / "checkpoint-1").exists()


@pytest.mark.slow
def test_somebody_who_keeps_the_interpreter_s_lock(tmp_path, stuck_in_second_step, in_child, minutes_are_seconds):
    stuck_in_second_step(lambda: ctypes.PyDLL(None).sleep(1000))
    code, said = in_child(lambda: run(tmp_path / "run"))
    assert code == 1
    assert "Timeout (0:00:05)!" in said and "in <lambda>" in said and "in _generate_and_score_completions" in said


def test_steps_and_passes_of_the_model_are_movements(make_trainer, monkeypatch):
    armed, now = [], [0.0]
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=lambda: now.append(now.pop() + 2) or now[0]))
    monkeypatch.setattr(
        watchdog,
        "faulthandler",
        SimpleNamespace(dump_traceback_later=lambda seconds, **_: armed.append(seconds)),
    )
    trainer = make_trainer(max_steps=1)
    dog = Watchdog(60)
    dog.follow(trainer.model)
    trainer.add_callback(dog)
    trainer.train()
    # a pass for each token that is sampled, from both models
    assert set(armed) == {3600.0} and len(armed) > 2 * trainer.args.max_completion_length


def test_it_is_armed_once_a_second_at_most(monkeypatch):
    """Each time starts a thread."""
    armed = []
    monkeypatch.setattr(
        watchdog, "faulthandler", SimpleNamespace(dump_traceback_later=lambda *args, **_: armed.append(args))
    )
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=iter([0.0, 0.4, 0.9, 1.1, 2.0, 2.2]).__next__))
    dog = Watchdog(1)
    for _ in range(6):
        dog.arm()
    assert armed == [(60,)] * 3  # at 0.0, 1.1 and 2.2


def test_a_limit_that_is_none(make_config):
    with pytest.raises(UserError, match="watchdog_minutes is 0.*above 0.*none"):
        make_config(watchdog_minutes=0)
    assert make_config(watchdog_minutes=None).watchdog_minutes is None
