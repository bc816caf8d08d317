from fractions import Fraction

import pytest

from mgrpo.answers.form import Assigned, Collection, Expression, InBase, Number, Sequence, Words
from mgrpo.answers.read_form import MAX_DEPTH, MAX_LENGTH, read_form

ONE, TWO, FIVE = (Number(Fraction(value)) for value in (1, 2, 5))


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("1,000", 1000),
        ("1,234,567.5", Fraction(2469135, 2)),
        (r"1\,000", 1000),
        ("1{,}000", 1000),
        (r"11,\! 111,\! 111,\! 100", 11111111100),
        (r"\$18.90", Fraction(189, 10)),
        ("$5$.", 5),
        ("**5**", 5),
        (r"\(5\)", 5),
        (r"\boxed{5}", 5),
        ("+5", 5),
        ("- 5", -5),
        ("−5", -5),
        ("-0", 0),
        ("1/-2", Fraction(-1, 2)),
        (r"\frac{-1}{2}", Fraction(-1, 2)),
        (r"-\frac{-1}{2}", Fraction(1, 2)),
        (r"\frac12", Fraction(1, 2)),
        (r"\frac 1 2", Fraction(1, 2)),
        (r"\frac9{19}", Fraction(9, 19)),
        (r"137 \frac{1}{2}", Fraction(275, 2)),
        (r"-1\frac{1}{2}", Fraction(-3, 2)),
        ("1 1/2", Fraction(3, 2)),
        ("-1 1/2", Fraction(-3, 2)),
        (r"0.1\overline{6}", Fraction(1, 6)),
        ("50 percent", Fraction(1, 2)),
        ("1.5e-3", Fraction(3, 2000)),
        ("2e3", 2000),
        ("3/2 = 1.5", Fraction(3, 2)),
        (r"864 \mbox{ inches}^2", 864),
        ("5 miles per hour", 5),
        (r"5\text{ m}", 5),
        (r"72^{\circ}", 72),
        ("20 °C", None),  # a letter is no unit without \text
        ("1/0", None),
        ("1 2", None),
        ("1,2", None),
        ("12,34", None),
        ("2.5.3", None),
        ("x", None),
        ("٣", None),
        (r"3 \text{ or more}", None),
        ("1" * 10_000, None),
    ],
)
def test_numbers(answer, value):
    form = read_form(answer)
    assert isinstance(form, Number) == (value is not None)
    assert value is None or form == Number(value)


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        ("2516_8", InBase("2516", 8)),
        (r"(2516)_{\text{eight}}", InBase("2516", 8)),
        ("x=5", Assigned("x", FIVE)),
        ("5 = x", Assigned("x", FIVE)),
        ("f(x) = 5", Assigned("f ( x )", FIVE)),
        ("x^2 = 5", Expression("x ^ { 2 } = 5")),
        ("y = 2x", Assigned("y", Expression("2 x"), Expression("y = 2 x"))),
        ("(1, 2]", Sequence("(", "]", (ONE, TWO))),
        (r"\left\langle 1, 2\right\rangle", Sequence("(", ")", (ONE, TWO))),
        (r"\{1, 2\}", Collection("set", (ONE, TWO))),
        ("1 and 2", Collection("set", (ONE, TWO))),
        (r"x = 1 \text{ or } x = 2", Collection("set", (ONE, TWO))),
        ("x=1, y=2", Collection("set", (Assigned("x", ONE), Assigned("y", TWO)))),
        (r"1 \le x < 2", Assigned("x", Sequence("[", ")", (ONE, TWO)))),
        ("2 > x >= 1", Assigned("x", Sequence("[", ")", (ONE, TWO)))),
        ("5 < x", Assigned("x", Sequence("(", ")", (FIVE, Expression(r"\infty"))))),
        ("1 : 2", Sequence(":", ":", (ONE, TWO))),
        (
            r"\begin{bmatrix} 1 & 2 \\[4pt] 5 & 1 \end{bmatrix}",
            Sequence("matrix", "matrix", (Sequence("row", "row", (ONE, TWO)), Sequence("row", "row", (FIVE, ONE)))),
        ),
        (r"\{\}", Collection("set", ())),
        (r"\sqrt2", Expression(r"\sqrt { 2 }")),
        ("sqrt(x+1)", Expression(r"\sqrt { x + 1 }")),
        ("x**10", Expression("x ^ { 10 }")),
        ("x^-1", Expression("x ^ { - 1 }")),
        ("2*xy", Expression(r"2 \cdot x y")),
        (r"3\mathrm{i}", Expression("3 i")),
        ("C", Words("C")),
        (r"\text{(C)}.", Words("C")),
        ("C)", Words("C")),
        (r"\text{No Solution}", Words("no solution")),
        ("6:30 p.m.", Words("6:30 pm")),
        (r"n \text{ is even}", Words("n is even")),
        ("", Words("")),
        ("{", Words("{")),
        # never parsed
        ("9^{9^{9^9}}", Words("9^{9^{9^9}}")),
        ("10^{1000000}", Words("10^{1000000}")),
        ("__import__('os')", Words("__import__('os')")),
        (r"\sum_{k=1}^{9} k", Words("sum_{k=1}^{9} k")),
        ("(" * (MAX_DEPTH + 1) + "1" + ")" * (MAX_DEPTH + 1), Words("(((((((((((((1)))))))))))))")),
        ("1+" * MAX_LENGTH + "1", Words("1+" * MAX_LENGTH + "1")),
    ],
)
def test_forms(answer, form):
    assert read_form(answer) == form


@pytest.mark.parametrize(
    "answer", ["\x00", "\ud800", "‮5", "\ue000x\ue001", "\\", "$", "\\begin{pmatrix}", "^_^", "=", "_8"]
)
def test_any_text_has_a_form(answer):
    assert read_form(answer) is not None


def test_invisible_characters_do_not_count():
    assert read_form("\u200b1\u200e/\u202e2") == Number(Fraction(1, 2))
