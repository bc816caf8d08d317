"""Memory that ran out, in a sentence: what was being done, how much it was, and what helps there.

What was being done is read off the functions in the traceback.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

import torch

from mgrpo.training.config import MGRPOConfig

_MESSAGES = re.compile(
    r"out of memory|DefaultCPUAllocator: (can't allocate memory|not enough memory)|CUBLAS_STATUS_ALLOC_FAILED"
    r"|No available memory for the cache blocks|less than desired GPU memory utilization"
)
_TRIED = re.compile(r"[Tt]ried to allocate ([\d.]+) (\w+)")
_GPU = re.compile(r"GPU (\d+) has a total capacity of ([\d.]+ \w+) of which ([\d.]+ \w+) is free")


@dataclass(frozen=True)
class Phase:
    """A part of a run.

    Attributes:
        name: what is being done.
        kind: which settings help: sampling, learning, weights, evaluating.
        functions: of whose calls it consists, as (end of the file's path, name); the path may be empty.
    """

    name: str
    kind: str
    functions: tuple[tuple[str, str], ...]


PHASES = (
    Phase("loading the model", "weights", (("", "load_model"), ("commands/build_trainer.py", "build_trainer"))),
    Phase("evaluating", "evaluating", (("", "evaluate"),)),
    Phase("sampling the probe", "sampling", (("", "sample_probe"),)),
    Phase("sampling from the momentum model", "sampling", (("", "sample_momentum"),)),
    Phase("sampling from the policy", "sampling", (("", "_generate_single_turn"),)),
    Phase(
        "the reference model's pass", "learning", (("", "_anchor_log_probs"), ("", "_generate_and_score_completions"))
    ),
    Phase("the loss's backward pass", "learning", (("", "backward"),)),
    Phase("the loss's forward pass", "learning", (("", "compute_loss"),)),
    Phase("the optimizer's step", "weights", (("optimizer.py", "step"),)),
    Phase("keeping the momentum weights", "weights", (("", "start_momentum_model"), ("momentum_model.py", "update"))),
    Phase("saving", "weights", (("", "_save_checkpoint"), ("", "save_model"))),
)
"""The first that occurs anywhere in a traceback is it, so what happens within another phase stands before that."""


def out_of_memory(error: BaseException, config: MGRPOConfig) -> str | None:
    """What a run ends with, or None: the error is another one.

    Args:
        error: as it was raised, with its traceback.
        config: the run's.
    """
    short = next((link for link in _chain(error) if _is_out_of_memory(link)), None)
    if short is None:
        return None
    phase = next((phase for phase in PHASES if _occurs(phase, error.__traceback__)), None)
    where = "" if phase is None else f" in {phase.name}" if phase.name.startswith("the ") else f" while {phase.name}"
    sizes = "; ".join([*_sizes(str(short)), *_rows(phase, config)])
    return f"memory ran out{where}{f' ({sizes})' if sizes else ''}; {_mend(phase, config)}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError | ValueError) and _MESSAGES.search(str(error)) is not None


def _occurs(phase: Phase, traceback: TracebackType | None) -> bool:
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if any(code.co_name == name and code.co_filename.endswith(path) for path, name in phase.functions):
            return True
        traceback = traceback.tb_next
    return False


def _sizes(message: str) -> list[str]:
    sizes = []
    if tried := _TRIED.search(message):
        number, unit = tried.groups()
        size = f"{int(number) / 2**30:.2f} GiB" if unit == "bytes" else f"{number} {unit}"
        sizes.append(f"{size} more were asked for")
    if gpu := _GPU.search(message):
        sizes.append("GPU {} has {}, {} of it free".format(*gpu.groups()))
    return sizes


def _rows(phase: Phase | None, config: MGRPOConfig) -> list[str]:
    if phase is None or phase.kind == "weights":
        return []
    rows = {
        "sampling": config.per_device_train_batch_size * config.steps_per_generation,
        "learning": config.per_device_train_batch_size,
        "evaluating": config.per_device_eval_batch_size,
    }[phase.kind]
    return [f"{rows} completions of up to {config.max_completion_length} tokens at once"]


def _mend(phase: Phase | None, config: MGRPOConfig) -> str:
    """The two settings that help most."""
    kind = "learning" if phase is None else phase.kind
    shorter = f"max_completion_length below {config.max_completion_length}"
    if kind == "weights":
        first = "use_peft to true" if phase is not None and phase.kind == "weights" else shorter
        second = "optim to adafactor" if phase is not None and "optimizer" in phase.name else "dtype to bfloat16"
    elif kind == "evaluating":
        first, second = f"per_device_eval_batch_size below {config.per_device_eval_batch_size}", shorter
    elif kind == "sampling":
        first, second = _fewer_at_once(config), shorter
    else:
        first, second = _smaller_passes(config), shorter
        if not config.gradient_checkpointing:
            second = "gradient_checkpointing to true"
    if config.use_vllm and config.vllm_mode == "colocate":
        used = f"vllm_gpu_memory_utilization below {config.vllm_gpu_memory_utilization:g}"
        # with vLLM beside it, the engine's share is what the rest lacks; what it samples in is that share itself
        first, second = (second, used) if kind == "sampling" else (first, used)
    return f"set {first}, or {second}"


def _smaller_passes(config: MGRPOConfig) -> str:
    """The same optimizer step in more passes."""
    size, passes = config.per_device_train_batch_size, config.gradient_accumulation_steps
    factor = next((factor for factor in range(2, size + 1) if size % factor == 0), None)
    if factor is None:
        return f"num_generations below {config.num_generations}"
    return (
        f"per_device_train_batch_size to {size // factor} and gradient_accumulation_steps to {passes * factor} (the "
        "same step in smaller passes)"
    )


def _fewer_at_once(config: MGRPOConfig) -> str:
    """Fewer prompts sampled at once: the same optimizer step from more batches, where a group still fits into one."""
    size, steps = config.per_device_train_batch_size, config.steps_per_generation
    assert config.num_generations is not None
    for fewer in range(steps // 2, 0, -1):
        if steps % fewer == 0 and size * fewer % config.num_generations == 0:
            return f"steps_per_generation to {fewer} ({size * fewer} completions at once)"
    if size > config.num_generations:
        return _smaller_passes(config) + f" with steps_per_generation {steps}"
    return f"num_generations below {config.num_generations}"
