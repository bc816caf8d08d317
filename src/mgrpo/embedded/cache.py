"""Where a start's checkpoint is, and building it there on its first use.

`MGRPO_CACHE`, else `XDG_CACHE_HOME/mgrpo`, else `~/.cache/mgrpo`. The directory's name ends in a checksum of how the
start is made: a start whose settings change is built again, next to the old one.
"""

import os
import shutil
import sys
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

from mgrpo.embedded.model import CHECKPOINT
from mgrpo.embedded.starts import EMBEDDED, SHIPPED, STARTS, start_name
from mgrpo.errors import UserError
from mgrpo.runs.files import put_in_place


def checkpoint_of(model: str) -> Path:
    """The directory of a start's checkpoint, whether it is built yet or not.

    Raises:
        UserError: If there is no such start.
    """
    name = start_name(model)
    return CHECKPOINT if name == SHIPPED else _cache() / EMBEDDED / f"{name}-{STARTS[name].key}"


def ensure_built(model: str) -> Path:
    """Build a start's checkpoint if there is none. Of several processes that ask at once one builds, the others wait.

    Returns:
        The checkpoint's directory.

    Raises:
        UserError: If there is no such start, or the cache cannot be written to.
    """
    directory = checkpoint_of(model)
    if directory.is_dir():
        return directory
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _lock(directory.with_name(f"{directory.name}.lock"), model):
            if not directory.is_dir():
                _build(model, directory)
    except OSError as error:
        raise UserError(
            f"the model {model} is built on demand, but {directory} cannot be written ({error}); "
            "set MGRPO_CACHE to a directory that can be written to"
        ) from error
    return directory


def _lock(path: Path, model: str) -> AcquireReturnProxy:
    lock = FileLock(path)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        print(f"another process is building {model}: waiting for it", file=sys.stderr)
        return lock.acquire()


def _build(model: str, directory: Path) -> None:
    # torch and transformers take seconds to import, and are only needed here
    from mgrpo.embedded.build import build

    start = STARTS[start_name(model)]
    print(f"building {model} in {directory}: once, about {start.minutes} minutes on one CPU core", file=sys.stderr)
    unfinished = directory.with_name(f".{directory.name}.{os.getpid()}")
    try:
        build(start, unfinished)
        put_in_place(unfinished, directory)  # a directory of this name is always complete
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _cache() -> Path:
    parent = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.environ.get("MGRPO_CACHE") or parent / "mgrpo").expanduser()
