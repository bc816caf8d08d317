import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgrpo.answers.extract import (
    EXTRACTORS,
    by_pattern,
    choice,
    get_extractor,
    line,
    number,
    tag,
)
from mgrpo.errors import UserError


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


NUM_CHARACTERS = 200_000
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


@pytest.mark.timeout(30)  # a second for all five on a busy machine; quadratic time would be minutes
@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_completions_take_linear_time(unit):
    text = unit * (NUM_CHARACTERS // len(unit))
    for extractor in EXTRACTORS.values():
        extractor("1" + text + "1x")


@pytest.mark.timeout(30)
@pytest.mark.parametrize(("opening", "closing"), [(r"\boxed{", "}"), (r"\boxed{A.", "}"), ("<answer>", "</answer>")])
def test_deep_nesting_takes_linear_time(opening, closing):
    depth = 50_000
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


@pytest.mark.parametrize("name", EXTRACTORS)
def test_extractors_by_name(name):
    assert get_extractor(name) is EXTRACTORS[name]
    assert EXTRACTORS[name].__name__ == name and "None" in EXTRACTORS[name].__doc__


@pytest.mark.parametrize("name", [*EXTRACTORS, "choice:AB", "tag:b", "regex:.+"])
def test_extractors_go_to_other_processes(name):
    assert callable(pickle.loads(pickle.dumps(get_extractor(name))))


def test_own_extractor():
    assert get_extractor("mgrpo.answers.extract:number") is number


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        *(
            (name, ["boxed, number, choice", "regex:PATTERN", "module:function"])
            for name in ("last_word", "", ":f", "a:")
        ),
        ("boxd", ["boxed, number, choice", "did you mean 'boxed'?"]),
        ("Number", ["did you mean 'number'?"]),
        ("nowhere:f", ["cannot be imported", "No module named 'nowhere'"]),
        ("tags:final", ["cannot be imported", "did you mean 'tag'?"]),
        ("mgrpo.answers.extract:f", ["cannot be imported", "no attribute 'f'"]),
        ("mgrpo.answers.extract:EXTRACTORS", ["name a function of mgrpo.answers.extract"]),
        ("boxed:", ["write boxed."]),
        ("number:3", ["write number."]),
        ("line:last", ["write line."]),
        *(
            (name, ["choice:ABCD"])
            for name in ("choice:", "choice:A", "choice:abcd", "choice:ABA", "choice:A,B", "choice:AÄ")
        ),
        *(
            (name, ["tag:final"])
            for name in ("tag:", "tag:<final>", "tag:two words", "tag:.*", "tag:1", "tag:final\n")
        ),
        *((name, [r"regex:Result: (\d+)"]) for name in ("regex:", "regex")),
        ("regex:a(b", ["missing )", "character 3", r"\(, \. or \*"]),
    ],
)
def test_names_that_are_refused(name, parts):
    with pytest.raises(UserError) as refusal:
        get_extractor(name)
    for part in (f"answer_extractor is {name!r}", *parts):
        assert part in str(refusal.value)


@pytest.mark.parametrize("pattern", ["*", "[a", "(?P<answer>", "\\", "a{2,1}", "(" * 5000, r"\L<names>"])
def test_patterns_that_are_refused(pattern):
    with pytest.raises(UserError, match="answer_extractor is 'regex:.*regular expression"):
        get_extractor("regex:" + pattern)


@pytest.mark.parametrize(
    ("content", "reason"), [("1 / 0", "division by zero"), ("raise ValueError('a\\nb')", "a b"), ("assert 0", "Asse")]
)
def test_own_module_that_is_broken(tmp_path, monkeypatch, content, reason):
    module = f"broken_extractor_{len(content)}"
    (tmp_path / f"{module}.py").write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=f"cannot be imported .*{reason}"):
        get_extractor(f"{module}:f")


def test_own_module_beside_the_run(tmp_path, monkeypatch):
    (tmp_path / "my_extractor_here.py").write_text("def last_word(text):\n    return text.split()[-1]\n")
    monkeypatch.chdir(tmp_path)
    assert get_extractor("my_extractor_here:last_word")("it is four") == "four"
