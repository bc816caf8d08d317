"""The model that a run began with, as its environment.json has it: an adapter is worth nothing without its base.

A run's adapters store where their base was, from the root of the file system. Where the base is inside the run
(`initial/`), it is found next to them, so that a run can be renamed or moved as a whole.
"""

import hashlib
from pathlib import Path
from typing import Any

from mgrpo.runs.files import ENVIRONMENT_FILE
from mgrpo.runs.reading import read_as, read_json_object

BASE_MODEL = "base_model"
"""In environment.json."""
COPY_DIRECTORY = "initial"
"""In a run: a plain copy of a base that is stored in another form (models/plain_copy.py)."""
WEIGHTS = (".safetensors", ".bin", ".gguf", ".distcp")
NUM_BLOCKS, BLOCK_BYTES = 64, 2**16


def base_model_record(name: str, location: str, commit: str | None, run_directory: Path) -> dict[str, Any]:
    """What environment.json says of the model that a run begins with.

    Args:
        name: as the recipe names it.
        location: what `from_pretrained` loads it from, a directory or a name on the Hub.
        commit: on the Hub, or None.
        run_directory: the run's.

    Returns:
        Name and commit; `path`, relative to the run, where it is inside; `digest` of a directory's weights.
    """
    path, run = Path(location).resolve(), run_directory.resolve()
    is_directory = Path(location).is_dir()
    return {
        "name": name,
        "commit": commit,
        "path": path.relative_to(run).as_posix() if is_directory and path.is_relative_to(run) else None,
        "digest": digest_of_weights(path) if is_directory else None,
    }


def read_base_model(run_directory: Path) -> dict[str, Any]:
    """What `base_model_record` gave when a run began; empty for a run of an earlier version, or no run."""
    try:
        return read_as(dict[str, str | None], read_json_object(run_directory / ENVIRONMENT_FILE)[BASE_MODEL])
    except (FileNotFoundError, ValueError, KeyError):
        return {}


def digest_of_weights(path: Path) -> str:
    """Tells one model's weights from another's by each file's name, size and 64 blocks of 64 KiB.

    The blocks are at equal distances from the first, which has the header, to the last: a file of up to 4 MiB is read
    as a whole, and of a larger one as much.

    Args:
        path: a file, or a directory with what is below it.
    """
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.suffix in WEIGHTS)
    for file in files:
        with file.open("rb") as content:
            size = content.seek(0, 2)
            digest.update(f"{file.name if file == path else file.relative_to(path)} {size} ".encode())
            for block in range(NUM_BLOCKS):
                content.seek(max(size - BLOCK_BYTES, 0) * block // (NUM_BLOCKS - 1))
                digest.update(content.read(BLOCK_BYTES))
    return digest.hexdigest()[:16]
