"""Values on their way out of the sandbox of a candidate."""

import collections
import fractions
import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgrpo.sandbox.inside import decode, encode

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize("num_examples", [15, pytest.param(200, marks=pytest.mark.slow)])
def test_values_arrive_as_they_were_sent(num_examples):
    @settings(max_examples=num_examples)
    @given(VALUES)
    def check(value):
        arrived = decode(json.loads(json.dumps(encode(value))))
        assert arrived == value and repr(arrived) == repr(value)

    check()


@pytest.mark.parametrize(
    "value",
    [{1, 2}, frozenset("ab"), range(1, 9, 2), collections.deque([1]), bytearray(b"x"), 10**300, Decimal("1.10")]
    + [datetime(2026, 2, 3, 4, 5, 6, 7), datetime(2026, 2, 3, tzinfo=UTC), date(2026, 2, 3), time(4, 5)]
    + [timedelta(-1, 2, 3), fractions.Fraction(-1, 3), {(1, 2): [None, ()]}, [["int", "x"], ["object"]], "\ud800"],
)
def test_rarer_values_arrive(value):
    arrived = decode(json.loads(json.dumps(encode(value))))
    assert arrived == value and type(arrived) is type(value)
