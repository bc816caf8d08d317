"""What a run's directory holds already, and what is to be done there."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from mgrpo.errors import UserError
from mgrpo.monitoring.run_log import CONFIG_FILE, FINAL_DIRECTORY, NOT_COMPARED
from mgrpo.study.definition import StudyRun
from mgrpo.training.config import has_momentum_model
from mgrpo.training.label_memory import LabelMemory
from mgrpo.training.momentum_model import FILE_NAME as MOMENTUM_FILE
from mgrpo.training.recipe import Recipe, load_fields


@dataclass(frozen=True)
class RunState:
    """How far a run is.

    Attributes:
        is_finished: nothing is left to do.
        checkpoint: what it can go on from, or None.
        step: the optimizer step of that checkpoint.
    """

    is_finished: bool = False
    checkpoint: Path | None = None
    step: int = 0


def find_state(run: StudyRun, recipe: Recipe) -> RunState:
    """Look at a run's directory; nothing is changed.

    Raises:
        UserError: if it holds a run with other settings.
    """
    config = run.directory / CONFIG_FILE
    if config.exists():
        _check_same(run, recipe, config)
    if (run.directory / FINAL_DIRECTORY).exists():
        return RunState(is_finished=True)
    for step, checkpoint in _checkpoints(run.directory):
        if _is_complete(checkpoint, has_momentum_model(recipe.config)):
            return RunState(checkpoint=checkpoint, step=step)
    return RunState()


def clear(run: StudyRun, state: RunState) -> None:
    """Take away what an interrupted run left unfinished: what was written beyond its last complete checkpoint."""
    if state.checkpoint is not None:
        for step, checkpoint in _checkpoints(run.directory):
            if step > state.step:
                shutil.rmtree(checkpoint)
    elif (run.directory / CONFIG_FILE).exists():  # compared before, so it is this run's directory
        shutil.rmtree(run.directory)


def _checkpoints(directory: Path) -> list[tuple[int, Path]]:
    """Checkpoints with their steps, the newest first."""
    steps = ((path.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-"), path) for path in directory.glob("checkpoint-*"))
    return sorted(((int(step), path) for step, path in steps if step.isdecimal()), reverse=True)


def _is_complete(checkpoint: Path, has_momentum: bool) -> bool:
    """Whether the files that are written last are whole: the trainer's state, the labels, the momentum weights."""
    try:
        TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        LabelMemory().load(checkpoint)
        if has_momentum:
            with safe_open(checkpoint / MOMENTUM_FILE, framework="pt"):
                pass
    except (OSError, json.JSONDecodeError, UserError, SafetensorError):
        return False
    return True


def _check_same(run: StudyRun, recipe: Recipe, config: Path) -> None:
    stored = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
    # A field that is new since the run had no other value then than its default now.
    was = load_fields(stored, str(config)) | {"env": stored.get("env") or {}}
    now = recipe.resolved | {"seed": run.seed, "dataset_seed": run.seed, "env": recipe.env}
    differing = [name for name in now if name not in NOT_COMPARED and _plain(was.get(name)) != _plain(now[name])]
    if differing:
        fields = "; ".join(f"{name}: {_plain(was.get(name))!r}, now {_plain(now[name])!r}" for name in differing)
        raise UserError(
            f"{run.directory} holds a run with other settings than the study's ({fields}); give another --output_dir, "
            "or remove that run."
        )


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)  # an enum's
