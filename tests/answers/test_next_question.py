import pytest

from mgrpo.answers.next_question import parts_to_read


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("5\nQ: 6", "5\n"),
        ("5\n\n**Question 12:** 6\nQ: 7", "5\n\n"),
        ("5\n问题 Q: 6", "5\n问题 Q: 6"),  # not at the beginning of a line
        ("Q: 5", "Q: 5"),
        (" \nQ: 5\nA: 6\nQ: 7", " \nQ: 5\nA: 6\n"),
        ("Q.E.D.", "Q.E.D."),
        ("5\nHuman: and 6?", "5\n"),
        ("", ""),
    ],
)
def test_parts_to_read(text, before):
    assert parts_to_read(text) == ([text] if before == text else [before, text])
