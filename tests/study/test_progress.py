import io
import json

import pytest
from rich.console import Console

from mgrpo.study.definition import StudyRun
from mgrpo.study.progress import StudyProgress


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def watched(tmp_path):
    """A study of four runs of 100 steps: a is finished, b resumes at step 50."""

    def make(is_terminal):
        clock, output = Clock(), io.StringIO()
        console = Console(file=output, force_terminal=is_terminal, width=100, color_system=None)
        steps = {"b/seed-0": 50, "c/seed-0": 0, "d/seed-0": 0}
        max_steps = dict.fromkeys(steps, 100)
        progress = StudyProgress(max_steps, num_runs=4, start_steps=steps, clock=clock, console=console)
        runs = [StudyRun(name[0], 0, tmp_path / name, {}, name) for name in steps]
        for run in runs:
            run.directory.mkdir(parents=True)
        return progress, clock, output, runs

    return make


def write_step(run, step):
    rows = [{"step": 1, "vote/agreement": 0.5}, {"step": step}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (run.directory / "metrics.jsonl").write_text(text + '{"step": 9')  # a row that is being written


def test_off_a_terminal_a_line_a_run(watched):
    progress, clock, output, (b, c, d) = watched(False)
    with progress:
        progress.started(b)
        progress.started(c)
        clock.seconds = 60
        progress.ended(b, 0)
        # one run in a minute, and c is half way: 90 runs an hour; 1.5 runs are left, another minute
        write_step(c, 50)
        progress.started(d)
        progress.show()
        clock.seconds = 100
        c.log.write_text("step 50\nTraceback\nValueError: broken\n\n")
        progress.ended(c, 1)
        clock.seconds = 120
        d.log.write_text("mgrpo: stopped: gradients\n")
        progress.ended(d, 3)
    assert progress.num_failed == 1
    assert output.getvalue().splitlines() == [
        "4 runs: 3 to do, 1 of them from a checkpoint, 1 finished already",
        "2/4  b/seed-0 done in 60 s  60 runs/h  0:02:00 left",
        f"3/4  c/seed-0 failed: ValueError: broken (its output is in {c.log})  72 runs/h  0:00:50 left",
        "4/4  d/seed-0 stopped itself: gradients  90 runs/h  0:00:00 left",
    ]


def test_on_a_terminal_one_line(watched):
    progress, clock, output, (b, c, _) = watched(True)
    with progress:
        progress.started(b)
        progress.started(c)
        write_step(b, 75)  # of 50 to 100: half a run
        clock.seconds = 30
        assert str(progress._view()).splitlines() == [
            "1/4 done  60 runs/h  0:02:30 left",
            "  b/seed-0  75/100  agreement 0.50",
            "  c/seed-0  0/100",
        ]
        progress.show()
        progress.ended(b, 0)
        progress.ended(c, -9)
        assert str(progress._view()).startswith("2/4 done  1 failed  ")
        progress.interrupted("the same command resumes them")
    said = output.getvalue()
    assert "c/seed-0 failed, killed by signal 9: no output (its output is in" in said
    assert "b/seed-0 done" not in said
    assert "interrupted with 1 runs to do; the same command resumes them" in said
