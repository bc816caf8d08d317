"""What happens around a training step: the momentum update, the guard against broken gradients, the files."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mgrpo.algorithm import scheduled_momentum
from mgrpo.errors import UserError, reason_of
from mgrpo.models.finite import broken_weight
from mgrpo.runs import metrics as names
from mgrpo.runs.checkpoints import checkpoints
from mgrpo.runs.files import (
    ALARMS_FILE,
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    METRICS_FILE,
    MetricsWriter,
    Row,
    drop_completions_after,
    write_completions,
    write_whole,
)
from mgrpo.training.probe import FILE_NAME as PROBE_FILE
from mgrpo.training.probe import Probe
from mgrpo.training.sampling.momentum_model import MomentumModel

MAX_SKIPPED_IN_A_ROW = 5
MAX_WAITING_TABLES = 20
"""Tables of completions that are kept while the disk takes none; the oldest go."""
MAX_SKIPPED_BY_SCALER = 20
"""The same under fp16, whose loss scaler begins at 2^16 and halves it at each: at 2^-4 the scale is not to blame."""
KEPT_FILES = (CONFIG_FILE, ENVIRONMENT_FILE, ALARMS_FILE, PROBE_FILE)
"""Files that a run needs to be resumed: they are written again where its directory was deleted while it trains."""
ROWS_IN_STATE = 100
"""Logged rows that transformers' `state.log_history` keeps, in memory and in each checkpoint; all are in the file."""


class FiniteGradients(TrainerCallback):
    """Skips an optimizer step whose loss or gradients are not finite; after 5 in a row stops with a checkpoint.

    Weights that are not finite end the run at once, without a checkpoint, before anything takes them in: those that
    it begins with, and those that a step makes.

    Args:
        accelerator: the trainer's.

    Attributes:
        num_skipped: steps skipped so far.
        is_skipped: whether the current step is.
        stop_reason: why the run was stopped, or None.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.num_skipped = 0
        self.is_skipped = False
        self.stop_reason: str | None = None
        self._accelerator = accelerator
        self._in_a_row = 0
        self._losses: list[Tensor] = []
        self._scale = 0.0  # of fp16's losses, before the step

    def on_train_begin(self, _: Any, state: TrainerState, *__: Any, model: nn.Module, **___: Any) -> None:
        """Refuse a model that is broken already, by itself or as a checkpoint has it."""
        broken = broken_weight(model.named_parameters())
        if self._anywhere(broken is not None):
            where = f"checkpoint of step {state.global_step}" if state.global_step else "model"
            raise UserError(
                f"the weights of the {where} are not finite ({_named(broken)}); give an intact one to train on"
            )

    def see_loss(self, loss: Tensor) -> Tensor:
        """Take the loss of a pass, and give it back."""
        self._losses.append(loss.detach())
        return loss

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run has to know."""
        return {"num_skipped": self.num_skipped, "in_a_row": self._in_a_row, "stop_reason": self.stop_reason}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self.num_skipped, self._in_a_row = state["num_skipped"], state["in_a_row"]
        self.stop_reason = state["stop_reason"]

    def on_pre_optimizer_step(self, *_: Any, model: nn.Module, **__: Any) -> None:
        """Take the gradients away from the optimizer, which then leaves the weights and its own state alone."""
        losses, self._losses = self._losses, []
        self.is_skipped = False
        if self._accelerator.scaler is not None:  # under fp16, which skips such steps by itself
            self._scale = self._accelerator.scaler.get_scale()
            return
        is_loss_broken = self._anywhere(bool(losses) and not torch.stack(losses).isfinite().all())
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        self.is_skipped = bool(gradients) and (is_loss_broken or not bool(_total_norm(gradients).isfinite()))
        if self.is_skipped:
            for parameter in model.parameters():
                parameter.grad = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, *, model: nn.Module, **_: Any
    ) -> None:
        """Stop when skipping does not help, or the step has broken the weights."""
        scaler = self._accelerator.scaler
        # accelerate does not see it where the optimizer itself leaves a step out, as a fused one does
        self.is_skipped |= self._accelerator.optimizer_step_was_skipped
        self.is_skipped |= scaler is not None and scaler.get_scale() < self._scale
        self.num_skipped += self.is_skipped
        self._in_a_row = self._in_a_row + 1 if self.is_skipped else 0
        if not self.is_skipped:
            self._check_weights(model, args, state)
        most = MAX_SKIPPED_IN_A_ROW if scaler is None else MAX_SKIPPED_BY_SCALER
        if self._in_a_row >= most:
            self.stop_reason = (
                f"the gradients of {self._in_a_row} steps in a row, up to step {state.global_step}, were not finite; "
                "the weights are those of the last finite step, saved in a checkpoint. Lower learning_rate, or train "
                "in float32 (bf16: false)."
            )
            control.should_save = True
            control.should_training_stop = True

    def _check_weights(self, model: nn.Module, args: TrainingArguments, state: TrainerState) -> None:
        broken = broken_weight((name, p) for name, p in model.named_parameters() if p.requires_grad)
        if self._anywhere(broken is not None):
            last = next((path for _, path in checkpoints(Path(args.output_dir))), None)
            where = "start again" if last is None else f"resume from {last}"
            raise UserError(
                f"step {state.global_step} made weights that are not finite ({_named(broken)}), of which nothing is "
                f"kept; {where} with a learning_rate below {args.learning_rate:g}"
            )

    def _anywhere(self, is_broken: bool) -> bool:
        """Whether it is so on any process; to be asked on all."""
        if self._accelerator.num_processes == 1:
            return is_broken
        mine = torch.tensor([is_broken], device=self._accelerator.device)
        return bool(self._accelerator.gather(mine).any())


def _named(broken: str | None) -> str:
    return f"{broken} holds nan or infinity" if broken else "another process says which"


def _total_norm(gradients: list[Tensor]) -> Tensor:
    norm = torch.nn.utils.get_total_norm(gradients)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm  # of all processes' shards


class MomentumUpdate(TrainerCallback):
    """Moves the momentum model after each optimizer step, and logs where it and the probe are.

    Args:
        start: starts what a run needs, now that the parameters are final: wrapped, adapted, resumed.
        models: gives the run's momentum model and its probe, or None for each.
        guard: says which steps were skipped.
        schedule: how m changes.
        log: takes a metric's name and value, for the next row.
    """

    def __init__(
        self,
        start: Callable[[], None],
        models: Callable[[], tuple[MomentumModel | None, Probe | None]],
        guard: FiniteGradients,
        schedule: str,
        log: Callable[[str, float], None],
    ) -> None:
        self._start, self._models, self._guard, self._schedule, self._log = start, models, guard, schedule, log

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the run."""
        self._start()

    def on_step_end(self, _: Any, state: TrainerState, control: TrainerControl, **__: Any) -> None:
        """Follow the policy, unless its step was skipped."""
        momentum_model, probe = self._models()
        if control.should_log:
            self._log(names.SKIPPED_STEPS, self._guard.num_skipped)
            for name, value in ({} if probe is None else probe.metrics()).items():
                self._log(name, value)
        if momentum_model is None:
            return
        # global_step counts this step already
        m = scheduled_momentum(momentum_model.m, self._schedule, state.global_step - 1, state.max_steps)
        if not self._guard.is_skipped:
            momentum_model.update(m)
        if control.should_log:
            self._log(names.MOMENTUM, m)
            self._log(names.DISTANCE, momentum_model.distance())


class RunFiles(TrainerCallback):
    """Writes each logged step to `metrics.jsonl`, and its completions to `completions/` where they are kept.

    What cannot be written is kept and tried again at the next row, as is what `KEPT_FILES` names.

    Args:
        tell: takes a sentence for the user.

    Attributes:
        completion_rows: completions that are not in a table yet, on the main process.
        resumed_row: the last row of the run that is resumed; a kill can damage it in the file.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.completion_rows: list[dict] = []
        self.resumed_row: Row | None = None
        self._tell = tell
        self._writer: MetricsWriter | None = None
        self._directory, self._tables_limit = Path(), None
        self._tables: deque[tuple[int, list[dict]]] = deque(maxlen=MAX_WAITING_TABLES)
        self._is_failing = False
        self._kept: dict[str, str] = {}

    @property
    def last_row(self) -> Row:
        """The last row, where this process writes them."""
        return {} if self._writer is None else self._writer.last_row

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Begin the file, or continue it after the step that the run resumes from."""
        if not state.is_world_process_zero:
            return
        self._directory, self._tables_limit = Path(args.output_dir), args.completions_total_limit
        self._writer = MetricsWriter(self._directory / METRICS_FILE, state.global_step, self.resumed_row)
        drop_completions_after(self._directory, state.global_step)
        self._keep_files()

    def on_log(self, _: Any, state: TrainerState, *__: Any, logs: dict[str, Any], **___: Any) -> None:
        """Write what was logged."""
        if self._writer is None:
            return
        del state.log_history[:-ROWS_IN_STATE]
        if self.completion_rows:
            self._tables.append((state.global_step, self.completion_rows))
            self.completion_rows = []
        try:
            self._writer.write({"step": state.global_step, **logs})
            self._keep_files()
            self._write_tables()
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                self._tell(
                    f"step {state.global_step}: what was logged could not be written to {self._directory} "
                    f"({reason_of(error)}); it is kept, and tried again at the next row."
                )
            self._is_failing = True

    def _keep_files(self) -> None:
        for path in (self._directory / name for name in KEPT_FILES):
            if path.exists():
                self._kept[path.name] = path.read_text(encoding="utf-8")
            elif path.name in self._kept:
                write_whole(path, self._kept[path.name])

    def _write_tables(self) -> None:
        while self._tables:
            step, rows = self._tables[0]
            write_completions(rows, self._directory, step, self._tables_limit)
            self._tables.popleft()

    def flush(self) -> None:
        """Wait until all is on the disk: a checkpoint must not lie behind rows that are not.

        Raises:
            OSError: if it cannot be written.
        """
        if self._writer is not None:
            self._keep_files()
            self._write_tables()
            self._writer.flush()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
