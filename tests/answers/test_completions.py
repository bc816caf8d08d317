import logging

import pytest

from mgrpo.answers import completions as module
from mgrpo.answers.completions import Answers, read_answers, text_of
from mgrpo.answers.extract import boxed
from mgrpo.errors import UserError


@pytest.fixture
def warnings(caplog, monkeypatch):
    """What is logged, as if nothing had been logged in this process before."""
    monkeypatch.setattr(module, "_WARNED", set())
    caplog.set_level(logging.WARNING, logger="mgrpo.answers")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "mgrpo.answers"]


def last_word(text):
    return text.split()[-1]  # fails on blank text


def picky(text):
    if text == "key":
        raise KeyError("k")
    if text.startswith("value"):
        raise ValueError(f"bad\n{text}")
    return {"number": 5, "bytes": b"5"}.get(text, text)


def test_text_of():
    assert text_of("a") == "a"
    assert text_of([{"role": "assistant", "content": "b"}]) == "b"
    assert text_of([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]) == "b"
    assert text_of([{"role": "assistant", "content": None}]) == ""


def test_read_answers(warnings):
    completions = [r"\boxed{1}", "none", [{"role": "assistant", "content": r"it is \boxed{ 2 }"}]]
    assert read_answers(completions, boxed) == Answers(["1", None, "2"], 0)
    assert read_answers([], boxed) == Answers([], 0)
    assert warnings() == []


def test_own_answers_are_stripped_and_blank_ones_are_none(warnings):
    assert read_answers([" 7\n", " \n", "", "8"], lambda text: text) == Answers(["7", None, None, "8"], 0)
    assert warnings() == []


def test_own_function_that_fails_on_some(warnings):
    assert read_answers(["it is 4", " ", "5", "6"], last_word) == Answers(["4", None, "5", "6"], 1)
    name = f"{last_word.__module__}:last_word"
    assert warnings() == [
        f"answer_extractor {name} failed with 'IndexError: list index out of range' on ' '; such a completion has no "
        "answer."
    ]


def test_one_warning_for_each_type_of_error(warnings):
    completions = ["value 1", "key", "value 2", "number", "bytes", *"abcde"]
    for _ in range(2):
        assert read_answers(completions, picky, name="mine") == Answers([None] * 5 + list("abcde"), 5)
    messages = warnings()
    assert len(messages) == 3 and all(message.startswith("mine ") for message in messages)
    assert "picky failed with 'ValueError: bad value 1' on 'value 1';" in messages[0]
    assert "picky failed with \"KeyError: 'k'\" on 'key';" in messages[1]
    assert "picky failed with 'TypeError: it gave int, neither text nor None' on 'number';" in messages[2]


def test_own_function_that_fails_on_more_than_half(warnings):
    with pytest.raises(UserError) as caught:
        read_answers(["", "it is 4", " ", "\n"], last_word)
    assert str(caught.value) == (
        f"answer_extractor {last_word.__module__}:last_word failed on 3 of 4 completions, first with 'IndexError: "
        "list index out of range' on ''; let it give the answer as text, or None where there is none."
    )
    assert isinstance(caught.value.__cause__, IndexError)
    with pytest.raises(UserError, match="failed on 1 of 1 completions"):
        read_answers([""], last_word)
    assert read_answers(["", "4"], last_word) == Answers([None, "4"], 1)  # just half


def test_a_failure_is_told_in_one_short_line(warnings):
    text = "\n\x1b[31m\N{RIGHT-TO-LEFT OVERRIDE}\ud800" * 100_000

    class Failing:
        def __call__(self, text):
            raise ValueError(text)

    with pytest.raises(UserError) as caught:
        read_answers([text], Failing())
    message = str(caught.value)
    assert "Failing failed on 1 of 1" in message and "on '...\\n" in message
    assert message.isprintable() and len(message) < 2500


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interruption_passes_through(error):
    def interrupted(text):
        raise error

    with pytest.raises(error):
        read_answers(["a"], interrupted)
