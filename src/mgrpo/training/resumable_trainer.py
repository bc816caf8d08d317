"""A trainer whose runs can be resumed as if they had not stopped: what transformers' checkpoints leave out.

`MGRPOTrainer` is the method; this is what it is built on. The files are described in `checkpointing/`. The
precision of a step is here too: weights that are rounded are spread before the first one (`models/precision.py`).
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate.utils import is_peft_model
from torch import Tensor, nn
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOTrainer
from trl.trainer import utils as trl_utils

from mgrpo.errors import WHILE_EVALUATING, UserError, noted
from mgrpo.models.precision import describe_precision, spread_within_rounding_, uses_bfloat16
from mgrpo.models.source import absolute_name
from mgrpo.runs import checkpoints
from mgrpo.training.callbacks import FiniteGradients, RunFiles
from mgrpo.training.checkpointing import loop_state
from mgrpo.training.checkpointing.save import Part, save_checkpoint
from mgrpo.training.checks import rounding_warning, shards_weights
from mgrpo.training.collapse_callback import CollapseWatch
from mgrpo.training.label_memory import LabelMemory
from mgrpo.training.model_card import CARD_FILE, model_card
from mgrpo.training.patches import bfloat16_products, own_random_state, replaced
from mgrpo.training.sampling.momentum_model import MomentumModel

ENTROPY_CONTROL_FILE = "entropy_ctrl_state.json"
"""TRL's name: it reads the state of its adaptive entropy coefficient from there."""


class ResumableTrainer(GRPOTrainer):
    """TRL's trainer with complete checkpoints.

    Attributes:
        momentum_model: None before training begins, and where there is none.
        label_memory: each prompt's last label.
        gradient_guard: a callback of the run.
        run_files: a callback of the run.
        collapse_watch: a callback of the run.
        saves: a callback of the run, which makes a save that falls due within a batch wait for its end.
        resumed: the state that the run continues from, or None.
        training_began: when, in seconds since the epoch, without the time between sessions.
        keeps_stop: whether a run that had stopped itself when its checkpoint was saved stays stopped when resumed.
        save_stop_reason: why training was stopped where a checkpoint could not be saved.
        best_step: the optimizer step of the models where the best ones were loaded at the end, or None.
        base_model: what the model card calls the model that training began with; None: as its configuration does.
        in_bfloat16: whether products are rounded to bfloat16 on a CPU.
        task: what the model card calls the task; None: a data set of the caller's.
        tell: says on the main process what a person should know.
    """

    momentum_model: MomentumModel | None
    label_memory: LabelMemory
    gradient_guard: FiniteGradients
    run_files: RunFiles
    collapse_watch: CollapseWatch
    _eval_set = ""  # the name of the set that is evaluated, where there are several

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.saves = loop_state.SaveBetweenBatches(lambda: self.is_between_batches)
        self._checkpoint: str | None = None
        self.resumed: loop_state.LoopState | None = None
        self.training_began = time.time()
        self.keeps_stop = False
        self.save_stop_reason: str | None = None
        self.best_step: int | None = None
        self.base_model: str | None = None
        self.task: str | None = None
        self.tell: Callable[[str], None] = self._say
        super().__init__(*args, **kwargs)
        if (warning := rounding_warning(self.model, self.args)) is not None:
            self.tell(warning)
        for adapter in getattr(self.model, "peft_config", {}).values():  # saved in each adapter_config.json
            adapter.base_model_name_or_path = absolute_name(adapter.base_model_name_or_path or "")
        self.in_bfloat16 = self.args.device.type == "cpu" and uses_bfloat16(self.args.cpu_precision)
        if (self.in_bfloat16 or self.args.bf16) and not (is_peft_model(self.model) or shards_weights(self.args)):
            for model in filter(None, (self.model, self.ref_model)):
                spread_within_rounding_(model)
        if self.args.cpu_precision != "float32" and self.args.device.type == "cpu":
            self.tell(describe_precision(self.args.cpu_precision))

    @property
    def is_between_batches(self) -> bool:
        """Whether the next step samples a new batch; some settings train several steps on each."""
        return self._step % (self.args.steps_per_generation * self.num_iterations) == 0

    def _loop_state(self) -> loop_state.LoopState:
        stop_event = self.collapse_watch.stop_event
        return loop_state.LoopState(
            num_processes=self.args.world_size,
            micro_step=self._step,
            metrics={name: [float(value) for value in values] for name, values in self._metrics["train"].items()},
            loss=self._tr_loss.item(),
            total_loss=self._total_loss_scalar,
            last_logged=self._globalstep_last_logged,
            seconds=time.time() - self.training_began,
            is_training=self.model.training,
            guard=self.gradient_guard.state_dict(),
            stop_event=None if stop_event is None else stop_event.as_row(),
            last_row=self.run_files.last_row,
            completion_rows=self.run_files.completion_rows,
        )

    def restore_loop(self) -> None:
        """Put the loop where the checkpoint left it, if there is one; to be called when training has begun."""
        self.training_began, self.resumed = time.time(), None
        if self._checkpoint is not None:
            self.resumed = loop_state.read(Path(self._checkpoint), self.args.process_index)
        if (saved := self.resumed) is None:
            return
        if self.resumes_run_in(Path(self.args.output_dir)):
            self.run_files.resumed_row = saved.last_row
            self._find_moved_best(Path(str(self._checkpoint)))
        self.training_began -= saved.seconds
        self.model.train(saved.is_training)
        self.gradient_guard.load_state_dict(saved.guard)
        if not self.keeps_stop:
            self.gradient_guard.stop_reason = None
        # loss and speed at the end are of the whole run
        self._total_loss_scalar, self._initial_global_step = saved.total_loss, 0
        self.state.compute_steps(self.args, self.state.max_steps)  # the recipe's, which may be forced
        loop_state.skip_epochs(self.callback_handler.train_dataloader, int(self.state.epoch or 0))
        if saved.num_processes == self.args.world_size:  # otherwise these numbers belong to other batches
            self._metrics["train"].update(saved.metrics)
            self._tr_loss += saved.loss
            self._globalstep_last_logged, self._step = saved.last_logged, saved.micro_step
            self.run_files.completion_rows = saved.completion_rows

    def resumes_run_in(self, directory: Path) -> bool:
        """Whether training was resumed from a checkpoint of the run in a directory."""
        return self._checkpoint is not None and Path(self._checkpoint).parent.resolve() == directory.resolve()

    def save_momentum_model(self, directory: str | Path) -> None:
        """Save the momentum model as a plain transformers model or PEFT adapter.

        Raises:
            UserError: if there is none.
        """
        if self.momentum_model is None:
            raise UserError("there is no momentum model to save; it exists once training began with N > 0.")
        with self.momentum_model.in_place_of_policy():
            self.save_model(str(directory))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save as transformers does; outside of checkpoints whole, though FSDP's checkpoints are sharded.

        Transformers would then save nothing, without a word.
        """
        if _internal_call or not self.is_fsdp_enabled:
            super().save_model(output_dir, _internal_call)
            return
        plugin = self.accelerator.state.fsdp_plugin
        kept = plugin.state_dict_type
        plugin.set_state_dict_type("FULL_STATE_DICT")
        try:
            super().save_model(output_dir)
        finally:
            plugin.set_state_dict_type(kept)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        self._checkpoint = checkpoint
        if checkpoint is not None:
            loop_state.apply_learning_rate(self.args.learning_rate, self.optimizer, self.lr_scheduler)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save what transformers and TRL do, the momentum weights, labels and the loop's state: all or nothing."""
        if not self.saves.may_save(self.control):
            return
        self.store_flos()
        checkpoint, stop_reason = save_checkpoint(
            Path(self._get_output_dir(trial=trial)),
            self.state.global_step,
            self._checkpoint_parts(),
            self.args,
            tell=self.tell,
            best=lambda: self.state.best_model_checkpoint,
        )
        if stop_reason is not None:
            self.save_stop_reason, self.control.should_training_stop = stop_reason, True
        if checkpoint is not None and self.args.push_to_hub:
            self._push_from_checkpoint(str(checkpoint))

    def _checkpoint_parts(self) -> list[Part]:
        """What writes a checkpoint, in order; each is called on all processes."""
        is_main, momentum_model = self.args.should_save, self.momentum_model
        return [
            lambda _: self.create_model_card(model_name=Path(self.args.output_dir).name),
            lambda directory: self.save_model(str(directory), _internal_call=True),
            lambda directory: self._save_optimizer_and_scheduler(str(directory)),
            lambda directory: self._save_scaler(str(directory)),
            lambda directory: self._save_rng_state(str(directory)),
            lambda directory: self.label_memory.save(directory) if is_main else None,
            lambda directory: None if momentum_model is None else momentum_model.save(directory, is_main=is_main),
            lambda directory: loop_state.save(self._loop_state(), directory, self.args.process_index),
            lambda directory: self._save_trainer_state(directory) if is_main else None,
        ]

    def _save_trainer_state(self, directory: Path) -> None:
        """Write what transformers and TRL keep in JSON files, once all logged rows are on the disk."""
        self.run_files.flush()
        state = self.state
        if state.best_global_step:
            best = directory.parent / f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
            if best.exists() or state.best_global_step == state.global_step:
                state.best_model_checkpoint = str(best)
        for owner in (*self.callback_handler.callbacks, self.control):
            if isinstance(owner, ExportableState):
                state.stateful_callbacks[type(owner).__name__] = owner.state()
        state.save_to_json(str(directory / TRAINER_STATE_NAME))
        if self.use_adaptive_entropy:
            control = {"entropy_coef": self.entropy_coef, "last_world_entropy": self._last_world_entropy}
            (directory / ENTROPY_CONTROL_FILE).write_text(json.dumps(control), encoding="utf-8")

    def _find_moved_best(self, checkpoint: Path) -> None:
        """Find the best checkpoint by its name: transformers stores its path, and forgets it where a run is moved."""
        stored = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME)).best_model_checkpoint
        if stored and (best := checkpoint.with_name(Path(stored).name)).exists():
            self.state.best_model_checkpoint = str(best)

    def _load_best_model(self) -> None:
        """Load the best policy as transformers does, and the momentum model of the same step."""
        super()._load_best_model()
        best = Path(str(self.state.best_model_checkpoint))
        self.best_step = checkpoints.step_of(best)
        if self.momentum_model is not None:
            self.momentum_model.load(best)

    def create_model_card(self, model_name: str | None = None, *_: Any, **__: Any) -> None:
        """Write M-GRPO's model card where TRL would write GRPO's."""
        if self.is_world_process_zero():
            path = Path(self.args.output_dir, CARD_FILE)
            base = self.base_model or trl_utils.get_config_model_id(self.model.config)
            is_adapter = is_peft_model(self.model)
            text = model_card(self.args, model_name or path.parent.name, base, self.task, is_adapter=is_adapter)
            path.write_text(text, encoding="utf-8")

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Sample where a batch is due, and train on a part of it, in the precision that is asked for."""
        with bfloat16_products(is_on=self.in_bfloat16):
            return super().training_step(*args, **kwargs)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Evaluate as TRL does, without a trace in training: the random state is put back afterwards."""
        random_state = own_random_state(self.args.seed + self.args.process_index, self.accelerator.device)
        of_set = replaced(self, "_eval_set", metric_key_prefix.removeprefix("eval"))
        with random_state, bfloat16_products(is_on=self.in_bfloat16), noted(WHILE_EVALUATING), of_set:
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as TRL does; each of several evaluation sets under its own name, as transformers logs its loss."""
        if self._eval_set and not self.model.training:
            measured, prefix = self._metrics["eval"], self._eval_set.removeprefix("_")
            self._metrics["eval"] = defaultdict(list, {f"{prefix}_{name}": v for name, v in measured.items()})
        super().log(logs, start_time)

    def _say(self, text: str) -> None:
        if self.accelerator.is_main_process:
            print(f"mgrpo: {text}", file=sys.stderr)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Train as transformers does, but no step more where nothing is left of a run that is resumed."""
        is_kept_stop = self.keeps_stop and self.resumed is not None and self.resumed.is_stopped
        if is_kept_stop or self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def _finalize_training(self, trial: Any, num_train_samples: int, start_time: float) -> Any:
        """Finish as transformers does; times are of all sessions together."""
        if self.resumed is not None:
            start_time -= self.resumed.seconds
            if self.keeps_stop and self.collapse_watch.stop_event is None:
                self.collapse_watch.stop_event = self.resumed.alarm
        return super()._finalize_training(trial, num_train_samples, start_time)
