"""`mgrpo train` as a user runs it, in this process."""

import json
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from mgrpo.cli import main
from mgrpo.runs.files import read_rows

SMALL = ["--max_steps", "2", "--logging_steps", "1", "--eval_dataset_size", "16", "--per_device_eval_batch_size", "16"]
SMALL += ["--dataset_size", "48", "--probe_prompts", "4"]
SUMS = """
from mgrpo.tasks import Task

def all_right(answers, gold):
    assert set(gold) == {"sum", "place"}
    return [True for _ in answers]

def sums(*, split, size, seed):
    gold = [{"sum": i % 9 + i // 9 % 9, "place": str(i)} for i in range(size)]
    prompts = [f"0{i % 9}+{i // 9 % 9 + 1}=" for i in range(size)]
    own = {"extractor": "mgrpo.embedded.task:extract_answer", "equivalence": "text", "score": all_right}
    return Task({"prompt": prompts, "answer": gold}, **own)
"""
TIMES = ("time", "runtime", "per_second")


def train(*arguments):
    assert main(["train", *arguments]) == 0


def numbers(run_directory):
    """The metric rows of a run without its timings."""
    return [
        {name: value for name, value in row.items() if not any(word in name for word in TIMES)}
        for row in read_rows(Path(run_directory) / "metrics.jsonl")
    ]


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "first"
    train("--config", "embedded", *SMALL, "--iqr_multiplier", "0.75", "--output_dir", str(directory))
    return directory


def test_leaves_a_complete_run_directory(run_directory):
    there = {path.name for path in run_directory.iterdir()}
    assert {"config.yaml", "environment.json", "metrics.jsonl", "completions", "checkpoint-2", "final"} <= there
    assert [row["step"] for row in numbers(run_directory)] == [0, 1, 2]
    for directory in (run_directory / "final", run_directory / "final" / "momentum"):
        AutoModelForCausalLM.from_pretrained(directory)
        assert AutoTokenizer.from_pretrained(directory).eos_token == "$"
        card = (directory / "README.md").read_text()
        assert "`embedded`, trained with M-GRPO" in card and "| task | `embedded:chains` |" in card


def test_runs_again_from_what_it_holds(run_directory, tmp_path):
    train("--config", str(run_directory / "config.yaml"), "--output_dir", str(tmp_path / "again"))
    assert numbers(tmp_path / "again") == numbers(run_directory)
    configs = [yaml.safe_load((d / "config.yaml").read_text()) for d in (run_directory, tmp_path / "again")]
    assert [{**config, "output_dir": None} for config in configs][0] == {**configs[1], "output_dir": None}


def test_a_finished_run_is_left_alone_and_goes_on_with_another_recipe_where_it_is_forced(run_directory, capsys):
    arguments = ["train", "--config", "embedded", *SMALL, "--iqr_multiplier", "0.75"]
    arguments += ["--output_dir", str(run_directory)]
    files = {path: path.stat().st_mtime_ns for path in run_directory.rglob("*")}
    assert main(arguments) == 0
    assert "this run is finished" in capsys.readouterr().out
    assert main([*arguments, "--max_steps", "3"]) == 2
    assert "holds a run with another recipe (max_steps: 2, now 3)" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in run_directory.rglob("*")} == files
    longer = [*arguments, "--max_steps", "3", "--resume", "force"]
    assert main(longer) == 0
    assert "resumes from " in capsys.readouterr().err
    assert [row["step"] for row in read_rows(run_directory / "metrics.jsonl")] == [0, 1, 2, 3]
    assert [len([row for row in numbers(run_directory) if "train_loss" in row])] == [1]
    assert (run_directory / "final-2" / "model.safetensors").exists()
    starts = json.loads((run_directory / "environment.json").read_text())["starts"]
    assert [start.get("changed") for start in starts] == [None, {"max_steps": [2, 3]}]
    assert starts[1]["checkpoint"] == "checkpoint-2"
    assert main(longer) == 0
    assert "the model of step 3" in capsys.readouterr().out


def test_a_task_of_one_s_own_that_scores_its_gold(tmp_path, monkeypatch):
    """Trained on gold that only the task understands, evaluated on gold that is text."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "sums.py").write_text(SUMS)
    train("--config", "embedded", *SMALL, "--task", "sums:sums", "--output_dir", str(tmp_path / "run"))
    rows = numbers(tmp_path / "run")
    assert rows[1]["gold/accuracy"] == rows[1]["gold/label_accuracy"] == 1.0
    assert 0 < rows[0]["eval_gold/accuracy"] < 1


def test_lora_leaves_two_adapters(tmp_path):
    lora = ["--use_peft", "true", "--lora_r", "4", "--lora_target_modules", "q_proj", "v_proj"]
    train("--config", "embedded", *SMALL, *lora, "--share_prompts", "false", "--output_dir", str(tmp_path / "lora"))
    for directory in ("final", "final/momentum"):
        assert (tmp_path / "lora" / directory / "adapter_model.safetensors").exists()
        assert "library_name: peft" in (tmp_path / "lora" / directory / "README.md").read_text()
