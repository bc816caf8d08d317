"""A copy of a GGUF model or a merged adapter that `from_pretrained` can load by name.

Reference model, vLLM and saved adapters load the policy by name, and a name cannot say "dequantize" or "merge".
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgrpo.errors import UserError
from mgrpo.models.source import ModelSource
from mgrpo.runs.files import put_in_place
from mgrpo.runs.reading import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MARKER = "mgrpo_copy_of.json"
"""In the copy: the size and time of the files that it was made from, and its dtype."""


def origin_of(source: ModelSource, dtype: str) -> dict[str, Any]:
    """What a copy's marker says."""
    path = Path(source.location)
    files = [path] if path.is_file() else sorted(path.glob("adapter_*"))
    stats = {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
    return {"files": stats, "dtype": dtype}


def is_copy_of(directory: Path, origin: dict[str, Any]) -> bool:
    """Whether a directory holds a complete copy made from these files."""
    try:
        return read_json(directory / MARKER) == origin
    except (FileNotFoundError, UserError):
        return False


def write_copy(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", directory: Path, origin: dict[str, Any]
) -> None:
    """Write the copy; an older one is replaced. Several processes may write it at once.

    Raises:
        UserError: If the directory holds something else, or cannot be written.
    """
    if directory.exists() and not (directory / MARKER).is_file() and any(directory.iterdir()):
        raise UserError(f"{directory} is not empty and holds no copy of a model; choose another directory or clear it")
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Complete before it has its name, so that no other process ever loads half a copy.
    unfinished = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        (unfinished / MARKER).write_text(json.dumps(origin))
        if not is_copy_of(directory, origin):
            shutil.rmtree(directory, ignore_errors=True)
            put_in_place(unfinished, directory)
    except OSError as error:
        # Another process may have been first; its copy is as good.
        if not is_copy_of(directory, origin):
            raise UserError(f"the model cannot be copied to {directory} ({error}); choose another one") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
