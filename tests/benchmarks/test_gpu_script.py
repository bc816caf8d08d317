import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mgrpo.recipes.files import read_recipe_file
from mgrpo.runs.files import read_run, series

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu" / "run.sh"
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"


def run(*arguments, **environment):
    return subprocess.run(
        [SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": sys.executable, **environment},
    )


def write_pieces(directory, content, digest):
    directory.mkdir()
    half = len(content) // 2
    (directory / f"{MODEL}.aa").write_bytes(content[:half])
    (directory / f"{MODEL}.ab").write_bytes(content[half:])
    (directory / f"{MODEL}.sha256").write_text(f"{digest}  {MODEL}\n")


def test_pieces_that_do_not_fit_are_refused(tmp_path):
    write_pieces(tmp_path / "pieces", b"GGUF and so on", hashlib.sha256(b"something else").hexdigest())
    result = run(tmp_path / "out", "--model_pieces", tmp_path / "pieces")
    assert result.returncode == 2
    assert "do not make up the file" in result.stderr
    assert not (tmp_path / "pieces" / MODEL).exists()


def test_an_output_directory_in_use_is_refused(tmp_path):
    (tmp_path / "results.json").write_text("{}")
    result = run(tmp_path, "--minutes", "1")
    assert result.returncode == 2
    assert "is not empty" in result.stderr


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_figures_on_a_cpu(tmp_path):
    output = tmp_path / "out"
    result = run("--figures", output, "--small", "--model", "embedded", "--minutes", "20", "--stepping", "0.01",
                 CUDA_VISIBLE_DEVICES="")  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    lines = [line.split(" | ") for line in (output / "figures.md").read_text().splitlines()[4:]]
    cells = {name.removeprefix("| "): cell for name, cell, _ in lines}
    names = [*(f"{what}, {kind}" for what in ("step", "peak memory") for kind in ("all weights", "LoRA"))]
    assert {*names, "step, with the filter", "momentum, float32", "momentum, bfloat16"} <= cells.keys()
    for name in ("step, all weights", "step, LoRA", "step, with the filter"):
        assert 0.3 < float(cells[name].split()[0]) < 3
    results = json.loads((output / "figures.json").read_text())["results"]
    for timed in (results["step, all weights"], results["step, LoRA"]):
        assert len(timed["peer"]) == len(timed["m-grpo"]) >= 2
        assert all(0 < step["sample"] < step["step"] for steps in timed.values() for step in steps)


def test_figures_without_time_are_said_to_be_missing(tmp_path):
    result = run("--figures", tmp_path / "out", "--small", "--model", "embedded", "--minutes", "0")
    assert result.returncode == 1
    assert "| step, LoRA | no time left | 0.92 of GRPO's |" in (tmp_path / "out" / "figures.md").read_text()


@pytest.fixture(scope="module")
def compare():
    spec = importlib.util.spec_from_file_location("gpu_compare", SCRIPT.with_name("compare.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("step", "evaluation", "start_up", "num_methods", "steps"),
    [
        (0.3, 1, 20, 7, 100),  # 0.1B: (600 - 24) * 0.85 / 7 - 20 - 11 = 39 s each, and at most 100 steps
        (1.0, 2, 30, 4, 60),  # (600 - 37) * 0.85 / 4 - 30 - 22 = 67 s each: fewer methods rather than few steps
        (3.0, 5, 60, 2, 30),  # 4B
        (60, 60, 60, 2, 2),  # too little time for anything: two methods, two steps
    ],
)
def test_as_many_methods_and_steps_as_fit(compare, step, evaluation, start_up, num_methods, steps):
    rows = [{"step": number, "step_time": step} for number in (1, 2, 3)]
    rows += [{"step": number, "eval_runtime": evaluation} for number in (0, 3)]
    wall_seconds = start_up + 3 * step + 2 * evaluation
    methods, found, _ = compare.plan(rows, wall_seconds, seconds=600, most_steps=100)
    assert (methods, found) == (list(compare.ORDER[:num_methods]), steps)
    assert set(compare.ORDER) == set(read_recipe_file(str(compare.STUDY))["variants"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_study_on_a_cpu(tmp_path):
    small = {
        "model": "embedded",
        "task": "embedded:chains",
        "eval_task": "embedded:chains",
        "eval_dataset_size": 8,
        "max_completion_length": 14,
        "probe_prompts": 0,
    }
    options = [word for name, value in small.items() for word in (f"--{name}", value)]
    output = tmp_path / "out"
    # no time, so the fewest runs and steps; no GPU, so that the test is the same everywhere
    result = run(output, "--minutes", "0", *options, CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 0, result.stderr[-2000:]
    planned = json.loads((output / "plan.json").read_text())
    assert (planned["methods"], planned["steps"]) == (["srt", "lagged-voters"], 2)
    assert (output / "study" / "curves.png").stat().st_size > 10_000
    assert "lagged-voters" in (output / "study" / "summary.md").read_text()
    for method in planned["methods"]:
        rows = read_run(output / "study" / method / "seed-0")
        assert series(rows, "eval_gold/accuracy")[0] == [0, 1, 2]
