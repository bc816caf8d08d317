"""Memory that runs out in each phase of a real step: raised where it would be, and for real on a CPU."""

import os
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention

from mgrpo.cli import main
from mgrpo.errors import WHILE_SAMPLING, UserError
from mgrpo.guard.out_of_memory import out_of_memory
from mgrpo.models.load import load_model

CUDA = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 3 has a total capacity of 79.10 GiB of which 1.20 GiB is "
    "free. Process 1 has 77.90 GiB memory in use. Of the allocated memory 70.00 GiB is allocated by PyTorch."
)
ATTENTION = Qwen3Attention.forward
ADAM = torch.optim.Adam.step.__wrapped__.__globals__
"""The module in which AdamW finds the function that moves the weights."""
SAMPLING = ("while sampling completions", "steps_per_generation below 4", "max_completion_length below 14")
LEARNING = ("while training", "per_device_train_batch_size below 12", "gradient_checkpointing", "optim to adafactor")
EVALUATING = ("while evaluating", "per_device_eval_batch_size below 8", "max_completion_length below 14")


def raise_out_of_memory(*_, **__):
    raise torch.OutOfMemoryError(CUDA)


def is_called_by(name):
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != name:
        frame = frame.f_back
    return frame is not None


def attention_is_short(monkeypatch, caller, but_not=""):
    def forward(*args, **kwargs):
        if is_called_by(caller) and not is_called_by(but_not):
            raise_out_of_memory()
        return ATTENTION(*args, **kwargs)

    monkeypatch.setattr(Qwen3Attention, "forward", forward)


def gradient_is_short(monkeypatch):
    def forward(*args, **kwargs):
        output, *rest = ATTENTION(*args, **kwargs)
        if output.requires_grad:
            output.register_hook(raise_out_of_memory)
        return output, *rest

    monkeypatch.setattr(Qwen3Attention, "forward", forward)


PHASES = {
    "policy": (lambda patch: attention_is_short(patch, "generate", but_not="in_place_of_policy"), SAMPLING),
    "evaluating": (lambda patch: attention_is_short(patch, "evaluate"), EVALUATING),
    "reference": (lambda patch: attention_is_short(patch, "_anchor_log_probs"), LEARNING),
    "forward": (lambda patch: attention_is_short(patch, "compute_loss"), LEARNING),
    "backward": (gradient_is_short, LEARNING),
    "optimizer": (lambda patch: patch.setitem(ADAM, "adam", raise_out_of_memory), LEARNING),
    "momentum-weights": (
        lambda patch: patch.setattr("mgrpo.training.sampling.momentum_model.shards.held", raise_out_of_memory),
        LEARNING,
    ),
}
FAST = ("policy", "backward")


@pytest.mark.parametrize(
    "phase", [phase if phase in FAST else pytest.param(phase, marks=pytest.mark.slow) for phase in PHASES]
)
def test_names_the_phase_and_what_helps_there(phase, make_trainer, chain_data, monkeypatch):
    make_short, words = PHASES[phase]
    settings = {"per_device_train_batch_size": 12, "gradient_accumulation_steps": 4, "max_steps": 1}
    settings |= {"eval_strategy": "steps", "per_device_eval_batch_size": 8, "num_generations_eval": 4}
    trainer = make_trainer({"eval_dataset": chain_data(4, split="test")}, **settings, probe_prompts=0)
    make_short(monkeypatch)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        trainer.train()
    message = out_of_memory(caught.value, trainer.args)
    for part in (*words, "Tried to allocate 2.50 GiB", "1.20 GiB is free"):
        assert part in message


def test_while_loading(make_config, monkeypatch):
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", raise_out_of_memory)
    with pytest.raises(UserError) as caught:  # which takes it for a model that is broken
        load_model("embedded")
    message = out_of_memory(caught.value, make_config(), is_loading=True)
    for part in ("while loading", "use_peft to true", "dtype to bfloat16"):
        assert part in message


@pytest.mark.parametrize(
    ("note", "settings", "part"),
    [
        (None, {"gradient_checkpointing": True}, "per_device_train_batch_size below 24"),
        (None, {"gradient_checkpointing": True}, ", or max_completion_length below 14"),
        (None, {"gradient_accumulation_steps": 24, "per_device_train_batch_size": 1}, "num_generations below 6"),
        (None, {"use_vllm": True, "vllm_gpu_memory_utilization": 0.3}, "vllm_gpu_memory_utilization below 0.3"),
        (WHILE_SAMPLING, {"use_vllm": True}, "vllm_gpu_memory_utilization below 0.3"),
        (WHILE_SAMPLING, {}, "num_generations below 6"),
    ],
)
def test_the_settings_that_help_depend_on_the_others(note, settings, part, make_config):
    error = torch.OutOfMemoryError(CUDA)
    if note is not None:
        error.add_note(note)
    assert part in out_of_memory(error, make_config(**settings))


@pytest.mark.parametrize(
    ("error", "is_short"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: ..."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (ValueError("No available memory for the cache blocks. Try increasing `gpu_memory_utilization`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("too many values to unpack"), False),
    ],
)
def test_what_is_memory_and_what_is_not(error, is_short, make_config):
    assert (out_of_memory(error, make_config()) is not None) == is_short
    wrapped = RuntimeError("the engine failed")
    wrapped.__cause__ = error
    assert (out_of_memory(wrapped, make_config()) is not None) == is_short


SMALL = ["--dataset_size", "48", "--num_generations", "6", "--num_momentum_generations", "2", "--probe_prompts", "0"]
SMALL += ["--per_device_train_batch_size", "12", "--eval_strategy", "no", "--save_steps", "1", "--logging_steps", "1"]


def test_the_command_says_it_and_keeps_the_checkpoint(tmp_path, monkeypatch, capsys):
    calls = [0]  # one for each of the two groups of weights

    def adam(*args, **kwargs):
        calls[0] += 1
        return raise_out_of_memory() if calls[0] == 3 else real(*args, **kwargs)

    real = ADAM["adam"]
    monkeypatch.setitem(ADAM, "adam", adam)
    run = tmp_path / "run"
    assert main(["train", "--config", "embedded", *SMALL, "--output_dir", str(run)]) == 5
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("mgrpo: stopped: memory ran out while training")
    assert "--resume force" in last and str(run / "checkpoint-1") in last
    assert (run / "checkpoint-1" / "momentum.safetensors").exists()


LIMITED = """
import resource, sys
from mgrpo.cli import main
from mgrpo.errors import WHILE_SAMPLING, UserError
from mgrpo.training.trainer import MGRPOTrainer

loss = MGRPOTrainer.compute_loss

def compute_loss(self, *args, **kwargs):  # from the first loss on there is no more memory than there is now
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 20), resource.RLIM_INFINITY))
    return loss(self, *args, **kwargs)

MGRPOTrainer.compute_loss = compute_loss
sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is Linux's")
def test_for_real_on_a_cpu(tmp_path):
    """A pass over 3,072 rows needs more than 8 MiB; sampling them had what it wanted."""
    command = [sys.executable, "-c", LIMITED, "train", "--config", "embedded", *SMALL, "--output_dir", "run"]
    command += ["--per_device_train_batch_size", "3072", "--dataset_size", "512", "--max_steps", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, env={**os.environ})
    assert done.returncode == 5, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("mgrpo: stopped: memory ran out while training")
    assert "alloc" in last and "per_device_train_batch_size below 3072" in last
    assert "Traceback" not in done.stderr
