"""Progress of a run: a live view on a terminal, elsewhere one plain line per logging step."""

import logging
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from transformers import TrainerCallback, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from mgrpo.monitoring.collapse import Event
from mgrpo.monitoring.display import summary_line, visible
from mgrpo.monitoring.live import LiveView, number
from mgrpo.runs import metrics as names
from mgrpo.training.probe import batches_per_step, completions_per_step

REFRESHES_PER_SECOND = 4
EVAL_SECONDS = names.EVAL_PREFIX + "runtime"


class TrainingProgress(TrainerCallback):
    """Shows where a run is, on stderr.

    Args:
        is_main: whether this is the main process, the only one that prints.
        is_quiet: print only events (`show_event`).
    """

    def __init__(self, *, is_main: bool = True, is_quiet: bool = False) -> None:
        self._is_main = is_main
        self._shows_steps = is_main and not is_quiet
        self._console = Console(file=sys.stderr, emoji=False)
        self._view = LiveView()
        self._live: Live | None = None
        self._log_handlers: list[logging.StreamHandler] = []
        self._row: dict[str, Any] = {}

    def show_event(self, text: str) -> None:
        """Print a message, with `is_quiet` too; above the live view if there is one."""
        if self._is_main:
            self._console.print(visible(text), soft_wrap=True, highlight=False, markup=False)

    def show_alarm(self, event: Event, text: str) -> None:
        """Print what the collapse alarm reports, and keep its signals in the live view until it is over."""
        self._view.alarm = None if event.kind == "cleared" else visible(", ".join(event.signals))
        self.show_event(text)

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Start the view."""
        self._view.begin(
            step=state.global_step,
            max_steps=state.max_steps,
            batches_per_step=batches_per_step(args),
            completions_per_step=completions_per_step(args),
            watched_from=max(int(args.logging_steps), 1),
        )
        # rich takes FORCE_COLOR for a terminal
        if self._shows_steps and self._console.is_interactive and self._console.file.isatty():
            self._live = Live(
                self._view,
                console=self._console,
                refresh_per_second=REFRESHES_PER_SECOND,
                redirect_stdout=sys.stdout.isatty(),  # else text for a file would go to the terminal
            )
            self._live.start(refresh=True)
            self._log_handlers = [
                handler
                for handler in logging.getLogger("transformers").handlers
                if isinstance(handler, logging.StreamHandler) and handler.stream is self._console.file
            ]
            for handler in self._log_handlers:
                handler.setStream(sys.stderr)  # by now rich's, which writes above the view

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the first step's clock, behind what comes before it."""
        self._view.begin_step()

    def on_step_end(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Advance the bar; when the pace is known, print how long all steps will take."""
        self._view.end_step(state.global_step)
        if self._shows_steps and (expected := self._view.expected()):
            besides = "" if args.eval_strategy == "no" else ", evaluations not counted"
            self.show_event(f"step {state.global_step}  expected: {expected}{besides}")

    def on_log(self, _: Any, state: TrainerState, *__: Any, logs: dict[str, Any], **___: Any) -> None:
        """Show the numbers, and the last held-out accuracy."""
        self._row |= logs
        self._view.add_row(logs)
        if self._live is not None:
            if EVAL_SECONDS in logs:
                accuracy = logs.get(names.HELD_OUT_ACCURACY)
                held_out = "" if accuracy is None else f"held-out {number(accuracy)}, "
                self.show_event(f"step {state.global_step}  evaluated: {held_out}{logs[EVAL_SECONDS]:.1f} s")
        elif self._shows_steps and (names.AGREEMENT in logs or state.global_step == 0):
            self.show_event(f"step {state.global_step}/{state.max_steps}  {summary_line(self._row)}")

    def on_save(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Print where a checkpoint is."""
        if self._live is not None:
            directory = Path(f"{args.output_dir}/{PREFIX_CHECKPOINT_DIR}-{state.global_step}")
            if directory.exists():  # else it could not be saved, which was reported
                self.show_event(f"step {state.global_step}  checkpoint: {directory}")

    def close(self) -> None:
        """Stop the view and leave its last state; until then the cursor is hidden."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        for handler in self._log_handlers:
            handler.setStream(self._console.file)
        self._log_handlers = []
