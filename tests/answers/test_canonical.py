"""Canonical forms: what is one answer, what is not, and that no text at all breaks or delays them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mgrpo.answers.canonical import CANONICAL

ONE_ANSWER = [
    ("words", ["mother-in-law", "Mother-in-Law.", "mother in law", ' "MOTHER in law" ']),
    ("words", ["00:09", "0:09", " 0:09."]),
    ("words", ["86 days, 18:20:44", "86 days 18:20:44", "86 Days, 18:20:44.0"]),
    ("words", ["-5", "\N{MINUS SIGN}5", "-5.0", "**-5**", "$-5$"]),
    ("words", ["-0x9f", "-0X9F"]),
    ("words", [r"\text{Yes}", "Yes", "YES!", "```\nyes\n```"]),
    ("words", ["True", "true.", "`True`"]),
    ("list", ["['4', '2.50', 'x']", "[4, 2.5, X]", "4 2.5 x", "4, 2.5, x.", "4\n2.5\nx", '("4"; "2.5"; "x")']),
    ("list", ["A → B → C", "a->b->c", "A => B => C", "A, B, C", "A --> B --> C"]),
    ("list", [r"\frac{1}{2}", r"$\dfrac{1}{2}$", "1/2", r"\(1/2\)"]),
    ("list", ["[]", "[ ]", " []"]),
    ("list", ["(-2.486, -10.622)", "-2.4860, -10.622", r"\left(-2.486, -10.622\right)"]),
    ("list", ["11.31°", "11.31", "+11.310"]),
    ("list", ["A# #B", "a#  #b", "A#\n#B"]),
    ("list", ["1e-7", "1.0E-7", "0.0000001"]),
    ("set", ["1, -0.5", "-0.50, 1.0", r"\{-0.5, 1\}", "{1; -0.5}", "[-0.5, 1]"]),
    ("set", ["2 × 2 × 107", "107*2*2", r"2 \times 107 \times 2", "2 · 2 · 107", "[2, 2, 107]"]),
    ("set", ['[["a", "b"], ["c"]]', '[["c"], ["b", "a"]]', "(a b) (c)", '["a", "b"], ["c"]']),
    ("set", ["[[1], [2], [3]]", "3 2 1"]),
    (
        "grid",
        [
            "1 0\n0 2.5",
            "[[1,0],[0,2.50]]",
            "[[1 0]\n [0 2.5]]",
            "1,0\n0,2.5",
            "1  0 \n\n0 2.5",
            "| 1 | 0 |\n| 0 | 2.5 |",
            r"\begin{pmatrix} 1 & 0 \\ 0 & 2.5 \end{pmatrix}",
            "[1, 0]\n[0, 2.5]",
            "((1, 0), (0, 2.5))",
            "1 0; 0 2.5",
            "```\n1 0\n0 2.5\n```",
            "[\n [1,\n 0],\n [0,\n 2.5]\n]",
        ],
    ),
    ("grid", ["❌✅\n✅❌", "❌ ✅\n✅ ❌", "❌\ufe0f✅\n✅❌"]),
    ("grid", ["3 > 1   2\n    ∧    \n1   2   3", "3 1 2\n1 2 3", "3 > 1 2\n1 2 3"]),
    ("grid", ["7", "[[7]]", "7.0"]),
    (
        "assignments",
        ["A=1,B=2", "B = 2, A = 1", '{"A": 1, "B": 2}', "A: 1\nB: 2", "A → 1; B → 2", "a=01 and b=2.0", "A=1,B=2,"],
    ),
    (
        "assignments",
        [
            "William is an egoist, and Sofia is an altruist.",
            "Sofia is an altruist and William is an egoist",
            "William: egoist; Sofia: altruist",
            "- **William** is the egoist\n- **Sofia** is the altruist",
        ],
    ),
    ("sum", ["3*x**2 - x + 5", "-x + 3x^2 + 5", "5 + 3 x^{2} - x", "+3·x**2-x+5", "$3x^2 - x + 5$"]),
    ("sum", ["x*2**3 - 1", "-1 + x*2^3"]),
]
TWO_ANSWERS = [
    ("words", "-1", "1"),
    ("words", "-0x3", "0x3"),
    ("words", "0.5", "5"),
    ("words", "yes no", "no yes"),
    ("words", "10", "1 0"),
    ("list", "1, 2", "2, 1"),
    ("list", "1, 2", "12"),
    ("list", "[]", "[0]"),
    ("list", "A# #B", "#A B#"),
    ("list", "1/2", "2/4"),
    ("list", "3, -1", "3, 1"),
    ("set", "2 × 2 × 3", "2 × 3"),
    ("set", "1, -1", "1, 1"),
    ("set", '[["a", "b"], ["c"]]', '[["a"], ["b", "c"]]'),
    ("set", '[["a", "b"], ["c"]]', '["a", "b", "c"]'),
    ("grid", "1 2\n3 4", "1 3\n2 4"),
    ("grid", "1 2 3 4", "1 2\n3 4"),
    ("grid", "1 11", "11 1"),
    ("grid", "10\n20", "1 0\n2 0"),
    ("grid", "❌✅", "✅❌"),
    ("assignments", "A=1,B=2", "A=2,B=1"),
    ("assignments", "A=1", "A=1,B=2"),
    ("assignments", "Ann is a knight", "Ann is a knave"),
    ("sum", "x - y", "y - x"),
    ("sum", "2*3", "23"),
    ("sum", "x^-2", "x^2"),
    ("sum", "(x + 1)*(x + 2)", "x^2 + 3*x + 2"),
]


@pytest.mark.parametrize(("form", "texts"), ONE_ANSWER)
def test_one_answer_in_several_spellings(form, texts):
    assert {text: CANONICAL[form](text) for text in texts} == {text: CANONICAL[form](texts[0]) for text in texts}


@pytest.mark.parametrize(("form", "left", "right"), TWO_ANSWERS)
def test_different_answers(form, left, right):
    assert CANONICAL[form](left) != CANONICAL[form](right)


@pytest.mark.parametrize("form", CANONICAL)
@pytest.mark.parametrize(("text", "plain"), [("", ""), ("  ?! ", "?!"), ("\x00", "\x00"), ("[ ", "[")])
def test_what_cannot_be_read(form, text, plain):
    # "?!" are two cells, and a term without a sign
    assert CANONICAL[form](text) in (plain, " ".join(plain), f"+{plain}")


@pytest.mark.parametrize("form", CANONICAL)
@given(st.text())
@example("\ud800")
@example("\N{RIGHT-TO-LEFT OVERRIDE}1\x00")
@example("1" * 5000)
@example("1e9999, -1e-9999")
@example("```\n\x0b```")
def test_no_text_breaks_a_form(form, text):
    assert isinstance(CANONICAL[form](text), str)


PIECES = st.sampled_from(
    [*"ab-+.,;:=[](){}\"'|&<>*^/\\ \n→×°#", "is ", "and ", "the ", "1", "02", "3.50", "1e5", r"\frac{1}{2}"]
)


@pytest.mark.parametrize("form", ["words", "list", "set", "grid"])
@given(st.lists(PIECES, max_size=20).map("".join))
def test_a_canonical_form_is_its_own(form, text):
    once = CANONICAL[form](text)
    assert CANONICAL[form](once) == once


@pytest.mark.timeout(30)  # 0.1 s at most for each was measured; quadratic time would be minutes
@pytest.mark.parametrize("form", CANONICAL)
@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "(1[",
        "-",
        "=",
        "1",
        "1.",
        "1,",
        " ",
        "\n",
        "a is ",
        "and ",
        "\\frac{",
        "\\frac{a}{",
        "\\begin{",
        "\\",
        "```\n",
    ]
    + ["a\u0301\u0323", "+x", "❌", "\ud800", "\x00", "9e9", "x**"],
)
def test_time_is_linear(form, piece):
    CANONICAL[form](piece * (2**15 // len(piece)))
