import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mgrpo.errors import UserError
from mgrpo.models import load as models
from mgrpo.models.load import load_model


@torch.no_grad()
def logits(model):
    return model(torch.tensor([[1, 2, 3]])).logits


def test_a_plain_model_is_not_copied(directory, tmp_path):
    name = directory(eos_token="<end>", pad_token="<pad>")
    model, _ = load_model(name, copy_dir=tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert model.config.name_or_path == name


def test_gguf_copy_is_loadable_by_name(gguf_file, tmp_path):
    path, _ = gguf_file
    model, tokenizer = load_model(str(path), copy_dir=tmp_path / "run" / "start")
    assert model.config.name_or_path == model.name_or_path == str(tmp_path / "run" / "start")
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["start"]
    reference = AutoModelForCausalLM.from_pretrained(model.config.name_or_path)
    assert torch.equal(logits(reference), logits(model))
    assert AutoTokenizer.from_pretrained(model.config.name_or_path)("ab").input_ids == tokenizer("ab").input_ids


def test_gguf_copy_is_reused_until_the_file_changes(gguf_file, tmp_path, monkeypatch):
    path, _ = gguf_file
    first, _ = load_model(str(path), copy_dir=tmp_path / "start")
    kinds = []
    read = models._read
    monkeypatch.setattr(models, "_read", lambda source, options: kinds.append(source.kind) or read(source, options))

    second, _ = load_model(str(path), copy_dir=tmp_path / "start")
    assert torch.equal(logits(first), logits(second))
    assert second.config.name_or_path == str(tmp_path / "start")
    third, _ = load_model(str(path), copy_dir=tmp_path / "start", dtype="bfloat16")
    assert third.dtype == torch.bfloat16
    path.touch()
    load_model(str(path), copy_dir=tmp_path / "start")
    assert kinds == ["directory", "gguf", "gguf"]


def test_copy_does_not_overwrite(gguf_file, tmp_path):
    path, _ = gguf_file
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(UserError, match="mine is not empty and holds no copy of a model"):
        load_model(str(path), copy_dir=tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"
