import json
import random

import pyarrow.parquet as pq
import pytest

from mgrpo.report.completions import (
    compress,
    embed,
    read_groups,
    step_text,
    summarize,
    thin,
)
from mgrpo.runs.files import write_completions

NOT_IN_OLDER_RUNS = ("group", "answer_id", "num_tokens", "fence", "is_match", "is_tie", "right_answer")


@pytest.fixture
def read(tmp_path):
    """Writes rows as a run does, and reads them as the report does."""

    def read(rows):
        write_completions(rows, tmp_path, step=10)
        return read_groups(tmp_path / "completions" / "step-000010.parquet")

    return read


def test_a_table_becomes_groups(read, rows):
    first, second = read(rows)
    assert first == {
        "index": 0,
        "prompt": "3+4=",
        "label": "8",
        "label_is_right": False,
        "right_answer": "7",
        "fence": 0.25,
        "is_tie": False,
        "flags": 1 + 8,  # a wrong label, and something was dropped
        "model": ["policy", "policy", "momentum"],
        "text": ["so #7", "so #8", "so #8"],
        "answer": ["7", "8", "8"],
        "answer_id": [0, 1, 1],
        "num_tokens": [4, 4, 4],
        "entropy": [0.125, 0.5, 0.5],
        "kept": [False, True, True],
        "is_match": [False, True, True],
        "reward": [0.0, 1.0, 1.0],
        "advantage": [0.0, 1.0, None],
        "is_right": [True, False, False],
    }
    assert (second["index"], second["flags"], second["label_is_right"]) == (1, 4, True)  # a tie
    assert second["answer_id"] == [0, 1, -1]


def test_a_table_of_an_older_run(read, rows):
    older = [{name: value for name, value in row.items() if name not in NOT_IN_OLDER_RUNS} for row in rows]
    first, second = read(older)
    assert [first["index"], second["index"]] == [0, 1]
    assert [first["answer_id"], second["answer_id"]] == [[0, 1, 1], [0, 1, -1]]
    assert [first["is_match"], second["is_match"]] == [[False, True, True], [True, False, False]]
    assert [first["label_is_right"], second["label_is_right"]] == [False, True]
    assert [first["flags"], second["flags"]] == [1 + 8, 0]  # ties were not recorded
    assert not {"num_tokens", "fence", "is_tie", "right_answer"} & first.keys()


def test_one_prompt_twice_in_a_row_in_an_older_run(read, rows):
    older = [{"prompt": "3+4=", "completion": "7", "model": row["model"]} for row in rows]
    assert [group["text"] for group in read(older)] == [["7"] * 3, ["7"] * 3]


def test_a_prompt_without_a_label(read, rows):
    silent = [{**row, "pseudo_label": None, "answer": None, "answer_id": -1, "is_match": False} for row in rows[:3]]
    (group,) = read(silent)
    assert group["label_is_right"] is None
    assert group["flags"] == 2 + 8


def test_right_answers_that_are_not_known(read, rows):
    (group,) = read([{**row, "is_right": None, "right_answer": None} for row in rows[1:3]])
    assert group["label_is_right"] is None
    assert group["flags"] == 0


def test_numbers_are_short_and_finite(read, rows):
    numbers = [(0.123456789, 0.123456789), (float("nan"), float("inf")), (1e-9, -2.0)]
    (group,) = read(
        [{**row, "entropy": e, "advantage": a} for row, (e, a) in zip(rows[:3], numbers, strict=True)],
    )
    assert group["entropy"] == [0.1235, None, 1e-9]
    assert group["advantage"] == [0.1235, None, -2.0]


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_table_that_is_half_written(tmp_path, rows, share):
    write_completions(rows, tmp_path, step=10)
    path = tmp_path / "completions" / "step-000010.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert read_groups(path) is None


def test_tables_that_are_no_completions(read, tmp_path):
    assert read([{"a": 1}]) is None
    assert read([]) is None
    assert read_groups(tmp_path / "nowhere.parquet") is None


def test_text_that_is_not_utf8(tmp_path):
    import pyarrow as pa

    column = pa.array([b"\xff\xfe"]).cast(pa.binary())
    text = pa.StringArray.from_buffers(1, column.buffers()[1], column.buffers()[2])
    pq.write_table(pa.table({"prompt": pa.array(["1+1="]), "completion": text}), tmp_path / "odd.parquet")
    assert read_groups(tmp_path / "odd.parquet") is None


def test_the_entropy_band_is_the_policys(read, rows):
    # The policy's: 0.125, 0.5, 0.75, 1. A tenth of the way through them is 0.3 of a gap behind the first one,
    # 0.125 + 0.3 * 0.375; nine tenths are 0.7 of the last gap behind the third, 0.75 + 0.7 * 0.25.
    summary = summarize(read(rows))
    assert summary.flags == [1 + 8, 4]
    assert summary.entropy_low == pytest.approx(0.2375)
    assert summary.entropy_high == pytest.approx(0.925)


def test_no_band_without_entropies(read, rows):
    summary = summarize(read([{**row, "entropy": None} for row in rows]))
    assert (summary.entropy_low, summary.entropy_high) == (None, None)


@pytest.mark.parametrize(
    ("num_kept", "kept"),
    [(1, [50]), (2, [10, 50]), (3, [10, 30, 50]), (4, [10, 20, 40, 50]), (5, [10, 20, 30, 40, 50]), (9, "all")],
)
def test_thinning_keeps_the_ends(num_kept, kept):
    steps = [10, 20, 30, 40, 50]
    assert thin(steps, num_kept) == (steps if kept == "all" else kept)


# What goes into a file.


def noise(length, seed):
    """Text that no compression makes smaller than 6 bits a character."""
    rng = random.Random(seed)
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/", k=length))


def embed_noise(num_steps, length, budget):
    def read(step):
        return [{"index": 0, "prompt": "p", "text": [noise(length, step)]}]

    steps = list(range(1, num_steps + 1))
    embedded = embed(steps, read, budget)
    assert sum(map(len, embedded.chunks)) <= budget
    return embedded


def unpacked(embedded):
    import gzip

    return [json.loads(gzip.decompress(chunk)) for chunk in embedded.chunks]


def test_everything_that_fits():
    embedded = embed_noise(num_steps=60, length=1000, budget=60_000)  # 60 x 750 bytes and their frames
    assert embedded.cut is None
    assert embedded.steps == [list(range(1, 61))]
    (chunk,) = unpacked(embedded)
    assert [step["step"] for step in chunk] == list(range(1, 61))
    assert chunk[4]["groups"][0]["text"] == [noise(1000, 5)]


def test_chunks_are_small_enough_to_be_unpacked_at_once():
    embedded = embed_noise(num_steps=50, length=30_000, budget=2_000_000)  # 16 steps of 30 kB in a chunk of 500 kB
    assert [len(steps) for steps in embedded.steps] == [16, 16, 16, 2]
    assert [[step["step"] for step in chunk] for chunk in unpacked(embedded)] == embedded.steps


def test_steps_are_thinned_before_texts_are_cut():
    embedded = embed_noise(num_steps=200, length=1000, budget=50_000)
    (steps,) = embedded.steps
    assert embedded.cut is None
    assert 40 <= len(steps) < 200 and (steps[0], steps[-1]) == (1, 200)
    assert {after - before for before, after in zip(steps, steps[1:], strict=False)} <= {3, 4}


def test_long_texts_are_cut_where_few_steps_would_fit():
    # 40 steps in 50,000 bytes: 1250 bytes each, some 1,500 characters of noise with their frame. So 1,000.
    embedded = embed_noise(num_steps=200, length=20_000, budget=50_000)
    assert embedded.cut == 1000
    (chunk,) = unpacked(embedded)
    assert len(chunk) == 40
    text = noise(20_000, 200)
    assert chunk[-1]["groups"][0]["text"] == [{"head": text[:500], "left_out": 19_000, "tail": text[-500:]}]


def test_nothing_fits():
    embedded = embed_noise(num_steps=3, length=1000, budget=100)
    assert embedded.steps == [] and embedded.chunks == []


def test_whatever_a_model_writes_survives():
    text = "</script><!-- \x00\x1b[31m \u202e \u2028 \ud800 \U0001f600"
    written = step_text(10, [{"index": 0, "prompt": text, "text": [text]}])
    assert written.isascii()
    assert json.loads(written)["groups"][0]["text"] == [text]
    assert compress(written) == compress(written)
