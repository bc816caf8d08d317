"""Runs that several files of tests read."""

import os
import shutil

import pytest

SMALL = ["--max_steps", "2", "--logging_steps", "1", "--eval_strategy", "no", "--save_steps", "1", "--quiet"]
SMALL += ["--dataset_size", "48", "--probe_prompts", "4"]
LORA = ["--use_peft", "true", "--lora_r", "4", "--lora_target_modules", "q_proj", "v_proj", "--share_prompts", "false"]
LORA += ["--learning_rate", "1e-2", "--model_name_or_path", "base"]


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A run that trained all weights, and one that trained an adapter; its paths were relative."""
    from mgrpo.cli import main
    from mgrpo.embedded.model import CHECKPOINT

    directory, before = tmp_path_factory.mktemp("runs"), os.getcwd()
    shutil.copytree(CHECKPOINT, directory / "base")
    os.chdir(directory)
    try:
        for name, more in (("full", []), ("lora", LORA)):
            assert main(["train", "--config", "embedded", *SMALL, *more, "--output_dir", name]) == 0
    finally:
        os.chdir(before)
    return {name: directory / name for name in ("full", "lora")}
