"""`mgrpo plan`: how much GPU memory a recipe needs, from the model's config.json, before anything is loaded."""

from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedConfig
from trl import ModelConfig

from mgrpo.commands.gpu_memory import GIB, PHASES, Plan, Setting, Sharding, plan
from mgrpo.commands.model_shape import read_shape
from mgrpo.errors import UserError
from mgrpo.models.load import load_config
from mgrpo.recipes.fields import DataArguments
from mgrpo.recipes.recipe import load_fields, part_of, revision_of
from mgrpo.training.config import MGRPOConfig, has_momentum_model

ASSUMED_PROMPT_LENGTH = 512
"""In tokens, where the recipe sets no max_prompt_length."""
WITHOUT_A_GPU = {"use_cpu": True, "bf16": False, "fp16": False, "report_to": "none", "deepspeed": None, "fsdp": None}
"""Values with which a configuration asks for no hardware and no package that the planning machine may lack."""


def plan_recipe(
    given: dict[str, Any], source: str, overrides: dict[str, Any], gpus: int, gpu_memory: float, sharding: Sharding
) -> Plan:
    """Plan a recipe, which need not be a whole one; its fields are given as for `load_fields`.

    It is to run with one process on each of the GPUs, of which each has `gpu_memory` GiB.

    Raises:
        UserError: for a field or a model that does not exist, or settings that cannot work.
    """
    if gpus < 1:
        raise UserError(f"gpus is {gpus}; set it to 1 or more.")
    if not gpu_memory > 0:
        raise UserError(f"gpu_memory is {gpu_memory:g} GiB; set it above 0.")
    fields = load_fields(given, source, overrides)
    if not fields["model_name_or_path"]:
        raise UserError("there is no model to plan for; pass --model MODEL, or a recipe that sets model_name_or_path")
    # Checked as `mgrpo train` does, before the Hub is asked.
    data = part_of(DataArguments, fields, source)
    config = part_of(MGRPOConfig, fields | WITHOUT_A_GPU | {"output_dir": fields["output_dir"] or "unused"}, source)
    model = part_of(ModelConfig, fields, source)
    if config.momentum_cpu_offload and gpus > 1 and sharding in ("fsdp2", "zero-3"):
        raise UserError(
            f"momentum_cpu_offload is on, but {sharding} shards the momentum model over the GPUs; set it to false."
        )
    if config.use_vllm and config.vllm_mode == "colocate" and gpus % config.vllm_tensor_parallel_size:
        raise UserError(
            f"vllm_tensor_parallel_size is {config.vllm_tensor_parallel_size}, which does not divide {gpus} GPUs; set "
            "it to a divisor."
        )
    model_config = load_config(
        fields["model_name_or_path"],
        revision=revision_of(fields),
        trust_remote_code=fields["trust_remote_code"],
    )
    shape = read_shape(model_config, model)
    launch: dict[str, Any] = {"gpus": gpus, "gpu_memory": gpu_memory * GIB, "sharding": sharding}
    return plan(shape, _setting(fields, config, model_config, data.max_prompt_length, launch))


def _setting(
    fields: dict[str, Any],
    config: MGRPOConfig,
    model_config: PreTrainedConfig,
    max_prompt_length: int | None,
    launch: dict[str, Any],
) -> Setting:
    assert config.num_generations is not None and config.max_completion_length is not None
    stored = model_config.dtype or torch.float32
    dtype = stored if fields["dtype"] == "auto" else getattr(torch, fields["dtype"] or "float32")
    per_process = config.per_device_train_batch_size * config.steps_per_generation
    return Setting(
        **launch,
        dtype_bytes=dtype.itemsize,
        # TRL takes bfloat16 where neither is set
        mixed_precision=bool(fields["fp16"] or fields["bf16"] or fields["bf16"] is None),
        use_peft=fields["use_peft"],
        has_momentum=has_momentum_model(config),
        momentum_cpu_offload=config.momentum_cpu_offload,
        has_reference=config.beta > 0 and config.kl_anchor == "initial",
        optim=str(getattr(config.optim, "value", config.optim)),
        gradient_checkpointing=config.gradient_checkpointing,
        per_device_train_batch_size=config.per_device_train_batch_size,
        num_sampled=per_process,
        num_voting=per_process // config.num_generations * config.num_momentum_generations,
        max_prompt_length=max_prompt_length or ASSUMED_PROMPT_LENGTH,
        max_completion_length=config.max_completion_length,
        sampler=f"vllm {config.vllm_mode}" if config.use_vllm else "transformers",  # type: ignore[arg-type]
        vllm_gpu_memory_utilization=config.vllm_gpu_memory_utilization,
        vllm_tensor_parallel_size=config.vllm_tensor_parallel_size,
        vllm_enable_sleep_mode=config.vllm_enable_sleep_mode,
    )


def render(planned: Plan) -> RenderableType:
    """A plan as a table, and whether it fits."""
    shape, setting = planned.shape, planned.setting
    table = Table(
        title=f"{_count(shape.parameters)} parameters on {setting.gpus} x {setting.gpu_memory / GIB:g} GiB, "
        f"{setting.sharding}: GiB on each GPU",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    phases = [i for i, phase in enumerate(PHASES) if setting.has_momentum or not phase.startswith("momentum")]
    table.add_column("what (~ estimated)", no_wrap=True)
    table.add_column("split over", justify="right")
    for i in phases:
        table.add_column(PHASES[i], justify="right")
    for item in planned.items:
        name = item.name if item.is_exact else f"~ {item.name}"
        table.add_row(name, str(item.shards) if item.shards > 1 else "", *(_gib(item.needs[i]) for i in phases))
    table.add_section()
    table.add_row("all", "", *(_gib(planned.totals[i]) for i in phases))
    return Group(table, Text(), *(Text(line) for line in _conclusions(planned)))


def _conclusions(planned: Plan) -> list[str]:
    setting, lines = planned.setting, []
    if setting.sampler == "transformers":
        sampled = f"{setting.num_sampled}"
        if setting.samples_together:
            sampled = f"{setting.num_sampled + setting.num_voting}"
        elif setting.has_momentum:
            sampled += f", then {setting.num_voting}"
        lines.append(f"transformers samples {sampled} sequences of {setting.max_length} tokens at once.")
    elif setting.sampler == "vllm server":
        needed = 2 * planned.shape.parameters / GIB
        lines.append(f"vLLM's own GPUs need {needed:.1f} GiB for the weights, and more for keys and values.")
    elif planned.vllm_tokens > 0:
        at_once = planned.vllm_tokens / setting.max_length
        lines.append(
            f"vLLM holds {at_once:.0f} sequences of {setting.max_length} tokens at once, and queues the rest."
        )
    if planned.cpu_bytes:
        lines.append(
            f"The CPU's memory holds the momentum model: {_gib(planned.cpu_bytes)} GiB a process, one for each GPU."
        )
    phase = planned.totals.index(planned.peak)
    largest = "; ".join(f"{item.name} {_gib(item.needs[phase])}" for item in planned.largest[:3])
    lines.append(f"Largest ({PHASES[phase]}): {largest} GiB.")
    if planned.problem is not None:
        return [*lines, f"It does not fit: {planned.problem}."]
    free = (setting.gpu_memory - planned.peak) / GIB
    return [*lines, f"It fits: {free:.1f} GiB of {setting.gpu_memory / GIB:g} are free where most is needed."]


def _gib(needed: float) -> str:
    if not needed:
        return ""
    return f"{needed / GIB:.2f}" if needed >= 0.005 * GIB else "<0.01"


def _count(parameters: int) -> str:
    for size, unit in ((1e9, " billion"), (1e6, " million")):
        if parameters >= size:
            return f"{parameters / size:.2f}{unit}"
    return f"{parameters:,}"
