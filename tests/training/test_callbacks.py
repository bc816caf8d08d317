"""The callbacks, given what they use: no trainer."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import TrainerControl, TrainerState

from mgrpo.errors import UserError
from mgrpo.runs import metrics as names
from mgrpo.training.callbacks import FiniteGradients, MomentumUpdate, RunFiles
from mgrpo.training.sampling.momentum_model import MomentumModel


def accelerator(**settings):
    return SimpleNamespace(**{"scaler": None, "num_processes": 1, "optimizer_step_was_skipped": False, **settings})


@pytest.fixture
def model():
    """One weight, 2, whose gradient is 1."""
    made = nn.Linear(1, 1, bias=False)
    nn.init.constant_(made.weight, 2.0)
    made.weight.grad = torch.ones(1, 1)
    return made


@pytest.fixture
def args(tmp_path):
    return SimpleNamespace(output_dir=str(tmp_path), learning_rate=0.1, completions_total_limit=None)


def step(guard, args, model, number=1):
    """An optimizer step as transformers announces it; returns what is asked for after it."""
    control = TrainerControl()
    guard.on_pre_optimizer_step(args, TrainerState(), control, model=model)
    guard.on_step_end(args, TrainerState(global_step=number), control, model=model)
    return control


def test_finite_gradients_are_left_alone(model, args):
    guard = FiniteGradients(accelerator())
    control = step(guard, args, model)
    assert model.weight.grad.item() == 1
    assert (guard.num_skipped, guard.is_skipped, control.should_training_stop) == (0, False, False)


@pytest.mark.parametrize("where", ["gradient", "loss"])
def test_what_is_not_finite_is_taken_away_and_too_much_of_it_stops_the_run(model, args, where):
    guard = FiniteGradients(accelerator())
    for number in range(1, 6):
        model.weight.grad = torch.full((1, 1), torch.inf if where == "gradient" else 1.0)
        if where == "loss":
            assert guard.see_loss(torch.tensor(torch.nan)).isnan()
        control = step(guard, args, model, number)
        assert model.weight.grad is None
        assert (guard.num_skipped, guard.is_skipped) == (number, True)
    assert control.should_training_stop and control.should_save
    assert "5 steps in a row" in guard.stop_reason and "learning_rate" in guard.stop_reason
    again = FiniteGradients(accelerator())
    again.load_state_dict(json.loads(json.dumps(guard.state_dict())))
    assert (again.num_skipped, again.stop_reason) == (5, guard.stop_reason)


def test_a_finite_step_begins_the_count_anew(model, args):
    guard = FiniteGradients(accelerator())
    for gradient in (torch.inf, 1.0, torch.inf):
        model.weight.grad = torch.full((1, 1), gradient)
        control = step(guard, args, model)
    assert (guard.num_skipped, control.should_training_stop) == (2, False)


def test_weights_that_a_step_breaks_end_the_run(model, args):
    guard = FiniteGradients(accelerator())
    nn.init.constant_(model.weight, torch.nan)
    with pytest.raises(UserError, match=r"step 3 .*weight holds nan.*learning_rate below 0\.1"):
        step(guard, args, model, number=3)
    with pytest.raises(UserError, match="checkpoint of step 3.*weight holds nan"):
        guard.on_train_begin(args, TrainerState(global_step=3), TrainerControl(), model=model)


def test_the_momentum_model_follows_by_the_schedule_unless_the_step_was_skipped(model):
    started, logged, models = [], [], [None, None]
    guard = SimpleNamespace(num_skipped=0, is_skipped=False)
    update = MomentumUpdate(
        lambda: started.append(True), lambda: models, guard, "constant", lambda *metric: logged.append(metric)
    )
    update.on_train_begin(None, None, None)
    assert started
    update.on_step_end(None, TrainerState(global_step=1, max_steps=4), TrainerControl())  # without a momentum model
    models[0] = MomentumModel(model, m=0.5)
    nn.init.constant_(model.weight, 4.0)
    update.on_step_end(None, TrainerState(global_step=1, max_steps=4), TrainerControl())
    weight = models[0].pairs[0][1]
    assert weight.item() == 3.0  # half-way from 2 to 4
    assert logged == []
    guard.num_skipped, guard.is_skipped = 1, True
    models[1] = SimpleNamespace(metrics=lambda: {names.PROBE: -0.25})
    update.on_step_end(None, TrainerState(global_step=2, max_steps=4), TrainerControl(should_log=True))
    assert weight.item() == 3.0
    # |3 - 4| / 4
    assert logged == [(names.SKIPPED_STEPS, 1), (names.PROBE, -0.25), (names.MOMENTUM, 0.5), (names.DISTANCE, 0.25)]


def test_rows_and_tables_are_written(args, tmp_path):
    files, state = RunFiles(pytest.fail), TrainerState(global_step=0, is_world_process_zero=True)
    files.on_train_begin(args, state, None)
    for number in (1, 2):
        state.global_step = number
        files.completion_rows = [{"group": 0, "completion": f"text {number}"}] if number == 2 else []
        files.on_log(args, state, None, logs={"loss": 0.5 * number})
    assert files.last_row["loss"] == 1.0
    assert files.completion_rows == []
    files.flush()
    files.on_train_end()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 0.5), (2, 1.0)]
    assert [path.name for path in (tmp_path / "completions").iterdir()] == ["step-000002.parquet"]
    assert files.last_row == {}


def test_other_processes_write_nothing(args, tmp_path):
    files, state = RunFiles(pytest.fail), TrainerState(global_step=0, is_world_process_zero=False)
    files.on_train_begin(args, state, None)
    files.on_log(args, state, None, logs={"loss": 0.5})
    files.flush()
    files.on_train_end()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_told_once_and_written_later(args, tmp_path, monkeypatch):
    told = []
    files, state = RunFiles(told.append), TrainerState(global_step=1, is_world_process_zero=True)
    files.on_train_begin(args, state, None)
    (tmp_path / "completions").write_text("in the way")
    for _ in range(2):
        files.completion_rows = [{"group": 0, "completion": "text"}]
        files.on_log(args, state, None, logs={"loss": 0.5})
        state.global_step += 1
    assert len(told) == 1 and "step 1" in told[0] and str(tmp_path) in told[0]
    (tmp_path / "completions").unlink()
    files.flush()
    assert len(list((tmp_path / "completions").iterdir())) == 2
    files.on_train_end()
