"""Where a run begins, decided before anything is loaded."""

import json
import re
import shutil

import pytest
import torch

from mgrpo.cli import main
from mgrpo.commands import build_trainer
from mgrpo.commands.resume import StartPoint, find_start, make_ready, record_start
from mgrpo.errors import UserError
from mgrpo.models.base_model import base_model_record
from mgrpo.recipes.recipe import load_recipe, write_config
from mgrpo.runs import checkpoints
from mgrpo.runs.outcome import Outcome, write_outcome

RECIPE = {
    **{"model_name_or_path": "embedded", "task": "embedded:chains", "use_cpu": True, "bf16": False},
    **{"num_generations": 6, "per_device_train_batch_size": 12, "gradient_accumulation_steps": 1, "max_steps": 8},
}


@pytest.fixture
def recipe(tmp_path):
    return lambda **fields: load_recipe({**RECIPE, "output_dir": str(tmp_path / "run"), **fields}, "test")


@pytest.fixture
def run_directory(tmp_path, recipe):
    """A run that was killed behind its checkpoint at step 4."""
    directory = tmp_path / "run"
    directory.mkdir()
    write_config(recipe(), directory)
    for step in (2, 4):
        checkpoint(directory, step)
    return directory


def checkpoint(directory, step):
    (checkpoints.begin(directory) / "model").write_bytes(b"weights")
    return checkpoints.complete(directory / checkpoints.UNFINISHED_DIRECTORY, step)


def finish(directory, **outcome):
    (directory / "final").mkdir()
    (directory / "final" / "config.json").write_text("{}")
    (directory / "final" / "model.safetensors").write_bytes(b"weights")
    write_outcome(directory / "final", Outcome(**outcome))


def names(directory):
    return sorted(path.name for path in directory.iterdir() if path.is_dir())


def test_nothing_is_there(recipe):
    assert find_start(recipe()) == StartPoint()


def test_the_same_recipe_goes_on(recipe, run_directory):
    assert find_start(recipe()) == StartPoint(run_directory / "checkpoint-4")


def test_a_run_that_was_killed_in_start_up_begins_anew(recipe, run_directory):
    for _, path in checkpoints.checkpoints(run_directory):
        checkpoints.remove(path)
    checkpoints.begin(run_directory)
    assert find_start(recipe()) == StartPoint()
    assert names(run_directory) == []


def test_another_recipe_is_refused_or_forced(recipe, run_directory):
    with pytest.raises(UserError, match=r"another recipe \(max_steps: 8, now 9; momentum: 0.99, now 0.9\)"):
        find_start(recipe(momentum=0.9, max_steps=9))
    start = find_start(recipe(momentum=0.9, resume="force"))
    assert (start.checkpoint, start.changed) == (run_directory / "checkpoint-4", {"momentum": (0.99, 0.9)})
    assert not start.is_same


@pytest.fixture
def with_model(run_directory, embedded):
    """The run, whose newest checkpoint has its model's configuration."""
    model, _ = embedded()
    model.config.save_pretrained(checkpoints.begin(run_directory))
    checkpoints.complete(run_directory / checkpoints.UNFINISHED_DIRECTORY, 6)
    return run_directory


@pytest.mark.parametrize(
    "fields",
    [
        {"optim": "sgd"},
        {"use_peft": True},
        {"use_peft": True, "lora_r": 4},
        {"model_name_or_path": "wider"},
    ],
)
def test_what_decides_the_shape_of_the_saved_state_cannot_be_forced(recipe, with_model, tmp_path, embedded, fields):
    model, _ = embedded()
    model.config.hidden_size *= 2
    model.config.save_pretrained(tmp_path / "wider")
    if "model_name_or_path" in fields:
        fields = {"model_name_or_path": str(tmp_path / "wider")}
    with pytest.raises(UserError, match=f"checkpoint-6 cannot be continued with another {next(iter(fields))}"):
        find_start(recipe(resume="force", **fields))


def test_another_rank_cannot_be_forced(recipe, run_directory):
    write_config(recipe(use_peft=True, lora_r=8), run_directory)
    with pytest.raises(UserError, match="another lora_r .lora_r: 8, now 4."):
        find_start(recipe(use_peft=True, lora_r=4, resume="force"))


def test_the_rest_can_be_forced(recipe, with_model, tmp_path, embedded):
    model, _ = embedded()
    model.config.save_pretrained(tmp_path / "moved")
    moved = {"model_name_or_path": str(tmp_path / "moved")}
    others = {"learning_rate": 1e-5, "optim": "adamw_torch", "dtype": "bfloat16", "temperature": 1.0, **moved}
    assert set(find_start(recipe(resume="force", **others)).changed) == set(others)


def test_starts_are_recorded_without_secrets(recipe, run_directory):
    first = record_start(run_directory, StartPoint())
    (run_directory / "environment.json").write_text(json.dumps({"starts": first}))
    changed = {"max_steps": (8, 9), "hub_token": ("a", "b"), "env": ({}, {"WANDB_API_KEY": "c"})}
    starts = record_start(run_directory, StartPoint(run_directory / "checkpoint-4", changed=changed))
    assert starts[0]["checkpoint"] is None and "changed" not in starts[0]
    hidden = ["(left out)", "(left out)"]
    assert starts[1]["changed"] == {"max_steps": [8, 9], "hub_token": hidden, "env": hidden}
    assert starts[1]["checkpoint"] == "checkpoint-4" and starts[1]["time"] >= starts[0]["time"]


def test_a_finished_run_says_how_it_ended(recipe, run_directory):
    finish(run_directory, step=6, reason="it collapsed", exit_code=4)
    before = names(run_directory)
    for resume in ("auto", "force"):
        assert find_start(recipe(resume=resume)).outcome == Outcome(6, "it collapsed", 4)
    assert names(run_directory) == before


def test_a_finished_run_goes_on_where_that_is_forced_and_keeps_its_model(recipe, run_directory):
    finish(run_directory, step=4)
    start = find_start(recipe(max_steps=9, resume="force"))
    assert start.checkpoint == run_directory / "checkpoint-4"
    assert names(run_directory) == ["checkpoint-2", "checkpoint-4", "final"]  # the data may still be refused
    make_ready(start)
    assert names(run_directory) == ["checkpoint-2", "checkpoint-4", "final-4"]


def test_a_named_checkpoint_is_gone_back_to_once(recipe, run_directory):
    named = run_directory / "checkpoint-2"
    again = recipe(resume=str(named))
    start = find_start(again)
    assert start.checkpoint == named and not start.is_same
    assert "checkpoint-4.superseded" in start.notes[0]
    make_ready(start)
    assert names(run_directory) == ["checkpoint-2", "checkpoint-4.superseded"]
    write_config(again, run_directory)  # it began; and was killed behind its next checkpoint
    checkpoint(run_directory, 4)
    assert find_start(again).checkpoint == run_directory / "checkpoint-4"
    finish(run_directory, step=8)
    assert find_start(again).outcome == Outcome(8)


def test_a_named_checkpoint_of_another_run(recipe, run_directory, tmp_path):
    named = run_directory / "checkpoint-4"
    new = recipe(output_dir=str(tmp_path / "new"), resume=str(named))
    assert find_start(new).checkpoint == named
    (tmp_path / "new").mkdir()
    write_config(new, tmp_path / "new")  # killed before its first checkpoint
    assert find_start(new).checkpoint == named
    checkpoint(tmp_path / "new", 6)
    assert find_start(new).checkpoint == tmp_path / "new" / "checkpoint-6"


def test_a_named_checkpoint_must_be_whole(recipe, run_directory):
    named = run_directory / "checkpoint-4"
    (named / "model").write_bytes(b"weightS")
    with pytest.raises(UserError, match="is no complete checkpoint: model has other bytes than were written"):
        find_start(recipe(resume=str(named)))
    assert names(run_directory) == ["checkpoint-2", "checkpoint-4"]


def test_a_broken_one_is_said(recipe, run_directory):
    (run_directory / "checkpoint-4" / "model").write_bytes(b"weight")
    start = find_start(recipe())
    assert start.checkpoint == run_directory / "checkpoint-2" and start.is_same
    assert "checkpoint-4 is broken: model has 6 bytes, and had 7" in start.notes[0]


def test_older_recipes_know_another_field(recipe, run_directory):
    with (run_directory / "config.yaml").open("a") as file:
        file.write("resume_from_checkpoint: null\n")
    assert find_start(recipe()).is_same
    assert load_recipe({**RECIPE, "output_dir": "a", "resume_from_checkpoint": None}, "test").config.resume == "auto"


def test_a_run_that_was_moved_with_its_data_is_the_same_run(recipe, run_directory, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "data.jsonl").touch()
    there = recipe(task=f"file:{tmp_path}/old/data.jsonl", resume=str(run_directory / "checkpoint-2"))
    write_config(there, run_directory)
    (tmp_path / "old").rename(tmp_path / "new")
    run_directory.rename(tmp_path / "moved")
    fields = {"output_dir": str(tmp_path / "moved"), "task": f"file:{tmp_path}/new/data.jsonl"}
    # its first start named a checkpoint that is nowhere now, and is needed no more
    again = recipe(**fields, resume=str(run_directory / "checkpoint-2"))
    assert find_start(again) == StartPoint(tmp_path / "moved" / "checkpoint-4")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "data.jsonl").touch()  # and the other is another file
    with pytest.raises(UserError, match="another recipe .*task"):
        find_start(recipe(**fields))


def test_a_model_that_was_renamed_is_known_by_its_weights(recipe, run_directory, tmp_path):
    for name, weights in (("base", b"a"), ("renamed", b"a"), ("other", b"b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(weights)
    base = str(tmp_path / "base")
    write_config(recipe(model_name_or_path=base), run_directory)
    record = {"base_model": base_model_record(base, base, None, run_directory)}
    (run_directory / "environment.json").write_text(json.dumps(record))
    start = find_start(recipe(model_name_or_path=str(tmp_path / "renamed")))
    assert (start.checkpoint, start.changed) == (run_directory / "checkpoint-4", {})
    with pytest.raises(UserError, match="another recipe .*model_name_or_path"):
        find_start(recipe(model_name_or_path=str(tmp_path / "other")))


def test_another_model_in_the_same_place_is_refused_before_it_is_loaded(recipe, run_directory, tmp_path, monkeypatch):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").write_bytes(b"a")
    same = recipe(model_name_or_path=str(base))
    record = {"base_model": base_model_record(str(base), str(base), None, run_directory)}
    (run_directory / "environment.json").write_text(json.dumps(record))
    (base / "model.safetensors").write_bytes(b"b")
    monkeypatch.setattr(build_trainer, "load_model", None)
    with pytest.raises(UserError, match="is not the model that the run in .* began with: its weights differ"):
        build_trainer._load_policy(same, same.config, run_directory / "checkpoint-4")


@pytest.mark.parametrize("files", [{}, {"config.json": b"{}"}, {"config.json": b"{}", "model.safetensors": b""}])
def test_a_final_without_a_model_is_no_finished_run(recipe, run_directory, files):
    (run_directory / "final").mkdir()
    for name, content in files.items():
        (run_directory / "final" / name).write_bytes(content)
    start = find_start(recipe())
    assert (start.checkpoint, start.outcome) == (run_directory / "checkpoint-4", None)
    make_ready(start)
    assert not (run_directory / "final").exists()


def test_a_recipe_that_sets_a_field_twice(recipe, run_directory):
    with (run_directory / "config.yaml").open("a") as file:
        file.write("seed: 1\nseed: 2\n")
    with pytest.raises(UserError, match="sets seed twice, on lines .*, so it is not known what .* was run with"):
        find_start(recipe())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("optimizer.pt", None, "cannot be resumed from .KeyError"),
        ("trainer_state.json", b"[]", "cannot be resumed from .TypeError"),
        ("model.safetensors", b"x", "cannot be resumed from .SafetensorError"),
        ("loop_state_0.json", b'{"metrics": 5}', "loop_state_0.json cannot be read .`metrics` is 5"),
    ],
)
def test_a_checkpoint_that_only_looks_whole(tmp_path, capsys, name, content, reason):
    settings = ["--max_steps", "1", "--save_steps", "1", "--probe_prompts", "0", "--eval_strategy", "no"]
    command = ["train", "--config", "embedded", *settings, "--output_dir", str(tmp_path / "run")]
    assert main(command) == 0
    shutil.rmtree(tmp_path / "run" / "final")
    path = tmp_path / "run" / "checkpoint-1" / name
    torch.save({}, path) if content is None else path.write_bytes(content)
    path.with_name("manifest.json").unlink()
    path.parent.rename(tmp_path / "run" / checkpoints.UNFINISHED_DIRECTORY)
    checkpoints.complete(tmp_path / "run" / checkpoints.UNFINISHED_DIRECTORY, 1)
    capsys.readouterr()
    assert main(command) == 2
    assert re.search(reason, capsys.readouterr().err)
