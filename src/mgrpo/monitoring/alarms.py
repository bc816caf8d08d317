"""What collapse alarms leave in a run's directory, and the way back to its last healthy checkpoint."""

import json
import shutil
from pathlib import Path
from typing import Any

from mgrpo.monitoring.collapse import Event
from mgrpo.runs.checkpoints import checkpoints, remove
from mgrpo.runs.files import ALARMS_FILE, COMPLETIONS_DIRECTORY, METRICS_FILE, read_rows, write_whole

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
    rows = [row for row in read_rows(run_directory / METRICS_FILE) if row["step"] > step]
    (kept / METRICS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for table in (run_directory / COMPLETIONS_DIRECTORY).glob("step-*.parquet"):
        if int(table.stem.split("-")[1]) > step:
            table.rename(kept / COMPLETIONS_DIRECTORY / table.name)
    append_event(
        Event(
            step=event.step,
            kind="rollback",
            signals=event.signals,
            message=f"rolled back to {healthy.name if healthy else 'the beginning'}, on with "
            + ", ".join(f"{name} {value:g}" for name, value in settings.items()),
            healthy_step=step,
            settings=settings,
        ),
        run_directory,
    )
    return healthy


def append_event(event: Event, run_directory: Path) -> None:
    """Add a line to a run's `alarms.jsonl`, whole or not at all."""
    path = run_directory / ALARMS_FILE
    rows = read_rows(path) if path.exists() else []
    write_whole(path, "".join(json.dumps(row) + "\n" for row in (*rows, event.as_row())))


def rollbacks(run_directory: Path) -> list[dict[str, Any]]:
    """The rollbacks that a run has had, as logged."""
    path = run_directory / ALARMS_FILE
    return [row for row in read_rows(path) if row["kind"] == "rollback"] if path.exists() else []


def drop_events_after(run_directory: Path, step: int) -> None:
    """Drop what came after the step that a run resumes from, and will come again; not what came before a rollback."""
    path = run_directory / ALARMS_FILE
    if not path.exists():
        return
    rows = read_rows(path)
    last = max((i for i, row in enumerate(rows) if row["kind"] == "rollback"), default=-1)
    kept = [row for i, row in enumerate(rows) if i <= last or row["step"] <= step]
    write_whole(path, "".join(json.dumps(row) + "\n" for row in kept))
