"""The embedded model: a Qwen3 small enough for one CPU thread, and a tokenizer of one character a token."""

from pathlib import Path
from typing import TYPE_CHECKING

from mgrpo.embedded.task import ALPHABET, END_OF_TEXT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

CHECKPOINT = Path(__file__).parent / "checkpoint"
"""Directory of the shipped checkpoint; `AutoModelForCausalLM` and `AutoTokenizer` load it."""

PADDING = "<pad>"
VOCABULARY = {token: index for index, token in enumerate([*ALPHABET, END_OF_TEXT, PADDING])}
# The longest prompt and completion together take 27 tokens.
MAX_LENGTH = 64


def build_tokenizer() -> "PreTrainedTokenizerFast":
    """Build the character tokenizer: 17 tokens, end of text `$`, padding on the left.

    There is no token for the unknown: a character outside the task's alphabet raises when it is encoded.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(VOCABULARY))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        pad_token=PADDING,
        padding_side="left",
        model_max_length=MAX_LENGTH,
        model_input_names=["input_ids", "attention_mask"],
    )


def build_model(seed: int = 0) -> "Qwen3ForCausalLM":
    """Build the untrained model, 102,912 parameters in float32.

    The weights depend on the seed alone, and the global random state is left as it was.
    """
    import torch
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=len(VOCABULARY),
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=16,
        max_position_embeddings=MAX_LENGTH,
        # the usual 0.02 is meant for widths of thousands
        initializer_range=0.05,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=VOCABULARY[END_OF_TEXT],
        pad_token_id=VOCABULARY[PADDING],
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id)
    return model
