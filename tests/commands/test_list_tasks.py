"""`mgrpo tasks` and `mgrpo tasks reasoning_gym`."""

from mgrpo.cli import main


def test_tasks(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["tasks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("math[:SOURCE]", "gsm8k", "choice:SOURCE", "file:PATH", "module:function"):
        assert sum(line.startswith(name) for line in lines) == 1
    assert max(map(len, lines[:-1])) <= 80
    assert "mgrpo tasks show NAME" in lines[-1]


def test_generators_of_reasoning_gym(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["tasks", "reasoning_gym"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("reasoning_gym:") for line in lines) == 106
    assert "reasoning_gym:leg_counting" in lines
    (line,) = (line for line in lines if line.startswith("reasoning_gym:countdown"))
    assert "no vote" in line
