"""Assert statements as what the candidate computes and what is checked without it."""

import pytest

from mgrpo.errors import UserError
from mgrpo.sandbox.assert_split import split_asserts


@pytest.mark.parametrize(
    ("test", "steps", "check"),
    [
        ("assert f(1) == 2", ["f(1)"], "assert __value__(0) == 2"),
        ("assert not f(1), 'message'", ["f(1)"], "assert not __value__(0)"),
        ("assert sorted(f([1])) == [g(2)]", ["f([1])", "g(2)"], "assert sorted(__value__(0)) == [__value__(1)]"),
        ("assert f(1)[0].name.upper() == 'A'", ["f(1)[0].name.upper()"], "assert __value__(0) == 'A'"),
        ("assert abs(f(f(1)) - 2) < 1e-3", ["f(f(1))"], "assert abs(__value__(0) - 2) < 0.001"),
        ("assert sum(10, 15) == 6", ["sum(10, 15)"], "assert __value__(0) == 6"),
        ("assert len(set(f())) == len([1])", ["f()"], "assert len(set(__value__(0))) == len([1])"),
        ("assert all(f(i) == i for i in [1])", ["(f(i) == i for i in [1])"], "assert all(__value__(0))"),
        ("assert all(i > 0 for i in f())", ["(i > 0 for i in f())"], "assert all(__value__(0))"),
    ],
)
def test_asserts_are_split(test, steps, check):
    split = split_asserts([test])
    assert split.steps == tuple(("eval", step) for step in steps)
    assert split.checks == (check,)


def test_tests_that_cannot_be_split_are_refused():
    with pytest.raises(UserError, match="plain assert statements"):
        split_asserts(["for i in [1]:\n    assert f(i) == i"])
    with pytest.raises(UserError, match="f\\(1\\) = 1.* Python"):
        split_asserts(["assert f(1) = 1"])
