"""`mgrpo demo`: what it shows, and what it concludes."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from mgrpo.cli import main
from mgrpo.runs.files import read_rows
from mgrpo.study.demo import _conclusion

HELD = [0.5, 0.55, 0.6, 0.6, 0.6]
FELL = [0.5, 0.5, 0.3, 0.1, 0.1, 0.1, 0.1]


def rows(accuracies):
    return [{"step": 40 * i, "eval_gold/accuracy": value} for i, value in enumerate(accuracies)]


@pytest.mark.parametrize(
    ("srt", "anchored", "said"),
    [
        (FELL, HELD, "the momentum anchor held where plain majority voting collapsed"),
        (HELD, HELD, "neither collapsed"),
        (HELD, FELL, "M-GRPO collapsed and SRT did not"),
        (FELL, FELL, "both collapsed"),
        (HELD[:1], HELD[:1], "too short to be judged"),
    ],
)
def test_says_what_happened_also_when_it_is_not_what_we_hoped(srt, anchored, said):
    assert said in _conclusion({"SRT": rows(srt), "M-GRPO": rows(anchored)})


@pytest.mark.parametrize("with_filter", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_runs_side_by_side(tmp_path, capsys, with_filter):
    output_dir = tmp_path / "demo"
    command = ["demo", "--max_steps", "2", "--output_dir", str(output_dir), *["--filter"][: int(with_filter)]]
    assert main(command) == 0
    labels = {"SRT": "srt", "M-GRPO": "m-grpo", **({"M-GRPO + filter": "m-grpo-filter"} if with_filter else {})}
    assert {path.name for path in output_dir.iterdir()} == {*labels.values(), "curves.png"}
    assert (output_dir / "curves.png").stat().st_size > 20_000
    said = capsys.readouterr().out
    for label in labels:
        assert f"{label}: held-out accuracy began at 0." in said


@pytest.mark.slow
def test_shows_why_a_run_failed(tmp_path, capsys):
    assert main(["demo", "--max_steps", "-5", "--output_dir", str(tmp_path / "demo")]) == 1
    assert "failed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_signal_ends_its_runs_too(tmp_path):
    command = [sys.executable, "-m", "mgrpo", "demo", "--output_dir", "demo"]
    with (tmp_path / "said").open("w") as said:
        demo = subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said)
    logged = [tmp_path / "demo" / name / "metrics.jsonl" for name in ("srt", "m-grpo")]
    deadline = time.monotonic() + 200
    while not any(path.exists() and read_rows(path) for path in logged):
        assert demo.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    children = psutil.Process(demo.pid).children(recursive=True)
    demo.send_signal(signal.SIGTERM)
    assert demo.wait(timeout=60) == 143
    assert children and not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    text = (tmp_path / "said").read_text()
    assert "SIGTERM: every run finishes its step first; a second signal stops at once" in text
    assert text.endswith("mgrpo: interrupted; what was logged is in demo.\n") and "Traceback" not in text
