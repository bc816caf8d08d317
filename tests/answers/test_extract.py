import time

import pytest

from mgrpo.answers.extract import boxed, get_extractor, import_function, number
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
        # cut off
        (r"\boxed{1} and then \boxed{2", "1"),
        (r"\boxed{\frac{1}{2}", None),
        (r"I put it into \boxed{ ... The answer: \boxed{5}", "5"),
        # nothing there
        ("", None),
        ("42", None),
        (r"\boxed 5", None),
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
        ("it is -5", "-5"),
        ("x=-3.25.", "-3.25"),
        ("x = .5", ".5"),
        ("it is \N{MINUS SIGN}5", "-5"),
        ("5-3", "3"),
        ("pages 10-20", "20"),
        ("+7", "7"),
        ("$1,234,567.50.", "1234567.50"),
        ("-1,234, which is negative", "-1234"),
        ("1, 2, 3", "3"),
        ("1,2345", "2345"),
        ("12,34", "34"),
        ("no number at all", None),
        ("", None),
    ],
)
def test_number(text, answer):
    assert number(text) == answer


@pytest.mark.parametrize(
    "text", [r"\boxed{" * 20_000, r"\boxed{" + "{" * 100_000, "\\" * 100_000, "1,111" * 20_000, r"\boxed{1}" * 10_000]
)
def test_hostile_completions_take_no_time(text):
    started = time.perf_counter()
    boxed(text)
    number(text)
    assert time.perf_counter() - started < 5  # 0.2 s measured; quadratic time would be minutes


def test_extractors_by_name():
    assert get_extractor("boxed") is boxed
    assert get_extractor("number") is number


def test_own_extractor():
    assert get_extractor("mgrpo.answers.extract:number") is number


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("boxd", r"answer_extractor is 'boxd'; set it to one of boxed, number, or to your module:function\."),
        ("nowhere:f", r"'nowhere:f', which cannot be imported \(No module named 'nowhere'\)"),
        ("mgrpo.answers.extract:f", r"cannot be imported \(module 'mgrpo\.answers\.extract' has no attribute 'f'\)"),
        (":f", r"answer_extractor is ':f'"),
        ("a:", r"answer_extractor is 'a:'"),
        ("mgrpo.answers.extract:EXTRACTORS", r"EXTRACTORS', which is no function"),
    ],
)
def test_unknown_extractor(name, message):
    with pytest.raises(UserError, match=message):
        get_extractor(name)


def test_own_module_that_is_broken(tmp_path, monkeypatch):
    (tmp_path / "broken_extractor.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=r"cannot be imported \(division by zero\)"):
        get_extractor("broken_extractor:f")


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
