"""Memory that ran out, as one clear message: what was being done, what the allocator said, and what helps."""

import re
from collections.abc import Iterator

import torch

from mgrpo.errors import WHILE_EVALUATING, WHILE_SAMPLING
from mgrpo.training.config import MGRPOConfig

_MESSAGES = re.compile(
    r"out of memory|DefaultCPUAllocator: (can't allocate memory|not enough memory)|CUBLAS_STATUS_ALLOC_FAILED"
    r"|No available memory for the cache blocks|less than desired GPU memory utilization"
)
MOST_QUOTED = 200
"""Characters of an allocator's message; CUDA's begins with the sizes and ends with general advice."""


def out_of_memory(error: BaseException, config: MGRPOConfig, *, is_loading: bool = False) -> str | None:
    """What a run reports that ends with an error, or None: memory was not what ran out.

    Args:
        error: as it was raised; its notes say whether completions were being sampled or an evaluation was running.
        config: the run's.
        is_loading: whether training has not begun.
    """
    chain = list(_chain(error))
    short = next((link for link in chain if _is_out_of_memory(link)), None)
    if short is None:
        return None
    notes = {note for link in chain for note in getattr(link, "__notes__", ())}
    if is_loading:
        doing, settings = "while loading the model", ["use_peft to true", "dtype to bfloat16"]
    elif WHILE_EVALUATING in notes:
        size = f"per_device_eval_batch_size below {config.per_device_eval_batch_size}"
        doing, settings = WHILE_EVALUATING, [size, _shorter(config)]
    elif WHILE_SAMPLING in notes:
        doing, settings = WHILE_SAMPLING, _for_sampling(config)
    else:
        doing, settings = "while training on a batch", _for_learning(config)
    message = " ".join(str(short).split())[:MOST_QUOTED]
    return f"memory ran out {doing}{f' ({message})' if message else ''}; set {', or '.join(settings)}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError | ValueError) and _MESSAGES.search(str(error)) is not None


def _shorter(config: MGRPOConfig) -> str:
    return f"max_completion_length below {config.max_completion_length}"


def _smaller_engine(config: MGRPOConfig) -> list[str]:
    """With vLLM in the same process: its share of the GPU is what the rest lacks, or what it lacks itself."""
    if not (config.use_vllm and config.vllm_mode == "colocate"):
        return []
    return [f"vllm_gpu_memory_utilization below {config.vllm_gpu_memory_utilization:g}"]


def _for_sampling(config: MGRPOConfig) -> list[str]:
    fewer = f"num_generations below {config.num_generations}"
    if config.steps_per_generation > 1:
        fewer = f"steps_per_generation below {config.steps_per_generation}"  # fewer prompts sampled at once
    return [fewer, _shorter(config), *_smaller_engine(config)]


def _for_learning(config: MGRPOConfig) -> list[str]:
    size = config.per_device_train_batch_size
    smaller = f"per_device_train_batch_size below {size} with more gradient_accumulation_steps"
    first = smaller if size > 1 else f"num_generations below {config.num_generations}"
    second = _shorter(config) if config.gradient_checkpointing else "gradient_checkpointing to true"
    return [first, second, *(_smaller_engine(config) or ["optim to adafactor"])]
