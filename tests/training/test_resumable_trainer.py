"""The best models at the end: policy and momentum model of the same step."""

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file

LORA = LoraConfig(r=4, target_modules="all-linear")


def evaluated_as(trainer, values):
    """The trainer, with a metric that is so much at each step."""
    trainer.evaluate = lambda *_, **__: {"eval_x": values[trainer.state.global_step]}
    return trainer


def best_settings(**more):
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_x", "greater_is_better": True}
    every_step = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    return {**best, **every_step, "num_generations_eval": 1, **more}


def same(model, file):
    saved = load_file(file)
    return all(torch.equal(saved[name], weight) for name, weight in model.items())


@pytest.mark.parametrize("steps_per_generation", [1, 2])
def test_the_best_policy_is_saved_with_the_momentum_model_of_its_step(
    make_trainer, chain_data, tmp_path, steps_per_generation
):
    settings = best_settings(max_steps=4, steps_per_generation=steps_per_generation, per_device_train_batch_size=12)
    trainer = make_trainer({"eval_dataset": chain_data(8, split="test")}, **settings)
    # with two steps to a batch, the best step has no checkpoint, and the weights that are measured are the next ones'
    evaluated_as(trainer, {1: 0 if steps_per_generation == 1 else 9, 2: 3, 3: 1, 4: 2}).train()
    assert trainer.best_step == 2 and trainer.state.global_step == 4
    trainer.save_momentum_model(tmp_path / "momentum")
    best = tmp_path / "run" / "checkpoint-2"
    assert same({name: p for name, p in trainer.model.named_parameters()}, best / "model.safetensors")
    assert same(load_file(best / "momentum.safetensors"), tmp_path / "momentum" / "model.safetensors")
    assert not same(load_file(best / "momentum.safetensors"), best / "model.safetensors")


def test_the_best_adapter_is_saved_with_the_momentum_adapter_of_its_step(make_trainer, chain_data, tmp_path):
    given = {"eval_dataset": chain_data(8, split="test"), "peft_config": LORA}
    trainer = evaluated_as(make_trainer(given, **best_settings(max_steps=3)), {1: 0, 2: 3, 3: 1})
    trainer.train()
    trainer.save_momentum_model(tmp_path / "momentum")
    found = load_file(tmp_path / "momentum" / "adapter_model.safetensors")
    kept = load_file(tmp_path / "run" / "checkpoint-2" / "momentum.safetensors")
    assert trainer.best_step == 2 and len(found) == len(kept)
    assert all(torch.equal(kept[name.replace(".weight", ".default.weight")], weight) for name, weight in found.items())


def test_a_moved_run_knows_its_best_checkpoint(make_trainer, chain_data, tmp_path):
    data = {"eval_dataset": chain_data(8, split="test")}
    evaluated_as(make_trainer(data, **best_settings(max_steps=2)), {1: 3, 2: 1}).train()
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    again = evaluated_as(make_trainer(data, **best_settings(max_steps=3, output_dir=str(moved))), {3: 2})
    again.train(resume_from_checkpoint=str(moved / "checkpoint-2"))
    assert again.state.best_model_checkpoint == str(moved / "checkpoint-1") and again.best_step == 1
