"""The files in a run's directory; its metrics are one JSON line a step, its completions one table a logged step."""

import json
import math
import os
from pathlib import Path
from typing import Any

from mgrpo.errors import UserError

CONFIG_FILE = "config.yaml"
DEFAULTS_HEADING = "\n# defaults of this version\n"
"""In a config.yaml: what was set stands before it, every default behind."""
NOT_COMPARED = ("output_dir", "resume_from_checkpoint")
"""Fields of a config.yaml that say nothing about what is run."""
ENVIRONMENT_FILE = "environment.json"
METRICS_FILE = "metrics.jsonl"
ALARMS_FILE = "alarms.jsonl"
"""What the collapse alarm said and what was done about it, an object an event; absent where it said nothing."""
COMPLETIONS_DIRECTORY = "completions"
SAMPLES_FILE = "samples.jsonl"
"""What an evaluation sampled, a line a sample."""
FINAL_DIRECTORY = "final"
"""It is made when a run is complete."""
RUN_FORMAT = 1
"""Of the files in a run's directory, as written into its environment.json; raised when older readers would fail."""

Row = dict[str, Any]


class MetricsWriter:
    """Writes metric rows as JSON lines, one object a step, flushed at once.

    What is logged at the same step again (an evaluation after training) joins that step's object.

    Args:
        path: the file; made anew.
        last_step: keep the rows of an earlier file up to this step, when a run is resumed there.
    """

    def __init__(self, path: Path, last_step: int = 0) -> None:
        kept = [row for row in read_rows(path) if row["step"] <= last_step] if last_step and path.exists() else []
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(row) + "\n" for row in kept]
        write_whole(path, "".join(lines))
        self._file = path.open("r+", encoding="utf-8")
        self._file.seek(0, os.SEEK_END)
        self._last: Row = kept[-1] if kept else {}
        self._last_start = sum(map(len, lines[:-1]))  # json.dumps writes ASCII: characters are bytes

    def write(self, row: Row) -> None:
        """Write a row; it has the optimizer step as `step`. Numbers that are not finite are written as null."""
        if row["step"] == self._last.get("step"):
            row = {**self._last, **row}
            self._file.seek(self._last_start)
            self._file.truncate()
        else:
            self._last_start = self._file.tell()
        self._last = {"step": row["step"], **{name: _finite(value) for name, value in row.items()}}
        self._file.write(json.dumps(self._last) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def write_whole(path: Path, text: str) -> None:
    """Write a file beside its place and rename it: a crash in between loses nothing of an earlier one."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_rows(path: Path) -> list[Row]:
    """Read metric rows; a line that is still being written is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def read_run(run_directory: Path) -> list[Row]:
    """Read the metric rows of a run.

    Raises:
        UserError: if the directory holds no run.
    """
    path = run_directory / METRICS_FILE
    if not path.exists():
        raise UserError(f"{run_directory} holds no run: there is no {METRICS_FILE} in it; name a run's output_dir.")
    return read_rows(path)


def series(rows: list[Row], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one metric, where it was logged."""
    points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    return [step for step, _ in points], [value for _, value in points]


def write_completions(rows: list[Row], run_directory: Path, step: int) -> None:
    """Write the completions of one logged step as `completions/step-NNNNNN.parquet`.

    A lone surrogate, which no file can hold, becomes a question mark.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    directory = run_directory / COMPLETIONS_DIRECTORY
    directory.mkdir(parents=True, exist_ok=True)
    rows = [{name: _encodable(value) for name, value in row.items()} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows), directory / f"step-{step:06d}.parquet")


def _encodable(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value
