"""What watches over a run from outside of its training: its lock, signals, the watchdog, memory that runs out.

`mgrpo.commands.train` opens a guard around a run, hands it each trainer, and says what a signal must not interrupt.
"""

import faulthandler
import signal
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mgrpo.errors import EXIT_OUT_OF_MEMORY
from mgrpo.guard.across_processes import decided_by_main
from mgrpo.guard.lock import run_lock
from mgrpo.guard.out_of_memory import out_of_memory
from mgrpo.guard.signals import EXIT_CODES, StopSignals
from mgrpo.guard.watchdog import Watchdog
from mgrpo.runs.checkpoints import resume_hint
from mgrpo.runs.outcome import Outcome
from mgrpo.training.config import MGRPOConfig
from mgrpo.training.trainer import MGRPOTrainer


class StopWhenAsked(TrainerCallback):
    """Ends training with a checkpoint after the step in which a signal asked any process of the run to stop.

    Where a sampled batch serves several steps, after the last of them.

    Args:
        signals: this process's.

    Attributes:
        stopped_by: the signal that ended training, on all processes alike, or None.
        is_between_batches: whether a checkpoint can be saved now.
        has_begun: whether there was a first step.
        has_stepped: whether an optimizer step has been finished.
    """

    def __init__(self, signals: StopSignals) -> None:
        self.stopped_by: signal.Signals | None = None
        self.is_between_batches: Callable[[], bool] = lambda: True
        self.has_stepped = False
        self._signals = signals
        self.has_begun = False

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """From the first step on there is something to finish."""
        self.has_begun = True
        self._signals.finish_first("the step under way is finished and saved first")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save and stop, if that is asked for."""
        self.has_stepped = True
        self.on_evaluate(args, state, control)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The same, if the signal came while the step was evaluated."""
        if self.has_begun and self._is_asked(args):
            control.should_save = control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Stop, if the signal came while the step was saved anyway."""
        if self._is_asked(args):
            control.should_training_stop = True

    def _is_asked(self, args: TrainingArguments) -> bool:
        if self.stopped_by is None and self.is_between_batches():
            number = int(self._signals.asked or 0)
            if args.world_size > 1:  # a launcher may have signalled one process alone
                number = int(gather(torch.tensor([number], device=args.device)).max())
            self.stopped_by = signal.Signals(number) if number else None
        return self.stopped_by is not None


class RunGuard(ExitStack):
    """Within the block a run has its directory for itself, and signals and errors end it with a clear message.

    Args:
        config: the run's.
        signals: those that its process listens to; None: none.

    Raises:
        UserError: if another run is in the directory.
    """

    def __init__(self, config: MGRPOConfig, signals: StopSignals | None) -> None:
        super().__init__()
        self._config, self._directory = config, Path(config.output_dir)
        self._resume_hint = partial(resume_hint, self._directory)
        self._signals = signals or StopSignals(())
        self._stop_when_asked = StopWhenAsked(self._signals)
        self._watchdog = None if config.watchdog_minutes is None else Watchdog(config.watchdog_minutes)
        self._has_trainer = False

    def __enter__(self) -> "RunGuard":
        """Take the lock; the main process holds it for all."""
        self.starting()
        decided_by_main(self._config, lambda: self.enter_context(run_lock(self._directory)))
        if self._watchdog is not None:
            self.callback(faulthandler.cancel_dump_traceback_later)
        return self

    def starting(self) -> None:
        """Nothing is under way that a signal has to wait for; one that came in between ends the process now."""
        self._has_trainer = False
        self._signals.nothing_to_finish(self._resume_hint)

    def finish_first(self, what: str) -> None:
        """A signal has to wait: "saving is finished first"."""
        self._signals.finish_first(what)

    def follow(self, trainer: MGRPOTrainer, tell: Callable[[str], None]) -> None:
        """Watch over a trainer that is about to train, and answer signals with `tell`; its other callbacks are set."""
        self._has_trainer = True
        self._signals.tell = tell
        self._stop_when_asked.is_between_batches = lambda: trainer.is_between_batches
        trainer.add_callback(self._stop_when_asked)
        if self._watchdog is not None:
            self._watchdog.arm()
            self._watchdog.follow(trainer.accelerator.unwrap_model(trainer.model))
            trainer.add_callback(self._watchdog)

    def stopped(self, state: TrainerState) -> Outcome | None:
        """Whether a signal ended training before its last step."""
        by = self._stop_when_asked.stopped_by
        if by is None or state.global_step >= state.max_steps:
            return None
        step = state.global_step
        return Outcome(step, f"{by.name} after step {step}; {self._resume_hint()}", EXIT_CODES[by])

    @property
    def has_begun(self) -> bool:
        """Whether a step of training has begun, in this session."""
        return self._stop_when_asked.has_begun

    @property
    def has_stepped(self) -> bool:
        """Whether an optimizer step has been finished, in this session."""
        return self._stop_when_asked.has_stepped

    def explained(self, error: Exception) -> Outcome | None:
        """What a run ends with where memory ran out; None: the error needs its traceback."""
        message = out_of_memory(error, self._config, is_loading=not self._has_trainer)
        if message is None:
            return None
        hint = resume_hint(self._directory, with_other_settings=True)
        return Outcome(reason=f"{message}; {hint}", exit_code=EXIT_OUT_OF_MEMORY)
