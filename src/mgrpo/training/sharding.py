"""What cannot be done where a launch shards the model, told before any model is loaded."""

import os

from mgrpo.errors import UserError
from mgrpo.training.config import MGRPOConfig


def uses_fsdp(config: MGRPOConfig) -> bool:
    """Whether FSDP trains, by `accelerate launch` or by the recipe."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true" or bool(config.fsdp_plugin_args)


def shards_weights(config: MGRPOConfig) -> bool:
    """Whether each process holds a part of the weights alone: FSDP, DeepSpeed ZeRO-3."""
    plugin = config.deepspeed_plugin
    return uses_fsdp(config) or (plugin is not None and plugin.zero_stage == 3)


def check_sharding_suits(config: MGRPOConfig, *, is_adapter: bool) -> None:
    """Refuse settings that need what sharding takes apart.

    Args:
        config: the run's.
        is_adapter: whether an adapter is trained.

    Raises:
        UserError: for the first of them.
    """
    if config.share_prompts and (uses_fsdp(config) or config.deepspeed_plugin is not None):
        raise UserError("share_prompts is on, but FSDP or DeepSpeed may shard the parameters; set it to false.")
    if not shards_weights(config):
        return
    if config.momentum_cpu_offload:
        raise UserError(
            "momentum_cpu_offload is on, but FSDP or DeepSpeed ZeRO-3 shards the momentum model over the processes; "
            "set it to false."
        )
    if is_adapter and config.use_vllm and config.vllm_mode == "colocate":
        raise UserError(
            "use_vllm is on with an adapter whose weights FSDP or DeepSpeed ZeRO-3 shards, and which so cannot be "
            "handed over whole; launch by DDP or ZeRO-2, or set use_vllm to false."
        )
