import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgrpo.answers.boxes import boxed


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So it is \boxed{7}.", "7"),
        (r"\boxed{1} no, \boxed{ 2 }", "2"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (r"\fbox{3}", "3"),
        (r"\boxed {3}", "3"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\}}", r"\}"),
        (r"\boxed{1 \\ {2}}", r"1 \\ {2}"),
        (r"\boxed{\boxed{2}}", r"\boxed{2}"),  # the outer one was completed last
        ("\\boxed{1\n2}", "1\n2"),
        (r"\\boxed{3}", "3"),  # escaped once too often
        (r"f(x) } = \boxed{4}", "4"),
        # without braces
        (r"$\boxed 5$", "5"),
        (r"\(\boxed -3.5\)", "-3.5"),
        (r"\\boxed 1,234.", "1,234"),
        (r"\boxed 50\%", r"50\%"),
        (r"\boxed{1} or \fbox 3/4, then", "3/4"),
        (r"\boxed C.", "C"),
        (r"\boxed 5x", None),
        (r"\boxed 5\text{ cm}", None),
        (r"\boxed x^2", None),
        (r"\boxed x = 2", None),
        (r"\boxed A man", None),
        (r"\boxed is a command", None),
        # cut off
        (r"\boxed{1} and then \boxed{2", "1"),
        (r"\boxed{\frac{1}{2}", None),
        (r"I put it into \boxed{ ... The answer: \boxed{5}", "5"),
        (r"\boxed{1} \boxed", "1"),
        # nothing there
        ("", None),
        ("42", None),
        (r"\boxed{}", None),
        (r"\boxed{1} \boxed{ }", None),
    ],
)
def test_boxed(text, answer):
    assert boxed(text) == answer


@given(st.text(st.characters(exclude_characters="\\{}"), min_size=1).filter(str.strip))
def test_what_is_boxed_comes_back(answer):
    assert boxed(rf"so \boxed{{{answer}}}") == answer.strip()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{5\ }", "5"),
        (r"\boxed{x\\}", r"x\\"),
        ("\\boxed{5}\n\nProblem: another\n\\boxed{7}", "5"),
        ("Problem: this\n\\boxed{7}", "7"),
        ("Again.\nProblem: this\n\\boxed{7}", "7"),
    ],
)
def test_spaces_and_next_questions(text, answer):
    assert boxed(text) == answer
