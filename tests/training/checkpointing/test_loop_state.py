"""The part of a checkpoint that holds the training loop, and when a checkpoint is saved."""

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerControl

from mgrpo.errors import UserError
from mgrpo.training.checkpointing import loop_state
from mgrpo.training.checkpointing.loop_state import LoopState, SaveBetweenBatches


def test_a_process_reads_its_own_share(tmp_path):
    for rank in (0, 1):
        loop_state.save(LoopState(num_processes=2, micro_step=3, loss=0.5 + rank), tmp_path, rank)
    assert [loop_state.read(tmp_path, rank).loss for rank in (0, 1)] == [0.5, 1.5]


def test_one_process_more_reads_the_first_ones(tmp_path):
    loop_state.save(LoopState(micro_step=3), tmp_path, 0)
    assert loop_state.read(tmp_path, 1) == LoopState(micro_step=3)


def test_another_trainer_has_written_none(tmp_path):
    assert loop_state.read(tmp_path, 0) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"unknown": 1}'])
def test_a_broken_one_is_named(tmp_path, text):
    (tmp_path / "loop_state_0.json").write_text(text)
    with pytest.raises(UserError, match="loop_state_0.json cannot be read.*another checkpoint"):
        loop_state.read(tmp_path, 0)


def test_an_earlier_version_within_a_batch_is_refused(tmp_path):
    """Version 0.1 kept a batch that served further steps; null where there was none."""
    path = tmp_path / "loop_state_0.json"
    path.write_text(json.dumps({"micro_step": 2, "buffer": None}))
    assert loop_state.read(tmp_path, 0).micro_step == 2
    path.write_text(json.dumps({"micro_step": 3, "buffer": [{"advantages": {"tensor": "0.advantages"}}]}))
    with pytest.raises(UserError, match="earlier version.*another checkpoint.*--output_dir"):
        loop_state.read(tmp_path, 0)


def test_a_save_within_a_batch_is_put_off_to_its_last_step():
    step = 0
    saves, control = SaveBetweenBatches(lambda: step % 4 == 0), TrainerControl()
    made = []
    for step in range(1, 12):
        control.should_save = step in (3, 8, 9)
        control.should_training_stop = step == 11
        saves.on_step_end(SimpleNamespace(load_best_model_at_end=False), None, control)
        if control.should_save and saves.may_save(control):
            made.append(step)
    assert made == [4, 8]  # what fell due at 9 waits for 12, which does not come


@pytest.mark.parametrize(("load_best", "expected"), [(False, [1, 3, 5, 8, 11]), (True, [4, 8, 11])])
def test_an_evaluation_within_a_batch_is_put_off_where_the_best_model_is_loaded(load_best, expected):
    step = 0
    saves, control = SaveBetweenBatches(lambda: step % 4 == 0), TrainerControl()
    made = []
    for step in range(1, 12):
        control.should_evaluate = step in (1, 3, 5, 8, 11)
        control.should_training_stop = step == 11
        saves.on_step_end(SimpleNamespace(load_best_model_at_end=load_best), None, control)
        made += [step] if control.should_evaluate else []
    assert made == expected  # the last of them before the run ends


def test_a_run_that_ends_saves_at_once():
    saves = SaveBetweenBatches(lambda: False)
    assert saves.may_save(TrainerControl(should_training_stop=True))
    assert not saves.may_save(TrainerControl())


def test_the_configurations_learning_rate_replaces_the_checkpoints():
    """Half way through a linear schedule from 0.1 the rate is 0.05; from 0.4 it is 0.2."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 4)
    for _ in range(2):
        optimizer.step()
        scheduler.step()
    loop_state.apply_learning_rate(0.4, optimizer, scheduler)
    assert scheduler.base_lrs == [0.4]
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2)
    assert scheduler.get_last_lr() == [pytest.approx(0.2)]
