"""What watches over a run from outside of its training: its lock, signals, a watchdog, the run's other processes.

`mgrpo.commands.train` opens a guard around a run, hands it each trainer, and says what a signal must not interrupt.
"""

import signal
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from accelerate.utils import gather, gather_object, wait_for_everyone
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mgrpo.errors import EXIT_OUT_OF_MEMORY, EXIT_PROCESS_LOST, UserError
from mgrpo.guard.lock import RunLock
from mgrpo.guard.out_of_memory import out_of_memory
from mgrpo.guard.peers import DYING_SECONDS, Peers
from mgrpo.guard.signals import EXIT_CODES, StopSignals
from mgrpo.guard.watchdog import Watchdog
from mgrpo.runs.stop import Stop, resume_hint
from mgrpo.training.config import MGRPOConfig
from mgrpo.training.trainer import MGRPOTrainer


class StopWhenAsked(TrainerCallback):
    """Ends training with a checkpoint behind the step in which any process of the run was asked to by a signal.

    Args:
        signals: this process's.

    Attributes:
        stopped_by: the signal that ended training, on all processes alike, or None.
        is_between_batches: whether a checkpoint can be saved now; where a batch serves several steps, after the last.
    """

    def __init__(self, signals: StopSignals) -> None:
        self.stopped_by: signal.Signals | None = None
        self.is_between_batches: Callable[[], bool] = lambda: True
        self._signals = signals
        self._has_begun = False

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """From the first step on there is something to finish."""
        self._has_begun = True
        self._signals.finish_first("the step under way is finished and saved first")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save and stop, if that is asked for."""
        if self._is_asked(args):
            control.should_save = control.should_training_stop = True

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The same; it came while the step was evaluated."""
        if self._has_begun and self._is_asked(args):
            control.should_save = control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """It came while the step was saved anyhow."""
        if self._is_asked(args):
            control.should_training_stop = True

    def _is_asked(self, args: TrainingArguments) -> bool:
        if self.stopped_by is None and self.is_between_batches():
            number = int(self._signals.asked or 0)
            if args.world_size > 1:  # a launcher may have told one process alone
                number = int(gather(torch.tensor([number], device=args.device)).max())
            self.stopped_by = signal.Signals(number) if number else None
        return self.stopped_by is not None


class RunGuard:
    """Within the block a run has its directory for itself, and ends in a sentence where it cannot go on.

    Args:
        config: the run's.
        signals: those that its process listens to; None: none.

    Raises:
        UserError: if another run is in the directory.
    """

    def __init__(self, config: MGRPOConfig, signals: StopSignals | None) -> None:
        self._config, self._directory = config, Path(config.output_dir)
        self._resume_hint = partial(resume_hint, self._directory)
        self._signals = signals or StopSignals(())
        self._stop_when_asked = StopWhenAsked(self._signals)
        self._around = ExitStack()
        self._peers: Peers | None = None
        self._watchdog: Watchdog | None = None

    def __enter__(self) -> "RunGuard":
        """Take the lock; meet the other processes."""
        self.starting()
        refusal: str | None = None
        if self._config.process_index == 0:
            try:
                self._around.enter_context(RunLock(self._directory))
            except UserError as error:
                refusal = str(error)
        if self._config.world_size > 1:
            refusal = next(filter(None, gather_object([refusal])), None)
        if refusal is not None:
            raise UserError(refusal)
        if self._config.world_size > 1:
            self._peers = Peers.meet(self._config.process_index, self._resume_hint)
            self._around.enter_context(self._peers.watch())
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Watch no longer; give the lock back."""
        self._around.close()

    def starting(self) -> None:
        """Nothing is under way that a signal has to wait for; one that came in between ends the process now."""
        self._signals.nothing_to_finish(self._resume_hint)

    def finish_first(self, what: str) -> None:
        """A signal has to wait: "saving is finished first"."""
        self._signals.finish_first(what)

    def follow(self, trainer: MGRPOTrainer, tell: Callable[[str], None]) -> None:
        """Watch over a trainer that is about to train; its other callbacks are there already."""
        self._signals.tell = tell
        self._stop_when_asked.is_between_batches = lambda: trainer.is_between_batches
        trainer.add_callback(self._stop_when_asked)
        if self._config.watchdog_minutes is None:
            return
        if self._watchdog is None:
            rank = self._config.process_index
            self._watchdog = Watchdog(self._config.watchdog_minutes, self._directory, rank, self._resume_hint)
            self._around.enter_context(self._watchdog.watch())
        self._watchdog.moved()
        self._watchdog.follow(trainer.accelerator.unwrap_model(trainer.model))
        trainer.add_callback(self._watchdog)

    def stopped(self, state: TrainerState) -> Stop | None:
        """Whether a signal ended training before its last step."""
        by = self._stop_when_asked.stopped_by
        if by is None or state.global_step >= state.max_steps:
            return None
        return Stop(f"{by.name} after step {state.global_step}; {self._resume_hint()}", EXIT_CODES[by])

    def explained(self, error: Exception) -> Stop | None:
        """What a run ends with that an error ended, where a sentence says it all; None: the error is to be seen."""
        sentence = out_of_memory(error, self._config)
        if sentence is not None:
            stays = resume_hint(self._directory, with_other_settings=True)
            return Stop(f"{sentence}; {stays}", EXIT_OUT_OF_MEMORY)
        if self._peers is not None and not isinstance(error, UserError):
            sentence = self._peers.lost(DYING_SECONDS)
            if sentence is not None:
                return Stop(f"{sentence}; {self._resume_hint()}", EXIT_PROCESS_LOST)
        return None

    def end_together(self) -> None:
        """The run is over on all processes: each may end without the others' being ended by it."""
        if self._peers is not None:
            self._peers.stop_watching()
            wait_for_everyone()
