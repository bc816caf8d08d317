import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import datasets
import pytest

from mgrpo.errors import UserError
from mgrpo.tasks import Task
from mgrpo.tasks.check import check_prompts
from mgrpo.tasks.load import load_prompts, make_prompts
from mgrpo.tasks.read import is_local
from mgrpo.tasks.registry import TASKS
from mgrpo.tasks.task import is_known

ROWS = [
    {"prompt": "What is 1 + 1?", "answer": "2", "solution": "a label"},
    {"prompt": "What is 2 + 2?", "answer": "4", "solution": "a label"},
    {"prompt": "What is 3 + 3?", "answer": "6", "solution": "a label"},
]


def write(path: Path, rows: list[dict]) -> str:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".gz":
        plain = path.with_suffix("")
        path.write_bytes(gzip.compress(Path(write(plain, rows)).read_bytes()))
        plain.unlink()
    elif path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), dialect="excel-tab" if path.suffix == ".tsv" else "excel")
            writer.writeheader()
            writer.writerows(rows)
    else:
        datasets.Dataset.from_list(rows).to_parquet(path)
    return str(path)


def load(path: str | Path, **fields: Any) -> datasets.Dataset:
    return load_prompts(f"file:{path}", **fields)[1]


class WordTokenizer:
    """One token a word; a chat template adds one token a message and one for the generation prompt."""

    chat_template = "a template"
    name_or_path = "words"

    def __call__(self, texts):
        if any("unreadable" in text for text in texts):
            raise RuntimeError("no such character")
        return {"input_ids": [text.split() for text in texts]}

    def apply_chat_template(self, conversations, *, add_generation_prompt, tokenize, return_dict):
        assert add_generation_prompt and tokenize and return_dict
        return {
            "input_ids": [
                [word for message in conversation for word in ["role", *message["content"].split()]] + ["assistant"]
                for conversation in conversations
            ]
        }


# Files.


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_file_without_answers(tmp_path, suffix):
    dataset = load(write(tmp_path / f"data{suffix}", ROWS))
    assert dataset.column_names == ["prompt"]
    assert dataset["prompt"][:] == ["What is 1 + 1?", "What is 2 + 2?", "What is 3 + 3?"]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_file_with_answers(tmp_path, suffix):
    dataset = load(write(tmp_path / f"data{suffix}", ROWS), answer_column="answer")
    assert dataset.column_names == ["prompt", "answer"]
    assert dataset["answer"][:] == ["2", "4", "6"]


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl.gz", ".JSONL.gz", ".json.gz", ".csv.gz", ".tsv.gz"])
def test_more_formats(tmp_path, suffix):
    rows = [{"prompt": 'say "agent", please\nnow', "answer": "007"}, {"prompt": "a\tb", "answer": "1"}]
    name = write(tmp_path / f"data{suffix.lower()}", rows)
    Path(name).rename(tmp_path / f"data{suffix}")
    assert load(tmp_path / f"data{suffix}", answer_column="answer").to_list() == rows
    assert is_local(f"someone/data{suffix}") and not is_local("someone/data")


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_long_fields(tmp_path, suffix):
    rows = [{"prompt": "a" * 131_073, "answer": "1"}]  # one character above Python's limit
    assert load(write(tmp_path / f"data{suffix}", rows), answer_column="answer").to_list() == rows


def test_csv_answers_stay_text(tmp_path):
    name = write(tmp_path / "data.csv", [{"prompt": "say, agent", "answer": "007"}])
    assert load(name, answer_column="answer")[0] == {"prompt": "say, agent", "answer": "007"}


def test_numbers_become_text_and_null_becomes_blank(tmp_path):
    rows = [{"prompt": "a", "answer": 12}, {"prompt": "b", "answer": 1.5}, {"prompt": "c", "answer": None}]
    dataset = load(write(tmp_path / "data.jsonl", rows), answer_column="answer")
    assert dataset["answer"][:] == ["12", "1.5", ""]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "null"])
def test_numbers_that_are_not_finite_are_no_answers(tmp_path, value):
    path = tmp_path / "data.jsonl"
    path.write_text(f'{{"prompt": "a", "answer": {value}}}\n{{"prompt": "b", "answer": 0}}\n')
    assert load(path, answer_column="answer")["answer"][:] == ["", "0"]
    assert not is_known(json.loads(value)) and is_known(0.0) and is_known(False)


def test_byte_order_mark_and_blank_lines(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\n\n{"prompt": "b"}\n')
    assert load(str(path))["prompt"][:] == ["a", "b"]


@pytest.mark.skipif(
    "MGRPO_TEST_DATA" not in os.environ, reason="MGRPO_TEST_DATA names no directory with math500.jsonl"
)
def test_math500():
    path = Path(os.environ["MGRPO_TEST_DATA"]) / "math500.jsonl"
    _, dataset = load_prompts(f"math:{path}", prompt_template="{prompt}\nPut the answer in \\boxed{}.")
    assert dataset.column_names == ["prompt", "answer"]
    assert len(dataset) == 500
    assert dataset[0]["prompt"].startswith("Convert the point $(0,3)$ in rectangular coordinates")
    assert dataset[0]["prompt"].endswith("\nPut the answer in \\boxed{}.")
    assert dataset[0]["answer"] == r"\left( 3, \frac{\pi}{2} \right)"


# Shapes.


def test_template_leaves_other_braces_alone(tmp_path):
    name = write(tmp_path / "data.jsonl", [{"prompt": "{x} {prompt}"}])
    assert load(name, prompt_template=r"\boxed{}: {prompt} {0}")[0]["prompt"] == r"\boxed{}: {x} {prompt} {0}"


def test_template_without_placeholder():
    with pytest.raises(UserError, match=r"put \{prompt\} where the prompt belongs"):
        load_prompts("arithmetic", prompt_template="Solve it.")


def test_conversation(tmp_path):
    name = write(tmp_path / "data.jsonl", ROWS)
    dataset = load(name, conversational=True, system_prompt="Be brief.", prompt_template="Q: {prompt}")
    assert dataset[1]["prompt"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Q: What is 2 + 2?"},
    ]


def test_conversation_that_is_one_already(tmp_path):
    messages = [
        {"role": "system", "content": "Think."},
        {"role": "user", "content": "1 + 1?", "name": "dropped"},
    ]
    name = write(tmp_path / "data.jsonl", [{"prompt": messages}])
    dataset = load(name, conversational=True, system_prompt="Be brief.", prompt_template="Q: {prompt}")
    assert dataset[0]["prompt"] == [
        {"role": "system", "content": "Think."},
        {"role": "user", "content": "Q: 1 + 1?"},
    ]


def test_conversation_as_text(tmp_path):
    name = write(tmp_path / "data.jsonl", [{"prompt": [{"role": "user", "content": "1 + 1?"}]}])
    with pytest.raises(UserError, match=r"row 0 of .*data\.jsonl holds a list of chat messages.*conversational: true"):
        load(name)


def test_system_prompt_needs_a_conversation():
    with pytest.raises(UserError, match="set conversational: true"):
        load_prompts("arithmetic", system_prompt="Be brief.")


@pytest.mark.parametrize("conversational", [False, True])
def test_bad_prompts_are_not_dressed_up(tmp_path, conversational):
    name = write(tmp_path / "data.jsonl", [{"prompt": "a"}, {"prompt": None}, {"prompt": 7}, {"prompt": " \n"}, {}])
    dataset = load(name, conversational=conversational, prompt_template="Solve: {prompt}")
    assert dataset["prompt"][1:] == [[] if conversational else ""] * 4


# Sizes.


def test_size_of_a_file(tmp_path):
    name = write(tmp_path / "data.jsonl", [{"prompt": f"{i:03d}"} for i in range(100)])
    chosen = load(name, size=10, seed=0)["prompt"][:]
    assert chosen == sorted(chosen) and len(set(chosen)) == 10
    assert chosen == load(name, size=10, seed=0)["prompt"][:]
    assert chosen != load(name, size=10, seed=1)["prompt"][:]
    assert len(load(name, size=1000)) == 100


def test_size_zero():
    with pytest.raises(UserError, match="size=0"):
        load_prompts("arithmetic", size=0)


# What the recipe says and what the task says.

OWN = Task(
    {"prompt": ["1 + 1?"]},
    prompt_template="Q: {prompt}",
    system_prompt="Be brief.",
    conversational=True,
    extractor="number",
    equivalence="number",
)


@pytest.fixture
def own(monkeypatch):
    """Registers `OWN` as the task `own`."""
    monkeypatch.setattr("mgrpo.tasks.arithmetic.own", lambda *, split, size, seed: OWN, raising=False)
    monkeypatch.setitem(TASKS, "own", "mgrpo.tasks.arithmetic:own")


def test_what_the_recipe_leaves_out_is_the_task_s_own(own):
    task, dataset = load_prompts("own", prompt_template=None, conversational=None, extractor=None)
    assert task == OWN
    assert dataset[0]["prompt"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Q: 1 + 1?"},
    ]


def test_what_the_recipe_sets_wins(own):
    task, dataset = load_prompts(
        "own",
        prompt_template="{prompt} Go.",
        system_prompt="Think.",
        conversational=True,
        extractor="boxed",
        equivalence="text",
    )
    assert [message["content"] for message in dataset[0]["prompt"]] == ["Think.", "1 + 1? Go."]
    assert (task.extractor, task.equivalence) == ("boxed", "text")


def test_empty_text_is_none(own):
    _, dataset = load_prompts("own", prompt_template="", system_prompt="", conversational=False)
    assert dataset[0]["prompt"] == "1 + 1?"


def test_a_task_s_system_prompt_needs_a_conversation(own):
    with pytest.raises(UserError, match="'Be brief.' needs a conversation.*or system_prompt to '' for none"):
        load_prompts("own", conversational=False)


# Gold answers that only the task understands.


def score(answers, gold):
    raise NotImplementedError


def test_gold_that_the_task_scores_is_kept_as_it_is():
    gold = [{"answer": "a", "index": 3}, None, {"answer": "b", "index": 4}]
    dataset = make_prompts(Task({"prompt": ["p", "q", "r"], "answer": gold}, score=score), "own")
    assert dataset["answer"][:] == gold


def test_gold_without_a_score_is_text_or_a_number():
    with pytest.raises(UserError, match="the answer in row 0 of own is a dict, not text or a number"):
        make_prompts(Task({"prompt": ["p"], "answer": [{"a": 1}]}), "own")


def test_gold_of_many_kinds():
    with pytest.raises(UserError, match="the gold answers of own do not fit into one column"):
        make_prompts(Task({"prompt": ["p", "q"], "answer": [{"a": 1}, "b"]}, score=score), "own")


# Mistakes.


def test_missing_file_names_the_nearest(tmp_path):
    write(tmp_path / "math_train.jsonl", ROWS)
    with pytest.raises(UserError, match=r"does not exist; correct the path \(did you mean 'math_train\.jsonl'\?\)"):
        load(str(tmp_path / "math-train.jsonl"))


def test_missing_directory(tmp_path):
    with pytest.raises(UserError, match="nor does its directory .*nowhere"):
        load(str(tmp_path / "nowhere" / "data.jsonl"))


def test_unsupported_suffix(tmp_path):
    path = tmp_path / "data.txt"
    path.write_text("a")
    with pytest.raises(UserError, match=r"ends in '\.txt'; give a file ending in \.jsonl, \.json, \.parquet, \.csv"):
        load(str(path))


def test_directory(tmp_path):
    with pytest.raises(UserError, match="is a directory; name one file in it"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt": \n', r"a\.jsonl, line 2 is not JSON"),
        ("a.jsonl", b'{"prompt": "a"}\n["b"]\n', r"a\.jsonl, line 2 is not a JSON object"),
        ("a.jsonl", b'{"prompt": "\xff"}\n', r"a\.jsonl is not UTF-8 text"),
        ("a.json", b'[{"prompt": "a"},\n}]', r"a\.json, line 2 is not JSON"),
        ("a.json", b'{"prompt": "a"}', r"a\.json is not a list of JSON objects; write \[\{\.\.\.\}, \{\.\.\.\}\]"),
        ("a.csv", b"prompt,answer\na,1\nb,2,3\n", r"a\.csv, line 3 has more fields than the header's 2"),
        ("a.csv", b'prompt\n"a" b\n', r"a\.csv, line 2 is not CSV"),
        ("a.tsv", b"prompt\tanswer\na\t1\t2\n", r"a\.tsv, line 2 has more fields .*tabs"),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl cannot be read"),
        ("a.json", b"[" * 100_000, r"a\.json cannot be read"),
        ("a.jsonl", b'{"prompt": ' + b"9" * 5000 + b"}", r"a\.jsonl cannot be read"),
        ("a.json", b"[" + b"9" * 5000 + b"]", r"a\.json cannot be read"),
        ("a.jsonl.gz", b"not compressed", r"a\.jsonl\.gz cannot be read"),
        ("a.csv.gz", gzip.compress(b"prompt\n" + b"some text\n" * 999, mtime=0)[:-9], r"a\.csv\.gz cannot be read"),
        ("a.jsonl.gz", gzip.compress(b'{"prompt": \n', mtime=0), r"a\.jsonl\.gz, line 1 is not JSON"),
        ("a.parquet", b"PAR1 and no more", r"a\.parquet is not a whole Parquet file"),
    ],
)
def test_malformed_file(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load(str(tmp_path / name))


@pytest.mark.parametrize(("name", "content"), [("a.jsonl", ""), ("a.json", "[]"), ("a.csv", "prompt\n")])
def test_empty_file(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match="holds no rows"):
        load(str(tmp_path / name))


def test_half_a_unicode_character(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"prompt": "\\ud800"}\n')
    with pytest.raises(UserError, match=r"a prompt of file:.*data\.jsonl .*Unicode"):
        load(path)


def test_missing_columns(tmp_path):
    name = write(tmp_path / "data.csv", [{"problem": "a", "answers": "1"}])
    with pytest.raises(UserError, match="no column 'prompt'; set prompt_column to one of problem, answers"):
        load(name)
    with pytest.raises(UserError, match=r"set answer_column to one of answers \(did you mean 'answers'\?\)"):
        load(name, prompt_column="problem", answer_column="answer")


def test_columns_in_dictionaries(tmp_path):
    rows = [
        {"data": {"q": {"text": "a"}}, "reward_model": {"ground_truth": "1", "style": "rule"}, "x.y": "z"},
        {"data": None, "reward_model": {"style": "rule"}, "x.y": "z"},
    ]
    for suffix in (".jsonl", ".parquet"):  # a Parquet file has every key in every row
        name = write(tmp_path / f"data{suffix}", rows)
        dataset = load(name, prompt_column="data.q.text", answer_column="reward_model.ground_truth")
        assert dataset.to_list() == [{"prompt": "a", "answer": "1"}, {"prompt": "", "answer": ""}]
    assert load(name, prompt_column="x.y")["prompt"][:] == ["z", "z"]  # a column of this name
    with pytest.raises(UserError, match=r"one of reward_model\.ground_truth, .*mean 'reward_model\.ground_truth'"):
        load(name, prompt_column="data.q.text", answer_column="reward_model.ground_thruth")


def test_answer_that_is_none(tmp_path):
    name = write(tmp_path / "data.jsonl", [{"prompt": "a", "answer": "1"}, {"prompt": "a", "answer": ["1", "2"]}])
    with pytest.raises(UserError, match="the answer in row 1 of .* is a list"):
        load(name, answer_column="answer")


def test_hub_out_of_reach(monkeypatch):
    def load_dataset(*args, **kwargs):
        raise ConnectionError("Couldn't reach 'someone/data' on the Hub (OfflineModeIsEnabled)")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UserError, match="the data set 'someone/data' .*download it"):
        load_prompts("hub:someone/data")


def test_hub_split(monkeypatch):
    def load_dataset(name, config, *, split):
        if split != "train":
            raise ValueError(f"Unknown split \"{split}\". Should be one of ['train'].")
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load_prompts("hub:someone/data", answer_column="answer")[1].column_names == ["prompt", "answer"]
    with pytest.raises(UserError, match="no split 'dev' in config None"):
        load_prompts("hub:someone/data", split="dev")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"a.jsonl": '{"prompt": "a"}\n', "b.jsonl": '{"question": "a", "x": 1}\n'}, "column names don't match"),
        ({"a.jsonl": "{bad\n"}, "JSON parse error"),
        ({"data.py": "raise SystemError"}, "scripts are no longer supported"),
        ({}, "doesn't contain any data files"),
    ],
)
def test_data_sets_that_the_library_rejects(tmp_path, files, reason):
    directory = tmp_path / "data"
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_text(content)
    with pytest.raises(UserError, match=f"{directory}.*{reason}.*file") as caught:
        load_prompts(f"hub:{directory}")
    assert "\n" not in str(caught.value)


def test_a_data_set_saved_in_the_library_s_own_form(tmp_path):
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "data")
    with pytest.raises(UserError, match="cannot read the data set .*save_to_disk.*file:PATH"):
        load_prompts(f"hub:{tmp_path / 'data'}")


# Checks.


def prompts_of(*prompts: str) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"prompt": list(prompts), "answer": [str(i) for i in range(len(prompts))]})


def test_bad_prompts_are_dropped_and_counted():
    dataset, counts = check_prompts(
        prompts_of("a b", " ", "a b c d", "", "a b c"), WordTokenizer(), max_prompt_length=3, on_bad_prompt="drop"
    )
    assert dataset["prompt"][:] == ["a b", "a b c"]
    assert dataset["answer"][:] == ["0", "4"]
    assert counts == {"empty": 2, "too_long": 1}


def test_no_limit():
    dataset, counts = check_prompts(
        prompts_of("a " * 999), WordTokenizer(), max_prompt_length=None, on_bad_prompt="drop"
    )
    assert len(dataset) == 1 and counts == {"empty": 0, "too_long": 0}


def test_the_chat_template_counts(tmp_path):
    name = write(tmp_path / "data.jsonl", [{"prompt": "a b"}, {"prompt": "a b c"}, {"prompt": None}])
    dataset = load(name, conversational=True)
    # "a b" takes 4 tokens: one for the role, two words, one for the generation prompt
    dataset, counts = check_prompts(dataset, WordTokenizer(), max_prompt_length=4, on_bad_prompt="drop")
    assert [prompt[-1]["content"] for prompt in dataset["prompt"]] == ["a b"]
    assert counts == {"empty": 1, "too_long": 1}


def test_refused():
    with pytest.raises(UserError, match="row 1 .* is empty .*2 are in all"):
        check_prompts(prompts_of("a", "", " "), WordTokenizer(), max_prompt_length=3, on_bad_prompt="refuse")
    with pytest.raises(UserError, match=r"row 1 .*'a b c d', has 4 tokens and max_prompt_length is 3"):
        check_prompts(prompts_of("a", "a b c d"), WordTokenizer(), max_prompt_length=3, on_bad_prompt="refuse")


def test_none_left():
    with pytest.raises(
        UserError, match="no prompt of 2 is left: 1 are empty.* 1 are longer .*the shortest of 2 tokens"
    ):
        check_prompts(prompts_of("", "a b"), WordTokenizer(), max_prompt_length=1, on_bad_prompt="drop")
    with pytest.raises(UserError, match="no prompt of 1 is left"):
        check_prompts(prompts_of(""), WordTokenizer(), max_prompt_length=1, on_bad_prompt="drop")


def test_what_the_chat_template_is_given_counts(tmp_path):
    class Thinking(WordTokenizer):
        def apply_chat_template(self, conversations, *, enable_thinking, **kwargs):
            encoded = super().apply_chat_template(conversations, **kwargs)["input_ids"]
            return {"input_ids": [ids + ["<think>"] * enable_thinking for ids in encoded]}

    dataset = load(write(tmp_path / "data.jsonl", [{"prompt": "a b"}]), conversational=True)
    limits = {"max_prompt_length": 4, "on_bad_prompt": "refuse"}
    check_prompts(dataset, Thinking(), **limits, chat_template_kwargs={"enable_thinking": False})
    with pytest.raises(UserError, match="has 5 tokens and max_prompt_length is 4"):
        check_prompts(dataset, Thinking(), **limits, chat_template_kwargs={"enable_thinking": True})


def test_no_chat_template(tmp_path):
    tokenizer = WordTokenizer()
    tokenizer.chat_template = None
    dataset = load(write(tmp_path / "data.jsonl", ROWS), conversational=True)
    with pytest.raises(UserError, match="tokenizer of words has no chat template; set conversational: false"):
        check_prompts(dataset, tokenizer, max_prompt_length=9, on_bad_prompt="drop")


def test_a_prompt_that_cannot_be_encoded():
    with pytest.raises(UserError, match=r"row 2 \(counted from 0\), 'unreadable' \(no such character\)"):
        check_prompts(prompts_of("a", "", "unreadable"), WordTokenizer(), max_prompt_length=9, on_bad_prompt="drop")
