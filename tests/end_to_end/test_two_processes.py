"""Training on two processes, as `accelerate launch` starts them: gloo, CPU."""

import socket
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from mgrpo.monitoring.run_log import read_rows


def launch(output_dir, *overrides):
    with socket.socket() as probe:  # a free port
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        # `--cpu` starts one process; `--multi_gpu` starts them, and the recipe's `use_cpu` keeps them on the CPU
        *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
        *(
            "--num_machines",
            "1",
            "--mixed_precision",
            "no",
            "--dynamo_backend",
            "no",
            "--main_process_port",
            str(port),
        ),
        *("-m", "mgrpo", "train", "--config", "embedded", "--output_dir", str(output_dir)),
        *("--num_generations", "6", "--num_momentum_generations", "2", "--iqr_multiplier", "0.75"),
        *("--per_device_train_batch_size", "12", "--eval_strategy", "no", "--eval_on_start", "false"),
        *("--logging_steps", "1", *overrides),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


def models(directory):
    return [load_file(Path(directory) / name / "model.safetensors") for name in ("final", "final/momentum")]


@pytest.mark.timeout(280)
def test_vote_and_log_over_both(tmp_path):
    launch(tmp_path / "run", "--max_steps", "2", "--save_strategy", "no")
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2]
    # 2 processes x 2 groups x (6 + 2): metrics and completions are of all of them
    table = pq.read_table(tmp_path / "run" / "completions" / "step-000001.parquet").to_pylist()
    assert len(table) == 2 * 2 * 8
    assert len({row["prompt"] for row in table}) == 4
    agreement = sum(row["reward"] for row in table) / len(table)
    assert rows[0]["vote/agreement"] == pytest.approx(agreement)
    policy, momentum = models(tmp_path / "run")
    assert policy.keys() == momentum.keys()
    assert any(not torch.equal(policy[name], momentum[name]) for name in policy)


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize(
    "overrides",
    [("--beta", "0"), ("--use_peft", "true", "--lora_r", "4", "--lora_dropout", "0")],
    ids=["full-no-kl", "lora-kl"],
)
def test_processes_skip_different_rows_together(tmp_path, overrides):
    # plain descent, and more filtering: test_packing.py says why
    settings = ("--max_steps", "3", "--save_strategy", "no", "--optim", "sgd", "--learning_rate", "0.1")
    settings += ("--share_prompts", "false", "--iqr_multiplier", "0.0", "--gradient_accumulation_steps", "2")
    settings += ("--per_device_train_batch_size", "6", *overrides)
    launch(tmp_path / "all", *settings, "--skip_zero_advantage", "false")
    launch(tmp_path / "packed", *settings)
    rows = read_rows(tmp_path / "packed" / "metrics.jsonl")
    assert max(row["learn/rows_skipped"] for row in rows) > 0
    (file,) = {path.name for path in (tmp_path / "all" / "final").glob("*model.safetensors")}
    expected, packed = (load_file(tmp_path / run / "final" / file) for run in ("all", "packed"))
    for name, weight in expected.items():
        torch.testing.assert_close(packed[name], weight, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_resumes_to_the_same_bits(tmp_path):
    settings = ("--max_steps", "4", "--save_steps", "2")
    launch(tmp_path / "whole", *settings)
    launch(tmp_path / "again", *settings, "--resume_from_checkpoint", str(tmp_path / "whole" / "checkpoint-2"))
    for whole, again in zip(models(tmp_path / "whole"), models(tmp_path / "again"), strict=True):
        assert whole.keys() == again.keys()
        assert all(torch.equal(whole[name], again[name]) for name in whole)
