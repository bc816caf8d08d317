import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from mgrpo.errors import UserError
from mgrpo.tasks import read
from mgrpo.tasks.check import check_prompts
from mgrpo.tasks.load import load_prompts

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
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        datasets.Dataset.from_list(rows).to_parquet(path)
    return str(path)


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
    dataset = load_prompts(write(tmp_path / f"data{suffix}", ROWS))
    assert dataset.column_names == ["prompt"]
    assert dataset["prompt"][:] == ["What is 1 + 1?", "What is 2 + 2?", "What is 3 + 3?"]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_file_with_answers(tmp_path, suffix):
    dataset = load_prompts(write(tmp_path / f"data{suffix}", ROWS), answer_column="answer")
    assert dataset.column_names == ["prompt", "answer"]
    assert dataset["answer"][:] == ["2", "4", "6"]


def test_csv_answers_stay_text(tmp_path):
    name = write(tmp_path / "data.csv", [{"prompt": "say, agent", "answer": "007"}])
    assert load_prompts(name, answer_column="answer")[0] == {"prompt": "say, agent", "answer": "007"}


def test_numbers_become_text_and_null_becomes_blank(tmp_path):
    rows = [{"prompt": "a", "answer": 12}, {"prompt": "b", "answer": 1.5}, {"prompt": "c", "answer": None}]
    dataset = load_prompts(write(tmp_path / "data.jsonl", rows), answer_column="answer")
    assert dataset["answer"][:] == ["12", "1.5", ""]


def test_byte_order_mark_and_blank_lines(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\n\n{"prompt": "b"}\n')
    assert load_prompts(str(path))["prompt"][:] == ["a", "b"]


@pytest.mark.skipif(
    "MGRPO_TEST_DATA" not in os.environ, reason="MGRPO_TEST_DATA names no directory with math500.jsonl"
)
def test_math500():
    path = Path(os.environ["MGRPO_TEST_DATA"]) / "math500.jsonl"
    template = "{prompt}\nPut the answer in \\boxed{}."
    dataset = load_prompts(str(path), prompt_column="problem", answer_column="answer", prompt_template=template)
    assert dataset.column_names == ["prompt", "answer"]
    assert len(dataset) == 500
    assert dataset[0]["prompt"].startswith("Convert the point $(0,3)$ in rectangular coordinates")
    assert dataset[0]["prompt"].endswith("\nPut the answer in \\boxed{}.")
    assert dataset[0]["answer"] == r"\left( 3, \frac{\pi}{2} \right)"


# Shapes.


def test_template_leaves_other_braces_alone(tmp_path):
    name = write(tmp_path / "data.jsonl", [{"prompt": "{x} {prompt}"}])
    assert load_prompts(name, prompt_template=r"\boxed{}: {prompt} {0}")[0]["prompt"] == r"\boxed{}: {x} {prompt} {0}"


def test_template_without_placeholder():
    with pytest.raises(UserError, match=r"put \{prompt\} where the prompt belongs"):
        load_prompts("task:arithmetic", prompt_template="Solve it.")


def test_conversation(tmp_path):
    name = write(tmp_path / "data.jsonl", ROWS)
    dataset = load_prompts(name, conversational=True, system_prompt="Be brief.", prompt_template="Q: {prompt}")
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
    dataset = load_prompts(name, conversational=True, system_prompt="Be brief.", prompt_template="Q: {prompt}")
    assert dataset[0]["prompt"] == [
        {"role": "system", "content": "Think."},
        {"role": "user", "content": "Q: 1 + 1?"},
    ]


def test_conversation_as_text(tmp_path):
    name = write(tmp_path / "data.jsonl", [{"prompt": [{"role": "user", "content": "1 + 1?"}]}])
    with pytest.raises(UserError, match=r"row 0 of .*data\.jsonl holds a list of chat messages.*conversational: true"):
        load_prompts(name)


def test_system_prompt_needs_a_conversation():
    with pytest.raises(UserError, match="set conversational: true"):
        load_prompts("task:arithmetic", system_prompt="Be brief.")


@pytest.mark.parametrize("conversational", [False, True])
def test_bad_prompts_are_not_dressed_up(tmp_path, conversational):
    name = write(tmp_path / "data.jsonl", [{"prompt": "a"}, {"prompt": None}, {"prompt": 7}, {"prompt": " \n"}, {}])
    dataset = load_prompts(name, conversational=conversational, prompt_template="Solve: {prompt}")
    assert dataset["prompt"][1:] == [[] if conversational else ""] * 4


# Tasks and sizes.


def test_tasks():
    assert load_prompts("task:arithmetic", size=5).column_names == ["prompt", "answer"]
    assert load_prompts("task:chains", size=5, split="test")[0]["prompt"].endswith("=")
    assert len(load_prompts("task:arithmetic")) == read.DEFAULT_TASK_SIZE


def test_seed_chooses_the_questions_of_a_task():
    assert load_prompts("task:arithmetic", size=5)[:] == load_prompts("task:arithmetic", size=5)[:]
    assert load_prompts("task:arithmetic", size=5)[:] != load_prompts("task:arithmetic", size=5, seed=1)[:]


def test_a_registered_task(monkeypatch):
    monkeypatch.setitem(read.TASKS, "numbers", "mgrpo.tasks.arithmetic:arithmetic")
    assert len(load_prompts("task:numbers", size=2)) == 2


def test_a_task_is_not_imported_before_it_is_asked_for():
    code = "import sys, mgrpo.tasks.load; sys.exit(bool({'datasets', 'torch', 'mgrpo.embedded'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_unknown_task():
    with pytest.raises(UserError, match=r"did you mean 'task:arithmetic'\?"):
        load_prompts("task:arithmetics")


@pytest.mark.parametrize("task", ["task:arithmetic", "task:chains"])
def test_unknown_split_of_a_task(task):
    with pytest.raises(UserError, match="split='validation'.*'train' and 'test'"):
        load_prompts(task, split="validation")


def test_size_of_a_file(tmp_path):
    name = write(tmp_path / "data.jsonl", [{"prompt": f"{i:03d}"} for i in range(100)])
    chosen = load_prompts(name, size=10, seed=0)["prompt"][:]
    assert chosen == sorted(chosen) and len(set(chosen)) == 10
    assert chosen == load_prompts(name, size=10, seed=0)["prompt"][:]
    assert chosen != load_prompts(name, size=10, seed=1)["prompt"][:]
    assert len(load_prompts(name, size=1000)) == 100


def test_size_zero():
    with pytest.raises(UserError, match="size=0"):
        load_prompts("task:arithmetic", size=0)


# Mistakes.


def test_missing_file_names_the_nearest(tmp_path):
    write(tmp_path / "math_train.jsonl", ROWS)
    with pytest.raises(UserError, match=r"does not exist; correct the path \(did you mean 'math_train\.jsonl'\?\)"):
        load_prompts(str(tmp_path / "math-train.jsonl"))


def test_missing_directory(tmp_path):
    with pytest.raises(UserError, match="nor does its directory .*nowhere"):
        load_prompts(str(tmp_path / "nowhere" / "data.jsonl"))


def test_unsupported_suffix(tmp_path):
    path = tmp_path / "data.txt"
    path.write_text("a")
    with pytest.raises(UserError, match=r"ends in '\.txt'; give a file ending in \.jsonl, \.json, \.parquet or \.csv"):
        load_prompts(str(path))


def test_directory(tmp_path):
    with pytest.raises(UserError, match="is a directory; name one file in it"):
        load_prompts(str(tmp_path))


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
        ("a.parquet", b"PAR1 and no more", r"a\.parquet is not a whole Parquet file"),
    ],
)
def test_malformed_file(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_prompts(str(tmp_path / name))


@pytest.mark.parametrize(("name", "content"), [("a.jsonl", ""), ("a.json", "[]"), ("a.csv", "prompt\n")])
def test_empty_file(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match="holds no rows"):
        load_prompts(str(tmp_path / name))


def test_missing_columns(tmp_path):
    name = write(tmp_path / "data.csv", [{"problem": "a", "answers": "1"}])
    with pytest.raises(UserError, match="no column 'prompt'; set prompt_column to one of problem, answers"):
        load_prompts(name)
    with pytest.raises(UserError, match=r"set answer_column to one of problem, answers \(did you mean 'answers'\?\)"):
        load_prompts(name, prompt_column="problem", answer_column="answer")


def test_answer_that_is_none(tmp_path):
    name = write(tmp_path / "data.jsonl", [{"prompt": "a", "answer": "1"}, {"prompt": "a", "answer": ["1", "2"]}])
    with pytest.raises(UserError, match="the answer in row 1 of .* is a list"):
        load_prompts(name, answer_column="answer")


def test_hub_out_of_reach(monkeypatch):
    def load_dataset(*args, **kwargs):
        raise ConnectionError("Couldn't reach 'someone/data' on the Hub (OfflineModeIsEnabled)")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(
        UserError, match="'someone/data' is neither a local file nor reachable on the Hub.*download it"
    ):
        load_prompts("someone/data")


def test_hub_split(monkeypatch):
    def load_dataset(name, config, *, split):
        if split != "train":
            raise ValueError(f"Unknown split \"{split}\". Should be one of ['train'].")
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load_prompts("someone/data", answer_column="answer").column_names == ["prompt", "answer"]
    with pytest.raises(UserError, match="no split 'dev' in config None"):
        load_prompts("someone/data", split="dev")


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
    dataset = load_prompts(name, conversational=True)
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


def test_no_chat_template(tmp_path):
    tokenizer = WordTokenizer()
    tokenizer.chat_template = None
    dataset = load_prompts(write(tmp_path / "data.jsonl", ROWS), conversational=True)
    with pytest.raises(UserError, match="tokenizer of words has no chat template; set conversational: false"):
        check_prompts(dataset, tokenizer, max_prompt_length=9, on_bad_prompt="drop")


def test_a_prompt_that_cannot_be_encoded():
    with pytest.raises(UserError, match=r"row 2 \(counted from 0\), 'unreadable' \(no such character\)"):
        check_prompts(prompts_of("a", "", "unreadable"), WordTokenizer(), max_prompt_length=9, on_bad_prompt="drop")
