"""Settings of `MGRPOConfig`, which calls these functions, that cannot work, alone or together."""

from typing import Any

from mgrpo.errors import UserError

REFUSED = {
    "use_transformers_continuous_batching": "it casts the policy's weights to bfloat16 for good, and the momentum "
    "model cannot be sampled with it",
    "save_only_model": "no run could resume from its checkpoints",
    "ignore_data_skip": "a resumed run would see prompts again",
    "sync_ref_model": "no checkpoint has the reference model that it changes (kl_anchor: momentum follows the policy)",
}
"""TRL's and transformers' fields that must stay off, and why."""


def check_settings(config: Any) -> None:
    """Refuse what M-GRPO cannot train with.

    Raises:
        UserError: for the first such setting.
    """
    for name, reason in REFUSED.items():
        if getattr(config, name):
            raise UserError(f"{name} is on, but {reason}; set it to false.")
    _check_voters(config)
    _check_sampling(config)
    _check_recovery(config)


def _check_voters(config: Any) -> None:
    source, num_momentum = config.label_source, config.num_momentum_generations
    if num_momentum > 0 and config.momentum == 1:
        raise UserError(
            f"momentum is {config.momentum}, so the momentum model would never follow the policy; set momentum below "
            "1 (the paper: 0.99), num_momentum_generations to 0, or label_source to frozen."
        )
    if source in ("policy", "gold") and num_momentum > 0:
        raise UserError(
            f"label_source is {source}, so the {num_momentum} completions of the momentum model would be sampled for "
            "nothing; set num_momentum_generations to 0."
        )
    if source in ("momentum", "frozen") and num_momentum == 0:
        raise UserError(
            f"label_source is {source}, but num_momentum_generations is 0, so nobody would vote; set it to 1 or more."
        )
    if config.min_agreement > config.max_agreement:
        raise UserError(
            f"min_agreement is {config.min_agreement} and max_agreement {config.max_agreement}; set them so that "
            "min_agreement <= max_agreement."
        )
    if config.momentum_temperature is not None and config.iqr_multiplier is not None:
        raise UserError(
            f"momentum_temperature is {config.momentum_temperature}, so the filter cannot compare the two models' "
            "entropies; set iqr_multiplier to none, or momentum_temperature to none."
        )
    if config.kl_anchor == "momentum" and config.beta == 0:
        raise UserError(
            "kl_anchor is momentum, but beta is 0, so there is no KL; set beta above 0, or kl_anchor to initial."
        )


def _check_sampling(config: Any) -> None:
    if config.max_steps < 1 and config.max_steps != -1:
        # transformers reads 0 and -5 as -1, and trains for 3 epochs
        raise UserError(f"max_steps is {config.max_steps}; set it to 1 or more, or to -1 for num_train_epochs.")
    if config.entropy_source == "top_20" and not config.use_vllm:
        raise UserError("entropy_source is 'top_20', but use_vllm is off; set entropy_source to 'exact'.")
    if config.use_vllm and config.iqr_multiplier is not None and config.entropy_source == "exact":
        raise UserError(
            "entropy_source is 'exact', but vLLM returns no full logits; set entropy_source to 'top_20', or "
            "iqr_multiplier to none."
        )
    if config.reward == "self_certainty" and (config.use_vllm or config.entropy_source != "exact"):
        raise UserError(
            "reward is self_certainty, which needs the full logits; set use_vllm to false and entropy_source to "
            "'exact'."
        )
    if config.share_prompts == "true" and config.cache_implementation is not None:
        raise UserError(
            f"cache_implementation is {config.cache_implementation}, but share_prompts needs the default cache; set "
            "it to null, or share_prompts to false."
        )


def _check_recovery(config: Any) -> None:
    if config.rescue_dir is not None and config.on_save_error != "stop":
        raise UserError(
            f"rescue_dir is {config.rescue_dir}, but on_save_error is {config.on_save_error}, so nothing would be "
            "saved there; set on_save_error to stop, or rescue_dir to none."
        )
    if config.on_collapse != "rollback":
        return
    if config.save_strategy == "no" or (config.save_strategy == "steps" and config.save_steps >= config.max_steps > 0):
        raise UserError(
            f"on_collapse is rollback, but save_strategy is {config.save_strategy}, save_steps {config.save_steps:g}: "
            "there is no checkpoint to go back to; save every few steps, or set on_collapse to stop."
        )
    if config.save_total_limit is not None and config.save_total_limit < 3:
        raise UserError(
            f"on_collapse is rollback, but save_total_limit is {config.save_total_limit}, so the last healthy "
            "checkpoint would be deleted before the alarm; set save_total_limit to 3 or more, or to none."
        )
    if config.use_vllm:
        raise UserError(
            "on_collapse is rollback, but use_vllm is on, whose engine cannot be started a second time in a process; "
            "set on_collapse to stop, and resume from the checkpoint that it names."
        )


def check_groups_stay_whole(config: Any, steps_per_generation: int) -> None:
    """Refuse batches that split a group over processes: it is voted on where it was sampled.

    Raises:
        UserError: if they do.
    """
    per_process = config.per_device_train_batch_size * steps_per_generation
    if per_process % config.num_generations:
        raise UserError(
            f"per_device_train_batch_size x steps_per_generation = {config.per_device_train_batch_size} x "
            f"{steps_per_generation} = {per_process} completions a process, which splits a group of num_generations = "
            f"{config.num_generations} across processes; make it a multiple of {config.num_generations} "
            f"(e.g. per_device_train_batch_size: {config.num_generations})."
        )
    if config.eval_strategy != "no":
        per_group = config.num_generations_eval or config.num_generations
        if config.per_device_eval_batch_size % per_group:
            raise UserError(
                f"per_device_eval_batch_size is {config.per_device_eval_batch_size}, which splits a group of "
                f"{per_group} (num_generations_eval) across processes; make it a multiple of {per_group}."
            )
