"""What an `MGRPOTrainer` refuses that its configuration alone cannot know."""

from typing import TYPE_CHECKING, Any

from peft import PeftModel

from mgrpo.errors import UserError
from mgrpo.training.config import MGRPOConfig
from mgrpo.training.sampling.shared_prompts import can_share_prompts
from mgrpo.training.sharding import check_sharding_suits
from mgrpo.training.vllm_check import check_vllm

if TYPE_CHECKING:
    from mgrpo.training.trainer import MGRPOTrainer


def check_without_vote(config: Any) -> None:
    """Refuse what needs a vote, where there is none."""
    num_momentum = getattr(config, "num_momentum_generations", 0)
    if num_momentum:
        raise UserError(
            f"num_momentum_generations is {num_momentum}, but without answer_fn there is no vote to take part in; "
            "pass answer_fn, or set num_momentum_generations to 0."
        )
    if getattr(config, "kl_anchor", "initial") == "momentum":
        raise UserError(
            "kl_anchor is momentum, but without answer_fn there is no momentum model; pass answer_fn, or set "
            "kl_anchor to initial."
        )


def check_votable(config: MGRPOConfig, given: dict[str, Any]) -> None:
    """Refuse what the vote cannot work with, before TRL loads a model."""
    if not isinstance(config, MGRPOConfig):
        raise UserError(
            f"args is a {type(config).__name__}, but answer_fn needs the fields of an MGRPOConfig; pass one."
        )
    model = given["model"]
    adapter = model.active_peft_config if isinstance(model, PeftModel) else given.get("peft_config")
    check_sharding_suits(config, is_adapter=adapter is not None)
    if config.use_vllm:
        check_vllm(config, adapter)
    for name in ("tools", "rollout_func", "environment_factory"):
        if given.get(name):
            raise UserError(f"{name} is given, but the vote samples single completions; leave it out.")


def check_prompts_can_be_shared(trainer: "MGRPOTrainer") -> None:
    """Refuse `share_prompts` where it cannot work; the model is loaded."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    reason = None
    if hasattr(model, "peft_config"):
        reason = "the policy is an adapter"
    elif trainer._is_vlm or not can_share_prompts(model):
        reason = f"{model.config.model_type} models keep more of a prompt than its keys and values"
    if reason is not None:
        raise UserError(f"share_prompts is on, but {reason}; set share_prompts to false.")
