"""How a run ends: what is saved, what the command exits with, and what environment.json records."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

import mgrpo
from mgrpo.commands.train import _save, environment
from mgrpo.errors import EXIT_COLLAPSED, EXIT_STOPPED
from mgrpo.monitoring.collapse import Event
from mgrpo.runs.outcome import Outcome

SIGNAL = Outcome(5, "SIGTERM after step 5", 143)
COLLAPSE = Event(4, "alarm", ["vote/agreement"], "agreement rose")


def save_nothing(path):
    raise OSError(28, "No space left on device", path)


def end(directory, *, by_signal=None, collapse=None, broken=None, not_saved=None, save_model=None):
    """Ends a run after step 5, for the reasons that are given."""
    trainer = SimpleNamespace(
        state=SimpleNamespace(global_step=5),
        args=SimpleNamespace(process_index=0, should_save=True, world_size=1),
        collapse_watch=SimpleNamespace(stop_event=collapse),
        gradient_guard=SimpleNamespace(stop_reason=broken),
        save_stop_reason=not_saved,
        best_step=None,
        momentum_model=None,
        save_model=save_model or (lambda path: Path(path).mkdir()),
        create_model_card=lambda name: (directory / "README.md").write_text(name),
    )
    guard = SimpleNamespace(stopped=lambda state: by_signal, finish_first=lambda what: None)
    return _save(trainer, guard, directory)


@pytest.mark.parametrize(
    ("reasons", "exit_code", "is_finished"),
    [
        ({}, 0, True),
        ({"by_signal": SIGNAL}, 143, False),  # the same command resumes it
        ({"collapse": COLLAPSE}, EXIT_COLLAPSED, True),
        ({"by_signal": SIGNAL, "collapse": COLLAPSE}, EXIT_COLLAPSED, True),
        ({"broken": "5 gradients were not finite"}, EXIT_STOPPED, True),
        ({"not_saved": "no checkpoint could be written"}, EXIT_STOPPED, False),
        ({"save_model": save_nothing}, EXIT_STOPPED, False),
    ],
)
def test_how_a_run_ends(tmp_path, reasons, exit_code, is_finished):
    assert end(tmp_path, **reasons).exit_code == exit_code
    assert sorted(path.name for path in tmp_path.iterdir()) == (["README.md", "final"] if is_finished else [])
    if is_finished:
        assert (tmp_path / "final" / "README.md").read_text() == tmp_path.name
        outcome = json.loads((tmp_path / "final" / "outcome.json").read_text())
        assert (outcome["step"], outcome["exit_code"]) == (5, exit_code)


def test_models_that_cannot_be_saved_are_saved_by_the_same_command(tmp_path):
    reason = end(tmp_path, save_model=save_nothing).reason
    assert "No space left on device" in reason and "the same command" in reason


def test_what_a_run_runs_on():
    found = environment()
    assert found["mgrpo"] == mgrpo.__version__ == "0.2.0"
    assert {"torch", "transformers", "trl"} <= found["packages"].keys()
    assert found["device"] and json.dumps(found)


@pytest.mark.parametrize(
    ("package", "project", "is_ours"),
    [
        ("src/mgrpo", '[project]\nname = "mgrpo"\n', True),
        ("src/mgrpo", '[project]\nname = "theirs"\n', False),  # copied into their sources
        (".venv/lib/python3.11/site-packages/mgrpo", '[project]\nname = "theirs"\n', False),
        ("vendor/mgrpo/src/mgrpo", '[project]\nname = "mgrpo"\n', False),  # the repository above is another
    ],
)
def test_the_commit_is_recorded_of_our_own_repository_alone(monkeypatch, tmp_path, package, project, is_ours):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=me", "-c", "user.email=me@localhost"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    (tmp_path / package).mkdir(parents=True)
    for directory in (tmp_path, (tmp_path / package).parents[1]):
        (directory / "pyproject.toml").write_text(project)
    monkeypatch.setattr(mgrpo, "__file__", str(tmp_path / package / "__init__.py"))
    assert environment()["git_commit"] == (commit if is_ours else None)
