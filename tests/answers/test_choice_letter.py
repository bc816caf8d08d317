import pytest

from mgrpo.answers.choice_letter import choice
from mgrpo.answers.extract import get_extractor


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        # said outright
        (r"\boxed{B}", "B"),
        (r"\boxed{b}", "B"),
        (r"\boxed{\text{B}}", "B"),
        (r"\boxed{\textbf{(B)}}", "B"),
        (r"\boxed{B. Paris}", "B"),
        (r"\boxed B", "B"),
        ("the answer is B", "B"),
        ("The answer is (b).", "B"),
        ("the answer is b because of that", "B"),
        ("The answer is A because of that", "A"),
        ("The correct answer choice is: **D**", "D"),
        ("The correct option is C, as shown", "C"),
        (r"The answer is $\textbf{(B)}$", "B"),
        ("Answer: (B)", "B"),
        ("**Answer:** B", "B"),
        ("**Answer**: **C) Rome**", "C"),
        ("Answer: option c", "C"),
        ("Answer:\n\nE", "E"),
        (r"Final Answer: The final answer is $\boxed{G}$. I hope it is correct.", "G"),
        # the last of them counts, and wins over hints
        (r"The answer is A. Wait, it is \boxed{C}", "C"),
        (r"\boxed{C}. No, the answer is D.", "D"),
        ("The answer is B. (A) is wrong, and so is\n\nC", "B"),
        ("Answer: B\nOption C is wrong.", "B"),
        (r"\boxed{B} has the value \boxed{42}", "B"),
        # hinted at
        ("It is (B) for sure", "B"),
        ("B.", "B"),
        ("B. Paris", "B"),
        ("I choose B.\nIt is the capital.", "B"),
        ("B)", "B"),
        ("It's B) Paris", "B"),
        ("it must be **B**", "B"),
        ("**B. Paris** is right", "B"),
        ("**(B) Paris** is right", "B"),
        (r"so $\text{B}$ it is", "B"),
        ("I prefer option B here", "B"),
        ("B", "B"),
        ("Let me think.\n\n- B \n", "B"),
        ("(A) or rather (C)", "C"),
        ("(J)", "J"),
        # articles, pronouns, initials, formulas
        ("A man walked", None),
        ("I think so", None),
        ("The answer is a man", None),
        ("Answer: A man", None),
        ("Answer: I think so", None),
        ("Answer: I'm not sure", None),
        ("The answer is a-helix", None),
        ("I think it is (C). A man said so", "C"),
        ("It is I.", None),
        ("Franklin D. Roosevelt", None),
        ("A: hello", None),
        ("e.g. P(A) or f(B)", None),
        ("The answer is C = 5", None),
        # not one of the options, in lower case, or not one alone
        ("(K)", None),
        ("b", None),
        ("(b)", None),
        ("AB", None),
        ("The answer is A or B", None),
        ("Answer: A/B", None),
        (r"\boxed{A, B}", None),
        (r"\boxed{Because}", None),
        (r"\boxed{B", None),
        ("The answer is not B", None),
        ("", None),
    ],
)
def test_choice(text, answer):
    assert choice(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [("(E)", None), ("Answer: e", None), (r"\boxed{D} \boxed{E}", "D"), ("(B) (E)", "B"), ("D", "D")],
)
def test_choice_among_other_options(text, answer):
    assert get_extractor("choice:ABCD")(text) == answer


def test_choice_among_letters_beyond_the_default():
    assert get_extractor("choice:XYZ")("Answer: y") == "Y"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer： B", "B"),
        ("答案：B", "B"),
        ("答案是 C。", "C"),
        ("正确答案为：(D)", "D"),
        ("所以选C", "C"),
        ("**C** is the correct answer.", "C"),
        ("<answer>C</answer>", "C"),
        ("<answer> (c) </answer>", "C"),
        ("C is the correct answer", "C"),
        ("So (C) is correct, not (B).", "C"),
        ("B is the best option. A is worse.", "B"),
        ("C is not the correct answer", None),
        ("A or B", None),
        ("A or B.", None),
        ("(A) or (B)", None),
        ("The answer is A or B.", None),
        (r"\boxed{A or B}", None),
        ("A, B or C.", None),
        ("A or B? The answer is B.", "B"),
        ("Answer: B\n\nQuestion: another\nAnswer: C", "B"),
        ("Question: this\nAnswer: D", "D"),
    ],
)
def test_statements_alternatives_and_next_questions(text, answer):
    assert choice(text) == answer
