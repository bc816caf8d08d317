"""A run's directory as the report needs it: finished, running, killed, or written by an older version."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mgrpo.errors import UserError
from mgrpo.monitoring.collapse import read_events
from mgrpo.runs.files import (
    ALARMS_FILE,
    COMPLETIONS_DIRECTORY,
    CONFIG_FILE,
    DEFAULTS_HEADING,
    ENVIRONMENT_FILE,
    METRICS_FILE,
    RUN_FORMAT,
    SAMPLES_FILE,
    Row,
    is_finished,
    read_metrics,
)
from mgrpo.runs.reading import MAX_YAML_BYTES, open_regular, read_json_object, read_text
from mgrpo.yaml_text import read_yaml

SECRET_NAMES = re.compile(r"(?<!pad_)token$|secret|password|api_?key", re.IGNORECASE)
"""Of fields and environment variables whose values are shown to nobody."""
SECRET = "(left out)"
LEAST_SECRET = 4
"""Characters: a shorter value would be struck out of every other word."""

Content = TypeVar("Content")


@dataclass(frozen=True)
class RecipeFile:
    """A run's config.yaml.

    Attributes:
        given: the text of the fields that were set.
        defaults: the text of the others; empty where all were set.
        fields: all of them.
    """

    given: str
    defaults: str
    fields: dict[str, Any]
    given_names: frozenset[str]


@dataclass(frozen=True)
class RunRecord:
    """What a run's directory holds.

    Attributes:
        label: tells it from the other runs.
        rows: its metric rows; empty where no step is logged yet.
        alarms: the collapse alarm's events.
        tables: its tables of completions by their steps, ascending.
        updated: when its metrics were last written, in seconds since 1970; None where there are none.
        metrics_file: tells the metrics file from one that was begun anew when a run was resumed.
        notes: sentences about files that could not be read.
        is_evaluation: whether these are the samples of `mgrpo evaluate`, and not of training.
    """

    directory: Path
    label: str
    rows: list[Row]
    alarms: list[Row]
    recipe: RecipeFile | None
    environment: dict[str, Any] | None
    tables: dict[int, Path]
    is_finished: bool
    updated: float | None
    metrics_file: int
    notes: list[str] = field(default_factory=list)
    is_evaluation: bool = False


class FileCache:
    """What functions make of files, made again only when a file has changed."""

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[tuple[int, int, int], Any]] = {}

    def read(self, path: Path, function: Callable[[Path], Content]) -> Content:
        """What the function makes of the file; it must be the same one for a file every time."""
        status = path.stat()
        signature = (status.st_ino, status.st_mtime_ns, status.st_size)
        if path not in self._kept or self._kept[path][0] != signature:
            self._kept[path] = (signature, function(path))
        return self._kept[path][1]

    def if_exists(self, path: Path, function: Callable[[Path], Content]) -> Content | None:
        """The same; None where there is no file."""
        return self.read(path, function) if path.exists() else None


class RunReader:
    """Reads a run's directory, repeatedly while the run trains; `label` tells the run from the others."""

    def __init__(self, directory: Path, label: str) -> None:
        self.directory = directory
        self.label = label
        self._files = FileCache()

    def read(self) -> RunRecord:
        """Read what is there now.

        Raises:
            UserError: if it was written by a newer version, or is not what a run writes.
        """
        directory, files = self.directory, self._files
        environment = files.if_exists(directory / ENVIRONMENT_FILE, _read_environment)
        recipe = files.if_exists(directory / CONFIG_FILE, _read_recipe)
        notes = [
            f"{name} is not whole, and is left out."
            for name, content in ((ENVIRONMENT_FILE, environment), (CONFIG_FILE, recipe))
            if content is None and (directory / name).exists()
        ]
        metrics = directory / METRICS_FILE
        rows, num_lost = files.if_exists(metrics, _read_metrics) or ([], 0)
        status = metrics.stat() if metrics.exists() else None
        if num_lost:
            notes.append(
                f"{METRICS_FILE} is broken behind step {rows[-1]['step'] if rows else 0}: "
                f"{num_lost} more lines are left out."
            )
        secrets = _secrets(recipe)
        is_evaluation = (directory / SAMPLES_FILE).exists()
        return RunRecord(
            directory,
            self.label,
            rows,
            files.if_exists(directory / ALARMS_FILE, read_events) or [],
            recipe and RecipeFile(**_without(vars(recipe), secrets)),
            _without(environment, secrets),
            _tables(directory, {row["step"] for row in rows}),
            is_evaluation or is_finished(directory),
            status and status.st_mtime,
            status.st_ino if status else 0,
            notes,
            is_evaluation,
        )


def _read_metrics(path: Path) -> tuple[list[Row], int]:
    """The rows of a metrics file, and how many whole lines follow a broken one."""
    rows = read_metrics(path)
    with open_regular(path) as file:
        num_lines = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(2**20), b""))
    return rows, max(num_lines - len(rows), 0)


def _read_environment(path: Path) -> dict[str, Any] | None:
    try:
        environment = read_json_object(path)
    except UserError:  # a run that starts is still writing it
        return None
    run_format = environment.get("run_format", 1)
    if run_format != RUN_FORMAT:
        raise UserError(
            f"{path.parent} was written in run format {run_format!r:.40} (mgrpo {environment.get('mgrpo')!s:.40}), "
            f"and this version reads format {RUN_FORMAT}; install the newer one."
        )
    return environment


def _read_recipe(path: Path) -> RecipeFile | None:
    try:
        given, _, defaults = read_text(path, MAX_YAML_BYTES).partition(DEFAULTS_HEADING)
        given_fields, default_fields = (read_yaml(text) or {} for text in (given, defaults))
        return RecipeFile(given, defaults, default_fields | given_fields, frozenset(given_fields))
    except (ValueError, TypeError):
        return None


def _secrets(recipe: RecipeFile | None) -> list[str]:
    """The values of a recipe that must not be shared with its report."""
    if recipe is None:
        return []
    env = recipe.fields.get("env")
    fields = recipe.fields | (env if isinstance(env, dict) else {})
    values = [str(value) for name, value in fields.items() if value and SECRET_NAMES.search(str(name))]
    return [value for value in values if len(value) >= LEAST_SECRET]


def _without(content: Any, secrets: Sequence[str]) -> Any:
    """The same with every secret value replaced, wherever it occurs."""
    if not secrets:
        return content
    if isinstance(content, str):
        for secret in secrets:
            content = content.replace(secret, SECRET)
        return content
    if isinstance(content, dict):
        return {name: _without(value, secrets) for name, value in content.items()}
    if isinstance(content, list):
        return [_without(value, secrets) for value in content]
    return SECRET if str(content) in secrets else content


def _tables(directory: Path, logged: set[int]) -> dict[int, Path]:
    """The tables of the logged steps; one of another step was left when the run was resumed before it."""
    names = ((path.stem.removeprefix("step-"), path) for path in (directory / COMPLETIONS_DIRECTORY).glob("*.parquet"))
    tables = {int(step): path for step, path in names if step.isdecimal()}
    return {step: tables[step] for step in sorted(tables) if step in logged and tables[step].is_file()}


def open_runs(directories: Sequence[Path]) -> list[RunReader]:
    """Readers of some runs, with the shortest labels that tell them apart.

    What `mgrpo evaluate` leaves is one run for each model and benchmark, whose only step is the model's.

    Raises:
        UserError: if a directory holds no run, or is named twice.
    """
    runs = [run for directory in directories for run in _runs_in(directory)]
    return list(map(RunReader, runs, run_labels(runs)))


def _runs_in(directory: Path) -> list[Path]:
    """A run itself; of an evaluation, the samples of each model on each benchmark."""
    if any((directory / name).exists() for name in (METRICS_FILE, CONFIG_FILE)):
        return [directory]
    found = [path for depth in ("*", "*/*") for path in sorted(directory.glob(f"{depth}/{METRICS_FILE}"))]
    evaluations = [path.parent for path in found if path.with_name(SAMPLES_FILE).exists()]
    if not evaluations:
        raise UserError(f"{directory} holds no run: there is no {METRICS_FILE} in it; name a run's output_dir.")
    return evaluations


def run_labels(directories: Sequence[Path]) -> list[str]:
    """As many of the last parts of each path as it takes to tell all of them apart.

    Raises:
        UserError: if one is named twice.
    """
    parts = [Path(os.path.abspath(directory)).parts for directory in directories]
    for directory, its in zip(directories, parts, strict=True):
        if parts.count(its) > 1:
            raise UserError(f"{directory} is named twice; name each run once.")
    for length in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(its[-length:]) for its in parts]
        if len(set(labels)) == len(labels):
            break
    return labels
