"""Local files and data sets of the Hub, as columns by name, in the order of their rows."""

import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TextIO

from mgrpo.errors import UserError, did_you_mean, first_line
from mgrpo.options import absolute_path
from mgrpo.tasks.task import Columns

DEFAULT_TASK_SIZE = 1000
"""How many prompts a task makes that could make any number."""


def read_columns(source: str, *, split: str, dataset_config: str | None) -> Columns:
    """Read a local file or a data set on the Hub, whichever the name is.

    Raises:
        UserError: If it cannot be found or read.
    """
    return read_file(source) if is_local(source) else read_hub(source, dataset_config, split)


class NoColumnError(UserError):
    """Data do not have the column that a field of the recipe names.

    Attributes:
        field: the field.
    """

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


def find_column(
    columns: Columns, asked: str | None, usual: Sequence[str], field: str, place: str, taken: str | None = None
) -> Sequence[Any]:
    """The column that a recipe asks for or, where it asks for none, the first usual one that is there.

    Args:
        columns: the rows by column.
        asked: its name; `a.b` is the key `b` of the dictionaries in the column `a`.
        usual: its usual names.
        field: the recipe's field that names it.
        place: what messages call the data.
        taken: a column with another use, which is not suggested.

    Raises:
        NoColumnError: If there is no such column.
        UserError: If there are no rows.
    """
    if not columns:
        raise UserError(f"{place} holds no rows; give a data set with at least one prompt")
    wanted = usual if asked is None else (asked,)
    for name in wanted:
        if name in columns:
            return columns[name]
        outer = next((column for column in columns if name.startswith(f"{column}.")), None)
        if outer is not None:
            keys = name.removeprefix(f"{outer}.").split(".")
            inner = [reduce(_value, keys, value) for value in columns[outer]]
            if any(value is not None for value in inner):
                return inner
    others = [path for name, values in columns.items() for path in _paths(name, values) if path != taken]
    advice = f"add it (there is only {taken})"
    if others:
        advice = f"set {field} to one of {', '.join(others)}{did_you_mean(wanted[0], others)}"
    if asked is not None and field == "answer_column":
        advice += f", or leave {field} out where no answers are known"
    raise NoColumnError(f"{place} has no column {' or '.join(map(repr, wanted))}; {advice}", field)


def _paths(name: str, values: Iterable[Any]) -> list[str]:
    """A column's name or, where it holds dictionaries, those of its keys: `a.b`."""
    first = next((value for value in values if value is not None), None)
    if not isinstance(first, Mapping):
        return [name]
    return [path for key, value in first.items() for path in _paths(f"{name}.{key}", [value])]


def _value(outer: Any, key: str) -> Any:
    return outer.get(key) if isinstance(outer, Mapping) else None


def required(argument: str | None, form: str) -> str:
    """What follows the colon of a task's name.

    Raises:
        UserError: if nothing does.
    """
    if not argument:
        raise UserError(f"task is {form.partition(':')[0]!r} alone, which does not say what to read; write {form}")
    return argument


def read_file(name: str) -> Columns:
    """Read a local file.

    Raises:
        UserError: If it cannot be found or read.
    """
    path = Path(absolute_path(name))
    if path.is_dir():
        raise UserError(f"{name} is a directory; name one file in it, ending in {_suffixes()}")
    suffix = data_suffix(name)
    if suffix is None:
        raise UserError(f"{name} ends in {path.suffix!r}; give a file ending in {_suffixes()}")
    if not path.exists():
        if not path.parent.is_dir():
            raise UserError(f"the file {name} does not exist, nor does its directory {path.parent}; correct the path")
        files = [entry.name for entry in path.parent.iterdir() if data_suffix(entry.name)]
        raise UserError(f"the file {name} does not exist; correct the path{did_you_mean(path.name, files)}")
    if not path.is_file():
        raise UserError(f"{name} is no regular file; save what it gives in one")
    try:
        return READERS[suffix](path)
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except UserError:
        raise
    except (OSError, EOFError, zlib.error, RecursionError, ValueError) as error:  # .gz, levels, digits of a number
        raise UserError(f"{name} cannot be read ({first_line(error)}); check that it is whole and readable") from error


def _open(path: Path) -> TextIO:
    opened: Any = gzip.open if path.suffix.lower() == ".gz" else open
    return opened(path, "rt", encoding="utf-8-sig", newline="")


def _read_jsonl(path: Path) -> Columns:
    records = []
    with _open(path) as file:
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
        with _open(path) as file:
            records = json.load(file)
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
    is_tsv = ".tsv" in path.name[-7:].lower()
    csv.field_size_limit(2**31 - 1)  # Python's own limit is 131,072 characters
    with _open(path) as file:
        reader = csv.DictReader(file, strict=True, delimiter="\t" if is_tsv else ",")
        try:
            records = []
            for record in reader:
                if None in record:
                    raise UserError(
                        f"{path}, line {reader.line_num} has more fields than the header's "
                        f"{len(reader.fieldnames or ())}; put quotes around text that holds "
                        f"{'tabs' if is_tsv else 'commas'}"
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


def read_hub(name: str, config: str | None, split: str) -> Columns:
    """Read one split of a data set on the Hub.

    Raises:
        UserError: If it cannot be found or read.
    """
    import datasets

    try:
        dataset = datasets.load_dataset(name, config, split=split)
    except (datasets.exceptions.DatasetNotFoundError, OSError) as error:
        raise UserError(
            f"the data set {name!r} is not available from the Hub ({first_line(error)}); correct its name, download "
            f"it first where there is a network, or give a local file ending in {_suffixes()}"
        ) from error
    except Exception as error:  # `datasets` and the readers beneath it raise types of their own
        if not isinstance(error, ValueError) or not re.search("split|[Cc]onfig", str(error)):
            reason = " ".join(str(error.__cause__ or error).split())
            raise UserError(
                f"`datasets` cannot read the data set {name!r} ({reason}); save the rows that you need in one file, "
                f"ending in {_suffixes()}, and name it as file:PATH"
            ) from error
        raise UserError(
            f"the Hub data set {name!r} has no split {split!r} in config {config!r} ({first_line(error)}); "
            "set the recipe's split and dataset_config to ones that it has"
        ) from error
    return {column: dataset[column] for column in dataset.column_names}


def is_local(name: str) -> bool:
    """Whether a name is a local file's, and no data set's on the Hub."""
    # A Hub name is `name` or `owner/name`; one without an owner never has a suffix.
    return (
        data_suffix(name) is not None
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
    ".tsv": _read_csv,
    ".jsonl.gz": _read_jsonl,
    ".json.gz": _read_json,
    ".csv.gz": _read_csv,
    ".tsv.gz": _read_csv,
}


def data_suffix(name: str) -> str | None:
    """The suffix of `READERS` that a file's name ends with; None: it is no file of data."""
    return next((suffix for suffix in READERS if name.lower().endswith(suffix)), None)


def _suffixes() -> str:
    *most, last = READERS
    return f"{', '.join(most)} or {last}"
