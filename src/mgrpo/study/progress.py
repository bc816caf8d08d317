"""How far a study is: a few lines that are kept up to date on a terminal, one line for each ended run elsewhere."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mgrpo.errors import EXIT_COLLAPSED, EXIT_STOPPED, UserError
from mgrpo.monitoring.display import summary_line, visible
from mgrpo.runs.files import METRICS_FILE, Row
from mgrpo.runs.reading import open_regular
from mgrpo.study.definition import StudyRun

POLL_SECONDS = 1.0
TAIL_BYTES = 65536
"""Of a metrics file, enough for its last rows (about 3 kB each)."""


class StudyProgress:
    """Counts the runs of a study and reports how they end.

    Args:
        max_steps: the last step of each run that is still to be done, by its name; below 1 where it is not known.
        num_runs: all runs, finished ones included.
        start_steps: the steps of the checkpoints that they resume from.
        clock: seconds.
        console: stderr by default.
    """

    def __init__(
        self,
        max_steps: dict[str, int],
        *,
        num_runs: int,
        start_steps: dict[str, int],
        clock: Callable[[], float] = time.monotonic,
        console: Console | None = None,
    ) -> None:
        self._max_steps, self._start_steps, self._num_runs = max_steps, start_steps, num_runs
        self._num_skipped = num_runs - len(max_steps)
        self._num_done = self.num_failed = 0
        self._running: dict[str, tuple[StudyRun, float]] = {}
        self._clock, self._begun = clock, clock()
        self._console = console or Console(stderr=True, emoji=False)
        self._live: Live | None = None

    def __enter__(self) -> "StudyProgress":
        """Say how much is to be done, and start the live view."""
        skipped = f", {self._num_skipped} finished already" if self._num_skipped else ""
        resumed = sum(step > 0 for step in self._start_steps.values())
        resuming = f", {resumed} of them from a checkpoint" if resumed else ""
        self.say(f"{self._num_runs} runs: {len(self._max_steps)} to do{resuming}{skipped}")
        if self._console.is_terminal and self._max_steps:
            self._live = Live(self._view(), console=self._console, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        """End the live view; it hides the cursor while it is shown."""
        if self._live is not None:
            self._live.stop()

    def started(self, run: StudyRun) -> None:
        """Count a run that was started."""
        self._running[run.name] = (run, self._clock())

    def ended(self, run: StudyRun, exit_code: int) -> None:
        """Count a run that ended, and say how."""
        _, began = self._running.pop(run.name)
        if exit_code == 0:
            self._num_done += 1
            how = f"done in {self._clock() - began:.0f} s"
        elif exit_code in (EXIT_STOPPED, EXIT_COLLAPSED):
            self._num_done += 1
            how = f"stopped itself: {_last_line(run.log).removeprefix('mgrpo: stopped: ')}"
        else:
            self.num_failed += 1
            killed = f", killed by signal {-exit_code}" if exit_code < 0 else ""
            how = f"failed{killed}: {_last_line(run.log) or 'no output'} (its output is in {run.log})"
        if exit_code or self._live is None:  # the live view counts those that are done
            count = self._num_skipped + self._num_done + self.num_failed
            self.say(f"{count}/{self._num_runs}  {run.name} {how}  {self._pace()}".rstrip())

    def interrupted(self, resume_hint: str) -> None:
        """Say how many runs are left and what can be done about them."""
        left = len(self._max_steps) - self._num_done - self.num_failed
        self.say(f"interrupted with {left} runs to do; {resume_hint}")

    def show(self) -> None:
        """Bring the live view up to date."""
        if self._live is not None:
            self._live.update(self._view())

    def say(self, text: str) -> None:
        """Print a line above the live view."""
        self._console.print(visible(text), soft_wrap=True, highlight=False, markup=False)

    def _view(self) -> Text:
        """A line for the study, and one for each run with its step and its latest numbers."""
        failed = f"  {self.num_failed} failed" if self.num_failed else ""
        lines = [f"{self._num_skipped + self._num_done}/{self._num_runs} done{failed}  {self._pace()}"]
        for name, (run, _) in self._running.items():
            row, last = _latest(run.directory), self._max_steps[name]
            step = f"{row['step']}/{last}" if last > 0 else str(row["step"])
            lines.append(f"  {name}  {step}  {summary_line(row)}")
        return Text("\n".join(map(str.rstrip, lines)), no_wrap=True, overflow="ellipsis")

    def _pace(self) -> str:
        """Runs an hour, parts of unfinished ones included, and the time that is left at this rate."""
        ended = self._num_done + self.num_failed
        amount = ended + sum(self._part(run) for run, _ in self._running.values())
        hours = (self._clock() - self._begun) / 3600
        if not amount or not hours:
            return ""
        seconds_left = (len(self._max_steps) - amount) / amount * hours * 3600
        return f"{amount / hours:.0f} runs/h  {timedelta(seconds=round(seconds_left))} left"

    def _part(self, run: StudyRun) -> float:
        first, last = self._start_steps[run.name], self._max_steps[run.name]
        return max(0.0, (_latest(run.directory)["step"] - first) / (last - first)) if last > first else 0.0


def _latest(directory: Path) -> Row:
    """The last step that a run wrote (0 before there is one), and each metric's latest value."""
    try:
        with open_regular(directory / METRICS_FILE) as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            lines = file.read().splitlines(keepends=True)
    except (FileNotFoundError, UserError):
        lines = []
    latest: Row = {"step": 0}
    for line in lines:
        if line.startswith(b"{") and line.endswith(b"}\n"):  # whole: neither cut by the tail nor being written
            latest |= {name: value for name, value in json.loads(line).items() if value is not None}
    return latest


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
