import pytest

from mgrpo.monitoring.display import summary_line, visible


def test_the_numbers_that_matter():
    row = {"step": 10, "vote/agreement": 0.876, "entropy/mean": 1.5, "eval_gold/accuracy": 0.5, "kl": 3.0}
    assert summary_line(row) == "agreement 0.88  entropy 1.50  held-out 0.50"


def test_numbers_that_are_not_there():
    assert summary_line({"vote/agreement": 0.0, "entropy/mean": None}) == "agreement 0.00"
    assert summary_line({}) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x² ≤ ½, 東京 é 👍", "x² ≤ ½, 東京 é 👍"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x9b31m\x7f\x00", r"\x9b31m\x7f\x00"),  # the one-byte CSI of C1
        ("a\r\nb\tc", r"a\r\nb\tc"),
        (
            "1\u202e2\u2066\u200b\u2028\ufeff",
            r"1\u202e2\u2066\u200b\u2028\ufeff",
        ),  # would be read backwards, or not seen
        ("\ud800", r"\ud800"),  # cannot be encoded
        (r"\n stays", r"\n stays"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, expected):
    assert visible(text) == expected


def test_line_breaks_may_stay():
    assert visible("a\n\tb\x1b\r", keep="\n\t") == "a\n\tb\\x1b\\r"
