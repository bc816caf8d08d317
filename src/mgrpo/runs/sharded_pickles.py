"""Looks at what torch.distributed.checkpoint would unpickle without limits, before it does.

Everything else that is read from a checkpoint is safetensors, JSON, or loaded by torch with weights only. A sharded
directory has two things that are not: its `.metadata`, and the numbers among its tensors (a learning rate, betas).
"""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata

METADATA_FILE = ".metadata"
OWN_MODULES = ("torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.planner")
"""Metadata consists of classes that are defined in these,"""
OTHERS = {
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("pathlib", "PosixPath"),
    ("collections", "OrderedDict"),
}
"""of these, and of torch's dtypes."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        is_known = (module, name) in OTHERS or module in ("torch", *OWN_MODULES)
        found = super().find_class(module, name) if is_known and name.isidentifier() else None
        is_own_class = module in OWN_MODULES and isinstance(found, type) and found.__module__ == module
        if (module, name) in OTHERS or isinstance(found, torch.dtype) or is_own_class:
            return found
        raise pickle.UnpicklingError(f"asks for {module}.{name}, which no checkpoint needs")


def pickle_fault(directory: Path) -> str | None:
    """What a sharded directory has in its pickles that does not belong there, in words, or None."""
    try:
        with (directory / METADATA_FILE).open("rb") as file:
            metadata = _Unpickler(file).load()
        kinds = metadata.state_dict_metadata
        for index, stored in metadata.storage_data.items():
            if isinstance(kinds[index.fqn], BytesStorageMetadata):
                with (directory / stored.relative_path).open("rb") as file:
                    file.seek(stored.offset)
                    torch.load(io.BytesIO(file.read(stored.length)), weights_only=True)
    except pickle.UnpicklingError as error:
        return " ".join(str(error).split())
    except Exception as error:  # a broken pickle can fail in any way
        return f"cannot be read ({type(error).__name__})"
    return None
