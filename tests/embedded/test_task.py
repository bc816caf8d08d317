import os
import subprocess
import sys

import pytest

from mgrpo.embedded.task import PROBLEMS, embedded, extract_answer
from mgrpo.errors import UserError


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("556560#60", "60"),
        ("5565#60#61", "61"),
        ("#07\n", "07"),
        ("556560#6", None),
        ("556560#600", None),
        ("556560", None),
        ("", None),
        ("bdcabcda#bcda", "bcda"),
        ("bdcabcda#bcd", None),
        ("bdcabcda#bcdab", None),
    ],
)
def test_extract_answer(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize("name", PROBLEMS)
def test_gold_answers_are_read_from_right_completions(name):
    columns = embedded(name, split="train", size=20, seed=0).columns
    assert len(columns["prompt"]) == len(columns["answer"]) == 20
    for answer in columns["answer"]:
        assert extract_answer(f"#{answer}") == answer


def test_unknown_task():
    with pytest.raises(UserError, match="no task 'chain'; write embedded:chains or embedded:swaps"):
        embedded("chain", split="train", size=1, seed=0)


def test_tasks_and_names_do_not_import_torch():
    modules = "mgrpo.embedded.task, mgrpo.embedded.model, mgrpo.embedded.cache"
    script = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == 0
