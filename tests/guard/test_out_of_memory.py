"""Memory that runs out in each phase of a real step: raised where it would be, and for real on a CPU."""

import os
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention

from mgrpo.cli import main
from mgrpo.errors import UserError
from mgrpo.guard.out_of_memory import out_of_memory
from mgrpo.models.load import load_model

CUDA = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 3 has a total capacity of 79.10 GiB of which 1.20 GiB is "
    "free. Process 1 has 77.90 GiB memory in use. Of the allocated memory 70.00 GiB is allocated by PyTorch."
)
SHORT = "2.50 GiB more were asked for; GPU 3 has 79.10 GiB, 1.20 GiB of it free"
ATTENTION = Qwen3Attention.forward
ADAM = torch.optim.Adam.step.__wrapped__.__globals__
"""The module in which AdamW finds the function that moves the weights."""
SAMPLING = "set steps_per_generation to 2 (24 completions at once), or max_completion_length below 14"
LEARNING = (
    "set per_device_train_batch_size to 6 and gradient_accumulation_steps to 8 (the same step in smaller passes), or "
    "gradient_checkpointing to true"
)


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
    "policy": (
        lambda patch: attention_is_short(patch, "generate", but_not="sample_momentum"),
        f"memory ran out while sampling from the policy ({SHORT}; 48 completions of up to 14 tokens at once); "
        + SAMPLING,
    ),
    "momentum": (
        lambda patch: attention_is_short(patch, "sample_momentum"),
        f"memory ran out while sampling from the momentum model ({SHORT}; 48 completions of up to 14 tokens at "
        "once); " + SAMPLING,
    ),
    "reference": (
        lambda patch: attention_is_short(patch, "_anchor_log_probs"),
        f"memory ran out in the reference model's pass ({SHORT}; 12 completions of up to 14 tokens at once); "
        + LEARNING,
    ),
    "forward": (
        lambda patch: attention_is_short(patch, "compute_loss"),
        f"memory ran out in the loss's forward pass ({SHORT}; 12 completions of up to 14 tokens at once); " + LEARNING,
    ),
    "backward": (
        gradient_is_short,
        f"memory ran out in the loss's backward pass ({SHORT}; 12 completions of up to 14 tokens at once); "
        + LEARNING,
    ),
    "optimizer": (
        lambda patch: patch.setitem(ADAM, "adam", raise_out_of_memory),
        f"memory ran out in the optimizer's step ({SHORT}); set use_peft to true, or optim to adafactor",
    ),
    "momentum-weights": (
        lambda patch: patch.setattr("mgrpo.training.sampling.momentum_model.shards.held", raise_out_of_memory),
        f"memory ran out while keeping the momentum weights ({SHORT}); set use_peft to true, or dtype to bfloat16",
    ),
}
FAST = ("momentum", "backward")


@pytest.mark.parametrize(
    "phase", [phase if phase in FAST else pytest.param(phase, marks=pytest.mark.slow) for phase in PHASES]
)
def test_says_which_phase_it_was(phase, make_trainer, monkeypatch):
    make_short, said = PHASES[phase]
    settings = {"per_device_train_batch_size": 12, "gradient_accumulation_steps": 4, "max_steps": 1}
    trainer = make_trainer(**settings, probe_prompts=0)
    make_short(monkeypatch)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        trainer.train()
    assert out_of_memory(caught.value, trainer.args) == said


def test_while_loading(make_config, monkeypatch):
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", raise_out_of_memory)
    with pytest.raises(UserError) as caught:  # which takes it for a model that is broken
        load_model("embedded")
    assert out_of_memory(caught.value, make_config()) == (
        f"memory ran out while loading the model ({SHORT}); set use_peft to true, or dtype to bfloat16"
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"gradient_checkpointing": True},
            "set per_device_train_batch_size to 12 and gradient_accumulation_steps to 2",
        ),
        ({"gradient_checkpointing": True}, ", or max_completion_length below 14"),
        ({"use_vllm": True, "vllm_gpu_memory_utilization": 0.3}, ", or vllm_gpu_memory_utilization below 0.3"),
        (
            {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 24},
            "set num_generations below 6, or gradient_checkpointing to true",
        ),
    ],
)
def test_the_settings_that_help_depend_on_the_others(settings, said, make_config):
    try:
        raise_out_of_memory()
    except torch.OutOfMemoryError as error:
        assert said in out_of_memory(error, make_config(**settings))


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
    assert last == (
        f"mgrpo: stopped: memory ran out in the optimizer's step ({SHORT}); set use_peft to true, or optim to "
        f"adafactor; --resume force goes on from {run / 'checkpoint-1'} with other settings"
    )
    assert (run / "checkpoint-1" / "momentum.safetensors").exists()


LIMITED = """
import resource, sys
from mgrpo.cli import main
from mgrpo.errors import UserError
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
    assert last.startswith("mgrpo: stopped: memory ran out in the loss's forward pass (")
    assert " GiB more were asked for; 3072 completions of up to 14 tokens at once); set per_device" in last
    assert "Traceback" not in done.stderr
