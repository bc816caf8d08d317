import math

import pytest

from mgrpo.monitoring.collapse import CLEAR_ROWS, EARLY_ROWS, SIGNS, CollapseAlarm, Sign
from mgrpo.runs import metrics as names

FALLING = Sign("a", "below", -0.2, "a falls", num_rows=2)
GROWING = Sign("b", "above", 2.0, "b grows", "of_start", num_rows=3)


def feed(alarm, metric, values, step=10):
    """The events of rows at steps 10, 20, ..."""
    return [
        event
        for i, value in enumerate(values)
        if (event := alarm.update({"step": step * (i + 1), metric: value})) is not None
    ]


def test_a_limit_must_hold_for_its_rows():
    # Beyond -0.2 at 20 (alone), then at 40 and 50.
    (event,) = feed(CollapseAlarm([FALLING]), "a", [0.0, -0.3, -0.1, -0.3, -0.25, -0.3])
    assert (event.step, event.kind, event.signals) == (50, "alarm", ["a"])
    assert event.message == "a falls (a -0.25, limit -0.2)"


def test_healthy_is_what_was_not_half_way():
    # Half way is -0.1: steps 10 to 30 are healthy, 40 is not.
    (event,) = feed(CollapseAlarm([FALLING]), "a", [0.0, -0.05, -0.09, -0.15, -0.3, -0.3])
    assert (event.step, event.healthy_step) == (60, 30)


def test_a_run_that_starts_beyond_its_limit_has_no_healthy_step():
    (event,) = feed(CollapseAlarm([FALLING]), "a", [-1.0, -1.0])
    assert event.healthy_step == 0


def test_relative_limits_are_multiples_of_the_start():
    # The first 5 rows have the median 3, so the limit is 6 and half way 4.5.
    early = [1.0, 2.0, 3.0, 4.0, 100.0]
    assert len(early) == EARLY_ROWS
    events = feed(CollapseAlarm([GROWING]), "b", [*early, 4.0, 5.0, 7.0, 7.0, 5.9, 7.0, 7.0, 7.0])
    assert [(event.step, event.healthy_step) for event in events] == [(130, 60)]
    assert "limit 6" in events[0].message


@pytest.mark.parametrize(
    ("metric", "start", "limit", "num_rows"),
    [
        (names.NONE_RATE, 0.0, 0.3, 3),
        (names.NONE_RATE, 0.6, 0.72, 3),  # of the 0.4 with an answer three tenths have none any more
        (names.TOP_SHARE, 0.5, 0.75, 5),
        (names.FLIP_RATE, 0.9, 0.93, 3),
    ],
)
def test_shares_are_compared_with_the_runs_own_start(metric, start, limit, num_rows):
    below, above = [start] * 30 + [limit - 0.01] * 30, [start] * 30 + [limit + 0.01] * 30
    assert feed(CollapseAlarm(), metric, below) == []
    (event,) = feed(CollapseAlarm(), metric, above)
    assert (event.step, event.signals) == (300 + 10 * num_rows, [metric]) and f"limit {limit:.3g}" in event.message


def test_a_share_that_begins_at_1_never_alarms():
    for metric in (names.NONE_RATE, names.TOP_SHARE):
        assert feed(CollapseAlarm(), metric, [1.0] * 50) == []


def test_an_alarm_that_stays_on_is_one_alarm_and_ends_well_within_its_limit():
    assert CLEAR_ROWS == 5
    # On at 20. Between half way (-0.1) and the limit nothing changes, nor after 4 rows that are better than half way.
    flapping = [-0.3, -0.3, -0.15, -0.3, -0.3, *[-0.15] * 10, *[-0.05] * 4, -0.3, -0.3]
    alarm = CollapseAlarm([FALLING])
    assert [(event.step, event.kind) for event in feed(alarm, "a", flapping)] == [(20, "alarm")]
    assert alarm.is_on
    events = feed(CollapseAlarm([FALLING]), "a", [*flapping, *[-0.05] * 5, -0.3, -0.3])
    assert [(event.step, event.kind) for event in events] == [(20, "alarm"), (260, "cleared"), (280, "alarm")]


def test_another_sign_that_joins_an_alarm_is_no_second_alarm():
    alarm = CollapseAlarm([FALLING, Sign("c", "above", 1.0, "c grows", num_rows=1)])
    assert alarm.update({"step": 1, "c": 2.0}).signals == ["c"]
    rows = [{"step": step, "c": 0.0 if step > 3 else 2.0, "a": -1.0} for step in range(2, 10)]
    assert [alarm.update(row) for row in rows] == [None] * 8  # c is off at 8, a is still on
    events = [event for step in range(10, 20) if (event := alarm.update({"step": step, "a": 0.0}))]
    assert [(event.step, event.kind) for event in events] == [(14, "cleared")]


def test_values_that_are_missing_are_no_look():
    alarm = CollapseAlarm([FALLING])
    values = [-1.0, None, math.nan, "x", -1.0]
    assert [event.step for event in feed(alarm, "a", values)] == [50]
    assert alarm.update({"step": 60}) is None


def test_rows_of_held_out_numbers_are_no_look_either():
    alarm = CollapseAlarm()
    for step in range(100):
        assert alarm.update({"step": step, **{f"eval_{sign.metric}": 100.0 for sign in SIGNS}}) is None


def test_as_row_leaves_out_what_is_not_there():
    (event,) = feed(CollapseAlarm([FALLING]), "a", [-1.0, -1.0])
    assert event.as_row() == {
        "step": 20,
        "kind": "alarm",
        "signals": ["a"],
        "message": "a falls (a -1, limit -0.2)",
        "healthy_step": 0,
    }
