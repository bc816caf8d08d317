import pytest

from mgrpo.answers.tokens import tokenize
from mgrpo.answers.units import without_unit


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("5 cm", "5"),
        (r"5\text{ cm}^2", "5"),
        (r"5\text{ cm}^{3}", "5"),
        ("5 miles per hour", "5"),
        (r"\frac{1}{2}\text{ m}", r"\frac { 1 } { 2 }"),
        ("50 percent", "50 %"),
        ("5 m", "5 m"),  # may be a product
        (r"x\text{ cm}", "x \ue000cm"),  # no number before it
    ],
)
def test_units(answer, kept):
    assert " ".join(without_unit(tokenize(answer))) == kept
