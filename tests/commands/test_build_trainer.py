from types import SimpleNamespace

import pytest

from mgrpo.cli import main
from mgrpo.commands.build_trainer import check_launch
from mgrpo.errors import UserError
from mgrpo.models.source import ModelSource

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
