"""Sources of prompts: a built-in task, a local file or the Hub, each as columns by name, in the order of its rows."""

import csv
import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from mgrpo.errors import UserError

TASK_PREFIX = "task:"
# Names and not functions: a task may live in a layer above this one, and is imported when it is asked for.
TASKS: dict[str, str] = {
    "arithmetic": "mgrpo.tasks.arithmetic:arithmetic",
    "chains": "mgrpo.embedded.task:chains",
}
"""Built-in tasks: name -> `module:function`, called as `function(num, seed=, split=)`.

The function returns objects, or dictionaries, with a `prompt` and an `answer`."""

DEFAULT_TASK_SIZE = 1000

Columns = Mapping[str, Sequence[Any]]


def read_columns(name: str, *, split: str, config: str | None, size: int | None, seed: int) -> Columns:
    """Read a source by name, as `load_prompts` explains.

    Raises:
        UserError: If the source cannot be found or read.
    """
    if is_task(name):
        return _read_task(name, split, DEFAULT_TASK_SIZE if size is None else size, seed)
    return _read_file(name) if _is_local(name) else _read_hub(name, config, split)


def is_task(name: str) -> bool:
    """Whether a data set's name is a built-in task's."""
    return name.startswith(TASK_PREFIX)


def did_you_mean(name: str, known: Mapping[str, Any] | Sequence[str], prefix: str = "") -> str:
    """The nearest known name as a question in brackets, or nothing."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {prefix + nearest[0]!r}?)" if nearest else ""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for a sentence of our own."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _read_task(dataset_name: str, split: str, num: int, seed: int) -> Columns:
    name = dataset_name.removeprefix(TASK_PREFIX)
    if name not in TASKS:
        raise UserError(
            f"there is no task {dataset_name!r}; the tasks are "
            f"{', '.join(TASK_PREFIX + known for known in sorted(TASKS))}{did_you_mean(name, TASKS, TASK_PREFIX)}"
        )
    if split not in ("train", "test"):
        raise UserError(f"split={split!r}: {dataset_name} has the splits 'train' and 'test'; choose one")
    module, function = TASKS[name].split(":")
    items = getattr(import_module(module), function)(num, seed=seed, split=split)
    pairs = [
        (item["prompt"], item["answer"]) if isinstance(item, dict) else (item.prompt, item.answer) for item in items
    ]
    return {"prompt": [prompt for prompt, _ in pairs], "answer": [answer for _, answer in pairs]}


def _read_file(name: str) -> Columns:
    path = Path(name).expanduser()
    if path.is_dir():
        raise UserError(f"{name} is a directory; name one file in it, ending in {_suffixes()}")
    if path.suffix.lower() not in READERS:
        raise UserError(f"{name} ends in {path.suffix!r}; give a file ending in {_suffixes()}")
    if not path.exists():
        if not path.parent.is_dir():
            raise UserError(f"the file {name} does not exist, nor does its directory {path.parent}; correct the path")
        files = [entry.name for entry in path.parent.iterdir() if entry.suffix.lower() in READERS]
        raise UserError(f"the file {name} does not exist; correct the path{did_you_mean(path.name, files)}")
    try:
        return READERS[path.suffix.lower()](path)
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{name} cannot be read ({first_line(error)}); check that it is whole and readable") from error


def _read_jsonl(path: Path) -> Columns:
    records = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{path}, line {number} is not JSON ({error.msg}, column {error.colno}); "
                    "write one JSON object on each line"
                ) from error
            if not isinstance(record, dict):
                raise UserError(f"{path}, line {number} is not a JSON object; write one JSON object on each line")
            records.append(record)
    return _columns(records)


def _read_json(path: Path) -> Columns:
    try:
        records = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {error.lineno} is not JSON ({error.msg}, column {error.colno}); "
            "correct it, or name the file .jsonl if each line is an object of its own"
        ) from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise UserError(f"{path} is not a list of JSON objects; write [{{...}}, {{...}}], one object a row")
    return _columns(records)


def _read_csv(path: Path) -> Columns:
    # Not through `datasets`, which would turn the answer "007" into the number 7.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            records = []
            for record in reader:
                if None in record:
                    raise UserError(
                        f"{path}, line {reader.line_num} has more fields than the header's "
                        f"{len(reader.fieldnames or ())}; put quotes around text that holds commas"
                    )
                records.append(record)
        except csv.Error as error:
            line = reader.reader.line_num
            raise UserError(f"{path}, line {line} is not CSV ({error}); correct its quotes") from error
    return _columns(records)


def _read_parquet(path: Path) -> Columns:
    import datasets
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} is not a whole Parquet file ({first_line(error)}); write it again") from error
    dataset = datasets.Dataset(datasets.table.InMemoryTable(table))
    return {name: dataset[name] for name in dataset.column_names}


def _read_hub(name: str, config: str | None, split: str) -> Columns:
    import datasets

    try:
        dataset = datasets.load_dataset(name, config, split=split)
    except (datasets.exceptions.DatasetNotFoundError, OSError) as error:
        raise UserError(
            f"the data set {name!r} is neither a local file nor reachable on the Hub ({first_line(error)}); "
            "download it first where there is a network, correct its name, or give a local file ending in "
            f"{_suffixes()}"
        ) from error
    except ValueError as error:
        raise UserError(
            f"the Hub data set {name!r} has no split {split!r} in config {config!r} ({first_line(error)}); "
            "choose a split and a config that it has"
        ) from error
    return {column: dataset[column] for column in dataset.column_names}


def _is_local(name: str) -> bool:
    # A Hub name is `name` or `owner/name`; one without an owner never has a suffix.
    return (
        Path(name).suffix.lower() in READERS
        or name.startswith((".", "~", "/"))
        or name.count("/") > 1
        or ("/" not in name and bool(Path(name).suffix))
        or Path(name).exists()
    )


def _columns(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [record.get(name) for record in records] for name in names}


READERS: dict[str, Callable[[Path], Columns]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".csv": _read_csv,
}


def _suffixes() -> str:
    *most, last = READERS
    return f"{', '.join(most)} or {last}"
