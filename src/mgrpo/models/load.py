"""Load a model, its tokenizer or its configuration by name, however the model is stored."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgrpo.embedded.cache import ensure_built
from mgrpo.embedded.starts import is_embedded
from mgrpo.errors import UserError, first_line
from mgrpo.models.plain_copy import is_copy_of, origin_of, write_copy
from mgrpo.models.source import ModelSource, find_model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("float32", "bfloat16", "float16", "auto")
MEASURES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
"""What a config.json must give. transformers' defaults for them are those of some other model."""


def load_model(
    name: str,
    *,
    dtype: str = "float32",
    attn_implementation: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    pad_token: str | None = None,
    copy_dir: str | Path | None = None,
    base_model: str | None = None,
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Load a plain dense model, in evaluation mode, and its tokenizer, which pads on the left.

    A GGUF file is dequantised, a LoRA adapter merged. An embedded model that is not shipped is built on its first
    use, which takes minutes.

    Args:
        name: See `find_model`.
        dtype: One of `DTYPES`; `"auto"`: the one it is stored in.
        attn_implementation: Passed to transformers; None lets it choose.
        revision: Branch, tag or commit of a Hub name.
        trust_remote_code: Whether to run code that comes with the model.
        pad_token: Padding token, for a tokenizer that has none.
        copy_dir: Where a model that `from_pretrained` cannot load by name (see `ModelSource.is_plain`) is copied to in
            the plain format; `config.name_or_path` then names the copy, so that everything that loads by name finds
            this model: TRL's reference model, vLLM, a saved adapter. A copy made earlier from the same file, in the
            same dtype, is loaded instead (0.3 s against 25 s for SmolLM2-135M). With None, the name stays unloadable.
        base_model: See `find_model`.

    Raises:
        UserError: If the model or its tokenizer cannot be found or read, an option has no such value, the tokenizer
            lacks an end or padding token, a weight is not finite, or `copy_dir` holds something else.
    """
    from mgrpo.models.finite import check_weights

    if dtype not in DTYPES:
        raise UserError(f"dtype={dtype!r} is no floating-point type of a model; choose one of {', '.join(DTYPES)}")
    source, options = _find(name, revision, trust_remote_code, base_model)
    copy = None if copy_dir is None or source.is_plain else Path(copy_dir)
    origin = {} if copy is None else origin_of(source, dtype)
    if copy is not None and is_copy_of(copy, origin):
        source, copy = ModelSource("directory", str(copy)), None

    attention = {} if attn_implementation is None else {"attn_implementation": attn_implementation}
    with _user_errors(name, source):
        model = _read(source, {"dtype": dtype, **options, **attention})
        tokenizer = _read_tokenizer(source, options)
    _prepare_tokenizer(name, model, tokenizer, pad_token)
    check_weights(model, f"the model {name}")
    if copy is not None:
        write_copy(model, tokenizer, copy, origin)
        model.name_or_path = model.config.name_or_path = str(copy)
    return model, tokenizer


def load_tokenizer(
    name: str, *, revision: str | None = None, trust_remote_code: bool = False, base_model: str | None = None
) -> "PreTrainedTokenizerBase":
    """Load a model's tokenizer alone, as it is stored; the arguments are `load_model`'s.

    Raises:
        UserError: If it cannot be found or read.
    """
    source, options = _find(name, revision, trust_remote_code, base_model)
    with _user_errors(name, source):
        return _read_tokenizer(source, options)


def load_config(
    name: str,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    base_model: str | None = None,
    needs_measures: bool = True,
) -> "PreTrainedConfig":
    """Load a model's configuration alone, an adapter's base's; the other arguments are `load_model`'s.

    Raises:
        UserError: If it cannot be found or read or, with `needs_measures`, does not give the model's size.
    """
    from transformers import AutoConfig

    source, options = _find(name, revision, trust_remote_code, base_model)
    with _user_errors(name, source):
        location, gguf = source.arguments(source.base)
        config = AutoConfig.from_pretrained(location, **gguf, **options)
        if source.kind == "gguf" or not needs_measures:
            return config
        given, _ = config.get_config_dict(location, **options)
    measured = config.get_text_config()
    given = given.get("text_config", given)
    missing = [key for key in MEASURES if key not in given and measured.attribute_map.get(key) not in given]
    if missing:
        raise UserError(
            f"the config.json of {name} does not say {', '.join(missing)}; give the one that comes with the model"
        )
    return config


def room_for_prompt(config: "PreTrainedConfig", max_completion_length: int | None) -> int | None:
    """Tokens that a model's context leaves for a prompt next to a completion; None: no limit is known.

    A model that stretches its positions (a RoPE type other than the default) sets no limit.

    Raises:
        UserError: if the completion alone is longer than the model's context.
    """
    measures = config.get_text_config()
    context = getattr(measures, "max_position_embeddings", None)
    rope = getattr(measures, "rope_parameters", None) or {}
    if not isinstance(context, int) or max_completion_length is None or rope.get("rope_type", "default") != "default":
        return None
    if max_completion_length >= context:
        raise UserError(
            f"max_completion_length is {max_completion_length}, but the model's context has {context} tokens, prompt "
            "included; lower it, or use another model"
        )
    return context - max_completion_length


def _find(
    name: str, revision: str | None, trust_remote_code: bool, base_model: str | None
) -> tuple[ModelSource, dict[str, Any]]:
    """A model, built now if it is built on demand, and the options of every `from_pretrained`."""
    source = find_model(name, base_model)
    if revision is not None and source.kind != "hub":
        raise UserError(f"revision={revision!r} is set but the model {name} is not on the Hub; remove it")
    if is_embedded(name):
        ensure_built(name)
    revision = source.base_commit if revision is None else revision
    return source, {"trust_remote_code": trust_remote_code} | ({} if revision is None else {"revision": revision})


def _read(source: ModelSource, options: dict[str, Any]) -> "PreTrainedModel":
    from transformers import AutoModelForCausalLM, GgufConfig

    if source.kind == "adapter":
        from peft import PeftModel

        base = AutoModelForCausalLM.from_pretrained(source.base, **options)
        num_tokens = len(_read_tokenizer(source, {}))
        if num_tokens > base.get_input_embeddings().num_embeddings:  # as PEFT does
            base.resize_token_embeddings(num_tokens)
        return PeftModel.from_pretrained(base, source.location).merge_and_unload().eval()
    location, gguf = source.arguments(source.location)
    # `dequantize` makes it a plain model. Without it transformers keeps its GGUF quantizer on the model even when it
    # unpacks every weight: the Trainer then refuses to train it, save_pretrained to save it.
    quantization = {"quantization_config": GgufConfig(dequantize=True)} if gguf else {}
    return AutoModelForCausalLM.from_pretrained(location, **quantization, **gguf, **options)


def _read_tokenizer(source: ModelSource, options: dict[str, Any]) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    has_own = (Path(source.location) / "tokenizer_config.json").is_file()
    location, gguf = source.arguments(source.location if has_own else source.base)
    return AutoTokenizer.from_pretrained(location, **gguf, **options)


@contextmanager
def _user_errors(name: str, source: ModelSource) -> Iterator[None]:
    """Turn what goes wrong while a model is read into one clear sentence."""
    try:
        yield
    except Exception as error:  # safetensors, tokenizers, gguf and peft have types of their own, some a bare Exception
        reason = first_line(error)
        if source.kind == "hub":
            raise UserError(
                f"the model {name!r} is neither a directory here nor loadable from the Hub ({reason}); correct the "
                "name, download it first where there is a network, or give a local directory"
            ) from error
        place = "" if source.location == name else f" from {source.location}"
        raise UserError(
            f"the model {name} cannot be loaded{place} ({reason}); "
            "give a causal language model with its tokenizer, as save_pretrained writes them"
        ) from error


def _prepare_tokenizer(
    name: str, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", pad_token: str | None
) -> None:
    """Set the padding token and side; refuse a tokenizer that cannot end or pad, or that is not the model's."""
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"the tokenizer of {name} has no end token, so no completion would ever end; "
            "set eos_token in its tokenizer_config.json"
        )
    if pad_token is not None:
        if pad_token not in tokenizer.get_vocab():
            raise UserError(
                f"pad_token={pad_token!r} is not in the vocabulary of {name}; "
                f"choose a token that is, such as {tokenizer.eos_token!r}"
            )
        tokenizer.pad_token = pad_token
        model.config.pad_token_id = tokenizer.pad_token_id
        if model.generation_config is not None:
            model.generation_config.pad_token_id = tokenizer.pad_token_id
    if tokenizer.pad_token_id is None:
        raise UserError(
            f"the tokenizer of {name} has no padding token; "
            f"set pad_token in the recipe, for example to its end token {tokenizer.eos_token!r}"
        )
    num_embeddings = model.get_input_embeddings().num_embeddings
    for token, index in (
        (tokenizer.eos_token, tokenizer.eos_token_id),
        (tokenizer.pad_token, tokenizer.pad_token_id),
    ):
        if index >= num_embeddings:
            raise UserError(
                f"the token {token!r} of {name} has number {index} and the model embeds only {num_embeddings} tokens; "
                "give the tokenizer that belongs to the model, or set pad_token to a token it knows"
            )
    tokenizer.padding_side = "left"
