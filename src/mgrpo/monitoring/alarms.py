"""What collapse alarms leave in a run's directory, and the way back to its last healthy checkpoint."""

import shutil
from pathlib import Path
from typing import Any

from mgrpo.monitoring.collapse import Event, read_events
from mgrpo.runs.checkpoints import checkpoints, remove
from mgrpo.runs.files import (
    ALARMS_FILE,
    COMPLETIONS_DIRECTORY,
    METRICS_FILE,
    Row,
    completion_tables,
    read_rows,
    write_rows,
)

ROLLED_BACK_DIRECTORY = "rolled-back"
"""In a run's directory: metrics and completions of what was rolled back, a numbered directory each time."""


def healthy_checkpoint(run_directory: Path, event: Event) -> Path | None:
    """The last checkpoint of a run that an alarm does not condemn, or None."""
    healthy = [path for step, path in checkpoints(run_directory) if step <= (event.healthy_step or 0)]
    return healthy[0] if healthy else None


def roll_back(run_directory: Path, event: Event, settings: dict[str, Any]) -> Path | None:
    """Take a run's directory back to its last healthy checkpoint; log it.

    Metrics and completions of what came after go to `rolled-back/`; its checkpoints are deleted. The line in the log
    comes last: a run that is killed before it reaches the same alarm again, and goes back once more.

    Args:
        run_directory: the run's.
        event: the alarm.
        settings: what training continues with, for the log.

    Returns:
        The checkpoint, or None where the run has to start again.
    """
    healthy = healthy_checkpoint(run_directory, event)
    step = int(healthy.name.rsplit("-", 1)[1]) if healthy else 0
    for number, checkpoint in checkpoints(run_directory):
        if number > step:
            remove(checkpoint)
    kept = run_directory / ROLLED_BACK_DIRECTORY / str(len(rollbacks(run_directory)) + 1)
    shutil.rmtree(kept, ignore_errors=True)
    (kept / COMPLETIONS_DIRECTORY).mkdir(parents=True)
    # of the rows up to the step the run itself keeps its own
    rows = read_rows(run_directory / METRICS_FILE)
    write_rows(kept / METRICS_FILE, [row for row in rows if row["step"] > step])
    for table in completion_tables(run_directory, after=step):
        table.rename(kept / COMPLETIONS_DIRECTORY / table.name)
    message = f"rolled back to {healthy.name if healthy else 'the beginning'}, on with "
    message += ", ".join(f"{name} {value:g}" for name, value in settings.items())
    append_event(Event(event.step, "rollback", event.signals, message, step, settings), run_directory)
    return healthy


def append_event(event: Event, run_directory: Path) -> None:
    """Add a line to a run's `alarms.jsonl`, whole or not at all."""
    path = run_directory / ALARMS_FILE
    write_rows(path, [*read_events(path), event.as_row()])


def rollbacks(run_directory: Path) -> list[Row]:
    """The rollbacks that a run has had, as logged."""
    return [row for row in read_events(run_directory / ALARMS_FILE) if row["kind"] == "rollback"]


def drop_events_after(run_directory: Path, step: int) -> None:
    """Drop what came after the step that a run resumes from, and will come again; not what came before a rollback."""
    path = run_directory / ALARMS_FILE
    if rows := read_events(path):
        last = max((i for i, row in enumerate(rows) if row["kind"] == "rollback"), default=-1)
        write_rows(path, [row for i, row in enumerate(rows) if i <= last or row["step"] <= step])
