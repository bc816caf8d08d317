"""Processes with different recipes, and decisions of the main process."""

from types import SimpleNamespace

import pytest

from mgrpo.errors import UserError
from mgrpo.guard import across_processes
from mgrpo.guard.across_processes import check_processes_agree, decided_by_main

FIELDS = {"learning_rate": 1e-6, "task": "math:a.jsonl", "local_rank": 0, "env": {}}


def check(monkeypatch, *others):
    """As process 0, beside `others`."""
    written = [{name: repr(value) for name, value in fields.items()} for fields in others]
    monkeypatch.setattr(across_processes, "gather_object", lambda mine: [*mine, *written])
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


def refuse():
    raise UserError("no")


def test_the_main_process_decides_for_all(monkeypatch):
    sent = []
    monkeypatch.setattr(across_processes, "broadcast_object_list", lambda mine: sent.append(mine) or mine)
    main = SimpleNamespace(world_size=2, process_index=0)
    assert decided_by_main(main, lambda: 5) == 5
    with pytest.raises(UserError, match="no"):
        decided_by_main(main, refuse)
    assert sent == [[5, None], [None, "no"]]


@pytest.mark.parametrize(("decision", "refusal"), [(5, None), (None, "no")])
def test_other_processes_hear_what_was_decided(monkeypatch, decision, refusal):
    monkeypatch.setattr(across_processes, "broadcast_object_list", lambda mine: [decision, refusal])
    other = SimpleNamespace(world_size=2, process_index=1)
    if refusal is None:
        assert decided_by_main(other, refuse) == decision
    else:
        with pytest.raises(UserError, match=refusal):
            decided_by_main(other, lambda: 6)
