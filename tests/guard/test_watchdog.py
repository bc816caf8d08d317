"""Engines and data loaders that never come back, in real runs of the embedded model."""

import ctypes
import threading
import time
from types import SimpleNamespace

import psutil
import pytest

from mgrpo.answers.worker import in_workers
from mgrpo.cli import main
from mgrpo.errors import UserError
from mgrpo.guard import watchdog
from mgrpo.guard.watchdog import Watchdog
from mgrpo.training.sampling.sampler import Sampler

SETTINGS = ["--dataset_size", "48", "--num_generations", "6", "--num_momentum_generations", "2"]
SETTINGS += ["--per_device_train_batch_size", "12", "--probe_prompts", "0", "--eval_strategy", "no"]
SETTINGS += ["--save_steps", "1", "--logging_steps", "1"]


def run(directory):
    return main(["train", "--config", "embedded", *SETTINGS, "--output_dir", str(directory)])


@pytest.fixture
def an_hour_passes(monkeypatch):
    """Lets the watchdog's clock go ahead."""
    ahead = [0]
    monkeypatch.setattr(
        watchdog, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0], strftime=time.strftime)
    )
    return lambda: ahead.append(ahead.pop() + 3601)


@pytest.fixture
def stuck_in_second_step(monkeypatch):
    """The engine does something else than to sample, instead of the second batch of the momentum model."""
    real, calls = Sampler.sample_momentum, [0]

    def stick(act):
        def sample(*args, **kwargs):
            calls[0] += 1
            if calls[0] == 2:
                act()
            return real(*args, **kwargs)

        monkeypatch.setattr(Sampler, "sample_momentum", sample)

    return stick


def wait_for_ever():
    threading.Event().wait()


def test_a_stuck_engine_ends_the_run(tmp_path, stuck_in_second_step, in_child, an_hour_passes, are_gone):
    def begin_waiting():
        in_workers("os.path:basename", [("a/b",)])
        (tmp_path / "workers").write_text(" ".join(str(child.pid) for child in psutil.Process().children()))
        an_hour_passes()
        wait_for_ever()

    stuck_in_second_step(begin_waiting)
    code, said = in_child(lambda: run(tmp_path / "run"))
    (stacks,) = (tmp_path / "run").glob("stuck-*-0.txt")
    assert code == 6
    assert said.splitlines()[-1].startswith(
        "mgrpo: nothing moved for 60 minutes (watchdog_minutes) at step 1, in Condition.wait of threading.py, line "
    )
    assert said.endswith(
        f"; the stacks of all threads are in {stacks}; the same command goes on from {tmp_path}/run/checkpoint-1.\n"
    )
    text = stacks.read_text()
    assert "in wait_for_ever" in text and "in _calculate_rewards" in text and "in _look" in text
    workers = [int(pid) for pid in (tmp_path / "workers").read_text().split()]
    assert workers and are_gone(workers)
    assert not (tmp_path / "run" / "run.lock").exists()  # given back


@pytest.mark.slow
def test_somebody_who_keeps_the_interpreter_s_lock(tmp_path, stuck_in_second_step, in_child, monkeypatch):
    """No thread of Python's runs any more; the kernel's timer does."""
    monkeypatch.setattr(watchdog, "HELD_SECONDS", 5.0 - 3600)
    stuck_in_second_step(lambda: ctypes.PyDLL(None).sleep(1000))
    code, said = in_child(lambda: run(tmp_path / "run"))
    assert code == 1
    assert "Timeout (0:00:05)!" in said and "in <lambda>" in said and "in _calculate_rewards" in said


def test_steps_and_passes_of_the_model_are_movements(make_trainer, tmp_path):
    class Counting(Watchdog):
        num_moved = 0

        def moved(self, *_):
            self.num_moved += 1

    trainer = make_trainer(max_steps=1)
    dog = Counting(60, tmp_path, 0, lambda: "")
    dog.follow(trainer.model)
    trainer.add_callback(dog)
    trainer.train()
    # a pass for each token that is sampled, from both models
    assert dog.num_moved > 2 * trainer.args.max_completion_length


def test_a_limit_that_is_none(make_config):
    with pytest.raises(UserError, match="watchdog_minutes is 0; set it above 0, or to none for no watchdog"):
        make_config(watchdog_minutes=0)
    assert make_config(watchdog_minutes=None).watchdog_minutes is None
