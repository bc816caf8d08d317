"""The files in a run's directory: metrics are one JSON line per step, completions one table per logged step."""

import contextlib
import json
import math
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

from mgrpo.errors import UserError
from mgrpo.runs import metrics as names
from mgrpo.runs.reading import UnreadableError, read_json_lines, read_yaml_file

CONFIG_FILE = "config.yaml"
DEFAULTS_HEADING = "\n# defaults of this version\n"
"""In a config.yaml: the fields that were set come before it, all defaults after it."""
NOT_COMPARED = ("output_dir", "resume", "resume_from_checkpoint", "watchdog_minutes")
"""Fields of a config.yaml that say nothing about what is run; `resume_from_checkpoint` is one of older runs."""
ENVIRONMENT_FILE = "environment.json"
METRICS_FILE = "metrics.jsonl"
ALARMS_FILE = "alarms.jsonl"
"""What the collapse alarm said and what was done about it, an object an event; absent where it said nothing."""
COMPLETIONS_DIRECTORY = "completions"
SAMPLES_FILE = "samples.jsonl"
"""What an evaluation sampled, a line a sample."""
FINAL_DIRECTORY = "final"
"""The policy of a run that is complete."""
RUN_FORMAT = 1
"""Of the files in a run's directory, as written into its environment.json; raised when older readers would fail."""

Row = dict[str, Any]


class MetricsWriter:
    """Writes metric rows as JSON lines, one object a step, handed to the system at once.

    What is logged at the same step again (an evaluation after training) joins that step's object. Where writing
    fails nothing is lost: the next row writes what is missing.

    Args:
        path: the file; made anew.
        last_step: keep the rows of an earlier file up to this step, when a run is resumed there.
        last_row: the last of them as it was then. It is the one that a kill can damage.
    """

    def __init__(self, path: Path, last_step: int = 0, last_row: Row | None = None) -> None:
        kept = [row for row in read_rows(path) if row["step"] <= last_step] if last_step else []
        if last_row and path.exists():
            kept = [row for row in kept if row["step"] < last_row["step"]] + [last_row]
        self._path = path
        self._open(kept)

    def _open(self, rows: list[Row]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_rows(self._path, rows)
        self._file = self._path.open("r+b", buffering=0)
        self._rows = rows[-1:]  # those that may still change, or are not written
        self._end = self._path.stat().st_size
        self._start = self._end - len(_lines(self._rows))  # of those rows
        self._is_written = True

    @property
    def last_row(self) -> Row:
        """The last row, or an empty one."""
        return self._rows[-1] if self._rows else {}

    def write(self, row: Row) -> None:
        """Write a row; it has the optimizer step as `step`.

        Numbers that are not finite are written as null, and counted in `nonfinite/metrics`.

        Raises:
            OSError: if it cannot be written now.
        """
        broken = [name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
        row = {"step": row["step"], **row, **dict.fromkeys(broken)}
        is_same_step = row["step"] == self.last_row.get("step")
        if is_same_step:
            row = {**self.last_row, **row}
        if broken:
            row[names.NONFINITE_METRICS] = row.get(names.NONFINITE_METRICS, 0) + len(broken)
        if is_same_step:
            self._rows[-1] = row
        elif self._is_written:
            self._rows, self._start = [row], self._end
        else:
            self._rows.append(row)
        self._is_written = False
        self._write_out()

    def _write_out(self) -> None:
        if not self._path.exists():  # deleted with its directory while it was open; the earlier rows are lost
            waiting = self._rows
            self._open([])
            self._rows, self._is_written = waiting, False
        text = memoryview(_lines(self._rows))
        try:
            self._file.seek(self._start)
            self._file.truncate()
            while text:  # a disk that becomes full takes a part
                text = text[self._file.write(text) :]
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self._start)
            raise
        self._end, self._is_written = self._file.tell(), True

    def flush(self) -> None:
        """Write what is missing, and wait until all is on the disk.

        Raises:
            OSError: if it cannot be.
        """
        if not self._is_written:
            self._write_out()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode("ascii")


def unfinished_path(path: Path) -> Path:
    """The name that a file or directory has while it is being written."""
    return path.with_name(f"{path.name}.unfinished")


def put_in_place(unfinished: Path, path: Path) -> None:
    """Give a complete file or directory its name, once its content is on the disk.

    A process that is killed at any moment, or a power cut, leaves what was at `path` before or all of the new content.
    A directory cannot take the place of one that is not empty.

    Raises:
        OSError: if it cannot be flushed or renamed.
    """
    flush_tree(unfinished)
    unfinished.replace(path)
    if path.is_dir():  # its name, too; the name of a file may be written later, which would lose one table or row
        flush(path.parent)


def write_whole(path: Path, text: str) -> None:
    """Write a text file such that a crash leaves the earlier content or the new one, never a part."""
    unfinished = unfinished_path(path)
    unfinished.write_text(text, encoding="utf-8")
    put_in_place(unfinished, path)


def flush(path: Path) -> None:
    """Wait until a file, or a directory's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(path: Path) -> None:
    """Flush a file, or a directory and everything below it."""
    for below in path.rglob("*"):
        flush(below)
    flush(path)


def is_finished(run_directory: Path) -> bool:
    """Whether a run is complete: its `final/` holds a model, or an adapter, and weights that are not empty."""
    final = run_directory / FINAL_DIRECTORY
    has_config = any((final / name).is_file() for name in ("config.json", "adapter_config.json"))
    weights = (path for kind in ("safetensors", "bin") for path in final.glob(f"*model*.{kind}"))
    return has_config and any(path.is_file() and path.stat().st_size for path in weights)


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write a file of rows, as `write_whole` does."""
    write_whole(path, _lines(rows).decode())


def read_rows(path: Path) -> list[Row]:
    """Read rows, none where there is no file, up to a line that is not whole: it may be being written.

    Raises:
        UserError: if the file cannot be read, or a line is no object with a `step`, from 0 and below 2^31.
    """
    rows: list[Row] = []
    if not path.exists():
        return rows
    for number, (_, row) in enumerate(read_json_lines(path), start=1):
        step = row.get("step") if isinstance(row, dict) else None
        if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < 2**31:
            raise UserError(f"{path} is no file of a run: line {number} has no step; name a run.")
        rows.append(row)
    return rows


def read_metrics(path: Path) -> list[Row]:
    """Read metric rows, as `read_rows` does; what is no finite number becomes None.

    Raises:
        UserError: as `read_rows`; or if a step is not above the one before.
    """
    rows: list[Row] = [
        {name: value if _is_finite(value) else None for name, value in row.items()} for row in read_rows(path)
    ]
    for number, (before, row) in enumerate(pairwise(rows), start=2):
        if row["step"] <= before["step"]:
            raise UserError(f"{path} is no file of a run: line {number} is not after the one before; name a run.")
    return rows


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_run(run_directory: Path) -> list[Row]:
    """Read the metric rows of a run.

    Raises:
        UserError: if the directory holds no run, or one that `read_metrics` cannot read.
    """
    path = run_directory / METRICS_FILE
    if not path.exists():
        raise UserError(f"{run_directory} holds no run: there is no {METRICS_FILE} in it; name a run's output_dir.")
    return read_metrics(path)


def read_config(run_directory: Path) -> dict[str, Any]:
    """Read the recipe of a run.

    Raises:
        UserError: if it cannot be read.
    """
    path = run_directory / CONFIG_FILE
    try:
        config = read_yaml_file(path)
        if not isinstance(config, dict) or not all(isinstance(name, str) for name in config):
            raise UnreadableError(path, "it is no mapping of fields")
    except (FileNotFoundError, UserError) as error:
        reason = "there is none" if isinstance(error, OSError) else getattr(error, "reason", str(error).rstrip("."))
        raise UserError(
            f"{path} cannot be read ({reason}), so it is not known what {run_directory} was run with; leave that run "
            "out, or give another --output_dir."
        ) from error
    return config


def series(rows: list[Row], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one metric, where it was logged."""
    points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    return [step for step, _ in points], [value for _, value in points]


def write_completions(rows: list[Row], run_directory: Path, step: int, keep: int | None = None) -> None:
    """Write the completions of one logged step as `completions/step-NNNNNN.parquet`, and keep the newest tables.

    A lone surrogate, which no file can hold, becomes a question mark. With `keep` None all tables are kept.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    directory = run_directory / COMPLETIONS_DIRECTORY
    directory.mkdir(parents=True, exist_ok=True)
    rows = [{name: _encodable(value) for name, value in row.items()} for row in rows]
    table = directory / f"step-{step:06d}.parquet"
    unfinished = unfinished_path(table)
    with unfinished.open("wb") as file:
        pq.write_table(pa.Table.from_pylist(rows), file)
    put_in_place(unfinished, table)
    if keep is not None:
        for path in completion_tables(run_directory)[:-keep]:
            path.unlink()


def _encodable(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value


def completion_tables(run_directory: Path, after: int = -1) -> list[Path]:
    """The tables of a run's completions behind a step, the oldest first."""
    paths = (run_directory / COMPLETIONS_DIRECTORY).glob("step-*.parquet")
    tables = sorted((int(step), path) for path in paths if (step := path.stem.removeprefix("step-")).isdecimal())
    return [path for step, path in tables if step > after]


def drop_completions_after(run_directory: Path, step: int) -> None:
    """Delete the tables after the step from which a run resumes, and unfinished ones."""
    unfinished = (run_directory / COMPLETIONS_DIRECTORY).glob("step-*.parquet.*")
    for path in (*unfinished, *completion_tables(run_directory, after=step)):
        path.unlink()
