"""What happens around a training step: the momentum update, the guard against broken gradients, the files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from mgrpo.algorithm import scheduled_momentum
from mgrpo.monitoring import names
from mgrpo.monitoring.run_log import METRICS_FILE, MetricsWriter, write_completions

if TYPE_CHECKING:
    from mgrpo.training.trainer import MGRPOTrainer

MAX_SKIPPED_IN_A_ROW = 5


class FiniteGradients(TrainerCallback):
    """Skips an optimizer step whose gradients are not finite; stops the run with a checkpoint after 5 in a row.

    Attributes:
        num_skipped: steps skipped so far.
        is_skipped: whether the current step is.
        stop_reason: why the run was stopped, or None.
    """

    def __init__(self) -> None:
        self.num_skipped = 0
        self.is_skipped = False
        self.stop_reason: str | None = None
        self._in_a_row = 0

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **_: Any,
    ) -> None:
        """Take the gradients away from the optimizer, which then leaves the weights and its own state alone."""
        assert model is not None
        if args.fp16:  # its loss scaler skips such steps by itself, many in a row until it has found its scale
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        self.is_skipped = bool(gradients) and not _total_norm(gradients).isfinite()
        self._in_a_row = self._in_a_row + 1 if self.is_skipped else 0
        if self.is_skipped:
            self.num_skipped += 1
            for parameter in model.parameters():
                parameter.grad = None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Stop when skipping does not help."""
        if self._in_a_row >= MAX_SKIPPED_IN_A_ROW:
            self.stop_reason = (
                f"the gradients of {self._in_a_row} steps in a row, up to step {state.global_step}, were not finite; "
                "the weights are those of the last finite step, saved in a checkpoint. Lower learning_rate, or train "
                "in float32 (bf16: false)."
            )
            control.should_save = True
            control.should_training_stop = True


def _total_norm(gradients: list[Tensor]) -> Tensor:
    norm = torch.nn.utils.get_total_norm(gradients)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm  # of all processes' shards


class MomentumUpdate(TrainerCallback):
    """Starts the momentum model, moves it after each optimizer step, and saves it with the labels in checkpoints."""

    def __init__(self, trainer: "MGRPOTrainer", guard: FiniteGradients) -> None:
        self._trainer = trainer
        self._guard = guard

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start it now that the parameters are final: wrapped, adapted, resumed."""
        self._trainer.start_momentum_model()
        self._trainer.start_probe()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Follow the policy, unless the policy stood still because its step was skipped."""
        momentum_model = self._trainer.momentum_model
        if control.should_log:
            self._trainer.log_metric(names.SKIPPED_STEPS, self._guard.num_skipped)
            for name, value in self._trainer.probe_metrics().items():
                self._trainer.log_metric(name, value)
        if momentum_model is None:
            return
        # global_step counts this step already
        schedule = self._trainer.args.momentum_schedule
        m = scheduled_momentum(momentum_model.m, schedule, state.global_step - 1, state.max_steps)
        if not self._guard.is_skipped:
            momentum_model.update(m)
        if control.should_log:
            self._trainer.log_metric(names.MOMENTUM, m)
            self._trainer.log_metric(names.DISTANCE, momentum_model.distance())

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save it beside the policy, and the labels that prompts had."""
        directory = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        if state.is_world_process_zero:
            self._trainer.label_memory.save(directory)
        if self._trainer.momentum_model is not None:
            self._trainer.momentum_model.save(directory, is_main=state.is_world_process_zero)


class RunFiles(TrainerCallback):
    """Writes each logged step to `metrics.jsonl`, and its completions to `completions/` where they are kept."""

    def __init__(self, trainer: "MGRPOTrainer") -> None:
        self._trainer = trainer
        self._writer: MetricsWriter | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Begin the file, or go on behind the step that the run resumes from."""
        if state.is_world_process_zero:
            self._writer = MetricsWriter(Path(args.output_dir) / METRICS_FILE, last_step=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Write what was logged."""
        if self._writer is None:
            return
        self._writer.write({"step": state.global_step, **(logs or {})})
        if self._trainer.completion_rows:
            write_completions(self._trainer.completion_rows, Path(args.output_dir), state.global_step)
            self._trainer.completion_rows = []

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
