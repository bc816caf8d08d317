"""What a run leaves behind is used from any directory, and after the run was moved."""

import json
import shutil

import pytest
import torch
import yaml
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM

from mgrpo.cli import main
from mgrpo.models.load import load_model

IDS = torch.tensor([[1, 2, 3, 4, 5]])


def test_no_file_of_a_run_has_a_path_relative_to_where_it_was_trained(runs):
    run, base = runs["lora"], str(runs["lora"].parent / "base")
    for adapter in ("final", "final/momentum", "checkpoint-1", "checkpoint-2"):
        assert json.loads((run / adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == base
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["model_name_or_path"], config["output_dir"]) == (base, str(run))
    environment = json.loads((run / "environment.json").read_text())
    assert (environment["base_model"]["name"], environment["working_directory"]) == (base, str(run.parent))
    for file in (*run.rglob("*.json"), *run.rglob("*.md")):
        assert '"base"' not in file.read_text() or file.name == "environment.json"  # which has the command as typed


@torch.no_grad()
def test_peft_loads_the_adapters_from_another_directory(runs, tmp_path, monkeypatch):
    moved = shutil.copytree(runs["lora"], tmp_path / "moved")
    monkeypatch.chdir("/")
    expected = load_model(str(runs["lora"] / "final"))[0](IDS).logits
    by_itself = AutoPeftModelForCausalLM.from_pretrained(moved / "final")
    base = AutoModelForCausalLM.from_pretrained(runs["lora"].parent / "base")
    for model in (by_itself, PeftModel.from_pretrained(base, moved / "final")):
        torch.testing.assert_close(model.eval()(IDS).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_moved_run_is_resumed_and_trained_on(runs, tmp_path, monkeypatch, capsys):
    shutil.copytree(runs["lora"], tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    shutil.rmtree("moved/final")
    assert main(["train", "--config", "moved/config.yaml"]) == 0
    output = capsys.readouterr()
    assert f"resumes from {tmp_path}/moved/checkpoint-2" in output.err
    assert f"trained 2 steps; the model is in {tmp_path}/moved/final" in output.out
    further = ["--model_name_or_path", "moved/final", "--output_dir", "further", "--max_steps", "1"]
    assert main(["train", "--config", "moved/config.yaml", *further]) == 0
    (tmp_path / "further").rename(tmp_path / "elsewhere")
    shutil.rmtree("moved")
    model, _ = load_model("elsewhere/final/momentum")  # its base, the merged one, is inside
    assert model.config.name_or_path == str(tmp_path / "elsewhere" / "initial")
