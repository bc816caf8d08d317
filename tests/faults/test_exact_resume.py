"""A run that resumes from any of its checkpoints ends with the bits of the run that never stopped."""

import json
import math
import shutil

import pytest
import torch
from peft import LoraConfig

from mgrpo.runs.checkpoints import checkpoints

OF_A_SESSION = ("time", "runtime", "per_second")
HALF = {"per_device_train_batch_size": 12}
"""Passes of half a batch."""
SETTINGS = {
    "one pass a step": {},
    "two passes a step": {**HALF, "gradient_accumulation_steps": 2},
    "a batch serves two steps": {**HALF, "steps_per_generation": 2},
    "a batch is learnt from twice": {"num_iterations": 2},
    "both, in quarters": {
        **{"per_device_train_batch_size": 6, "steps_per_generation": 4},
        **{"num_iterations": 2, "gradient_accumulation_steps": 2},
    },
    "rows across checkpoints": {**HALF, "steps_per_generation": 2, "logging_steps": 3, "log_completions": True},
    "several epochs": {"max_steps": 7, "num_prompts": 12, "logging_steps": 2},
    "an epoch that ends between steps": {**HALF, "steps_per_generation": 2, "num_prompts": 20, "max_steps": 12},
    "labels that flip, nobody answers": {"max_steps": 7, "num_prompts": 12, "max_completion_length": 7},
    "lora with dropout": {"lora": True},
    "random rewards, labels of the initial model": {"reward": "random", "label_source": "frozen", "num_prompts": 12},
    "evaluated": {
        **{"eval_strategy": "steps", "eval_steps": 2, "logging_steps": 2},
        **{"per_device_eval_batch_size": 12, "num_generations_eval": 6},
    },
}
STEPS_OF_A_BATCH = {
    "a batch serves two steps": 2,
    "a batch is learnt from twice": 2,
    "both, in quarters": 4,
    "rows across checkpoints": 2,
    "an epoch that ends between steps": 2,
}
"""Optimizer steps of each sampled batch: checkpoints are saved after the last of them, and after the last of all."""
ALL_AT_ONCE = {
    **{"per_device_train_batch_size": 12, "steps_per_generation": 2, "num_iterations": 2, "num_prompts": 8},
    **{"max_steps": 10, "logging_steps": 3, "eval_strategy": "steps", "eval_steps": 4},
    **{"per_device_eval_batch_size": 12, "num_generations_eval": 6, "label_flip_patience": 1},
    "breaks_at": 2,
}


def rows_of(directory):
    """Metric rows without times."""
    rows = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    return [{n: v for n, v in row.items() if not any(word in n for word in OF_A_SESSION)} for row in rows]


def state_of(trainer):
    """All that two runs must have in common, as one mapping."""
    optimizer = trainer.optimizer.state_dict()["state"]
    return {
        **{f"policy.{name}": p.detach() for name, p in trainer.model.named_parameters()},
        **{f"momentum.{name}": weight for name, weight in trainer.momentum_model._weights.items()},
        **{f"optimizer.{i}.{name}": value for i, of_one in optimizer.items() for name, value in of_one.items()},
        "random state": torch.random.get_rng_state(),
    }


@pytest.fixture
def make(make_trainer, chain_data):
    """Makes a trainer of a setting that saves at every step."""

    def make(directory, num_prompts=64, lora=False, breaks_at=None, **settings):
        kwargs = {"train_dataset": chain_data(num_prompts)}
        if lora:
            kwargs["peft_config"] = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.1)
        if "eval_strategy" in settings:
            kwargs["eval_dataset"] = chain_data(4, split="test")
        settings = {"max_steps": 5, "save_strategy": "steps", "save_steps": 1, "probe_prompts": 4, **settings}
        trainer = make_trainer(kwargs, output_dir=str(directory), **settings)
        weight = next(p for p in trainer.model.parameters() if p.requires_grad)
        weight.register_hook(lambda grad: grad * (math.nan if trainer.state.global_step == breaks_at else 1.0))
        return trainer

    return make


def differences(whole, again, whole_directory, directory):
    left, right = state_of(whole), state_of(again)
    assert left.keys() == right.keys()
    found = [name for name in left if not torch.equal(left[name], right[name])]
    rows, other_rows = rows_of(whole_directory), rows_of(directory)
    assert [row["step"] for row in rows] == [row["step"] for row in other_rows]
    for row, other in zip(rows, other_rows, strict=True):
        found += [
            f"step {row['step']}: {name}" for name in row.keys() | other.keys() if row.get(name) != other.get(name)
        ]
    return found


def check(make, tmp_path, settings, steps_of_a_batch, steps=None):
    whole = make(tmp_path / "whole", **settings)
    whole.train()
    assert whole.label_memory._seen
    assert whole.gradient_guard.num_skipped == ("breaks_at" in settings)
    last = whole.state.max_steps
    saved = sorted(step for step, _ in checkpoints(tmp_path / "whole"))
    assert saved == [step for step in range(1, last + 1) if step % steps_of_a_batch == 0 or step == last]
    for step in steps or saved:
        directory = tmp_path / f"from-{step}"
        shutil.copytree(tmp_path / "whole", directory)
        again = make(directory, **settings)
        again.train(resume_from_checkpoint=str(directory / f"checkpoint-{step}"))
        assert not differences(whole, again, tmp_path / "whole", directory), f"from step {step}"
        assert again.label_memory._seen == whole.label_memory._seen


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_from_every_step(make, tmp_path, name):
    check(make, tmp_path, SETTINGS[name], STEPS_OF_A_BATCH.get(name, 1))


def test_from_the_middle_of_an_epoch_and_a_row(make, tmp_path):
    """Step 4 of 7: a batch serves 4 steps, an epoch has 8; rows come every 3 steps, evaluations every 4."""
    check(make, tmp_path, ALL_AT_ONCE | {"max_steps": 7}, 4, steps=[4])


@pytest.mark.slow
def test_from_every_step_all_at_once(make, tmp_path):
    check(make, tmp_path, ALL_AT_ONCE, 4)
