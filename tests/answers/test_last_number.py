import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgrpo.answers.last_number import number


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("12 apples and 7 pears", "7"),
        ("+7", "7"),
        (r"so \boxed{42}.", "42"),
        ("version 3.11.7", "7"),
        ("x^2", "2"),
        ("5 cm²", "5"),  # no digit of a decimal number
        ("no number at all", None),
        ("", None),
        # signs
        ("it is -5", "-5"),
        ("x=-3.25.", "-3.25"),
        ("it is \N{MINUS SIGN}5", "-5"),
        ("(3, -4)", "-4"),
        ("5-3", "3"),
        ("x^{2}-3", "3"),
        ("pages 10-20", "20"),
        ("50%-60%", "60%"),
        ("a loss of -$5", "-5"),
        (r"-\$5.50", "-5.50"),
        ("$10-$20", "20"),
        ("$x$-$5$", "5"),
        # decimals and thousands
        ("x = .5", ".5"),
        ("5.", "5"),
        ("$1,234,567.50.", "1234567.50"),
        ("-1,234, which is negative", "-1234"),
        (r"1{,}234", "1234"),
        (r"1\,234", "1234"),
        (r"1,\!234.5", "1234.5"),
        ("1, 2, 3", "3"),
        ("1,2345", "2345"),
        ("12,34", "34"),
        ("1,23,456", "456"),
        ("0,123", "123"),
        # fractions
        ("it is 3/4.", "3/4"),
        ("-1,000/3", "-1000/3"),
        ("3/-4", "3/-4"),
        (r"\frac{3}{4}", "3/4"),
        (r"-\dfrac{ 1.5 }{2}", "-1.5/2"),
        (r"\frac34", "3/4"),
        (r"\frac{-3}{4}", "-3/4"),
        (r"-\frac{-3}{4}", "3/4"),
        (r"x-\frac{3}{4}", "3/4"),
        (r"\frac{x}{4}", "4"),
        ("on 12/25/2024", "2024"),
        ("-1/2/3", "3"),
        # percent
        ("50%", "50%"),
        (r"12.5\%", "12.5%"),
        ("50 %", "50%"),
        (r"\frac{1}{2}%", "1/2%"),
        # scientific notation
        ("1e5", "1e5"),
        ("-1.5e-3.", "-1.5e-3"),
        ("2E+10", "2e10"),
        ("2 eggs, 12e34f", "34"),
        (r"1.5 \times 10^{-3}", "1.5e-3"),
        ("3 × 10^8 m/s", "3e8"),
        ("2*10**5", "2e5"),
        # GSM8K's mark
        ("#### 42\nfor 7 days", "42"),
        ("6\n#### 1\n#### 2\nand 3", "2"),
        ("####-5", "-5"),
        ("#### $1,234.00", "1234.00"),
        ("#### **42**", "42"),
        (r"#### \(42\)", "42"),
        ("so #### 42 apples\nQ: 7", "42"),
        ("#### Step 3\nthe sum is 8", "8"),
        ("#### 3. Add 9 and 1", "1"),
        ("#### 42\n#### 2) Check", "42"),
        # other scripts' digits
        ("\N{ARABIC-INDIC DIGIT ONE}\N{ARABIC-INDIC DIGIT TWO}", "12"),
        ("\N{FULLWIDTH DIGIT SEVEN}", "7"),
    ],
)
def test_number(text, answer):
    assert number(text) == answer


@given(st.integers() | st.decimals(allow_nan=False, allow_infinity=False, places=3))
def test_a_number_is_read_as_it_was_written(value):
    assert number(f"It is {value:,}.") == f"{value}"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("10 000 euros", "10000"),
        ("It costs 1 234 567.50 dollars", "1234567.50"),
        ("10\u202f000 or 20\u00a0000", "20000"),
        ("2020 100 people", "100"),  # a year
        ("1, 200", "200"),
        ("3 1000", "1000"),
        ("5 100 20", "20"),  # no thousands: the last group is too short
    ],
)
def test_thousands_with_spaces(text, answer):
    assert number(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It is 5.\n\nQ: Jane has 12 apples.\nA: 12", "5"),
        ("#### 7\n\nQuestion: and 9?\n#### 9", "7"),
        ("So 3.\n**Question 2:** 17", "3"),
        ("So 3.\n## Problem 2: 17", "3"),
        ("Q: what is 2 + 2?\nA: 4", "4"),  # a completion may repeat its own
        ("Let me repeat it.\nQuestion: what is 2 + 2?\nAnswer: 4", "4"),
        ("The Q: is 17", "17"),
    ],
)
def test_a_next_question_is_not_read(text, answer):
    assert number(text) == answer
