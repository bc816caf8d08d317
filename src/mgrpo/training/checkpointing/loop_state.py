"""What the training loop holds between two steps and transformers' checkpoints leave out.

With it a resumed run ends with the bits of one that never stopped: the batch of completions that more steps will be
learnt from, how far TRL has counted, what was measured since the last row was logged, skipped steps, the order of
prompts in later epochs, and why a run stopped. A file a process, as with random states.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mgrpo.errors import UserError
from mgrpo.monitoring.collapse import Event

if TYPE_CHECKING:
    from mgrpo.training.trainer import MGRPOTrainer


@dataclass
class LoopState:
    """A process's share of it.

    Attributes:
        num_processes: of the run that was saved.
        micro_step: passes since training began, by which TRL knows when to sample.
        metrics: TRL's, since the last row that was logged.
        loss: summed since then.
        total_loss: summed before.
        last_logged: the optimizer step of that row.
        seconds: of training up to now, all sessions together.
        is_training: whether the model was in training mode, which decides what TRL logs at the end.
        guard: of `FiniteGradients`.
        stop_event: the alarm that stopped the run, as a row, or None.
        last_row: the last row of metrics.jsonl; a kill can damage it there.
        completion_rows: completions that are not in a table yet.
        buffer: for each pass that is left of the sampled batch its values; `{"tensor": name}` for a tensor.
    """

    num_processes: int = 1
    micro_step: int = 0
    metrics: dict[str, list[float]] = field(default_factory=dict)
    loss: float = 0.0
    total_loss: float = 0.0
    last_logged: int = 0
    seconds: float = 0.0
    is_training: bool = True
    guard: dict[str, Any] = field(default_factory=dict)
    stop_event: dict[str, Any] | None = None
    last_row: dict[str, Any] = field(default_factory=dict)
    completion_rows: list[dict[str, Any]] = field(default_factory=list)
    buffer: list[dict[str, Any]] | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether the run had stopped itself when it was saved."""
        return self.stop_event is not None or self.guard.get("stop_reason") is not None


def file_names(rank: int) -> tuple[str, str]:
    """The files of a process in a checkpoint: numbers, and the tensors of a batch that is in use."""
    return f"loop_state_{rank}.json", f"loop_state_{rank}.safetensors"


def save(trainer: "MGRPOTrainer", directory: Path) -> None:
    """Write a process's share of a trainer's loop into a checkpoint."""
    config = trainer.args
    numbers, tensors = file_names(config.process_index)
    is_in_use = trainer._step % (config.steps_per_generation * trainer.num_iterations) != 0
    buffer, kept = _packed(trainer._buffered_inputs) if is_in_use else (None, {})
    stop_event = trainer.collapse_watch.stop_event
    state = LoopState(
        num_processes=config.world_size,
        micro_step=trainer._step,
        metrics={name: [float(value) for value in values] for name, values in trainer._metrics["train"].items()},
        loss=trainer._tr_loss.item(),
        total_loss=trainer._total_loss_scalar,
        last_logged=trainer._globalstep_last_logged,
        seconds=time.time() - trainer.training_began,
        is_training=trainer.model.training,
        guard=trainer.gradient_guard.state_dict(),
        stop_event=None if stop_event is None else stop_event.as_row(),
        last_row=trainer.run_files.last_row,
        completion_rows=trainer.completion_rows,
        buffer=buffer,
    )
    directory.mkdir(parents=True, exist_ok=True)
    (directory / numbers).write_text(json.dumps(asdict(state), default=str), encoding="utf-8")
    if kept:
        save_file(kept, directory / tensors)


def read(directory: Path, rank: int) -> LoopState | None:
    """A process's share in a checkpoint, the first's where there were fewer; None if another trainer wrote it.

    Raises:
        UserError: if it cannot be read.
    """
    path = directory / file_names(rank)[0]
    if not path.exists():
        path = directory / file_names(0)[0]
    try:
        return LoopState(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}), so the run cannot go on as it was; resume from another "
            "checkpoint."
        ) from error


def restore(trainer: "MGRPOTrainer", state: LoopState, directory: Path) -> None:
    """Put a trainer's loop where it was; to be called when training has begun."""
    trainer.training_began -= state.seconds
    trainer.model.train(state.is_training)
    trainer.gradient_guard.load_state_dict(state.guard)
    if not trainer.keeps_stop:
        trainer.gradient_guard.stop_reason = None
    # loss and speed at the end are of the whole run
    trainer._total_loss_scalar = state.total_loss
    trainer._initial_global_step = 0
    trainer.state.compute_steps(trainer.args, trainer.state.max_steps)  # the recipe's, which may be forced
    _forward_sampler(trainer)
    if state.num_processes != trainer.args.world_size:
        return  # batches are others'
    trainer._metrics["train"].update({name: list(values) for name, values in state.metrics.items()})
    trainer._tr_loss += state.loss
    trainer._globalstep_last_logged = state.last_logged
    trainer._step = state.micro_step
    trainer.completion_rows = state.completion_rows
    if state.buffer is not None:
        tensors = load_file(directory / file_names(trainer.args.process_index)[1])
        trainer._buffered_inputs = _unpacked(state.buffer, tensors, trainer.accelerator.device)


def apply_learning_rate(trainer: "MGRPOTrainer") -> None:
    """Let a resumed run go on with its configuration's learning rate, where that is not the checkpoint's."""
    wanted, saved = trainer.args.learning_rate, trainer.lr_scheduler.base_lrs
    trainer.lr_scheduler.base_lrs = [wanted] * len(saved)
    for group, before in zip(trainer.optimizer.param_groups, saved, strict=True):
        if before not in (0, wanted):
            group["initial_lr"] = wanted
            group["lr"] *= wanted / before
    trainer.lr_scheduler._last_lr = [group["lr"] for group in trainer.optimizer.param_groups]  # which is logged


def _packed(batches: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    buffer, tensors = [], {}
    for i, batch in enumerate(batches):
        described: dict[str, Any] = {}
        for name, value in batch.items():
            described[name] = value
            if isinstance(value, Tensor):
                key = f"{i}.{name}"
                tensors[key] = value.detach().cpu().clone().contiguous()
                described[name] = {"tensor": key}
        buffer.append(described)
    return buffer, tensors


def _unpacked(buffer: list[dict[str, Any]], tensors: dict[str, Tensor], device: torch.device) -> list[dict[str, Any]]:
    return [
        {
            name: tensors[value["tensor"]].to(device) if isinstance(value, dict) else value
            for name, value in batch.items()
        }
        for batch in buffer
    ]


def _forward_sampler(trainer: "MGRPOTrainer") -> None:
    """Draw the orders of the epochs that are over: TRL's sampler draws them all from one generator."""
    sampler: Any = getattr(trainer.callback_handler.train_dataloader, "batch_sampler", None)
    while hasattr(sampler, "batch_sampler"):  # accelerate's, around the one of a process
        sampler = sampler.batch_sampler
    sampler = getattr(sampler, "sampler", None)
    generator = getattr(sampler, "generator", None)
    if generator is None or not getattr(sampler, "shuffle", False):
        return
    for _ in range(int(trainer.state.epoch or 0)):
        torch.randperm(sampler.num_samples, generator=generator)


def stop_event_of(state: LoopState) -> Event | None:
    """The alarm that stopped the run, or None."""
    return None if state.stop_event is None else Event(**state.stop_event)
