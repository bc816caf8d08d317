"""Progress of a run: a bar with rate, time left and the few numbers that matter; plain lines off a terminal."""

import sys
from typing import Any

from rich.console import Console
from rich.progress import Progress
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mgrpo.monitoring import names
from mgrpo.monitoring.display import progress_bar, summary_line


class TrainingProgress(TrainerCallback):
    """Shows where a run is; the main process alone speaks."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr)
        self._bar: Progress | None = None
        self._row: dict[str, Any] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Put the bar up."""
        if state.is_world_process_zero and self._console.is_terminal:
            self._bar = progress_bar(self._console)
            self._task = self._bar.add_task("train", total=state.max_steps, completed=state.global_step, numbers="")
            self._bar.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Move it."""
        if self._bar is not None:
            self._bar.update(self._task, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Show the numbers, the last held-out accuracy with them."""
        self._row |= logs or {}
        if not state.is_world_process_zero:
            return
        line = summary_line(self._row)
        if self._bar is not None:
            self._bar.update(self._task, numbers=line)
        elif names.AGREEMENT in (logs or {}) or state.global_step == 0:
            self._console.print(f"step {state.global_step}/{state.max_steps}  {line}", soft_wrap=True, highlight=False)

    def close(self) -> None:
        """Take the bar down, leaving its last state; it hides the cursor for as long as it is up."""
        if self._bar is not None:
            self._bar.stop()
