"""Other spellings of MATH-500's and AMC 2023's answers must meet; near misses and different answers must not."""

import itertools
import os
import sys
from pathlib import Path

import pytest

from mgrpo.answers import answer_ids

sys.path.append(str(Path(__file__).parent))
import variants  # noqa: E402

DATA = os.environ.get("MGRPO_TEST_DATA", "")
pytestmark = pytest.mark.skipif(not DATA, reason="MGRPO_TEST_DATA names no directory with math500.jsonl, amc23.jsonl")


@pytest.fixture(scope="module")
def golds():
    return variants.load_answers("math500.jsonl", DATA)


def test_rules_reach_every_answer_and_agree(golds):
    texts = variants.spellings_of(golds)
    assert sum(map(len, texts.values())) >= 3000
    misses = list(itertools.chain(*variants.pairs_of(variants.NEAR_MISSES, golds).values()))
    assert {gold for gold, _ in misses} == set(golds)
    assert not [(gold, miss) for gold, miss in misses if miss in texts[gold]]
    assert all(len(of_gold) > 6 for of_gold in texts.values())


@pytest.mark.parametrize("rules", [variants.SURROUNDINGS, variants.SPELLINGS], ids=["around", "within"])
def test_spellings_meet(golds, rules):
    pairs = variants.pairs_of(rules, golds)
    verdicts = variants.judge(pairs)
    assert variants.share(verdicts) >= 0.99, variants.report(pairs, verdicts, expected=True)


def test_near_misses_do_not_meet(golds):
    pairs = variants.pairs_of(variants.NEAR_MISSES, golds)
    verdicts = variants.judge(pairs)
    assert variants.share(verdicts) == 0, variants.report(pairs, verdicts, expected=False)


def test_different_answers_do_not_meet(golds):
    assert variants.wrong_classes(variants.merged({gold: [gold] for gold in golds})) == set()


def test_different_answers_do_not_meet_through_their_spellings(golds):
    assert variants.wrong_classes(variants.merged(variants.spellings_of(golds))) == set()


def test_near_misses_do_not_meet_through_spellings(golds):
    assert variants.astray(golds) == []


def test_amc():
    golds = variants.load_answers("amc23.jsonl", DATA)  # "142.0"
    whole = [gold.removesuffix(".0") for gold in golds]
    groups = [
        [gold, n, f" {n} ", f"${n}$", f"{n}.", f"{n}.00", rf"\({n}\)", f"x = {n}"]
        for gold, n in zip(golds, whole, strict=True)
    ]
    assert answer_ids(groups, "math") == [[0] * 8] * len(golds)
    assert variants.merged({text: [text] for text in golds + whole}) == {
        frozenset(pair) for pair in zip(golds, whole, strict=True)
    }
