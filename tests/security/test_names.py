"""Names that come from data, and would lead out of a run's directory if they became paths."""

from pathlib import Path

import pytest
import yaml
from datasets import Dataset

from mgrpo.cli import main
from mgrpo.embedded.task import extract_answer
from mgrpo.errors import UserError
from mgrpo.study.definition import read_study
from mgrpo.tasks.registry import load_task

HOSTILE = ["../../outside", "/tmp/mgrpo-outside", "nul\0byte", "..", "~/outside", "$(touch outside)", "a\nb"]


def files_below(directory):
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def test_answers_labels_and_gold_of_any_text_become_no_path(make_trainer, chain_data, tmp_path, monkeypatch):
    """All that data names (answers, pseudo-labels, right answers) goes through a whole run, checkpoint included."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    data = chain_data(16)
    hostile = Dataset.from_dict({"prompt": data["prompt"], "answer": [HOSTILE[i % len(HOSTILE)] for i in range(16)]})

    def answer_fn(text):
        answer = extract_answer(text)
        return None if answer is None else HOSTILE[int(answer) % len(HOSTILE)]

    settings = {"max_steps": 2, "save_strategy": "steps", "save_steps": 2, "probe_prompts": 2}
    trainer = make_trainer({"train_dataset": hostile, "answer_fn": answer_fn}, log_completions=True, **settings)
    trainer.train()
    assert {path.name for path in tmp_path.iterdir()} == {"cwd", "run"}
    assert not any((tmp_path / "cwd").iterdir()) and not Path("/tmp/mgrpo-outside").exists()
    run = files_below(tmp_path / "run")
    own = {name for name in run if not name.startswith("checkpoint-2")}
    assert own - {"alarms.jsonl"} == {
        *("README.md", "metrics.jsonl", "probe.json"),
        *("completions", "completions/step-000001.parquet", "completions/step-000002.parquet"),
    }


@pytest.mark.parametrize("name", [*HOSTILE, "", ".", ".hidden", "a/b"])
@pytest.mark.parametrize("where", ["variants", "grid"])
def test_a_studys_variant_that_cannot_name_a_directory_is_refused(tmp_path, name, where):
    given = {"base": "embedded", "seeds": [0]}
    if where == "variants":
        given["variants"] = {name: {}, "other": {}}
    else:
        given["grid"] = {name: [1, 2]}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(given))
    try:
        study = read_study(str(path))
    except UserError:
        return
    for run in study.runs(tmp_path / "out"):
        assert run.directory.parent.parent == tmp_path / "out" and "\0" not in str(run.directory)
        assert run.log.resolve().is_relative_to((tmp_path / "out").resolve())
        assert run.directory.name == "seed-0" and run.variant.isprintable()


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("task", ["reasoning_gym", "embedded"])
def test_a_tasks_name_is_looked_up_and_never_opened(task, name):
    with pytest.raises(UserError):
        load_task(f"{task}:{name}", size=1)


@pytest.mark.parametrize("field", ["--task", "--model_name_or_path", "--output_dir", "--resume_from_checkpoint"])
def test_a_field_with_a_nul_byte_is_refused_in_a_sentence(field, tmp_path, capsys):
    given = {"--output_dir": str(tmp_path / "run"), "--dataset_size": "8", "--max_steps": "1", field: "file:a\0b"}
    assert main(["train", "--config", "embedded", *(word for pair in given.items() for word in pair)]) == 2
    told = capsys.readouterr().err
    assert told.splitlines()[-1].startswith("mgrpo: ") and "Traceback" not in told
