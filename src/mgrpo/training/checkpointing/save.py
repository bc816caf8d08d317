"""Saves checkpoints; a disk that is full or gone costs the checkpoint, not the run.

All processes write into one unfinished directory, part by part. After each part they tell each other whether it went
well, so that none waits in the next for one that failed. The main process completes the checkpoint.
"""

import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from accelerate.utils import gather_object
from safetensors import SafetensorError
from torch.distributed.checkpoint.api import CheckpointException

from mgrpo.errors import reason_of
from mgrpo.runs import checkpoints

if TYPE_CHECKING:
    from mgrpo.training.trainer import MGRPOTrainer

ON_SAVE_ERROR = ("continue", "stop")
Part = Callable[[Path], None]
"""Writes something into the directory that it is given."""
TORCH_CANNOT_WRITE = ("inline_container", "PytorchStreamWriter", "unexpected pos", "Parent directory")
"""In the messages of torch.save, which raises RuntimeErrors where a file cannot be written."""
PROBE_BYTES = 1 << 20


class NotSavedError(Exception):
    """Something could not be written, on some process; the message says what, and why."""


def save_checkpoint(trainer: "MGRPOTrainer", run_directory: Path, parts: Sequence[Part]) -> bool:
    """Save a trainer's checkpoint and delete what is over the limit; say it and act on it where that cannot be done.

    Args:
        trainer: whose; `on_save_error` and `rescue_dir` of its configuration are followed.
        run_directory: where checkpoints belong.
        parts: as for `save`.

    Returns:
        Whether the checkpoint is in the run's directory.
    """
    config, state = trainer.args, trainer.state
    processes = {"is_main": config.should_save, "num_processes": config.world_size}
    try:
        save(run_directory, state.global_step, parts, **processes)
    except NotSavedError as error:
        said = f"step {state.global_step}: the checkpoint could not be saved in {run_directory} ({error})"
        if config.on_save_error == "stop":
            trainer.save_stop_reason = f"{said}; {_rescue(trainer, parts, **processes)}"
            trainer.control.should_training_stop = True
        else:
            trainer.tell(f"{said}; {_left(run_directory)}, and it is tried again at the next interval.")
        return False
    if config.should_save:
        try:
            checkpoints.rotate(run_directory, config.save_total_limit, kept=[state.best_model_checkpoint])
        except OSError as error:
            trainer.tell(f"an old checkpoint in {run_directory} could not be deleted ({reason_of(error)}).")
    return True


def _left(run_directory: Path) -> str:
    there = checkpoints.checkpoints(run_directory)
    return f"the last one is {there[0][1].name}" if there else "there is no earlier one"


def _rescue(trainer: "MGRPOTrainer", parts: Sequence[Part], *, is_main: bool, num_processes: int) -> str:
    """Save it where the recipe says; returns what became of it."""
    elsewhere = trainer.args.rescue_dir
    left = _left(Path(trainer.args.output_dir))
    if elsewhere is None:
        return f"{left}; with room there the same command goes on from it"
    step = trainer.state.global_step
    try:
        rescued = save(Path(elsewhere), step, parts, is_main=is_main, num_processes=num_processes)
    except NotSavedError as error:
        return f"nor in rescue_dir {elsewhere} ({error}); {left}"
    return f"it is {rescued}; with room there --resume {rescued} goes on from it"


def save(run_directory: Path, step: int, parts: Sequence[Part], *, is_main: bool, num_processes: int) -> Path:
    """Save a checkpoint, to be called on all processes; returns its path.

    Args:
        run_directory: where it belongs.
        step: the optimizer step.
        parts: what each process calls to write its share, in order.
        is_main: whether this is the main process.
        num_processes: how many there are.

    Raises:
        NotSavedError: if it could not be written; what was there before still is. On all processes, or on none.
    """
    unfinished = run_directory / checkpoints.UNFINISHED_DIRECTORY
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
