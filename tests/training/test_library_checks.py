"""What transformers would refuse after the model is loaded is refused before, and what it takes is not."""

import pytest

from mgrpo.errors import UserError
from mgrpo.training import library_checks
from mgrpo.training.library_checks import GENERATION_KWARGS, check_libraries


def sampling(**kwargs):
    return {"generation_kwargs": kwargs}


@pytest.mark.parametrize(
    "settings",
    [
        {"optim": "sgd"},
        {"optim": "adafactor"},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
        {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 1}},
        {"lr_scheduler_type": "inverse_sqrt"},
        {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": '{"num_cycles": 2}'},
        {"cache_implementation": "static"},
        {"report_to": ["tensorboard"]},
        sampling(no_repeat_ngram_size=2, suppress_tokens=[3], min_new_tokens=1),
    ],
)
def test_what_works(make_config, settings):
    check_libraries(make_config(**settings))


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"optim": "adamw_8bit"}, ["optim is adamw_8bit", "bitsandbytes", "pip install", "adamw_torch"]),
        ({"optim": "galore_adamw"}, ["optim is galore_adamw", "galore_torch"]),
        ({"optim": "grokadamw"}, ["optim is grokadamw", "pip install grokadamw"]),
        ({"optim": "adamw_torch", "optim_args": "fast"}, ["optim_args 'fast'", "name=value"]),
        ({"optim": "sgd", "optim_args": "momentum=-1"}, ["optim is sgd", "Invalid momentum"]),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, ["cosine_with_min_lr", "takes num_cycles, min_lr, min_lr_rate"]),
        ({"lr_scheduler_type": "warmup_stable_decay"}, ["num_decay_steps", "correct lr_scheduler_kwargs"]),
        ({"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"cycles": 2}}, ["cycles", "takes num_cycles"]),
        ({"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"num_cycles": "a"}}, ["num_cycles", "no schedule"]),
        ({"lr_scheduler_type": "constant", "lr_scheduler_kwargs": {"power": 2}}, ["would ignore", "takes none"]),
        ({"lr_scheduler_type": "polynomial", "learning_rate": 1e-8}, ["polynomial", "lr_end"]),
        ({"use_liger_kernel": True}, ["use_liger_kernel is on", "pip install -U liger-kernel"]),
        ({"push_to_hub": True}, ["push_to_hub is on", "set push_to_hub to false"]),
        ({"report_to": ["wandb"]}, ["report_to is wandb", "pip install wandb"]),
        ({"report_to": ["azure_ml"]}, ["report_to is azure_ml", "pip install azureml"]),
        ({"cache_implementation": "foo"}, ["cache_implementation foo", "static"]),
        (sampling(foo=3), ["sets foo to 3", "transformers does not know", "no_repeat_ngram_size"]),
        (sampling(no_repeat_ngram=3), ["did you mean 'no_repeat_ngram_size'?"]),
        (sampling(max_new_tokens=3), ["set the field max_completion_length instead"]),
        (sampling(top_p=0.5), ["set the field top_p instead"]),
        *(
            (sampling(**{name: value}), [f"sets {name}", "not plain sampling", "remove it"])
            for name, value in {
                "num_beams": 2,
                "stop_strings": ["="],
                "do_sample": False,
                "num_return_sequences": 2,
                "prompt_lookup_num_tokens": 3,
                "guidance_scale": 2,
                "return_dict_in_generate": True,
                "eos_token_id": 3,
                "penalty_alpha": 0.6,
                "max_length": 3,
            }.items()
        ),
    ],
)
def test_what_does_not(make_config, settings, parts):
    with pytest.raises(UserError) as error:
        check_libraries(make_config(**settings))
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_the_hub_needs_a_token(make_config, monkeypatch):
    config = make_config(push_to_hub=True)
    monkeypatch.setattr(library_checks.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(library_checks, "get_token", lambda: None)
    with pytest.raises(UserError, match="no token for the Hub; run `hf auth login`"):
        check_libraries(config)
    config.hub_token = "hf_mine"
    check_libraries(config)


def test_vllm_has_other_names_for_sampling(make_config):
    check_libraries(make_config(use_vllm=True, **sampling(stop=["="])))


def test_what_is_listed_is_transformers_own():
    from transformers import GenerationConfig

    assert not [name for name in GENERATION_KWARGS if not hasattr(GenerationConfig(), name)]
