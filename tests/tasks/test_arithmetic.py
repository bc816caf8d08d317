import re

import pytest

from mgrpo.errors import UserError
from mgrpo.tasks.arithmetic import arithmetic
from mgrpo.tasks.split import split_of


def draw(num, *, seed, split):
    columns = arithmetic(split=split, size=num, seed=seed).columns
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_answers_are_right():
    for row in draw(500, seed=0, split="train"):
        a, symbol, b = re.fullmatch(r"(\d{1,2}) ([-+*]) (\d{1,2}) =", row["prompt"]).groups()
        expected = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[symbol]
        assert row["answer"] == str(expected)


def test_as_a_task():
    task = arithmetic(split="test", size=20, seed=1)
    assert {name: len(values) for name, values in task.columns.items()} == {"prompt": 20, "answer": 20}
    assert (task.extractor, task.equivalence, task.prompt_template) == ("number", "number", None)
    assert len(arithmetic(split="train", size=None, seed=0).columns["prompt"]) == 1000


def test_a_difference_may_be_negative():
    assert any(row["answer"].startswith("-") for row in draw(100, seed=0, split="train"))


def test_small_operands_are_as_likely_as_large_ones():
    rows = draw(1200, seed=0, split="train")
    both_small = [row for row in rows if re.fullmatch(r"\d [-+*] \d =", row["prompt"])]
    # A quarter of the draws, 300, until the roughly 270 such questions outside the test split run out.
    assert 240 <= len(both_small) <= 300


def test_same_seed_same_questions():
    assert draw(50, seed=3, split="train") == draw(50, seed=3, split="train")
    assert draw(50, seed=3, split="train") != draw(50, seed=4, split="train")


def test_a_longer_list_begins_with_the_shorter_one():
    assert draw(2000, seed=1, split="train")[:100] == draw(100, seed=1, split="train")


def test_splits_are_disjoint_and_complete():
    # 3 operations on 100 x 100 operands; the sizes are those of crc32 % 10, so they are the same on any machine.
    train = {row["prompt"] for row in draw(26_989, seed=0, split="train")}
    test = {row["prompt"] for row in draw(3_011, seed=0, split="test")}
    assert len(train | test) == 30_000
    assert all(split_of(prompt) == "test" for prompt in test)


def test_more_than_there_are():
    with pytest.raises(UserError, match="size=3012: the test split of arithmetic has 3011 questions"):
        draw(3012, seed=0, split="test")


def test_unknown_split():
    with pytest.raises(UserError, match="split='validation'"):
        draw(1, seed=0, split="validation")
