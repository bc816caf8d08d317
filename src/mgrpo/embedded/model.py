"""The embedded models: Qwen3s small enough for one CPU thread, and tokenizers of one character a token."""

from pathlib import Path
from typing import TYPE_CHECKING

from mgrpo.embedded.chains import Chain
from mgrpo.embedded.problem import END_OF_TEXT
from mgrpo.embedded.starts import HEAD_DIM, SIZES, Size

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

CHECKPOINT = Path(__file__).parent / "checkpoint"
"""Directory of the shipped checkpoint; `AutoModelForCausalLM` and `AutoTokenizer` load it."""

PADDING = "<pad>"
# The longest prompt and completion together take 32 tokens.
MAX_LENGTH = 64


def build_tokenizer(alphabet: str = Chain.alphabet) -> "PreTrainedTokenizerFast":
    """Build the character tokenizer of a task: end of text `$`, padding on the left.

    There is no unknown token: encoding a character outside the task's alphabet raises.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(_vocabulary(alphabet)))
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


def build_model(seed: int = 0, *, alphabet: str = Chain.alphabet, size: Size = SIZES["103k"]) -> "Qwen3ForCausalLM":
    """Build an untrained model in float32; without arguments the shipped one's, of 102,912 parameters.

    The weights depend on the arguments alone, and the global random state is left as it was.
    """
    import torch
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    vocabulary = _vocabulary(alphabet)
    config = Qwen3Config(
        vocab_size=len(vocabulary),
        hidden_size=size.num_heads * HEAD_DIM,
        intermediate_size=size.intermediate_size,
        num_hidden_layers=size.num_layers,
        num_attention_heads=size.num_heads,
        num_key_value_heads=size.num_heads,
        head_dim=HEAD_DIM,
        max_position_embeddings=MAX_LENGTH,
        initializer_range=size.initializer_range,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=vocabulary[END_OF_TEXT],
        pad_token_id=vocabulary[PADDING],
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id)
    return model


def _vocabulary(alphabet: str) -> dict[str, int]:
    return {token: index for index, token in enumerate([*alphabet, END_OF_TEXT, PADDING])}
