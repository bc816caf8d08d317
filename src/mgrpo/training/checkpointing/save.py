"""Saves checkpoints; a disk that is full or unavailable costs the checkpoint, not the run.

All processes write into one unfinished directory, part by part. After each part they tell each other whether it went
well, so that none waits in the next for one that failed. The main process completes the checkpoint.
"""

import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate.utils import gather_object
from safetensors import SafetensorError
from torch.distributed.checkpoint.api import CheckpointException

from mgrpo.errors import reason_of
from mgrpo.runs import checkpoints
from mgrpo.training.config import MGRPOConfig

Part = Callable[[Path], None]
"""Writes something into the directory that it is given."""
TORCH_CANNOT_WRITE = ("inline_container", "PytorchStreamWriter", "unexpected pos", "Parent directory")
"""In the messages of torch.save, which raises RuntimeErrors where a file cannot be written."""
PROBE_BYTES = 1 << 20


class NotSavedError(Exception):
    """Something could not be written, on some process; the message says what, and why."""


def save_checkpoint(
    run_directory: Path,
    step: int,
    parts: Sequence[Part],
    config: MGRPOConfig,
    *,
    tell: Callable[[str], None],
    best: Callable[[], str | None] = lambda: None,
) -> tuple[Path | None, str | None]:
    """Save a checkpoint and delete those beyond the limit; what fails is reported and handled as the recipe says.

    Args:
        run_directory: where checkpoints belong.
        step: the optimizer step.
        parts: as for `save`.
        config: its `on_save_error`, `rescue_dir` and `save_total_limit` are followed.
        tell: takes a sentence for the user.
        best: gives, after saving, the path of a checkpoint that the limit does not delete.

    Returns:
        The checkpoint's path, or None: it could not be saved there; and why the run has to stop, where
        `on_save_error` says so.
    """
    try:
        checkpoint = save(run_directory, step, parts, config)
    except NotSavedError as error:
        message = f"step {step}: the checkpoint could not be saved in {run_directory} ({error})"
        if config.on_save_error == "stop":
            return None, f"{message}; {_rescue(run_directory, step, parts, config)}"
        tell(f"{message}; {_last_saved(run_directory)}, and it is tried again at the next interval.")
        return None, None
    if config.should_save:
        try:
            checkpoints.rotate(run_directory, config.save_total_limit, kept=[best()])
        except OSError as error:
            tell(f"an old checkpoint in {run_directory} could not be deleted ({reason_of(error)}).")
    return checkpoint, None


def _last_saved(run_directory: Path) -> str:
    saved = checkpoints.checkpoints(run_directory)
    return f"the last one is {saved[0][1].name}" if saved else "there is no earlier one"


def _rescue(run_directory: Path, step: int, parts: Sequence[Part], config: MGRPOConfig) -> str:
    """Save to `rescue_dir`, if there is one; returns what became of it."""
    last_saved = _last_saved(run_directory)
    if config.rescue_dir is None:
        return f"{last_saved}; free some space there and run the same command to resume from it"
    try:
        rescued = save(Path(config.rescue_dir).expanduser(), step, parts, config)
    except NotSavedError as error:
        return f"nor in rescue_dir {config.rescue_dir} ({error}); {last_saved}"
    return f"it is {rescued}; free some space and resume from it with --resume {rescued}"


def save(run_directory: Path, step: int, parts: Sequence[Part], config: MGRPOConfig) -> Path:
    """Save a checkpoint, to be called on all processes; returns its path.

    Args:
        run_directory: where it belongs.
        step: the optimizer step.
        parts: what each process calls to write its share, in order.
        config: says which process this is, and of how many.

    Raises:
        NotSavedError: if it could not be written; what was there before still is. On all processes, or on none.
    """
    unfinished = run_directory / checkpoints.UNFINISHED_DIRECTORY
    is_main, num_processes = config.should_save, config.world_size
    written: set[str] = set()

    def begin() -> None:
        if is_main:
            checkpoints.begin(run_directory)

    def complete() -> None:
        if is_main:
            checkpoints.complete(unfinished, step, written)

    try:
        together(begin, unfinished, num_processes)
        for part in parts:
            together(lambda part=part: part(unfinished), unfinished, num_processes)  # type: ignore[misc]
            if is_main:
                written |= checkpoints.files_in(unfinished)
        together(complete, unfinished, num_processes)
    except NotSavedError:
        if is_main:
            shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return run_directory / f"{checkpoints.PREFIX_CHECKPOINT_DIR}-{step}"


def together(write: Callable[[], None], directory: Path, num_processes: int) -> None:
    """Let each process write its share; if one of them could not, all raise.

    Args:
        write: what writes it.
        directory: where, for the message.
        num_processes: how many there are.

    Raises:
        NotSavedError: with the first process's reason. Errors that are no fault of the disk are raised as they are.
    """
    reason = None
    try:
        write()
    except (OSError, SafetensorError, RuntimeError, CheckpointException) as error:
        if not _is_of_disk(error):
            raise
        reason = _reason(error, directory)
    reasons = gather_object([reason]) if num_processes > 1 else [reason]
    first = next((reason for reason in reasons if reason is not None), None)
    if first is not None:
        raise NotSavedError(first)


def _is_of_disk(error: BaseException) -> bool:
    if isinstance(error, CheckpointException):
        return all(_is_of_disk(cause) for cause, _ in error.failures.values())
    if isinstance(error, RuntimeError):
        return any(words in str(error) for words in TORCH_CANNOT_WRITE)
    return isinstance(error, OSError | SafetensorError)


def _reason(error: BaseException, directory: Path) -> str:
    """Why, in the system's words: torch does not say, so another file is tried."""
    if isinstance(error, CheckpointException):
        return _reason(next(iter(error.failures.values()))[0], directory)
    if isinstance(error, OSError):
        return reason_of(error)
    if isinstance(error, SafetensorError) and (said := re.search(r"[Ee]rror: ([^:()]+) \(os error", str(error))):
        return said[1]
    probe = directory / ".probe"
    try:
        with probe.open("wb") as file:
            file.write(os.urandom(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as of_probe:
        return reason_of(of_probe)
    finally:
        probe.unlink(missing_ok=True)
    return " ".join(str(error).split())
