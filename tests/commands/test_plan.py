"""`mgrpo plan`: what a user reads, from a config.json alone."""

import json
import re

import pytest
from transformers import AutoModelForCausalLM, GPT2Config, Qwen3Config

from mgrpo.cli import main
from mgrpo.models import load as models

MEASURES = {
    "vocab_size": 1000,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """A working directory with a recipe and a model's configuration; no model's weights can be read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr(models, "_read")
    monkeypatch.setenv("COLUMNS", "120")
    Qwen3Config(**MEASURES).save_pretrained(tmp_path / "model")
    (tmp_path / "mine.yaml").write_text("model_name_or_path: model\nbeta: 0\nper_device_train_batch_size: 24\n")
    return tmp_path


@pytest.fixture
def planned(capsys):
    """Runs `mgrpo plan` with arguments; returns what it prints."""

    def run(*arguments):
        assert main(["plan", *arguments]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return run


@pytest.fixture
def refused(capsys):
    """Runs `mgrpo plan` with arguments; returns the sentence that it ends with."""

    def run(*arguments):
        assert main(["plan", *arguments]) == 2
        output = capsys.readouterr()
        assert output.out == ""
        (line,) = output.err.splitlines()
        return line

    return run


def test_a_built_in_recipe_for_one_gpu(planned):
    output = planned("--config", "embedded")
    assert "102,912 parameters on 1 x 80 GiB" in output and "It fits" in output


def test_the_embedded_model_fits(planned):
    output = planned("--model", "embedded", "--max_completion_length", "14")
    assert output.startswith("102,912 parameters on 1 x 80 GiB, ddp: GiB on each GPU")
    # the paper's 24 x 8 and 8 x 8 completions; 512 tokens are assumed for a prompt
    assert "transformers samples 192, then 64 sequences of 526 tokens at once." in output
    assert "Largest (policy samples): CUDA, NCCL, fragmentation 3.00; " in output and "It fits: " in output


def test_a_recipe_and_fields_that_win(planned):
    output = planned("--config", "mine.yaml", "--gpus", "1", "--max_prompt_length", "100")
    assert "sequences of 3172 tokens" in output
    assert "reference model" not in output
    assert "reference model" in planned("--config", "mine.yaml", "--gpus", "1", "--beta", "0.1")
    without = planned("--config", "mine.yaml", "srt", "--gpus", "1")
    assert "momentum" not in without and "samples 192 sequences" in without


def test_weights_are_counted_once_where_they_are_tied(planned, workplace):
    for tied, expected in ((True, 64_000), (False, 128_000)):
        config = Qwen3Config(**MEASURES, tie_word_embeddings=tied)
        config.save_pretrained(workplace / "model")
        layers = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).model.layers.parameters())
        assert f"{expected + layers + 64:,} parameters" in planned("--model", "model", "--gpus", "1")


def test_a_config_with_other_names(planned, workplace):
    GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=1000).save_pretrained(workplace / "gpt2")
    assert "It fits" in planned("--model", "gpt2", "--gpus", "1", "--dtype", "auto")


def test_an_adapter_is_counted_on_its_base(planned, workplace):
    (workplace / "adapter").mkdir()
    (workplace / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "model"}))
    assert planned("--model", "adapter", "--gpus", "1") == planned("--model", "model", "--gpus", "1")


def test_what_does_not_fit_says_what_is_largest(planned):
    # keys and values of 192 x 3584 tokens: 2 layers x 2 heads x 16 x 2 x 4 bytes each, 0.33 GiB
    output = planned("--model", "model", "--gpus", "2", "--gpu_memory", "3.4")
    assert "It does not fit: " in output and "GiB a GPU are missing" in output
    assert "Largest (policy samples): CUDA, NCCL, fragmentation 3.00; keys and values 0.33; " in output


def test_a_recipe_for_gpus_is_planned_where_there_is_none(planned):
    arguments = ("--config", "qwen3-4b-math", "--model", "model", "--gpus", "8", "--sharding", "zero-2")
    output = planned(*arguments)
    assert "vLLM holds " in output and "sequences of 4096 tokens at once" in output
    assert "DeepSpeed's buckets" in output


def test_the_momentum_model_in_the_cpus_memory(planned):
    arguments = ("--model", "embedded", "--gpus", "2", "--momentum_cpu_offload", "true")
    output = planned(*arguments)
    assert "momentum model, float32" not in output and "momentum samples" in output
    assert "The CPU's memory holds the momentum model: <0.01 GiB a process" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--gpus 2 --model model --sharding fsdp2 --momentum_cpu_offload",
            "momentum_cpu_offload .*fsdp2.*false",
        ),
        ("--gpus 0 --model model", "gpus is 0.*1 or more"),
        ("--gpus 1 --gpu_memory 0 --model model", "gpu_memory is 0 .*above 0"),
        ("--gpus 1", "no model.*--model MODEL"),
        ("--gpus 1 --model ./nowhere", "nowhere' does not exist"),
        ("--gpus 1 --model owner/unknown", "'owner/unknown'.*neither.*Hub"),
        ("--gpus 1 --model embedded:nothing", "there is no model 'embedded:nothing'"),
        ("--gpus 1 --model model --learning_rat 1", "learning_rat.*no such field.*did you mean"),
        ("--gpus 1 --model model --max_completion_length x", "max_completion_length.*'x'"),
        ("--gpus 1 --model model --per_device_train_batch_size 5", "group.*num_generations"),
        (
            "--gpus 1 --model model --use_peft --lora_target_modules nope",
            "lora_target_modules.*nope.*all-linear",
        ),
        (
            "--gpus 3 --model model --use_vllm --entropy_source sampled --vllm_tensor_parallel_size 2",
            "vllm_tensor_parallel_size is 2.*3 GPUs.*divisor",
        ),
        ("--gpus 1 --config nowhere", "there is no recipe nowhere"),
        ("--gpus 1 stray --model model", "'stray' without a field"),
    ],
)
def test_mistakes(refused, arguments, message):
    assert re.search(message, refused(*arguments.split()))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "qwen3"}, "hidden_size, num_hidden_layers, num_attention_heads, vocab_size;"),
        ({"model_type": "qwen3", **MEASURES, "hidden_size": None}, "model cannot be loaded ("),
        ({"hidden_size": 64}, "model cannot be loaded (Unrecognized model"),
        ({"model_type": "bert", **MEASURES, "architectures": ["T5"], "num_hidden_layers": "two"}, "the model /"),
        ({"model_type": "vit", **MEASURES}, "no causal language model can be made of the model's config.json"),
    ],
)
def test_a_config_that_says_too_little(refused, workplace, config, message):
    (workplace / "model" / "config.json").write_text(json.dumps(config))
    assert message in refused("--gpus", "1", "--model", "model")


def test_a_config_that_is_no_json(refused, workplace):
    (workplace / "model" / "config.json").write_text("{")
    assert "model cannot be loaded (" in refused("--gpus", "1", "--model", "model")
