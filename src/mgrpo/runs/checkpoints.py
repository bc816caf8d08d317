"""Checkpoints on disk: whole or not there, each with a manifest by which a broken one is recognised.

A checkpoint is written into `checkpoint.unfinished/`, gets a manifest of its files' sizes and checksums, is flushed to
the disk and then renamed to `checkpoint-STEP/`. What is deleted is renamed first. So whatever is killed at whatever
instant, a directory of that name was complete once; and the manifest tells whether it still is.
"""

import json
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import xxhash
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from mgrpo.runs.files import FINAL_DIRECTORY, flush_tree, put_in_place
from mgrpo.runs.sharded_pickles import METADATA_FILE, pickle_fault

ON_SAVE_ERROR = ("continue", "stop")
"""What a run does when a checkpoint cannot be saved."""
MANIFEST_FILE = "manifest.json"
"""In a checkpoint: `files`, an object of relative paths, each with its size in bytes and its XXH3-128 checksum."""
UNFINISHED_DIRECTORY = f"{PREFIX_CHECKPOINT_DIR}.unfinished"
"""In a run's directory: the checkpoint that is being written. Nobody takes it for one."""
BROKEN, DELETED, REPLACED = ".broken", ".deleted", ".replaced"
CHUNK_BYTES = 1 << 22


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
    """The files below a directory, as relative paths."""
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


def complete(unfinished: Path, step: int, expected: Iterable[str] = ()) -> Path:
    """Turn what was written into a checkpoint; returns its path.

    Args:
        unfinished: what `begin` gave.
        step: the optimizer step.
        expected: files that were written into it.

    Raises:
        OSError: if it cannot be written, or something of it is gone.
    """
    there = files_in(unfinished)
    gone = sorted(set(expected) - there)
    if gone:
        raise FileNotFoundError(f"{gone[0]} was written and is gone")
    with ThreadPoolExecutor() as pool:
        entries = dict(
            zip(sorted(there), pool.map(lambda name: _entry(unfinished / name), sorted(there)), strict=True)
        )
    manifest = {"step": step, "files": entries}
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
        with_checksums: whether to read all of it; else names and sizes are looked at.
    """
    try:
        manifest = json.loads((checkpoint / MANIFEST_FILE).read_text(encoding="utf-8"))
        entries = {str(name): (int(size), str(digest)) for name, (size, digest) in manifest["files"].items()}
        int(manifest["step"])
    except FileNotFoundError:
        return f"{MANIFEST_FILE} is missing"
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return f"{MANIFEST_FILE} cannot be read"
    for name, (size, _) in entries.items():
        try:
            there = (checkpoint / name).stat().st_size
        except OSError:
            return f"{name} is missing"
        if there != size:
            return f"{name} has {there:,} bytes, and had {size:,}"
    stray = sorted(files_in(checkpoint) - entries.keys() - {MANIFEST_FILE})
    if stray:
        return f"{stray[0]} was not written with it"
    return _deep_fault(checkpoint, entries) if with_checksums else None


def _deep_fault(checkpoint: Path, entries: dict[str, tuple[int, str]]) -> str | None:
    with ThreadPoolExecutor() as pool:
        try:
            now = list(pool.map(lambda name: _entry(checkpoint / name)[1], entries))
        except OSError as error:
            return f"a file cannot be read ({error})"
    for (name, (_, digest)), found in zip(entries.items(), now, strict=True):
        if found != digest:
            return f"{name} has other bytes than were written"
    for name in entries:
        if Path(name).name == METADATA_FILE and (fault := pickle_fault((checkpoint / name).parent)):
            return f"{name} {fault}"
    return None


def step_of(checkpoint: Path) -> int:
    """The optimizer step of a checkpoint that has no fault."""
    return int(json.loads((checkpoint / MANIFEST_FILE).read_text(encoding="utf-8"))["step"])


def name_aside(checkpoint: Path, ending: str) -> Path:
    """A free name for a checkpoint, by which it is not taken for one again."""
    aside = checkpoint.with_name(checkpoint.name + ending)
    for number in count(2):
        if not aside.exists():
            break
        aside = checkpoint.with_name(f"{checkpoint.name}{ending}-{number}")
    return aside


def remove(checkpoint: Path) -> None:
    """Delete a checkpoint: it is renamed first, so that no half of it keeps the name."""
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
    stays = {Path(path).name for path in kept if path}
    newest_first = [path for _, path in checkpoints(run_directory)]
    old = [path for path in newest_first[1:] if path.name not in stays]
    surplus = len(newest_first) - limit
    for path in reversed(old):
        if surplus <= 0:
            return
        remove(path)
        surplus -= 1


def tidy(run_directory: Path) -> None:
    """Clear away what a process that was killed left half written or half deleted."""
    for path in run_directory.glob(f"{PREFIX_CHECKPOINT_DIR}-*{REPLACED}"):
        checkpoint = path.with_name(path.name.removesuffix(REPLACED))
        if not checkpoint.exists():
            path.rename(checkpoint)
    leftovers = [UNFINISHED_DIRECTORY, f"{FINAL_DIRECTORY}.unfinished"]
    for ending in (REPLACED, DELETED):
        leftovers += [path.name for path in run_directory.glob(f"{PREFIX_CHECKPOINT_DIR}-*{ending}")]
    for name in leftovers:
        shutil.rmtree(run_directory / name, ignore_errors=True)


def _entry(path: Path) -> tuple[int, str]:
    digest, size = xxhash.xxh3_128(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
