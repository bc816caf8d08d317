"""Where a study is: one line for the whole on a terminal, one line a finished run elsewhere."""

import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mgrpo.errors import EXIT_COLLAPSED, EXIT_STOPPED
from mgrpo.monitoring.display import visible
from mgrpo.runs.files import METRICS_FILE
from mgrpo.study.definition import StudyRun

TAIL_BYTES = 65536
"""Of a metrics file, enough for its last row (about 3 kB)."""


class StudyProgress:
    """Counts the runs of a study and says how they end.

    Args:
        max_steps: the last step of each run that is still to be done, by its name; below 1 where it is not known.
        num_runs: all runs, finished ones included.
        start_steps: the steps of the checkpoints that they go on from.
        clock: seconds.
        console: where to show it; None: stderr.
    """

    POLL_SECONDS = 1.0

    def __init__(
        self,
        max_steps: dict[str, int],
        *,
        num_runs: int,
        start_steps: dict[str, int],
        clock: Callable[[], float] = time.monotonic,
        console: Console | None = None,
    ) -> None:
        self._console = console or Console(file=sys.stderr)
        self._live: Live | None = None
        self._max_steps = max_steps
        self._start_steps = start_steps
        self._clock = clock
        self._begun = clock()
        self._num_runs = num_runs
        self._num_skipped = num_runs - len(max_steps)
        self._num_done = 0
        self._going: dict[str, tuple[StudyRun, float]] = {}
        self.num_failed = 0

    def __enter__(self) -> "StudyProgress":
        """Say how much is to be done, and put the line up."""
        waiting = len(self._max_steps)
        there = f", {self._num_skipped} finished already" if self._num_skipped else ""
        resumed = sum(step > 0 for step in self._start_steps.values())
        going_on = f", {resumed} go on from a checkpoint" if resumed else ""
        self.say(f"{self._num_runs} runs: {waiting} to do{going_on}{there}")
        if self._console.is_terminal and waiting:
            self._live = Live(self._line(), console=self._console, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        """Take the line down; it hides the cursor for as long as it is up."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def started(self, run: StudyRun) -> None:
        """Count a run that was started."""
        self._going[run.name] = (run, self._clock())

    def ended(self, run: StudyRun, exit_code: int) -> None:
        """Count a run that ended, and say how."""
        _, began = self._going.pop(run.name)
        if exit_code in (0, EXIT_STOPPED, EXIT_COLLAPSED):
            self._num_done += 1
            how = f"done in {self._clock() - began:.0f} s"
            if exit_code:
                how = f"stopped itself: {_last_line(run.log).removeprefix('mgrpo: stopped: ')}"
        else:
            self.num_failed += 1
            killed = f", killed by signal {-exit_code}" if exit_code < 0 else ""
            how = f"failed{killed}: {_last_line(run.log) or 'no output'} (its output is in {run.log})"
        count = self._num_skipped + self._num_done + self.num_failed
        if self._live is None or how[:4] != "done":
            self.say(f"{count}/{self._num_runs}  {run.name} {how}  {self._pace()}".rstrip())

    def interrupted(self) -> None:
        """Say that what is unfinished can go on."""
        left = len(self._max_steps) - self._num_done - self.num_failed
        self.say(f"interrupted with {left} runs to do; the same command goes on with them")

    def show(self) -> None:
        """Bring the line up to date."""
        if self._live is not None:
            self._live.update(self._line())

    def say(self, text: str) -> None:
        """Say something above the line."""
        self._console.print(visible(text), soft_wrap=True, highlight=False, markup=False)

    def _line(self) -> Text:
        done = self._num_skipped + self._num_done
        failed = f"  {self.num_failed} failed" if self.num_failed else ""
        steps = {run.name: (_last_step(run.directory), self._max_steps[run.name]) for run, _ in self._going.values()}
        going = "  ".join(
            f"{name} {step}/{last}" if last > 0 else f"{name} {step}" for name, (step, last) in steps.items()
        )
        line = f"{done}/{self._num_runs} done{failed}  {self._pace()}  {going}"
        return Text(line, no_wrap=True, overflow="ellipsis")

    def _pace(self) -> str:
        """Runs an hour, parts of unfinished ones included, and the time that is left at this rate."""
        parts = [self._part(run) for run, _ in self._going.values()]
        ended = self._num_done + self.num_failed
        amount, hours = ended + sum(parts), (self._clock() - self._begun) / 3600
        if not amount or not hours:
            return ""
        seconds_left = (len(self._max_steps) - amount) / amount * hours * 3600
        return f"{amount / hours:.0f} runs/h  {timedelta(seconds=round(seconds_left))} left"

    def _part(self, run: StudyRun) -> float:
        first, last = self._start_steps[run.name], self._max_steps[run.name]
        return max(0.0, (_last_step(run.directory) - first) / (last - first)) if last > first else 0.0


def _last_step(directory: Path) -> int:
    """The step of the last row that was written; 0 before there is one."""
    try:
        with (directory / METRICS_FILE).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            lines = file.read().splitlines(keepends=True)
    except OSError:
        return 0
    whole = [line for line in lines if line.endswith(b"\n")]
    return json.loads(whole[-1])["step"] if whole else 0


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
