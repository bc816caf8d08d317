"""A tiny Qwen3 in a directory, and a tiny Llama as a GGUF file."""

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
CHARACTERS = [chr(code) for code in range(ord("!"), ord("~") + 1)]  # 94 of them, one token each


def tiny_tokenizer(**tokens) -> PreTrainedTokenizerFast:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    vocabulary = {token: index for index, token in enumerate([*CHARACTERS, "<end>", "<pad>"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=CHAT_TEMPLATE, **tokens)


def make_model(num_embeddings: int) -> Qwen3ForCausalLM:
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


@pytest.fixture(scope="session")
def tiny_model():
    """What `directory` saves; not to be changed."""
    return make_model(96)


@pytest.fixture
def directory(tmp_path, tiny_model):
    """Saves a tiny model and its tokenizer, with these special tokens; returns the directory."""

    def save(num_embeddings=96, **tokens):
        model = tiny_model if num_embeddings == 96 else make_model(num_embeddings)
        model.save_pretrained(tmp_path / "tiny")
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
