"""What the training loop holds between two steps and transformers' checkpoints leave out.

With it a resumed run ends with the bits of one that never stopped: how far TRL has counted, what was measured since
the last row was logged, skipped steps, the order of prompts in later epochs, and why a run stopped. A file for each
process, as with random states. `SaveBetweenBatches` sees to it that no sampled batch has to be in a checkpoint.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mgrpo.errors import UserError
from mgrpo.monitoring.collapse import Event
from mgrpo.runs.reading import read_as, read_json_object


@dataclass
class LoopState:
    """One process's share of the training loop.

    Attributes:
        num_processes: of the run that was saved.
        micro_step: passes since training began, by which TRL decides when to sample.
        metrics: TRL's metrics since the last row that was logged.
        loss: summed since then.
        total_loss: summed before.
        last_logged: the optimizer step of that row.
        seconds: of training so far, all sessions together.
        is_training: whether the model was in training mode, which decides what TRL logs at the end.
        guard: the state of `FiniteGradients`.
        stop_event: the alarm that stopped the run, as a row, or None.
        last_row: the last row of metrics.jsonl; a kill can damage it there.
        completion_rows: completions that are not in a table yet.
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

    @property
    def is_stopped(self) -> bool:
        """Whether the run had stopped itself when it was saved."""
        return self.stop_event is not None or self.guard.get("stop_reason") is not None

    @property
    def alarm(self) -> Event | None:
        """The alarm that stopped the run, or None."""
        return None if self.stop_event is None else Event(**self.stop_event)


class SaveBetweenBatches(TrainerCallback):
    """Puts off a save that falls due while a sampled batch still serves further steps to the step that uses it up.

    With `load_best_model_at_end` evaluations too, so that the weights that were measured are those that are saved.
    A run that ends saves at once: it trains on nothing that is left of its batch.

    Args:
        is_between_batches: whether the next step samples a new batch.
    """

    def __init__(self, is_between_batches: Callable[[], bool]) -> None:
        self._is_between_batches = is_between_batches
        self._is_due = self._is_evaluation_due = False

    def may_save(self, control: TrainerControl) -> bool:
        """Whether a save that falls due is made now; otherwise it is put off."""
        self._is_due = not (self._is_between_batches() or control.should_training_stop)
        return not self._is_due

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save and evaluate what was put off, once the batch is used up."""
        is_between_batches = self._is_between_batches()
        control.should_save |= self._is_due and is_between_batches
        if args.load_best_model_at_end:
            is_due = control.should_evaluate or self._is_evaluation_due
            control.should_evaluate = is_due and (is_between_batches or control.should_training_stop)
            self._is_evaluation_due = is_due and not control.should_evaluate


def file_name(rank: int) -> str:
    """A process's file in a checkpoint."""
    return f"loop_state_{rank}.json"


def save(state: LoopState, directory: Path, rank: int) -> None:
    """Write a process's share into a checkpoint."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / file_name(rank)).write_text(json.dumps(asdict(state), default=str), encoding="utf-8")


def read(directory: Path, rank: int) -> LoopState | None:
    """A process's share in a checkpoint, the first's where there were fewer; None if another trainer wrote it.

    Raises:
        UserError: if it cannot be read, or an earlier version saved it within a batch.
    """
    path = directory / file_name(rank)
    if not path.exists():
        path = directory / file_name(0)
    try:
        saved = read_json_object(path)
        has_batch = saved.pop("buffer", None) is not None  # up to version 0.1
        if unknown := saved.keys() - {field.name for field in fields(LoopState)}:
            raise ValueError(f"it has {min(unknown)}")
        state: LoopState = read_as(LoopState, saved)
    except FileNotFoundError:
        return None
    except ValueError as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{path} cannot be read ({reason}), so the run cannot be resumed; resume from another checkpoint."
        ) from error
    if has_batch:
        raise UserError(
            f"{directory} was saved by an earlier version of mgrpo within a batch of several steps, and this version "
            "resumes between batches only; resume from another checkpoint, or start anew in another --output_dir."
        )
    return state


def apply_learning_rate(learning_rate: float, optimizer: Optimizer, scheduler: LRScheduler) -> None:
    """Let a resumed run use its configuration's learning rate, where that is not the checkpoint's."""
    saved = scheduler.base_lrs
    scheduler.base_lrs = [learning_rate] * len(saved)
    for group, before in zip(optimizer.param_groups, saved, strict=True):
        if before not in (0, learning_rate):
            group["initial_lr"] = learning_rate
            group["lr"] *= learning_rate / before
    scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]  # which is logged


def skip_epochs(dataloader: Any, num_epochs: int) -> None:
    """Draw the orders of the epochs that are over: TRL's sampler draws them all from one generator."""
    sampler: Any = getattr(dataloader, "batch_sampler", None)
    while hasattr(sampler, "batch_sampler"):  # accelerate's, around the one of a process
        sampler = sampler.batch_sampler
    sampler = getattr(sampler, "sampler", None)
    generator = getattr(sampler, "generator", None)
    if generator is None or not getattr(sampler, "shuffle", False):
        return
    for _ in range(num_epochs):
        torch.randperm(sampler.num_samples, generator=generator)
