"""Measures and counts of a small Qwen3, worked out by hand."""

import pytest
from transformers import Qwen3Config
from trl import ModelConfig

from mgrpo.commands.model_shape import read_shape
from mgrpo.errors import UserError


@pytest.fixture
def config():
    return Qwen3Config(
        vocab_size=100,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        tie_word_embeddings=False,
    )


def test_counts(config):
    shape = read_shape(config, ModelConfig())
    # queries and output 8 x 8, keys and values 8 x 4; three of 8 x 16 in the MLP; norms: two of 8, two of a head's 4
    layer = 2 * 64 + 2 * 32 + 3 * 128 + 2 * 8 + 2 * 4
    assert shape.embeddings == 2 * 800
    assert shape.parameters == 2 * 800 + 2 * layer + 8  # and the last norm
    assert shape.layer == layer + 4  # half of the last norm
    assert (shape.num_heads, shape.num_kv_heads, shape.head_dim, shape.has_query_norm) == (2, 1, 4, True)
    assert shape.adapter == 0


def test_an_adapter_is_counted_where_one_is_trained(config):
    adapter = ModelConfig(use_peft=True, lora_r=3, lora_target_modules=["q_proj", "k_proj"])
    # A and B in two layers: queries 8 to 8, keys 8 to 4
    assert read_shape(config, adapter).adapter == 2 * 3 * (8 + 8 + 8 + 4)


def test_modules_that_do_not_exist(config):
    with pytest.raises(UserError, match="lora_target_modules.*nope.*all-linear"):
        read_shape(config, ModelConfig(use_peft=True, lora_target_modules=["nope"]))
