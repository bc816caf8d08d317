from types import SimpleNamespace

import pytest

from mgrpo.cli import main
from mgrpo.commands.build_trainer import check_launch, load_training_data
from mgrpo.errors import UserError
from mgrpo.models.source import ModelSource
from mgrpo.recipes.files import read_recipe_file
from mgrpo.recipes.recipe import load_recipe

PLAIN, GGUF = ModelSource("directory", "/models/a"), ModelSource("gguf", "/models/a.gguf")


def test_fsdp1_is_refused_before_anything_is_loaded(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "1")
    options = ["--share_prompts", "false", "--output_dir", str(tmp_path / "run")]
    assert main(["train", "--config", "embedded", *options]) == 2
    assert "fsdp_version is 1" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("num_momentum", "version", "is_refused"), [(2, "1", True), (2, "2", False), (0, "1", False), (2, None, True)]
)
def test_fsdp1_is_refused_where_there_is_a_momentum_model(monkeypatch, make_config, num_momentum, version, is_refused):
    config = make_config(num_momentum_generations=num_momentum)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    if version is not None:  # accelerate's default is 1
        monkeypatch.setenv("FSDP_VERSION", version)
    if is_refused:
        with pytest.raises(UserError, match="set fsdp_version to 2"):
            check_launch(config, PLAIN)
    else:
        check_launch(config, PLAIN)


@pytest.mark.parametrize(
    ("stage", "saves_whole", "source", "message"),
    [
        (3, False, PLAIN, "zero3_save_16bit_model is false"),
        (3, True, GGUF, "/models/a.gguf is not in transformers' plain format"),
        (3, True, PLAIN, None),
        (2, False, GGUF, None),
    ],
)
def test_zero_3_is_refused_where_it_could_not_save_or_load(make_config, stage, saves_whole, source, message):
    config = make_config()
    config.deepspeed_plugin = SimpleNamespace(zero_stage=stage, zero3_save_16bit_model=saves_whole)
    if message is None:
        check_launch(config, source)
    else:
        with pytest.raises(UserError, match=message):
            check_launch(config, source)


@pytest.fixture
def said_of_data(tmp_path, capsys):
    """Loads the data of a recipe whose training questions are 0+1= to 59+1=; returns what is said of them."""
    (tmp_path / "train.jsonl").write_text("".join(f'{{"prompt": "{i}+1="}}\n' for i in range(60)))

    def said(held_out, **fields):
        (tmp_path / "test.jsonl").write_text(held_out)
        names = {"task": f"file:{tmp_path}/train.jsonl", "eval_task": f"file:{tmp_path}/test.jsonl"}
        given = read_recipe_file("embedded") | names | {"output_dir": str(tmp_path / "run")} | fields
        load_training_data(load_recipe(given, "mine.yaml"))
        return capsys.readouterr().err

    return said


def test_held_out_prompts_without_answers_are_reported(said_of_data):
    assert "no right answers" in (said := said_of_data('{"prompt": "1+1+1="}\n')) and "eval_answer_column" in said
    assert "no right answers" in said_of_data('{"prompt": "1+1+1=", "answer": null}\n', eval_answer_column="answer")
    assert said_of_data('{"prompt": "1+1+1=", "answer": "3"}\n', eval_answer_column="answer") == ""


def test_held_out_prompts_that_are_trained_on_are_reported(said_of_data):
    rows = '{"prompt": "2+1=", "answer": "3"}\n{"prompt": "2+1+1=", "answer": "4"}\n'
    said = said_of_data(rows, answer_column="answer")
    assert "1 of the 2 held-out prompts" in said and "eval_task" in said
    assert "8 of the 8" in said_of_data("", eval_task="embedded:chains", task="embedded:chains", eval_dataset_size=8,
                                        eval_dataset_split="train")  # fmt: skip
