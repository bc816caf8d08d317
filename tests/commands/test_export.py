"""`mgrpo export`: what it writes is loaded with transformers alone, from another directory."""

import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mgrpo.cli import main
from mgrpo.models.load import load_model

IDS = torch.tensor([[1, 2, 3, 4, 5]])


@torch.no_grad()
def logits(model):
    return model(IDS).logits


@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize(("model", "part"), [("policy", "final"), ("momentum", "final/momentum")])
def test_another_tool_loads_it_from_another_directory(runs, tmp_path, monkeypatch, capsys, kind, model, part):
    monkeypatch.chdir(tmp_path)
    moved = shutil.copytree(runs[kind], tmp_path / "moved")
    assert main(["export", "moved", "out", "--model", model]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    expected, tokenizer = load_model(str(runs[kind] / part))
    shutil.rmtree(moved)
    monkeypatch.chdir("/")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logits(loaded), logits(expected), atol=0, rtol=0)
    assert loaded.dtype == torch.float32
    read = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert read("12+3=").input_ids == tokenizer("12+3=").input_ids and read.pad_token == tokenizer.pad_token
    files = {path.name for path in (tmp_path / "out").iterdir()}
    wanted = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"}
    assert wanted <= files and not any("adapter" in name for name in files)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "library_name: transformers" in card and "M-GRPO" in card
    assert f"| weights | {model if model == 'policy' else 'momentum model'}, step 2 |" in card


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_checkpoints_momentum_model_in_another_type(runs, tmp_path, kind):
    out = tmp_path / "new" / "out"
    assert main(["export", str(runs[kind]), str(out), "--model=momentum", "--checkpoint=2", "--dtype=bfloat16"]) == 0
    expected, _ = load_model(str(runs[kind] / "final" / "momentum"))
    loaded = AutoModelForCausalLM.from_pretrained(out)
    assert loaded.dtype == torch.bfloat16
    for name, weight in loaded.named_parameters():  # merged first, and rounded once
        torch.testing.assert_close(weight, dict(expected.named_parameters())[name].bfloat16(), atol=1e-6, rtol=1e-2)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["lora", "."], ["exists already", "name another directory"]),
        (["lora", "out", "--checkpoint", "7"], ["no checkpoint '7'", "it has 1, 2"]),
        (["lora", "out", "--checkpoint", "all"], ["one model is exported at a time", "checkpoint-1", "final"]),
        (["lora/final", "out", "--model", "momentum"], ["no momentum model there (final)", "--checkpoint"]),
        (["nowhere/is/this", "out"], ["does not exist"]),
        (["lora", "out", "--dtype", "int8"], ["dtype='int8'", "bfloat16"]),
        (["lora", "out", "--base_model", "nowhere/is/this"], ["nowhere/is/this", "does not exist"]),
        (["lora", "out", "--base_model", "full/final"], ["full/final is not the base model", "weights differ"]),
        (["lora", "/proc/out"], ["/proc/out cannot be written"]),
    ],
)
def test_mistakes(runs, monkeypatch, capsys, arguments, parts):
    directory = runs["lora"].parent
    monkeypatch.chdir(directory)
    before = sorted(directory.iterdir())
    assert main(["export", *arguments]) == 2
    output = capsys.readouterr()
    assert all(part in output.err for part in parts) and output.err.count("\n") == 1 and output.out == ""
    assert sorted(directory.iterdir()) == before
