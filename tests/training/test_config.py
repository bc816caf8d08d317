import pytest

from mgrpo import MGRPOConfig
from mgrpo.errors import UserError


def config(**settings):
    return MGRPOConfig(output_dir="unused", report_to="none", use_cpu=True, bf16=False, **settings)


def test_defaults_are_the_paper_s():
    made = config()
    # 8 prompts x (24 + 8): 24 policy completions a pass, 8 passes
    assert (made.num_generations, made.num_momentum_generations) == (24, 8)
    assert made.generation_batch_size == 24 * 8
    assert (made.momentum, made.iqr_multiplier, made.iqr_floor, made.entropy_source) == (0.99, 0.75, 0.0, "exact")
    assert (made.temperature, made.max_completion_length) == (1.1, 3072)
    assert (made.learning_rate, made.lr_scheduler_type, made.warmup_steps) == (1e-6, "cosine", 0.1)
    assert (made.beta, made.epsilon, made.loss_type) == (0.005, 0.2, "dapo")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_generations": 1}, "num_generations is 1; it must be .*2 or more"),
        ({"num_generations": None}, "num_generations is None"),
        ({"num_momentum_generations": -1}, "num_momentum_generations is -1; it must be .*0 or more"),
        ({"momentum": 1.0}, r"momentum is 1\.0.*set momentum below 1"),
        ({"momentum": 1.5}, r"momentum is 1\.5; it must be .*from 0 to 1"),
        ({"momentum": -0.1}, r"momentum is -0\.1"),
        ({"momentum": float("nan")}, "momentum is nan"),
        ({"iqr_multiplier": -0.5}, r"iqr_multiplier is -0\.5; it must be .*0 or more, or none"),
        ({"iqr_floor": -0.5}, r"iqr_floor is -0\.5; it must be .*0 or more"),
        ({"completions_total_limit": 0}, "completions_total_limit is 0; it must be .*1 or more, or none"),
        ({"filter_scope": "all"}, "filter_scope is 'all'; it must be one of both, vote, loss"),
        (
            {"label_source": "oracle"},
            "label_source is 'oracle'; it must be one of joined, policy, momentum, frozen, gold",
        ),
        (
            {"label_source": "gold"},
            "label_source is gold, so the 8 completions of the momentum model would be sampled",
        ),
        ({"label_source": "frozen", "num_momentum_generations": 0}, "label_source is frozen.*nobody would vote"),
        ({"reward": "length"}, "reward is 'length'; it must be one of match, soft_frequency"),
        ({"reward": "self_certainty", "entropy_source": "sampled"}, "reward is self_certainty, which needs the full"),
        ({"momentum_temperature": 0.0, "iqr_multiplier": None}, r"momentum_temperature is 0\.0; it must be .*above 0"),
        (
            {"momentum_temperature": 0.5},
            r"momentum_temperature is 0\.5.* set iqr_multiplier to none",
        ),
        ({"momentum_schedule": "linear"}, "momentum_schedule is 'linear'; it must be one of constant, cosine"),
        ({"kl_anchor": "policy"}, "kl_anchor is 'policy'; it must be one of initial, momentum"),
        ({"kl_anchor": "momentum", "beta": 0.0}, "kl_anchor is momentum, but beta is 0"),
        ({"min_agreement": 0.6, "max_agreement": 0.5}, r"min_agreement is 0\.6 and max_agreement 0\.5; set them so"),
        ({"max_agreement": 1.5}, r"max_agreement is 1\.5"),
        ({"min_agreement": -0.5}, r"min_agreement is -0\.5"),
        ({"label_flip_patience": 0}, "label_flip_patience is 0; it must be .*1 or more, or none"),
        ({"label_source": "policy"}, "the 8 completions of the momentum model would be sampled for nothing"),
        (
            {"label_source": "momentum", "num_momentum_generations": 0},
            "num_momentum_generations is 0, so nobody would vote",
        ),
        ({"entropy_source": "logits"}, "entropy_source is 'logits'; it must be one of exact, sampled, top_20"),
        (
            {"entropy_source": "top_20"},
            "entropy_source is 'top_20', but use_vllm is off.*'exact'",
        ),
        (
            {"use_vllm": True},
            "entropy_source is 'exact', but vLLM returns no full logits; set entropy_source to 'top_20'",
        ),
        ({"use_transformers_continuous_batching": True}, "use_transformers_continuous_batching is on.*to false"),
        ({"share_prompts": "often"}, "share_prompts is .often.; it must be one of auto, true, false"),
        (
            {"share_prompts": True, "gradient_checkpointing": False, "cache_implementation": "static"},
            "cache_implementation is static.*set it to null, or share_prompts to false",
        ),
        ({"temperature": 0.0}, r"temperature is 0\.0; it must be .*above 0"),
        ({"max_steps": 0}, "max_steps is 0; set it to 1 or more, or to -1 for num_train_epochs"),
        ({"max_steps": -5}, "max_steps is -5"),
        ({"top_p": 0.0}, r"top_p is 0\.0; it must be .*above 0 and at most 1"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size is 0; it must be .*1 or more"),
        ({"max_completion_length": 0}, "max_completion_length is 0; it must be .*1 or more"),
        ({"learning_rate": -1e-6}, "learning_rate is -1e-06; it must be .*0 or more"),
        # 24 x 8 = 192 = 19 groups of 10 and 2 left over
        ({"num_generations": 10}, "24 x 8 = 192 completions a process, which splits a group of num_generations = 10"),
        (
            {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
            r"4 x 2 = 8 .*make it a multiple of 24",
        ),
        (
            {"eval_strategy": "steps", "per_device_eval_batch_size": 8, "num_generations_eval": 3},
            r"per_device_eval_batch_size is 8, which splits a group of 3 \(num_generations_eval\)",
        ),
        ({"eval_strategy": "steps"}, "per_device_eval_batch_size is 8, which splits a group of 24"),
    ],
)
def test_settings_that_cannot_work(settings, message):
    with pytest.raises(UserError, match=message):
        config(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_momentum_generations": 0, "momentum": 1.0},  # no momentum model, so no momentum
        {"momentum": 0.0},
        {"iqr_multiplier": None, "use_vllm": True},
        {"entropy_source": "sampled", "use_vllm": True},
        {"share_prompts": True, "gradient_checkpointing": False},
        {"iqr_multiplier": 0.0},
        {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 8},  # 24: one group over eight passes
        {"per_device_eval_batch_size": 7},  # nothing is evaluated
    ],
)
def test_settings_that_work(settings):
    config(**settings)
