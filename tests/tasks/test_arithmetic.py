import re

import pytest

from mgrpo.answers import get_extractor
from mgrpo.errors import UserError
from mgrpo.tasks.arithmetic import arithmetic, smollm2_sums
from mgrpo.tasks.split import split_of


def draw(num, *, seed, split, task=arithmetic):
    columns = task(split=split, size=num, seed=seed).columns
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("task", [arithmetic, smollm2_sums])
def test_answers_are_right(task):
    for row in draw(500, seed=0, split="train", task=task):
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


@pytest.mark.parametrize("task", [arithmetic, smollm2_sums])
def test_same_seed_same_questions(task):
    first, again, other = (draw(50, seed=seed, split="train", task=task) for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize("task", [arithmetic, smollm2_sums])
def test_a_longer_list_begins_with_the_shorter_one(task):
    assert draw(1900, seed=1, split="train", task=task)[:100] == draw(100, seed=1, split="train", task=task)


def test_splits_are_disjoint_and_complete():
    # 3 operations on 100 x 100 operands; the sizes are those of crc32 % 10, so they are the same on any machine.
    train = {row["prompt"] for row in draw(26_989, seed=0, split="train")}
    test = {row["prompt"] for row in draw(3_011, seed=0, split="test")}
    assert len(train | test) == 30_000
    assert all(split_of(prompt) == "test" for prompt in test)


def test_more_than_there_are():
    with pytest.raises(UserError, match="size=3012: the test split of arithmetic has 3011 questions"):
        draw(3012, seed=0, split="test")


@pytest.mark.parametrize("task", [arithmetic, smollm2_sums])
def test_unknown_split(task):
    with pytest.raises(UserError, match="split='validation'"):
        draw(1, seed=0, split="validation", task=task)


def test_the_sums_are_distinct_and_no_split_has_the_other_s():
    train, test = (draw(None, seed=0, split=split, task=smollm2_sums) for split in ("train", "test"))
    assert (len(train), len(test)) == (1944, 256)
    assert len({row["prompt"] for row in train + test}) == 2200
    # with other seeds, too: the trained questions of one seed are not held out with another
    assert all(split_of(row["prompt"]) == "test" for row in test)
    with pytest.raises(UserError, match="size=257: the test split of smollm2-sums has 256 questions"):
        draw(257, seed=0, split="test", task=smollm2_sums)


def test_the_mixture_of_the_sums():
    prompts = [row["prompt"] for row in draw(300, seed=0, split="train", task=smollm2_sums)]
    kinds = (r"\d\d \+ \d\d =", r"\d\d \+ \d =", r"[12]\d \* \d =", r"\d \* \d =")
    counts = [sum(bool(re.fullmatch(kind, prompt)) for prompt in prompts) for kind in kinds]
    assert sum(counts) == 300
    # two fifths, and three times one fifth; two standard deviations of 120 and 60 are 17 and 14
    assert counts == pytest.approx([120, 60, 60, 60], abs=17)


def test_a_sum_is_asked_with_a_worked_example_and_its_number_is_read():
    task = smollm2_sums(split="train", size=1, seed=0)
    assert task.prompt_template.count("{prompt}") == 2
    assert "41 - 17 = 24<|im_end|>" in task.prompt_template
    assert (task.extractor, task.equivalence, task.conversational) == ("number", "number", False)
    assert get_extractor(task.extractor)(" 37") == "37"
