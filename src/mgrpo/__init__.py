"""M-GRPO: label-free reinforcement learning for language models, anchored by a momentum model."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mgrpo.training.config import MGRPOConfig
    from mgrpo.training.trainer import MGRPOTrainer

__version__ = "0.2.0"
__all__ = ["MGRPOConfig", "MGRPOTrainer", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the trainer when it is asked for: TRL takes seconds."""
    if name == "MGRPOConfig":
        from mgrpo.training.config import MGRPOConfig

        return MGRPOConfig
    if name == "MGRPOTrainer":
        from mgrpo.training.trainer import MGRPOTrainer

        return MGRPOTrainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
