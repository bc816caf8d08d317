import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgrpo.answers.extract import (
    EXTRACTORS,
    boxed,
    by_pattern,
    choice,
    get_extractor,
    import_function,
    line,
    number,
    tag,
)
from mgrpo.errors import UserError


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
        ("<answer>7</answer>", "7"),
        ("<answer>1</answer> <answer>\n 2 \n</answer> ok", "2"),
        ("<answer>1</answer> <answer>2", "1"),
        ("<answer>1</answer> </answer>", "1"),
        ("<answer>in <answer>2</answer>", "2"),
        ("<answer>[[1, 2],\n[3, 4]]</answer>", "[[1, 2],\n[3, 4]]"),
        ("<answer><b>1</b></answer>", "<b>1</b>"),
        ("<answer>1", None),
        ("1</answer>", None),
        ("<answer> </answer>", None),
        ("<answer>1</answer><answer></answer>", None),
        ("<final>1</final>", None),
        ("", None),
    ],
)
def test_tag(text, answer):
    assert tag(text) == answer


def test_another_tag():
    assert get_extractor("tag:final_answer")("<answer>1</answer><final_answer> 2 </final_answer>") == "2"
    assert get_extractor("tag:final")("<answer>1</answer>") is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [("a\n b \n\n \t\n", "b"), ("one", "one"), ("a\r\nb\r\n", "b"), ("", None), (" \n\n", None)],
)
def test_line(text, answer):
    assert line(text) == answer


@pytest.mark.parametrize(
    ("pattern", "text", "answer"),
    [
        (r"\d+", "1 and 22", "22"),
        (r"Result: (.+)", "Result: 1\nResult:  2 \n", "2"),
        (r"(\w+)=(?P<answer>\w+)", "a=1, b=2", "2"),
        (r"(?i)result: (.+)", "RESULT: x", "x"),
        (r"x(y)?", "xy x", None),  # the last match's group took no part
        (r"(\s)", "a b", None),
        (r"\d+", "none", None),
        (r"\d+", "", None),
    ],
)
def test_regex(pattern, text, answer):
    assert get_extractor("regex:" + pattern)(text) == answer


@pytest.mark.timeout(20)
def test_regex_that_backtracks_for_ever_gives_no_answer():
    assert get_extractor("regex:(a|aa)+$")("a" * 5000 + "b") is None
    assert get_extractor("regex:x")("x" * 10_000_000) is None  # too many matches for a second


def test_regex_that_takes_too_much_memory_gives_no_answer():
    class Greedy:
        def finditer(self, text, timeout):
            raise MemoryError

    assert by_pattern("text", Greedy()) is None


MEGABYTES = 2_000_000
HOSTILE = {
    "openings": "{",
    "closings": "}",
    "backslashes": "\\",
    "digits": "9",
    "thousands": ",111",
    "lists": "1,",
    "commas": ",",
    "boxes opened": r"\boxed{",
    "boxes without braces": r"\boxed ",
    "boxes": r"\boxed{1}",
    "choices boxed": r"\boxed{\text{A",
    "fractions": r"\frac{1}{",
    "slashes": "1/",
    "exponents": "1e1",
    "powers": r"1 \times 10^{",
    "minuses": "-$",
    "hashes": "#",
    "marks": "#### ",
    "marked lines": "####\n",
    "brackets": "(A",
    "stars": "**A",
    "said": "answer is ",
    "said in vain": "Answer: A ",
    "tags opened": "<answer>",
    "tags closed": "</answer>",
    "spaces": " ",
    "lines": "\r",
}


@pytest.mark.timeout(20)  # a second or two for all five; quadratic time would be minutes
@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_completions_take_linear_time(unit):
    text = unit * (MEGABYTES // len(unit))
    for extractor in EXTRACTORS.values():
        extractor("1" + text + "1x")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("opening", "closing"), [(r"\boxed{", "}"), (r"\boxed{A.", "}"), ("<answer>", "</answer>")])
def test_deep_nesting_takes_linear_time(opening, closing):
    depth = 500_000
    text = opening * depth + "1" + closing * depth
    for extractor in EXTRACTORS.values():
        extractor(text)


FRAGMENTS = [
    *HOSTILE.values(),
    *(r"\boxed{A}", "1,234.5", "3/4", "50%", "−", "I", "A", "b", "Answer:", "</answer>", "####", "}", "e5", "e", "\n"),
    *("\ud800", "\udfff", "\0", "\N{RIGHT-TO-LEFT MARK}", "\N{RIGHT-TO-LEFT OVERRIDE}", "\N{ARABIC-INDIC DIGIT ONE}"),
]
anything = st.lists(st.sampled_from(FRAGMENTS) | st.characters()).map("".join)  # lone surrogates are among them


@given(anything)
def test_any_text_is_read_without_an_error(text):
    for name in [*EXTRACTORS, "choice:ABCD", "tag:b", r"regex:(?P<answer>\w+)|(.)\d"]:
        answer = get_extractor(name)(text)
        assert answer is None or (isinstance(answer, str) and answer and answer == answer.strip())


@given(anything)
def test_a_number_is_normal_text(text):
    unsigned = r"(\d+(\.\d+)?|\.\d+)(e-?\d+)?"
    answer = number(text)
    assert answer is None or re.fullmatch(rf"-?{unsigned}(/-?{unsigned})?%?", answer, re.ASCII)


@given(anything)
def test_a_choice_is_one_of_the_options(text):
    assert choice(text, "ABC") in (None, "A", "B", "C")


@given(st.integers() | st.decimals(allow_nan=False, allow_infinity=False, places=3))
def test_a_number_is_read_as_it_was_written(value):
    assert number(f"It is {value:,}.") == f"{value}"


@given(st.text(st.characters(exclude_characters="\\{}"), min_size=1).filter(str.strip))
def test_what_is_boxed_comes_back(answer):
    assert boxed(rf"so \boxed{{{answer}}}") == answer.strip()


@pytest.mark.parametrize("name", EXTRACTORS)
def test_extractors_by_name(name):
    assert get_extractor(name) is EXTRACTORS[name]
    assert EXTRACTORS[name].__name__ == name and "None" in EXTRACTORS[name].__doc__


@pytest.mark.parametrize("name", [*EXTRACTORS, "choice:AB", "tag:b", "regex:.+"])
def test_extractors_go_to_other_processes(name):
    assert callable(pickle.loads(pickle.dumps(get_extractor(name))))


def test_own_extractor():
    assert get_extractor("mgrpo.answers.extract:number") is number


KNOWN = "set it to one of boxed, number, choice, tag, line, regex:PATTERN, or to your module:function"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("boxd", f"answer_extractor is 'boxd'; {KNOWN} (the nearest is boxed)."),
        ("Number", f"answer_extractor is 'Number'; {KNOWN} (the nearest is number)."),
        ("last_word", f"answer_extractor is 'last_word'; {KNOWN}."),
        ("", f"answer_extractor is ''; {KNOWN}."),
        (":f", f"answer_extractor is ':f'; {KNOWN}."),
        ("a:", f"answer_extractor is 'a:'; {KNOWN}."),
        (
            "nowhere:f",
            "answer_extractor is 'nowhere:f', which cannot be imported (No module named 'nowhere').",
        ),
        (
            "tags:final",
            "answer_extractor is 'tags:final', which cannot be imported (No module named 'tags'); did you mean tag?",
        ),
        (
            "mgrpo.answers.extract:f",
            "answer_extractor is 'mgrpo.answers.extract:f', which cannot be imported (module 'mgrpo.answers.extract' "
            "has no attribute 'f').",
        ),
        (
            "mgrpo.answers.extract:EXTRACTORS",
            "answer_extractor is 'mgrpo.answers.extract:EXTRACTORS', which is no function; name a function of "
            "mgrpo.answers.extract.",
        ),
        ("boxed:", "answer_extractor is 'boxed:', but boxed takes nothing behind a colon; write boxed."),
        ("number:3", "answer_extractor is 'number:3', but number takes nothing behind a colon; write number."),
        ("line:last", "answer_extractor is 'line:last', but line takes nothing behind a colon; write line."),
        *(
            (
                name,
                f"answer_extractor is {name!r}; write the capital letters offered, each once, such as choice:ABCD.",
            )
            for name in ("choice:", "choice:A", "choice:abcd", "choice:ABA", "choice:A,B", "choice:AÄ")
        ),
        *(
            (name, f"answer_extractor is {name!r}; write the tag as a plain word, such as tag:final.")
            for name in ("tag:", "tag:<final>", "tag:two words", "tag:.*", "tag:1", "tag:final\n")
        ),
        *(
            (
                name,
                rf"answer_extractor is {name!r}; write a pattern behind the colon, such as regex:Result: (\d+).",
            )
            for name in ("regex:", "regex")
        ),
        (
            "regex:a(b",
            "answer_extractor is 'regex:a(b', which is no regular expression (missing ) at character 3 of the "
            r"pattern, counted from 0); correct it there, and write a bracket, dot or star that stands for itself as "
            r"\(, \. or \*.",
        ),
    ],
)
def test_names_that_are_refused(name, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        get_extractor(name)


@pytest.mark.parametrize("pattern", ["*", "[a", "(?P<answer>", "\\", "a{2,1}", "(" * 5000, r"\L<names>"])
def test_patterns_that_are_refused(pattern):
    with pytest.raises(UserError, match="which is no regular expression"):
        get_extractor("regex:" + pattern)


@pytest.mark.parametrize(
    ("content", "reason"), [("1 / 0", "division by zero"), ("raise ValueError('a\\nb')", "a b"), ("assert 0", "Asse")]
)
def test_own_module_that_is_broken(tmp_path, monkeypatch, content, reason):
    module = f"broken_extractor_{len(content)}"
    (tmp_path / f"{module}.py").write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=rf"cannot be imported \({reason}"):
        get_extractor(f"{module}:f")


def test_own_module_beside_the_run(tmp_path, monkeypatch):
    (tmp_path / "my_extractor_here.py").write_text("def last_word(text):\n    return text.split()[-1]\n")
    monkeypatch.chdir(tmp_path)
    assert get_extractor("my_extractor_here:last_word")("it is four") == "four"


def test_own_function_for_another_field():
    assert import_function("mgrpo.answers.extract:number", "reward_funcs") is number
    with pytest.raises(UserError, match="reward_funcs is 'nowhere:f', which cannot be imported"):
        import_function("nowhere:f", "reward_funcs")
    with pytest.raises(UserError, match="reward_funcs is 'boxed'; write it as module:function"):
        import_function("boxed", "reward_funcs")
