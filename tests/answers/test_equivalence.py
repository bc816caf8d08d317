import random
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgrpo.answers import answer_ids, equal_to, get_equivalence
from mgrpo.answers.costly import is_costly
from mgrpo.answers.equivalence import EQUIVALENCES, value_of
from mgrpo.errors import UserError

HALF = [
    "1/2",
    "0.5",
    r"\frac12",
    r"\frac{1}{2}",
    r"\dfrac{1}{2}",
    r"\tfrac{1}{2}",
    r"50\%",
    "50%",
    ".5",
    "$0.50$",
    "5/10",
]
TOWER = "9^{9^{9^9}}"


def are_equal(left: str, right: str) -> bool:
    """Asked in both orders, which must agree."""
    ids = {tuple(answer_ids([pair], "math")[0]) for pair in ([left, right], [right, left])}
    assert len(ids) == 1
    return ids == {(0, 0)}


@pytest.mark.parametrize("answer", HALF)
def test_half(answer):
    assert value_of(answer) == Fraction(1, 2)
    assert are_equal(answer, "1/2")


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("1,000", 1000),
        ("1,234,567.5", Fraction(2469135, 2)),
        (r"1\,000", 1000),
        ("1{,}000", 1000),
        (r"\$18.90", Fraction(189, 10)),
        ("$5$", 5),
        ("5.", 5),
        ("$5.$", 5),
        ("$5$.", 5),
        ("+5", 5),
        ("- 5", -5),
        ("-0", 0),
        ("1/-2", Fraction(-1, 2)),
        (r"-\frac{1}{2}", Fraction(-1, 2)),
        (r"\frac{-1}{2}", Fraction(-1, 2)),
        # not plain numbers
        ("", None),
        ("1/0", None),
        ("1 2", None),
        ("1 1/2", None),
        ("1,2", None),
        ("12,34", None),
        ("x", None),
        (r"-\frac{-1}{2}", None),
        ("1" * 10_000, None),
    ],
)
def test_value(answer, value):
    assert value_of(answer) == value


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (r"(3, \frac{\pi}{2})", r"\left( 3, \frac{\pi}{2} \right)"),
        ("x+1", "1+x"),
        ("(x+1)^2", "x^2+2x+1"),
        (r"\sqrt{4}", "2"),
        (r"\sqrt{8}", r"2\sqrt{2}"),
        (r"2\frac{1}{2}", "2.5"),
        ("x=5", "5"),
        (r"5\text{ cm}", "5"),
        (r"90^\circ", "90"),
        (r"\text{(A)}", "A"),
        (r"\{1,2\}", r"\{2,1\}"),
        (" 7 ", "7"),
    ],
)
def test_equal_as_mathematics(left, right):
    assert are_equal(left, right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1/2", "-1/2"),
        ("1/2", "1/3"),
        ("0.333333", "1/3"),  # math-verify rounds; plain numbers are exact
        ("50%", "50"),
        ("1,2", "12"),
        ("1 2", "12"),
        ("x+1", "x+2"),
        (r"\sqrt{2}", r"\sqrt{3}"),
        (r"\pi", "3"),
        ("(1,2)", "(2,1)"),
        ("7", "seven"),
        ("", "0"),
        ("{", "}"),
    ],
)
def test_different_as_mathematics(left, right):
    assert not are_equal(left, right)


def test_text_compares_stripped_text():
    assert answer_ids([["1/2", " 1/2\n", "0.5", "1/2"]], "text") == [[0, 0, 1, 0]]


def test_ids_count_up_by_first_appearance_in_each_group():
    groups = [["7", None, "0.5", "7.0", "1/2", ""], [None, None], ["3", "2", "1"]]
    assert answer_ids(groups, "math") == [[0, -1, 1, 0, 1, 2], [-1, -1], [0, 1, 2]]


def test_ids_do_not_depend_on_where_equality_is_not_transitive(monkeypatch):
    # a = b and b = c but not a = c: all three are one class, whoever comes first
    monkeypatch.setitem(EQUIVALENCES, "near", lambda left, right: abs(int(left) - int(right)) <= 1)
    assert answer_ids([["1", "2", "3"], ["1", "3", "2"], ["9", "3", "1", "2"]], "near") == [
        [0, 0, 0],
        [0, 0, 0],
        [0, 1, 1, 1],
    ]


@given(
    st.lists(st.sampled_from([*HALF, "2", "2.0", "x+1", "1+x", r"\sqrt{4}", "no", "", None]), max_size=8), st.randoms()
)
def test_shuffling_a_group_keeps_the_partition(group, rng: random.Random):
    order = list(range(len(group)))
    rng.shuffle(order)
    [ids], [shuffled] = answer_ids([group], "math"), answer_ids([[group[i] for i in order]], "math")
    for a in range(len(group)):
        for b in range(len(group)):
            assert (ids[order[a]] == ids[order[b]]) == (shuffled[a] == shuffled[b])
            assert (shuffled[a] == -1) == (group[order[a]] is None)


def test_equal_to_a_gold_answer():
    assert equal_to(["1/2", None, "2", " 0.5 "], " 0.5", "math") == [True, False, False, True]
    assert equal_to(["1/2", None, "0.5"], "0.5", "text") == [False, False, True]


# Hostile answers.


@pytest.mark.parametrize(
    "answer",
    [
        TOWER,
        "9^{9^{9}}",
        "9^{{9^9}}",
        "9^9^9",
        "9**9**9",
        "((9^9)^9)^9",
        r"\frac{9^9}{1}^9",
        "10^{1000000}",
        r"2^{3\cdot 100000}",
        r"\sin^{99999999}(1)",
        "((10!)!)!",
        "10000!",
        r"\binom{100000}{50000}",
        r"\sum_{k=1}^{100000000} k^2",
        "(" * 250 + "1" + ")" * 250,
        "1+" * 50_000 + "1",
        "1" * 100_000,
    ],
)
def test_costly_answers_are_compared_as_text_at_once(answer):
    assert is_costly(answer)
    started = time.perf_counter()
    assert answer_ids([[answer, "x", f" {answer}", "y", answer + "0"]], "math") == [[0, 1, 0, 2, 3]]
    assert time.perf_counter() - started < 4  # below math-verify's own timeout of 5 s, and its import takes one


@pytest.mark.parametrize(
    "answer",
    [
        "x^2+y^{2}=1",
        "(x+1)^2(x-1)^{-2}",
        "2^{-3}+2^-3",
        r"\left(\frac{2}{3}\right)^{20}",
        r"\frac{x^2}{y^2}",
        "2^{2023}",
    ]
    + ["10!", r"\interval", r"\sqrt{x^2+1}", r"\sqrt[3]{2}", "}{", "^", ""],
)
def test_usual_answers_are_not_costly(answer):
    assert not is_costly(answer)


def test_a_group_of_many_different_expressions_is_quick():
    group = [rf"\frac{{{i}\sqrt{{{i + 1}}}}}{{{i + 2}}}" for i in range(1, 17)] + [f"x^2+{i}x" for i in range(1, 17)]
    started = time.perf_counter()
    assert answer_ids([group], "math") == [list(range(32))]
    assert time.perf_counter() - started < 8  # 0.4 s measured; 30 s if each of the 496 pairs went to `simplify`


# Names.


def test_unknown_equivalence():
    with pytest.raises(UserError, match=r"answer_equivalence is 'maths'; set it to one of text, math\."):
        get_equivalence("maths")


def test_math_verify_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "math_verify", None)
    with pytest.raises(UserError, match=r"needs math-verify: pip install 'mgrpo\[math\]', or set it to text"):
        get_equivalence("math")
    assert answer_ids([["a", "a"]], "text") == [[0, 0]]
