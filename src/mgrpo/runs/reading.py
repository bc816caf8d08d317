"""Reads files that may be damaged, or written by someone else: one reader of each format.

Only regular files are read, and none is waited for: a pipe or a device in a file's place is an error. Sizes, depths,
numbers and rows have limits, far above what a run writes, so that no file takes all memory or never ends.
"""

import dataclasses
import json
import math
import os
import stat
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from mgrpo.errors import UserError, reason_of
from mgrpo.yaml_text import MAX_DEPTH, read_yaml

MAX_DIGITS = 19
"""Of a whole number; nanoseconds since 1970 have so many."""
MAX_YAML_BYTES = 2**18
MAX_JSON_BYTES = 2**28
MAX_LINE_BYTES = 2**24
MAX_LINES_BYTES = 2**31
"""Of all lines of a file."""
MAX_TABLE_ROWS = 2**20
MAX_TABLE_BYTES = 2**30
"""In memory."""


class UnreadableError(UserError):
    """A file that is not what it should be; the message is the whole sentence, `reason` its middle."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be read: {reason}; replace it or leave it out.")
        self.reason = reason


@contextmanager
def open_regular(path: Path, most_bytes: int | None = None) -> Iterator[BinaryIO]:
    """Open a regular file for reading; what cannot be read within the block is an UnreadableError, too.

    Raises:
        FileNotFoundError: if there is none.
        UnreadableError: if it is none, cannot be opened, or has more bytes.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableError(path, "it is no regular file")
            if most_bytes is not None and status.st_size > most_bytes:
                raise UnreadableError(path, f"it has {status.st_size:,} bytes, and at most {most_bytes:,} are read")
            yield file
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        raise UnreadableError(path, "it is a directory") from None
    except OSError as error:
        raise UnreadableError(path, reason_of(error)) from error


def read_text(path: Path, most_bytes: int = MAX_JSON_BYTES) -> str:
    """Read a text file.

    Raises:
        FileNotFoundError: if there is none.
        UnreadableError: if it cannot be read, or is not UTF-8.
    """
    with open_regular(path, most_bytes) as file:
        content = file.read(most_bytes)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UnreadableError(path, f"byte {error.start} is not UTF-8") from error


def read_json(path: Path) -> Any:
    """Read a file that holds one JSON value.

    Raises:
        FileNotFoundError: if there is none.
        UnreadableError: if it cannot be read.
    """
    try:
        return _parse_json(read_text(path))
    except UserError:
        raise
    except ValueError as error:
        raise UnreadableError(path, f"it is no JSON ({error})") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object; raises as `read_json`."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise UnreadableError(path, "it is no JSON object")
    return value


def read_json_lines(path: Path) -> Iterator[tuple[bytes, Any]]:
    """Read the lines of a file up to the first that is not whole or no JSON: each with its value.

    Raises:
        FileNotFoundError: if there is none.
        UnreadableError: if it cannot be read.
    """
    with open_regular(path, MAX_LINES_BYTES) as file:
        while (line := file.readline(MAX_LINE_BYTES)).endswith(b"\n"):
            try:
                value = _parse_json(line.decode())
            except ValueError:
                return
            yield line, value


def read_yaml_file(path: Path) -> Any:
    """Read a YAML file, as `read_yaml` reads its text.

    Raises:
        FileNotFoundError: if there is none.
        UnreadableError: if it cannot be read.
    """
    try:
        return read_yaml(read_text(path, MAX_YAML_BYTES))
    except UnreadableError:
        raise
    except UserError as error:  # a key that is set twice
        raise UserError(f"{path} {error}") from error
    except ValueError as error:
        raise UnreadableError(path, f"it is no valid YAML: {error}") from error


def read_table(path: Path, types: Mapping[str, str]) -> dict[str, list[Any]]:
    """Read columns of a Parquet file, those that are there, as values of the given types (`string`, `int64`, ...).

    Raises:
        FileNotFoundError: if there is none.
        UnreadableError: if it cannot be read, or a column has another type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = 0
    try:
        with open_regular(path) as file, pq.ParquetFile(file) as table:
            names = [name for name in table.schema_arrow.names if name in types]
            columns: dict[str, list[Any]] = {name: [] for name in names}
            groups = [table.metadata.row_group(i).total_byte_size for i in range(table.metadata.num_row_groups)]
            if table.metadata.num_rows > MAX_TABLE_ROWS or sum(groups) > MAX_TABLE_BYTES:
                raise UnreadableError(path, f"it has {table.metadata.num_rows:,} rows of {sum(groups):,} bytes")
            # a value that is stored once may occur in every row
            num_rows = min(max(MAX_TABLE_BYTES // max(*groups, 1, 1), 1), 1024)
            for batch in table.iter_batches(batch_size=num_rows, columns=names):
                size += batch.nbytes
                if size > MAX_TABLE_BYTES:
                    raise UnreadableError(path, f"it takes more than {MAX_TABLE_BYTES:,} bytes of memory")
                for name in names:
                    columns[name] += batch.column(name).cast(types[name]).to_pylist()
    except (pa.ArrowException, ValueError, KeyError) as error:  # KeyError: two columns of one name
        if isinstance(error, UserError):
            raise
        raise UnreadableError(path, " ".join(str(error).split())[:200]) from error
    return columns


def _parse_json(text: str) -> Any:
    try:
        value = json.loads(text, parse_int=_whole_number)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if text.count("[") + text.count("{") > MAX_DEPTH:
        level = [value]
        for _ in range(MAX_DEPTH):
            inner = (item.values() if isinstance(item, dict) else item for item in level)
            level = [item for item in chain.from_iterable(inner) if isinstance(item, dict | list)]
            if not level:
                return value
        raise ValueError("it is nested too deeply")
    return value


def _whole_number(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise ValueError("a whole number has too many digits")
    return int(digits)


class WrongTypeError(ValueError):
    """What is wrong in a JSON value, and where in it."""


_SCALARS: dict[Any, tuple[Any, str]] = {
    str: (str, "a text"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    bool: (bool, "true or false"),
    list: (list, "a list"),
}
_types_of = cache(typing.get_type_hints)


def read_as(wanted: Any, value: Any, place: str = "") -> Any:
    """Convert a JSON value to a type: a dataclass, dict, list, Literal, scalar, or one of these or None.

    Fields that a dataclass does not have, those of later versions, are ignored. None for the `low` or `high` of an
    interval is nan.

    Raises:
        WrongTypeError: if it is of another type, with its place.
    """
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted is float and value is None and place.endswith((".low", ".high")):
        return math.nan
    if origin is types.UnionType and value is not None:  # always with None
        return read_as(arguments[0], value, place)
    if wanted is Any or origin is types.UnionType:
        return value
    if origin is typing.Literal:
        if value not in arguments:
            raise WrongTypeError(f"`{place[1:]}` is {value!r:.60}, not one of {', '.join(arguments)}")
        return value
    json_type, its_name = _SCALARS.get(origin or wanted, (dict, "an object"))
    if not isinstance(value, json_type) or (isinstance(value, bool) and wanted is not bool):
        raise WrongTypeError(f"`{place[1:]}` is {value!r:.60}, not {its_name}")
    if origin is dict:
        return {name: read_as(arguments[1], entry, f"{place}.{name}") for name, entry in value.items()}
    if origin is list:
        return [read_as(arguments[0], entry, f"{place}.{index}") for index, entry in enumerate(value)]
    if dataclasses.is_dataclass(wanted):
        hints = _types_of(typing.cast(Any, wanted))
        for field in dataclasses.fields(wanted):
            has_default = field.default is not field.default_factory  # else both are missing
            if field.name not in value and not has_default:
                raise WrongTypeError(f"`{f'{place}.{field.name}'[1:]}` is missing")
        values = {name: read_as(hint, value[name], f"{place}.{name}") for name, hint in hints.items() if name in value}
        return typing.cast(Any, wanted)(**values)
    return float(value) if wanted is float else value
