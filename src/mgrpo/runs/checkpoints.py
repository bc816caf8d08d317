"""Checkpoints on disk: complete or absent, each with a manifest by which a broken one is recognised.

A checkpoint is written into `checkpoint.unfinished/`, gets a manifest of its files' sizes and checksums, is flushed to
the disk and then renamed to `checkpoint-STEP/`. What is deleted is renamed first. So whenever a process is killed, a
directory of that name was complete once, and the manifest tells whether it still is.

What is read from a checkpoint is safetensors, JSON, or loaded by torch with weights only. A sharded directory has two
things that torch.distributed.checkpoint would unpickle without limits: its `.metadata`, and the numbers among its
tensors (a learning rate, betas). `fault_of` checks both first.
"""

import hashlib
import io
import json
import pickle
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch.distributed.checkpoint.metadata import BytesStorageMetadata
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from mgrpo.runs.files import FINAL_DIRECTORY, flush_tree, put_in_place, unfinished_path
from mgrpo.runs.reading import read_json_object

ON_SAVE_ERROR = ("continue", "stop")
"""What a run does when a checkpoint cannot be saved."""
MANIFEST_FILE = "manifest.json"
"""In a checkpoint: `files`, an object of relative paths, each with its size in bytes and its XXH3-128 checksum."""
UNFINISHED_DIRECTORY = f"{PREFIX_CHECKPOINT_DIR}.unfinished"
"""In a run's directory: the checkpoint that is being written."""
BROKEN, DELETED, REPLACED = ".broken", ".deleted", ".replaced"
UNREAD_FILE = "training_args.bin"
"""A pickle that transformers writes, and nothing reads."""
PICKLES = (".pt", ".pth", ".bin")
"""Endings of files that torch and transformers load as pickles, with weights only."""
METADATA_FILE = ".metadata"
METADATA_MODULES = ("torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.planner")
"""The metadata of shards consists of classes that are defined in these modules,"""
METADATA_NAMES = {
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("pathlib", "PosixPath"),
    ("collections", "OrderedDict"),
}
"""of these, and of torch's dtypes."""


def resume_hint(run_directory: Path, *, with_other_settings: bool = False) -> str:
    """The half of a sentence that says where a run that ends now can be resumed.

    Args:
        run_directory: the run's.
        with_other_settings: whether the other half is about settings to change.
    """
    checkpoint = next((path for _, path in checkpoints(run_directory)), None)
    if checkpoint is None:
        return "there is no checkpoint yet" + ("" if with_other_settings else ", so the same command starts anew")
    if with_other_settings:
        return f"--resume force resumes from {checkpoint} with other settings"
    return f"the same command resumes from {checkpoint}"


def checkpoints(run_directory: Path) -> list[tuple[int, Path]]:
    """A run's checkpoints with their steps, the newest first."""
    found = [
        (int(number), path)
        for path in run_directory.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if (number := path.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")).isdecimal()
    ]
    return sorted(found, reverse=True)


def begin(run_directory: Path) -> Path:
    """An empty directory to write a checkpoint into."""
    unfinished = run_directory / UNFINISHED_DIRECTORY
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(parents=True)
    return unfinished


def files_in(directory: Path) -> set[str]:
    """The files in and below a directory, as relative paths."""
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


def complete(unfinished: Path, step: int, expected: Iterable[str] = ()) -> Path:
    """Turn what was written into a checkpoint; returns its path.

    Args:
        unfinished: what `begin` gave.
        step: the optimizer step.
        expected: files that were written into it.

    Raises:
        OSError: if it cannot be written, or one of the files is missing.
    """
    files = sorted(files_in(unfinished))
    missing = sorted(set(expected) - set(files))
    if missing:
        raise FileNotFoundError(f"{missing[0]} was written and is missing now")
    with ThreadPoolExecutor() as pool:
        entries = list(pool.map(lambda name: _size_and_checksum(unfinished / name), files))
    manifest = {"step": step, "files": dict(zip(files, entries, strict=True))}
    (unfinished / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    checkpoint = unfinished.parent / f"{PREFIX_CHECKPOINT_DIR}-{step}"
    replaced = checkpoint.with_name(checkpoint.name + REPLACED)
    if checkpoint.exists():
        flush_tree(unfinished)  # before the earlier one loses its name
        shutil.rmtree(replaced, ignore_errors=True)
        checkpoint.rename(replaced)
    put_in_place(unfinished, checkpoint)
    shutil.rmtree(replaced, ignore_errors=True)
    return checkpoint


def fault_of(checkpoint: Path, *, with_checksums: bool = True) -> str | None:
    """What is wrong with a checkpoint, in words, or None where it is what was written.

    Args:
        checkpoint: its directory.
        with_checksums: whether to read all of it; otherwise only names and sizes are compared.
    """
    try:
        manifest = read_json_object(checkpoint / MANIFEST_FILE)
        entries = {str(name): (int(size), str(checksum)) for name, (size, checksum) in manifest["files"].items()}
        int(manifest["step"])
    except FileNotFoundError:
        return f"{MANIFEST_FILE} is missing"
    except (ValueError, TypeError, KeyError, AttributeError):
        return f"{MANIFEST_FILE} cannot be read"
    existing = files_in(checkpoint)
    for name, (size, _) in entries.items():
        if name not in existing:  # or it leads out of the directory, or is a pipe
            return f"{name} is missing"
        if (size_now := (checkpoint / name).stat().st_size) != size:
            return f"{name} has {size_now:,} bytes, and had {size:,}"
    stray = sorted(existing - entries.keys() - {MANIFEST_FILE})
    if stray:
        return f"{stray[0]} was not written with it"
    return _fault_of_content(checkpoint, entries) if with_checksums else None


def _fault_of_content(checkpoint: Path, entries: dict[str, tuple[int, str]]) -> str | None:
    with ThreadPoolExecutor() as pool:
        try:
            found = list(pool.map(lambda name: _size_and_checksum(checkpoint / name), entries))
        except OSError as error:
            return f"a file cannot be read ({error})"
    for (name, entry), now in zip(entries.items(), found, strict=True):
        if now != entry:
            return f"{name} has other bytes than were written"
    for name in entries:
        if Path(name).name == METADATA_FILE:
            fault = _fault_of_shards((checkpoint / name).parent)
        elif "/" not in name and name.endswith(PICKLES) and name != UNREAD_FILE:
            fault = _fault_of_pickle(checkpoint / name)
        else:
            continue
        if fault:
            return f"{name} {fault}"
    return None


def step_of(checkpoint: Path) -> int:
    """The optimizer step of a checkpoint that has no fault."""
    return int(read_json_object(checkpoint / MANIFEST_FILE)["step"])


def name_aside(checkpoint: Path, ending: str) -> Path:
    """A free name for a checkpoint, under which it no longer counts as one."""
    names = (f"{checkpoint.name}{ending}{f'-{number}' if number > 1 else ''}" for number in count(1))
    return next(path for name in names if not (path := checkpoint.with_name(name)).exists())


def remove(checkpoint: Path) -> None:
    """Delete a checkpoint. It is renamed first, so that no half of it keeps the name."""
    deleted = checkpoint.with_name(checkpoint.name + DELETED)
    shutil.rmtree(deleted, ignore_errors=True)
    checkpoint.rename(deleted)
    shutil.rmtree(deleted, ignore_errors=True)


def rotate(run_directory: Path, limit: int | None, kept: Iterable[str | None] = ()) -> None:
    """Delete the oldest checkpoints beyond a limit; the newest stays in any case.

    Args:
        run_directory: the run's.
        limit: how many may stay; None or 0: all.
        kept: paths of checkpoints that stay whatever their age.
    """
    if not limit or limit < 0:
        return
    kept_names = {Path(path).name for path in kept if path}
    newest_first = [path for _, path in checkpoints(run_directory)]
    oldest_first = [path for path in reversed(newest_first[1:]) if path.name not in kept_names]
    for path in oldest_first[: max(len(newest_first) - limit, 0)]:
        remove(path)


def clear_leftovers(run_directory: Path) -> None:
    """Clear away what a process that was killed left half written or half deleted."""
    for path in run_directory.glob(f"{PREFIX_CHECKPOINT_DIR}-*{REPLACED}"):
        checkpoint = path.with_name(path.name.removesuffix(REPLACED))
        if not checkpoint.exists():
            path.rename(checkpoint)
    leftovers = [run_directory / UNFINISHED_DIRECTORY, unfinished_path(run_directory / FINAL_DIRECTORY)]
    for ending in (REPLACED, DELETED):
        leftovers += run_directory.glob(f"{PREFIX_CHECKPOINT_DIR}-*{ending}")
    for path in leftovers:
        shutil.rmtree(path, ignore_errors=True)


def _size_and_checksum(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, xxhash.xxh3_128)
        return file.tell(), checksum.hexdigest()


class _MetadataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        is_known = (module, name) in METADATA_NAMES or module in ("torch", *METADATA_MODULES)
        found = super().find_class(module, name) if is_known and name.isidentifier() else None
        is_own_class = module in METADATA_MODULES and isinstance(found, type) and found.__module__ == module
        if (module, name) in METADATA_NAMES or isinstance(found, torch.dtype) or is_own_class:
            return found
        raise pickle.UnpicklingError(f"asks for {module}.{name}, which no checkpoint needs")


def _fault_of_pickle(path: Path) -> str | None:
    """What torch would refuse to load from a file with weights only, in words, or None; no tensor is read."""
    from transformers.trainer_pt_utils import safe_globals

    try:
        with safe_globals():  # numpy's, which random states need
            unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception as error:  # a broken file can fail in any way
        return f"cannot be read ({type(error).__name__})"
    return f"asks for {sorted(unsafe)[0]}, which no checkpoint needs" if unsafe else None


def _fault_of_shards(sharded: Path) -> str | None:
    """What does not belong into the pickles of a sharded directory, in words, or None."""
    try:
        with (sharded / METADATA_FILE).open("rb") as file:
            metadata = _MetadataUnpickler(file).load()
        kinds = metadata.state_dict_metadata
        for index, stored in metadata.storage_data.items():
            if isinstance(kinds[index.fqn], BytesStorageMetadata):
                with (sharded / stored.relative_path).open("rb") as file:
                    file.seek(stored.offset)
                    torch.load(io.BytesIO(file.read(stored.length)), weights_only=True)
    except pickle.UnpicklingError as error:
        return " ".join(str(error).split())
    except Exception as error:  # a broken pickle can fail in any way
        return f"cannot be read ({type(error).__name__})"
    return None
