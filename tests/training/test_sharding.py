from types import SimpleNamespace

import pytest
from peft import LoraConfig

from mgrpo import MGRPOTrainer
from mgrpo.cli import main
from mgrpo.errors import UserError
from mgrpo.training.checks import check_sharding

ADAPTER = LoraConfig(r=4, target_modules="all-linear")


@pytest.fixture
def launched(monkeypatch, make_config):
    """Makes a configuration as an engine's processes see it."""

    def make(engine, **fields):
        config = make_config(entropy_source="sampled", **fields)
        if engine == "fsdp":
            monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
        elif engine is not None:
            config.deepspeed_plugin = SimpleNamespace(zero_stage=int(engine[-1]))
        return config

    return make


OFFLOAD = {"momentum_cpu_offload": True}
VLLM = {"use_vllm": True, "vllm_mode": "colocate"}


@pytest.mark.parametrize(
    ("engine", "fields", "is_adapter", "message"),
    [
        ("fsdp", {"share_prompts": True}, False, "share_prompts is on, but FSDP or DeepSpeed may shard"),
        ("zero-2", {"share_prompts": True}, False, "share_prompts is on, but FSDP or DeepSpeed may shard"),
        ("fsdp", OFFLOAD, False, "momentum_cpu_offload is on, but FSDP or DeepSpeed ZeRO-3 shards"),
        ("zero-3", OFFLOAD, False, "momentum_cpu_offload is on, but FSDP or DeepSpeed ZeRO-3 shards"),
        ("fsdp", VLLM, True, "use_vllm is on with an adapter.* FSDP"),
        ("zero-3", VLLM, True, "launch by DDP or ZeRO-2, or set use_vllm to false"),
        ("zero-2", OFFLOAD, False, None),
        ("zero-2", VLLM, True, None),
        ("fsdp", VLLM, False, None),
        ("fsdp", {**VLLM, "vllm_mode": "server"}, True, None),  # TRL merges it, and gathers what it hands over
        (None, {"share_prompts": True, **OFFLOAD, **VLLM}, True, None),
    ],
)
def test_what_sharding_takes_apart_is_refused(launched, engine, fields, is_adapter, message):
    config = launched(engine, **fields)
    if message is None:
        check_sharding(config, is_adapter=is_adapter)
    else:
        with pytest.raises(UserError, match=message):
            check_sharding(config, is_adapter=is_adapter)


def test_before_a_model_is_loaded(launched, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    # the recipe shares prompts
    assert main(["train", "--config", "embedded", "--output_dir", str(tmp_path / "run")]) == 2
    assert "share_prompts is on, but FSDP" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="use_vllm is on with an adapter"):  # there is no model of this name
        MGRPOTrainer("no-such-model", args=launched("fsdp", **VLLM), answer_fn=str, peft_config=ADAPTER)
