"""What stands in a checkpoint, part by part: transformers' and TRL's own, and what an M-GRPO run needs besides."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from mgrpo.training.checkpointing import loop_state
from mgrpo.training.checkpointing.save import Part

if TYPE_CHECKING:
    from mgrpo.training.trainer import MGRPOTrainer


def parts_of(trainer: "MGRPOTrainer") -> Sequence[Part]:
    """What writes a trainer's checkpoint, in order; each is called on all processes."""
    return (
        lambda _: trainer.create_model_card(model_name=Path(trainer.args.output_dir).name),
        lambda directory: trainer.save_model(str(directory), _internal_call=True),
        lambda directory: trainer._save_optimizer_and_scheduler(str(directory)),
        lambda directory: trainer._save_scaler(str(directory)),
        lambda directory: trainer._save_rng_state(str(directory)),
        lambda directory: _save_momentum_and_labels(trainer, directory),
        lambda directory: loop_state.save(trainer, directory),
        lambda directory: _save_trainer_state(trainer, directory),
    )


def _save_momentum_and_labels(trainer: "MGRPOTrainer", directory: Path) -> None:
    if trainer.args.should_save:
        trainer.label_memory.save(directory)
    if trainer.momentum_model is not None:
        trainer.momentum_model.save(directory, is_main=trainer.args.should_save)


def _save_trainer_state(trainer: "MGRPOTrainer", directory: Path) -> None:
    if not trainer.args.should_save:
        return
    trainer.run_files.flush()
    state = trainer.state
    if state.best_global_step:
        best = directory.parent / f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
        if best.exists() or state.best_global_step == state.global_step:
            state.best_model_checkpoint = str(best)
    for callback in (*trainer.callback_handler.callbacks, trainer.control):
        if isinstance(callback, ExportableState):
            state.stateful_callbacks[type(callback).__name__] = callback.state()
    state.save_to_json(str(directory / TRAINER_STATE_NAME))
    if trainer.use_adaptive_entropy:  # under the name that TRL reads
        control = {"entropy_coef": trainer.entropy_coef, "last_world_entropy": trainer._last_world_entropy}
        (directory / "entropy_ctrl_state.json").write_text(json.dumps(control))
