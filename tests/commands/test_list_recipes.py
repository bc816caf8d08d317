"""`mgrpo recipes`: list, show and copy."""

import pytest

from mgrpo.cli import main
from mgrpo.recipes.files import PRESETS, RECIPES


@pytest.mark.parametrize("command", [["recipes"], ["recipes", "list"]])
def test_all_are_listed(command, capsys):
    assert main(command) == 0
    words = capsys.readouterr().out.split()
    assert {file.stem for directory in (RECIPES, PRESETS) for file in directory.glob("*.yaml")} <= set(words)


def test_one_is_shown(capsys):
    assert main(["recipes", "show", "srt"]) == 0
    assert capsys.readouterr().out == (PRESETS / "srt.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "file"), [(["srt"], "srt.yaml"), (["srt", "my.yaml"], "my.yaml"), (["srt", "."], "srt.yaml")]
)
def test_a_copy_overwrites_nothing(words, file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "copy", *words]) == 0
    assert (tmp_path / file).read_bytes() == (PRESETS / "srt.yaml").read_bytes()
    (tmp_path / file).write_text("mine")
    assert main(["recipes", "copy", *words]) == 2
    assert (tmp_path / file).read_text() == "mine" and f"{file} exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "part"), [(["srtt"], "did you mean srt?"), (["srt", "no/where.yaml"], "cannot be written")]
)
def test_mistakes(words, part, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "copy", *words]) == 2
    assert part in capsys.readouterr().err
