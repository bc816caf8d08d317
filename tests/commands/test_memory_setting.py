import pytest

from mgrpo.commands.memory_setting import GIB, Setting


def setting(**changed):
    given = {"gpus": 4, "gpu_memory": 80 * GIB, "sharding": "ddp", "dtype_bytes": 4, "mixed_precision": False}
    given |= {"use_peft": False, "has_momentum": True, "has_reference": True, "optim": "adamw_torch"}
    given |= {"gradient_checkpointing": False, "per_device_train_batch_size": 2, "num_sampled": 24, "num_voting": 8}
    return Setting(**(given | {"max_prompt_length": 7, "max_completion_length": 14} | changed))


@pytest.mark.parametrize(
    ("sharding", "weight_shards", "optimizer_shards"),
    [("ddp", 1, 1), ("zero-2", 1, 4), ("zero-3", 4, 4), ("fsdp2", 4, 4)],
)
def test_what_is_split(sharding, weight_shards, optimizer_shards):
    found = setting(sharding=sharding)
    assert (found.weight_shards, found.optimizer_shards) == (weight_shards, optimizer_shards)


@pytest.mark.parametrize(
    ("changed", "frozen", "trained", "compute", "residual"),
    [
        ({}, 4, 4, 4, 4),
        ({"mixed_precision": True}, 4, 4, 2, 4),  # autocast: the residual stream stays float32
        ({"dtype_bytes": 2}, 2, 2, 2, 2),
        ({"dtype_bytes": 2, "use_peft": True}, 2, 4, 2, 2),  # PEFT's adapters are float32
        ({"dtype_bytes": 2, "mixed_precision": True, "sharding": "fsdp2"}, 2, 4, 2, 2),
        ({"mixed_precision": True, "sharding": "zero-2"}, 2, 2, 2, 2),  # DeepSpeed casts all weights
    ],
)
def test_bytes_of_a_number(changed, frozen, trained, compute, residual):
    found = setting(**changed)
    assert (found.frozen_bytes, found.trained_bytes) == (frozen, trained)
    assert (found.compute_bytes, found.residual_bytes) == (compute, residual)


def test_two_adapters_are_sampled_together_where_weights_are_whole():
    assert setting(use_peft=True).samples_together and not setting().samples_together
    assert not setting(use_peft=True, sharding="fsdp2").samples_together
    assert not setting(use_peft=True, has_momentum=False).samples_together
