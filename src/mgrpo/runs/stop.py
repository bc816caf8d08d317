"""Why a run stopped before its last step, and what it can go on from."""

from dataclasses import dataclass
from pathlib import Path

from mgrpo.runs.checkpoints import checkpoints


@dataclass(frozen=True)
class Stop:
    """Why a run stopped before its last step.

    Attributes:
        reason: a sentence.
        exit_code: what the command ends with.
    """

    reason: str
    exit_code: int


def resume_hint(run_directory: Path, *, with_other_settings: bool = False) -> str:
    """The half of a sentence that says what a run that ends now can go on from.

    Args:
        run_directory: the run's.
        with_other_settings: whether the other half is about settings to change.
    """
    checkpoint = next((path for _, path in checkpoints(run_directory)), None)
    if checkpoint is None:
        return "there is no checkpoint yet" + ("" if with_other_settings else ", so the same command begins anew")
    if with_other_settings:
        return f"--resume force goes on from {checkpoint} with other settings"
    return f"the same command goes on from {checkpoint}"
