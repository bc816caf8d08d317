"""What an M-GRPO run writes into a checkpoint in addition to transformers' and TRL's own files."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from mgrpo.training.label_memory import LabelMemory
from mgrpo.training.sampling.momentum_model import MomentumModel

ENTROPY_CONTROL_FILE = "entropy_ctrl_state.json"
"""TRL's name: it reads the state of its adaptive entropy coefficient from there."""


def save_momentum_and_labels(
    directory: Path, momentum_model: MomentumModel | None, label_memory: LabelMemory, *, is_main: bool
) -> None:
    """Save the momentum weights, if there are any, and the label of each prompt; to be called on all processes."""
    if is_main:
        label_memory.save(directory)
    if momentum_model is not None:
        momentum_model.save(directory, is_main=is_main)


def save_trainer_state(
    directory: Path, state: TrainerState, exported: Iterable[Any], entropy_control: dict[str, Any] | None
) -> None:
    """Save what transformers and TRL keep in JSON files; to be called on the main process.

    Args:
        directory: the checkpoint's.
        state: the trainer's; its best checkpoint is looked up among those that exist.
        exported: callbacks and the trainer's control; those that have a state to save are saved.
        entropy_control: TRL's adaptive entropy coefficient; None: it is constant.
    """
    if state.best_global_step:
        best = directory.parent / f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
        if best.exists() or state.best_global_step == state.global_step:
            state.best_model_checkpoint = str(best)
    for owner in exported:
        if isinstance(owner, ExportableState):
            state.stateful_callbacks[type(owner).__name__] = owner.state()
    state.save_to_json(str(directory / TRAINER_STATE_NAME))
    if entropy_control is not None:
        (directory / ENTROPY_CONTROL_FILE).write_text(json.dumps(entropy_control), encoding="utf-8")
