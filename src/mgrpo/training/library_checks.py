"""What transformers, torch and the Hub would refuse once a model is loaded, tried before that on next to nothing."""

import inspect
from importlib.util import find_spec

import torch
from huggingface_hub import constants, get_token
from transformers import GenerationConfig, Trainer, get_scheduler
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION
from transformers.utils import is_liger_kernel_available

from mgrpo.errors import UserError, did_you_mean
from mgrpo.options import plain
from mgrpo.training.config import MGRPOConfig

REPORTERS = {"azure_ml": "azureml", "flyte": "flytekit"}
"""The package that a value of `report_to` needs, where it has another name."""
OWN_FIELDS = {"max_new_tokens": "max_completion_length"} | {
    name: name for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "cache_implementation")
}
"""What `generate` takes -> the field that sets it."""
GENERATION_KWARGS = (
    *("bad_words_ids", "begin_suppress_tokens", "epsilon_cutoff", "eta_cutoff", "exponential_decay_length_penalty"),
    *("max_time", "min_length", "min_new_tokens", "no_repeat_ngram_size", "prefill_chunk_size"),
    *("remove_invalid_values", "renormalize_logits", "sequence_bias", "suppress_tokens", "top_h", "typical_p"),
)
"""What `generate` takes and leaves plain sampling, one completion a row, whose logits are those of its tokens."""
UNKNOWN_STEPS = 1000
"""Steps of a run whose number follows from data that are not loaded yet."""


def check_libraries(config: MGRPOConfig) -> None:
    """Refuse an optimizer, a schedule, a way of sampling or a package that does not work here.

    Raises:
        UserError: for the first.
    """
    for name in config.report_to or []:
        package = REPORTERS.get(name, name)
        if find_spec(package) is None:
            raise UserError(f"report_to is {name}, which is not installed: pip install {package}, or set it to none.")
    if config.use_liger_kernel and not is_liger_kernel_available():
        raise UserError(
            "use_liger_kernel is on, but the package is missing or too old: pip install -U liger-kernel, or set it to "
            "false."
        )
    if config.push_to_hub and constants.HF_HUB_OFFLINE:
        raise UserError("push_to_hub is on, but HF_HUB_OFFLINE is set; unset it, or set push_to_hub to false.")
    if config.push_to_hub and not (config.hub_token or get_token()):
        raise UserError(
            "push_to_hub is on, but there is no token for the Hub; run `hf auth login`, set HF_TOKEN, or set "
            "push_to_hub to false."
        )
    _check_optimizer(config)
    _check_schedule(config)
    if not config.use_vllm:  # its names are others
        _check_generation(config)


def _check_optimizer(config: MGRPOConfig) -> None:
    try:
        make, settings = Trainer.get_optimizer_cls_and_kwargs(config)
        make([torch.nn.Parameter(torch.zeros(1))], **settings)
    except Exception as error:  # the packages of optimizers raise what they like
        if "pass a model" in str(error):  # those that choose layers; their package is there
            return
        of = f" with optim_args {config.optim_args!r}" if config.optim_args else ""
        raise UserError(
            f"optim is {plain(config.optim)}{of}, which cannot be used here ({' '.join(str(error).split())}); install "
            "what it needs, correct optim_args (name=value,name=value), or set optim to adamw_torch."
        ) from error


def _check_schedule(config: MGRPOConfig) -> None:
    name, given = plain(config.lr_scheduler_type), config.lr_scheduler_kwargs or {}
    parameters = inspect.signature(TYPE_TO_SCHEDULER_FUNCTION[name]).parameters
    common = ("optimizer", "num_warmup_steps", "num_training_steps", "last_epoch", "kwargs")
    takes = ", ".join(parameter for parameter in parameters if parameter not in common) or "none"
    num_steps = config.max_steps if config.max_steps > 0 else UNKNOWN_STEPS
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.learning_rate)
    try:
        if given and takes == "none" and "kwargs" not in parameters:
            raise ValueError("it would ignore them")
        warmup_steps = config.get_warmup_steps(num_steps)
        schedule = get_scheduler(name, optimizer, warmup_steps, num_steps, given)
        for factor in getattr(schedule, "lr_lambdas", ()):
            factor(num_steps)
    except Exception as error:  # the functions compute with whatever they are given
        raise UserError(
            f"lr_scheduler_type is {name} and lr_scheduler_kwargs {given or 'none'}, of which no schedule can be made "
            f"({' '.join(str(error).split())}); correct lr_scheduler_kwargs ({name} takes {takes}), or set "
            "lr_scheduler_type to another."
        ) from error


def _check_generation(config: MGRPOConfig) -> None:
    given = config.generation_kwargs or {}
    for name, value in given.items():
        if name in OWN_FIELDS:
            raise UserError(f"generation_kwargs sets {name} to {value!r}; set the field {OWN_FIELDS[name]} instead.")
        if name not in GENERATION_KWARGS:
            is_known = hasattr(GenerationConfig(), name) and not name.startswith("_")
            why = "with which sampling is not plain sampling" if is_known else "which transformers does not know"
            nearest = "" if is_known else did_you_mean(name, [*GENERATION_KWARGS, *OWN_FIELDS])
            raise UserError(
                f"generation_kwargs sets {name} to {value!r}, {why}{nearest}; remove it. Possible are "
                f"{', '.join(GENERATION_KWARGS)}."
            )
    try:
        GenerationConfig(cache_implementation=config.cache_implementation, do_sample=True, **given).validate()
    except (ValueError, TypeError) as error:
        raise UserError(
            f"completions cannot be sampled with generation_kwargs {given or 'none'} and cache_implementation "
            f"{config.cache_implementation} ({' '.join(str(error).split())}); correct them."
        ) from error
