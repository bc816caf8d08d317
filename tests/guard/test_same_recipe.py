"""Processes with different recipes."""

import pytest

from mgrpo.errors import UserError
from mgrpo.guard import same_recipe as agreement
from mgrpo.guard.same_recipe import check_processes_agree

FIELDS = {"learning_rate": 1e-6, "task": "math:a.jsonl", "local_rank": 0, "env": {}}


def check(monkeypatch, *others):
    """As process 0, beside `others`."""
    written = [{name: repr(value) for name, value in fields.items()} for fields in others]
    monkeypatch.setattr(agreement, "gather_object", lambda mine: [*mine, *written])
    check_processes_agree(FIELDS)


def test_one_alone_agrees():
    check_processes_agree(FIELDS)


def test_the_same_agree(monkeypatch):
    check(monkeypatch, dict(FIELDS), {**FIELDS, "local_rank": 1})


def test_what_differs_is_named(monkeypatch):
    said = (
        r"learning_rate is 1e-06 on process 0 and 1e-05 on process 2; task is 'math:a.jsonl' on process 0 and 'x' on"
    )
    with pytest.raises(UserError, match=f"the processes disagree on the recipe: {said} process 3. Start all of them"):
        check(monkeypatch, FIELDS, {**FIELDS, "learning_rate": 1e-5}, {**FIELDS, "task": "x", "learning_rate": 1e-5})


def test_not_everything_is_named(monkeypatch):
    other = {**FIELDS, **{f"field_{i}": i for i in range(7)}}
    with pytest.raises(
        UserError, match="field_4 is not set on process 0 and 4 on process 1, and 2 more differ. Start"
    ):
        check(monkeypatch, other)
