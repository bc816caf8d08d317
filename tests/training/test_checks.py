"""Settings that do not suit the machine or TRL are refused before a model is loaded; those that do are not."""

from importlib import import_module
from types import SimpleNamespace

import pytest
import torch
from peft import IA3Config, LoraConfig

from mgrpo import MGRPOTrainer
from mgrpo.cli import main
from mgrpo.errors import UserError
from mgrpo.models.load import load_model
from mgrpo.training.checks import ENGINE_RANKS, check_sharding, check_vllm, rounding_warning

LORA = {"r": 4, "target_modules": "all-linear"}


def installed(monkeypatch, version):
    found = (version is not None, version or "N/A")
    monkeypatch.setattr(import_module("trl.import_utils"), "_is_package_available", lambda *_, **__: found)


@pytest.fixture
def vllm_config(make_config):
    return lambda **fields: make_config(**{"use_vllm": True, "vllm_mode": "colocate", **fields})


@pytest.mark.parametrize("version", ["0.22.0", "0.31.0", "0.30.1+cu129"])
@pytest.mark.parametrize("adapter", [None, LoraConfig(**LORA), LoraConfig(**{**LORA, "r": 512})])
def test_what_works_is_taken(monkeypatch, vllm_config, version, adapter):
    installed(monkeypatch, version)
    check_vllm(vllm_config(), adapter)


@pytest.mark.parametrize("version", ["0.21.9", "0.31.1", "1.0"])
def test_versions_that_trl_does_not_take(monkeypatch, vllm_config, version):
    installed(monkeypatch, version)
    with pytest.raises(UserError, match=f"from 0.22.0 to 0.31.0. You have version {version} installed.*pip install"):
        check_vllm(vllm_config(), None)


def test_vllm_is_missing(monkeypatch, vllm_config):
    installed(monkeypatch, None)
    with pytest.raises(UserError, match="vLLM is not installed: pip install"):
        check_vllm(vllm_config(), None)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"r": 513}, "the adapter's rank is 513 .lora_r., and vLLM takes 512 at most; change"),
        ({"use_dora": True}, "the adapter has use_dora, which vLLM does not take"),
        ({"modules_to_save": ["lm_head"]}, "the adapter has modules_to_save"),
        ({"rank_pattern": {"q_proj": 8}}, "the adapter has rank_pattern"),
        ({"bias": "lora_only"}, "the adapter's bias is lora_only, and vLLM takes none"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is pissa, which changes the base in memory"),
    ],
)
def test_adapters_that_vllm_does_not_take(monkeypatch, vllm_config, settings, said):
    installed(monkeypatch, "0.31.0")
    adapter = LoraConfig(**{**LORA, **settings})
    with pytest.raises(UserError, match=said):
        check_vllm(vllm_config(), adapter)
    with pytest.raises(UserError, match=said):  # before its model is loaded: there is none of this name
        MGRPOTrainer("no-such-model", args=vllm_config(), answer_fn=str, peft_config=adapter)


@pytest.mark.parametrize(
    ("fields", "adapter", "said"),
    [
        ({}, IA3Config(), "vLLM takes LoRA adapters alone, not IA3"),
        ({"vllm_enable_sleep_mode": True}, LoraConfig(**LORA), "vllm_enable_sleep_mode is on.*set it to false"),
        (
            {"vllm_tensor_parallel_size": 2},
            None,
            "size is 2, which does not divide the 1 process; set it to a divisor",
        ),
        ({"vllm_mode": "server"}, None, "training runs on cpu.*set vllm_mode to colocate"),
    ],
)
def test_settings_that_do_not_go_together(monkeypatch, vllm_config, fields, adapter, said):
    installed(monkeypatch, "0.31.0")
    with pytest.raises(UserError, match=said):
        check_vllm(vllm_config(**fields), adapter)


def test_the_ranks_are_vllms():
    config = pytest.importorskip("vllm.config.lora", reason="vLLM is not installed")
    assert config.MaxLoRARanks.__args__ == ENGINE_RANKS


# Sharding.


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
        MGRPOTrainer("no-such-model", args=launched("fsdp", **VLLM), answer_fn=str, peft_config=LoraConfig(**LORA))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_trained_weights_of_16_bits_are_warned_of(make_config, dtype):
    model, _ = load_model("embedded")
    config = make_config(learning_rate=1e-6)
    assert rounding_warning(model, config) is None
    warning = rounding_warning(model.to(dtype), config)
    assert str(dtype)[6:] in warning and "1e-06" in warning and "dtype to float32, and bf16 to true" in warning
    assert ("0.20%" if dtype == torch.bfloat16 else "0.02%") in warning  # 2^-7 / 4 and 2^-10 / 4
    for parameter in model.parameters():  # the base of an adapter
        parameter.requires_grad_(False)
    assert rounding_warning(model, config) is None


def test_the_trainer_warns(make_trainer, capsys):
    make_trainer({"model": load_model("embedded", dtype="bfloat16")[0]})
    assert "the trained weights are bfloat16" in capsys.readouterr().err
