import pytest

from mgrpo.answers.tokens import tokenize
from mgrpo.answers.units import split_words


@pytest.mark.parametrize(
    ("answer", "value", "factor", "words"),
    [
        ("5 cm", "5", 1, ""),
        (r"5\text{ cm}^2", "5", 1, ""),
        (r"5\text{ cm}^{-1}", "5", 1, ""),
        (r"5\text{ cm^2}", "5", 1, ""),
        (r"5\text{ m}/\text{s}", "5", 1, ""),
        ("5 m/s", "5", 1, ""),
        ("5 m / s^2", "5", 1, ""),
        ("5 miles per hour", "5", 1, ""),
        (r"\frac{1}{2}\text{ m}", r"\frac { 1 } { 2 }", 1, ""),
        ("50 percent", "50 %", 1, ""),
        (r"50\text{ percent of the total}", "50 %", 1, "of the total"),
        (r"5\text{ million dollars}", "5", 10**6, ""),
        ("5 hundred thousand", "5", 10**5, ""),
        (r"\$20\text{ loss}", "20", 1, "loss"),
        (r"5\text{ of 7}", "5", 1, "of 7"),
        ("5 m", "5 m", 1, ""),  # may be a product
        (r"x\text{ cm}", "x \ue000cm", 1, ""),  # no number before it
        (r"2516_\text{eight}", "2516 _ \ue000eight", 1, ""),  # a base
    ],
)
def test_words_after_a_value(answer, value, factor, words):
    tokens, *rest = split_words(tokenize(answer))
    assert (" ".join(tokens), *rest) == (value, factor, words)
