"""What cannot be sampled through vLLM, told before any model is loaded, and without importing vLLM."""

import warnings

from peft import PeftConfig
from trl.import_utils import is_vllm_available

from mgrpo.errors import UserError
from mgrpo.training.config import MGRPOConfig

ENGINE_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM keeps room for."""
INITS_BESIDE_THE_BASE = (True, False, "gaussian", "eva", "orthogonal")
"""PEFT's `init_lora_weights` that leave the base as it lies on disk, where vLLM reads it."""


def check_vllm(config: MGRPOConfig, adapter: PeftConfig | None) -> None:
    """Refuse what cannot be sampled through vLLM, before any model is loaded.

    Raises:
        UserError: if vLLM is missing or of a version that TRL does not take, cannot be split as asked, or cannot take
            the adapter.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if not is_vllm_available():
            raise UserError(
                "use_vllm is on, but vLLM is not installed: pip install 'mgrpo[vllm]', or set use_vllm to false."
            )
    if caught:  # TRL goes on with any version, and breaks inside of it
        said = str(caught[0].message).split(" We recommend")[0]
        raise UserError(f"use_vllm is on, but {said} pip install 'mgrpo[vllm]', or set use_vllm to false.")
    if config.vllm_mode == "server":
        if config.device.type != "cuda":
            raise UserError(
                f"vllm_mode is server, but training runs on {config.device.type}, and weights go to a server from a "
                "CUDA device alone; set vllm_mode to colocate."
            )
        return
    if config.world_size % config.vllm_tensor_parallel_size:
        raise UserError(
            f"vllm_tensor_parallel_size is {config.vllm_tensor_parallel_size}, which does not divide the "
            f"{config.world_size} process{'es' * (config.world_size > 1)}; set it to a divisor."
        )
    if adapter is None:
        return
    reason = _unfit(adapter)
    if reason is not None:
        raise UserError(f"use_vllm is on, but {reason}; change the adapter, or set use_vllm to false.")
    if config.vllm_enable_sleep_mode:
        raise UserError(
            "vllm_enable_sleep_mode is on, but it lets vLLM forget the base, which an adapter's run never hands over "
            "again; set it to false."
        )


def _unfit(adapter: PeftConfig) -> str | None:
    if adapter.peft_type != "LORA":
        return f"vLLM takes LoRA adapters alone, not {adapter.peft_type.value}"
    if adapter.r > ENGINE_RANKS[-1]:
        return f"the adapter's rank is {adapter.r} (lora_r), and vLLM takes {ENGINE_RANKS[-1]} at most"
    for name in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "trainable_token_indices"):
        if getattr(adapter, name):
            return f"the adapter has {name}, which vLLM does not take"
    if adapter.bias != "none":
        return f"the adapter's bias is {adapter.bias}, and vLLM takes none"
    if adapter.init_lora_weights not in INITS_BESIDE_THE_BASE:
        return f"the adapter's init_lora_weights is {adapter.init_lora_weights}, which changes the base in memory"
    return None
