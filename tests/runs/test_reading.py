import json
import os
import socket
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mgrpo.errors import UserError
from mgrpo.runs import reading
from mgrpo.runs.reading import (
    UnreadableError,
    WrongTypeError,
    read_as,
    read_json,
    read_json_lines,
    read_json_object,
    read_table,
    read_text,
    read_yaml_file,
)

READERS = [read_text, read_json, read_json_object, read_yaml_file, lambda path: list(read_json_lines(path))]
READERS += [lambda path: read_table(path, {"prompt": "string"})]


def not_regular(path, kind):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        os.chdir(path.parent)  # the name of a socket is short
        socket.socket(socket.AF_UNIX).bind(path.name)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(2**40)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", ["pipe", "directory", "device", "socket", "loop", "huge"])
def test_only_regular_files_of_a_usual_size_are_read(tmp_path, monkeypatch, read, kind):
    monkeypatch.chdir(tmp_path)
    not_regular(tmp_path / "file", kind)
    with pytest.raises(UnreadableError, match="/file cannot be read: .*; replace it or leave it out"):
        read(tmp_path / "file")


@pytest.mark.parametrize("read", READERS)
def test_a_file_that_is_missing_is_the_callers_affair(tmp_path, read):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "file")


@pytest.mark.parametrize("read", READERS[:4] + READERS[5:])
@pytest.mark.parametrize("content", [b"\xff\xfe", b"PAR1\0\0\0", os.urandom(0) + bytes(range(256))])
def test_rubbish(tmp_path, read, content):
    (tmp_path / "file").write_bytes(content)
    if read is read_text and b"\xff" not in content:
        assert read(tmp_path / "file")
        return
    with pytest.raises(UnreadableError):
        read(tmp_path / "file")


DEEP = ["[" * num + "]" * num for num in (101, 100_000)] + ['{"a": ' * 101 + "1" + "}" * 101]


@pytest.mark.parametrize("text", [*DEEP, "9" * 20, "9" * 9999, "", "{"])
def test_json_that_is_refused(tmp_path, text):
    (tmp_path / "file").write_text(text)
    with pytest.raises(UnreadableError, match="it is no JSON"):
        read_json(tmp_path / "file")
    (tmp_path / "file").write_text(f'{{"step": 1}}\n{text}\n{{"step": 2}}\n')
    assert [value for _, value in read_json_lines(tmp_path / "file")] == [{"step": 1}]


def test_json_that_is_read(tmp_path):
    values = [[1] * 1000, [[0]] * 200, json.loads("[" * 100 + "]" * 100), "[" * 999, -(10**18), 1e300, None]
    for value in values:
        (tmp_path / "file").write_text(json.dumps(value))
        assert read_json(tmp_path / "file") == value
    with pytest.raises(UnreadableError, match="it is no JSON object"):
        read_json_object(tmp_path / "file")


def test_a_line_that_never_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_LINE_BYTES", 100)
    (tmp_path / "file").write_text('{"step": 1}\n{"a": "' + "x" * 100 + '"}\n{"step": 2}\n')
    assert [value for _, value in read_json_lines(tmp_path / "file")] == [{"step": 1}]


def test_a_table_that_expands(tmp_path, monkeypatch):
    path = tmp_path / "file"
    pq.write_table(pa.table({"prompt": ["x" * 10_000] * 2000, "other": [{"a": 1}] * 2000}), path)
    assert path.stat().st_size < 10**6
    assert len(read_table(path, {"prompt": "string", "absent": "bool"})["prompt"]) == 2000
    assert read_table(path, {"absent": "bool"}) == {}
    monkeypatch.setattr(reading, "MAX_TABLE_BYTES", 10**6)
    with pytest.raises(UnreadableError, match="takes more than 1,000,000 bytes"):
        read_table(path, {"prompt": "string"})
    monkeypatch.setattr(reading, "MAX_TABLE_ROWS", 1999)
    with pytest.raises(UnreadableError, match="it has 2,000 rows"):
        read_table(path, {"prompt": "string"})


@pytest.mark.parametrize("column", [[{"a": 1}], [[1, 2]], ["x"], [2**70 * 1.0]])
def test_a_column_of_another_type(tmp_path, column):
    pq.write_table(pa.table({"number": column}), tmp_path / "file")
    with pytest.raises(UnreadableError):
        read_table(tmp_path / "file", {"number": "int64"})


def test_two_columns_of_one_name(tmp_path):
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), tmp_path / "file")
    with pytest.raises(UnreadableError):
        read_table(tmp_path / "file", {"a": "int64"})


def test_a_key_that_is_set_twice(tmp_path):
    (tmp_path / "file").write_text("a: 1\na: 2\n")
    with pytest.raises(UserError, match="file sets a twice, on lines 1 and 2"):
        read_yaml_file(tmp_path / "file")


@dataclass
class Inner:
    number: float
    words: list[str]
    flag: bool = False


@dataclass
class Outer:
    inner: dict[str, Inner]
    name: str | None = None


def test_values_become_what_they_stand_for():
    value = {"inner": {"a": {"number": 1, "words": ["b"]}}, "later": 1}
    assert read_as(Outer, value) == Outer({"a": Inner(1.0, ["b"])})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "`` is .*, not an object"),
        ({}, "`inner` is missing"),
        ({"inner": {"a": 1}}, "`inner.a` is 1, not an object"),
        ({"inner": {"a": {"number": True, "words": []}}}, "`inner.a.number` is True, not a number"),
        ({"inner": {"a": {"number": 1, "words": "b"}}}, "`inner.a.words` is 'b', not a list"),
        ({"inner": {"a": {"number": 1, "words": [None]}}}, "`inner.a.words.0` is None, not a text"),
        ({"inner": {}, "name": 1}, "`name` is 1, not a text"),
    ],
)
def test_values_of_other_types(value, message):
    with pytest.raises(WrongTypeError, match=message):
        read_as(Outer, value)
