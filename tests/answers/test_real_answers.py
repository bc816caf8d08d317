"""Other spellings of MATH-500's and AMC 2023's answers must meet; near misses and different answers must not."""

import os
import sys
from pathlib import Path

import pytest

from mgrpo.answers import answer_ids

sys.path.append(str(Path(__file__).parent))
import spellings  # noqa: E402

pytestmark = pytest.mark.usefixtures("patient_workers")

DATA = os.environ.get("MGRPO_TEST_DATA")
every = pytest.mark.parametrize(
    "every", [pytest.param(1, id="all", marks=pytest.mark.slow), pytest.param(5, id="fifth")]
)
"""Of the 8,797 texts."""


def test_the_file_is_whole():
    texts, misses = spellings.spellings_of_answers(), spellings.texts_of("near_misses")
    assert len(texts) == 301
    assert sum(map(len, texts.values())) == 301 + 7580
    assert sum(map(len, misses.values())) == 1217
    assert all(len(of_answer) > 6 for of_answer in texts.values())
    assert all(misses.values())
    assert not [(answer, miss) for answer, of in misses.items() for miss in of if miss in texts[answer]]


@every
@pytest.mark.parametrize("kind", ["around", "within"])
def test_spellings_meet(kind, every):
    pairs = spellings.pairs_of(kind, every)
    verdicts = spellings.judge(pairs)
    assert spellings.share(verdicts) >= 0.99, spellings.report(pairs, verdicts, expected=True)


@every
def test_near_misses_do_not_meet(every):
    pairs = spellings.pairs_of("near_misses", every)
    verdicts = spellings.judge(pairs)
    assert spellings.share(verdicts) == 0, spellings.report(pairs, verdicts, expected=False)


def test_different_answers_do_not_meet():
    assert spellings.wrong_classes(spellings.merged({answer: [answer] for answer in spellings.ANSWERS})) == set()


@every
def test_different_answers_do_not_meet_through_their_spellings(every):
    assert spellings.wrong_classes(spellings.merged(spellings.spellings_of_answers(every))) == set()


@every
def test_near_misses_do_not_meet_through_spellings(every):
    assert spellings.astray(every) == []


@pytest.mark.skipif(not DATA, reason="MGRPO_TEST_DATA names no directory with amc23.jsonl")
def test_amc():
    answers = spellings.load_answers(Path(DATA) / "amc23.jsonl")  # "142.0"
    whole = [answer.removesuffix(".0") for answer in answers]
    groups = [
        [answer, n, f" {n} ", f"${n}$", f"{n}.", f"{n}.00", rf"\({n}\)", f"x = {n}"]
        for answer, n in zip(answers, whole, strict=True)
    ]
    assert answer_ids(groups, "math") == [[0] * 8] * len(answers)
    assert spellings.merged({text: [text] for text in answers + whole}) == {
        frozenset(pair) for pair in zip(answers, whole, strict=True)
    }
