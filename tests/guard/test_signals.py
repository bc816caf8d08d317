"""Signals that come in each part of a run; its own code sends them, so that they always come at the same place."""

import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest
import torch
from safetensors.torch import load_file

from mgrpo.cli import main
from mgrpo.commands import build_trainer
from mgrpo.commands import train as run_module
from mgrpo.guard.signals import SHOW_CURSOR, StopSignals
from mgrpo.runs.files import read_rows
from mgrpo.training import trainer as trainer_module
from mgrpo.training.sampling.momentum_model import MomentumModel
from mgrpo.training.trainer import MGRPOTrainer

SETTINGS = {
    "max_steps": 3,
    "logging_steps": 1,
    "dataset_size": 48,
    "num_generations": 6,
    "num_momentum_generations": 2,
    "per_device_train_batch_size": 12,
    "probe_prompts": 0,
    "eval_strategy": "no",
    "save_steps": 100,
    "log_completions": "false",
}
HIDE_CURSOR = "\x1b[?25l"
OF_A_SESSION = ("time", "runtime", "per_second", "train_loss", "total_flos")
"""Numbers that a stopped run does not share: its seconds, and what it logs when training ends."""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 75, signal.SIGHUP: 129}


def train(output_dir, **overrides):
    fields = [word for name, value in (SETTINGS | overrides).items() for word in (f"--{name}", str(value))]
    return main(["train", "--config", "embedded", *fields, "--output_dir", str(output_dir)])


@pytest.fixture(autouse=True)
def not_in_the_background(request):
    """A shell starts what it runs in the background with SIGINT ignored, which a run then keeps so."""
    before = signal.getsignal(signal.SIGINT)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def sent_within(monkeypatch):
    """Sends this process signals when a function is called for the n-th time, before it does what it does."""

    def send(owner, name, *signals, call=1):
        real, calls = getattr(owner, name), [0]

        def sending(*args, **kwargs):
            calls[0] += 1
            if calls[0] == call:
                for number in signals:
                    number() if callable(number) else os.kill(os.getpid(), number)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, sending)

    return send


def numbers(run_directory):
    return [
        {name: value for name, value in row.items() if not any(word in name for word in OF_A_SESSION)}
        for row in read_rows(run_directory / "metrics.jsonl")
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole") / "run"
    assert train(directory) == 0
    return directory


@pytest.mark.parametrize(
    "number", [signal.SIGUSR1, *(pytest.param(number, marks=pytest.mark.slow) for number in list(CODES)[:2])]
)
def test_the_step_is_finished_and_saved_and_the_run_can_go_on(number, tmp_path, sent_within, capsys, whole):
    """In the middle of the second step, after the policy's completions were sampled."""
    sent_within(MGRPOTrainer, "_calculate_rewards", number, call=2)
    assert train(tmp_path / "run") == CODES[number]
    said = capsys.readouterr().err
    assert f"{number.name}: the step under way is finished and saved first" in said
    checkpoint = tmp_path / "run" / "checkpoint-2"
    last = said.splitlines()[-1]
    assert last.startswith(f"mgrpo: stopped: {number.name} after step 2") and str(checkpoint) in last
    assert not (tmp_path / "run" / "final").exists()
    assert train(tmp_path / "run") == 0
    assert numbers(tmp_path / "run") == numbers(whole)
    for name in ("model.safetensors", "momentum/model.safetensors"):
        one, other = (load_file(directory / "final" / name) for directory in (tmp_path / "run", whole))
        assert all(torch.equal(one[weight], other[weight]) for weight in one)


def test_a_batch_that_serves_several_steps_is_used_up_first(tmp_path, sent_within):
    """The signal comes in step 1 of 2 that learn from a batch; a checkpoint holds no batch, so step 2 is trained."""
    sent_within(MGRPOTrainer, "compute_loss", signal.SIGTERM)
    settings = {"gradient_accumulation_steps": 1, "steps_per_generation": 2}
    assert train(tmp_path / "run", **settings) == 143
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-2"]


def test_a_terminal_that_hangs_up(tmp_path, in_child, sent_within):
    """Closing it makes the kernel send SIGHUP, and the shell a second one; from then on it cannot be written to."""

    def train_on_a_terminal():
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
        terminal, slave = pty.openpty()
        for stream in (1, 2):
            os.dup2(slave, stream)

        def hang_up():
            os.close(terminal)
            with pytest.raises(OSError):
                os.write(2, b"x")
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGHUP)

        sent_within(MGRPOTrainer, "_calculate_rewards", hang_up)
        return train(tmp_path / "run")

    code, _ = in_child(train_on_a_terminal)
    assert code == 129
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-1"]


@pytest.mark.slow
def test_while_a_step_is_evaluated(tmp_path, sent_within):
    """Its evaluation is finished and logged, then it is saved: the run that goes on would not evaluate it again."""
    evaluation = {"eval_strategy": "steps", "eval_steps": 1, "eval_dataset_size": 8, "per_device_eval_batch_size": 8}
    sent_within(MGRPOTrainer, "evaluate", signal.SIGTERM, call=2)  # the first is before the first step
    assert train(tmp_path / "run", **evaluation) == 143
    assert (tmp_path / "run" / "checkpoint-1" / "trainer_state.json").exists()
    last = read_rows(tmp_path / "run" / "metrics.jsonl")[-1]
    assert last["step"] == 1 and "eval_gold/accuracy" in last


def test_while_a_checkpoint_is_saved(tmp_path, sent_within):
    """It is finished, and no further step begun."""
    sent_within(MomentumModel, "save", signal.SIGTERM)
    assert train(tmp_path / "run", save_steps=1) == 143
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-1"]
    assert (tmp_path / "run" / "checkpoint-1" / "momentum.safetensors").exists()


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        pytest.param(MGRPOTrainer, "_calculate_rewards", 3, marks=pytest.mark.slow),
        (MGRPOTrainer, "save_momentum_model", 1),
    ],
)
def test_a_run_that_is_as_good_as_finished_is_finished(owner, name, call, tmp_path, sent_within):
    """In its last step, and while final/ is written."""
    sent_within(owner, name, signal.SIGTERM, call=call)
    assert train(tmp_path / "run") == 0
    assert (tmp_path / "run" / "final" / "momentum" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (build_trainer, "load_data"),
        (build_trainer, "load_model"),
        pytest.param(trainer_module, "sample_probe", marks=pytest.mark.slow),
    ],
)
def test_before_the_first_step_there_is_nothing_to_finish(owner, name, tmp_path, sent_within, in_child):
    sent_within(owner, name, signal.SIGTERM)
    code, said = in_child(lambda: train(tmp_path / "run", probe_prompts=4))
    assert code == 143
    last = said.splitlines()[-1]
    assert last.startswith("mgrpo: SIGTERM: stopped at once") and "no checkpoint" in last
    assert not (tmp_path / "run" / "metrics.jsonl").exists() or not numbers(tmp_path / "run")


@pytest.mark.slow
def test_a_run_that_is_resumed_says_what_it_goes_on_from(tmp_path, sent_within, in_child):
    sent_within(MGRPOTrainer, "_calculate_rewards", signal.SIGTERM)
    assert train(tmp_path / "run") == 143
    sent_within(build_trainer, "load_model", signal.SIGTERM)
    code, said = in_child(lambda: train(tmp_path / "run", resume="force"))
    assert code == 143
    assert "stopped at once" in said and str(tmp_path / "run" / "checkpoint-1") in said.splitlines()[-1]


@pytest.mark.slow
def test_while_it_goes_back_to_a_healthy_checkpoint(tmp_path, sent_within, in_child):
    """The run's directory is whole again, and nothing new is begun."""
    collapse = {"learning_rate": 1e-2, "warmup_steps": 4, "momentum": 0.5, "probe_prompts": 16, "max_steps": 8}
    collapse |= {"on_collapse": "rollback", "save_steps": 1}
    sent_within(run_module, "roll_back", signal.SIGTERM)
    code, said = in_child(lambda: train(tmp_path / "run", **collapse))
    assert code == 143
    assert "SIGTERM: going back to the last healthy checkpoint is finished first" in said
    events = read_rows(tmp_path / "run" / "alarms.jsonl")
    assert [event["kind"] for event in events] == ["alarm", "rollback"]
    kept = [int(path.name.split("-")[1]) for path in (tmp_path / "run").glob("checkpoint-*")]
    assert max(kept, default=0) == events[1]["healthy_step"]


def stuck(*_, **__):
    """The first signal, then the second one, while the main thread waits for something that does not come."""
    from mgrpo.answers.worker import in_workers

    in_workers("os.path:basename", [("a/b",)])
    os.write(int(os.environ["TEST_PIPE"]), " ".join(str(p.pid) for p in psutil.Process().children()).encode() + b"\n")
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        signal.pause()


def test_a_second_signal_stops_at_once(tmp_path, monkeypatch, in_child, are_gone):
    """Though the main thread is stuck: no traceback, the cursor is back, and nobody is left behind."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(MGRPOTrainer, "_calculate_rewards", stuck)
    read, write = os.pipe()
    monkeypatch.setenv("TEST_PIPE", str(write))
    master, slave = pty.openpty()
    code, _ = in_child(lambda: train(tmp_path / "run"), slave)
    os.close(slave)
    os.close(write)
    written = b""
    with suppress(OSError):
        while chunk := os.read(master, 65536):
            written += chunk
    os.close(master)
    with os.fdopen(read) as pipe:
        workers = [int(pid) for pid in pipe.read().split()]
    text = written.decode()
    assert code == 130
    assert "SIGINT: stopped at once" in text
    assert "Traceback" not in text
    assert text.count(HIDE_CURSOR) == 1 and text.rindex(SHOW_CURSOR) > text.index(HIDE_CURSOR)
    assert workers and are_gone(workers)


def test_signals_are_one_where_a_launcher_passes_them_on():
    with StopSignals(same_within=1000.0) as signals:
        signals.finish_first("this test is finished first")
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 10
        while signals.asked is None and time.monotonic() < deadline:
            time.sleep(0.01)
    assert signals.asked is signal.SIGTERM and signals.exit_code == 143


def test_what_was_ignored_stays_so_and_children_hear_nothing():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with StopSignals() as signals:
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGUSR1)  # ignored there, and not its parent's
            os.kill(os.getpid(), signal.SIGTERM)  # which ends it as ever
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
        assert signals.asked is None
        subprocess.run([sys.executable, "-S", "-c", ""], check=True)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
