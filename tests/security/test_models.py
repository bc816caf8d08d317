"""Models that come with code of their own: refused in a sentence, and nothing of it is run."""

import json
import pickle
import shutil

import pytest
import torch

from mgrpo.cli import main
from mgrpo.errors import UserError
from mgrpo.models.load import load_model, load_tokenizer

CODE = """
from pathlib import Path
Path({marker!r}).write_text("ran")
from transformers import Qwen3Config, Qwen3ForCausalLM, PreTrainedTokenizerFast
class HostileConfig(Qwen3Config):
    model_type = "hostile"
class HostileModel(Qwen3ForCausalLM):
    config_class = HostileConfig
class HostileTokenizer(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture
def marker(tmp_path):
    """A file that is there once a model's code has run."""
    return tmp_path / "marker"


@pytest.fixture
def model_directory(tmp_path, embedded):
    """The embedded model, saved."""
    directory = tmp_path / "model"
    for part in embedded():
        part.save_pretrained(directory)
    return directory


def edit_json(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.fixture
def with_code(model_directory, marker):
    """The same with a module that says it is its model's, configuration's and tokenizer's class."""
    (model_directory / "hostile.py").write_text(CODE.format(marker=str(marker)))
    edit_json(
        model_directory / "config.json",
        model_type="hostile",
        architectures=["HostileModel"],
        auto_map={"AutoConfig": "hostile.HostileConfig", "AutoModelForCausalLM": "hostile.HostileModel"},
    )
    return str(model_directory)


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--config", "embedded", "--max_steps", "1", "--output_dir", "OUT"],
        ["plan", "--gpus", "1"],
    ],
)
def test_a_model_with_code_is_refused_in_a_sentence_and_its_code_is_not_run(
    command, with_code, marker, tmp_path, capsys
):
    words = [str(tmp_path / "run") if word == "OUT" else word for word in command]
    option = "--model" if command[0] == "plan" else "--model_name_or_path"
    assert main([*words, option, with_code]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"mgrpo: the model {with_code} cannot be loaded (")
    assert "trust_remote_code" in told or "custom code" in told
    assert not marker.exists()


def test_the_code_is_run_only_by_who_asks_for_it(with_code, marker):
    # so the tests above look at code that would run
    with pytest.raises(UserError):
        load_model(with_code)
    assert not marker.exists()
    load_model(with_code, trust_remote_code=True)
    assert marker.read_text() == "ran"


def test_code_beside_a_known_kind_of_model_is_left_alone(model_directory, marker):
    (model_directory / "hostile.py").write_text(CODE.format(marker=str(marker)))
    edit_json(
        model_directory / "config.json",
        auto_map={"AutoConfig": "hostile.HostileConfig", "AutoModelForCausalLM": "hostile.HostileModel"},
    )
    edit_json(
        model_directory / "tokenizer_config.json",
        auto_map={"AutoTokenizer": [None, "hostile.HostileTokenizer"]},
    )
    load_model(str(model_directory))
    load_tokenizer(str(model_directory))
    assert not marker.exists()


class Payload:
    """What would run when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (shutil.copy, (__file__, str(self.marker)))


def test_weights_that_are_a_pickle_with_code_are_refused_and_it_is_not_run(model_directory, marker):
    (model_directory / "model.safetensors").unlink()
    torch.save({"lm_head.weight": Payload(marker)}, model_directory / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(str(model_directory))
    assert not marker.exists()
    pickle.loads(pickle.dumps(Payload(marker)))  # it would have
    assert marker.exists()
