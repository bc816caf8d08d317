"""`MGRPOConfig`: TRL's GRPOConfig, with the fields of M-GRPO and the paper's setting as defaults."""

from dataclasses import dataclass, field

from trl import GRPOConfig

from mgrpo.algorithm import FILTER_SCOPES, LABEL_SOURCES, MOMENTUM_SCHEDULES, REWARDS
from mgrpo.errors import UserError
from mgrpo.monitoring.collapse import ON_COLLAPSE
from mgrpo.runs.checkpoints import ON_SAVE_ERROR

MASK_EXACT_LOSSES = ("dapo", "bnpo", "cispo", "vespo")
"""TRL's losses that divide by the tokens that are learnt from. The others divide by rows, dropped ones included."""
ENTROPY_SOURCES = ("exact", "sampled", "top_20")
KL_ANCHORS = ("initial", "momentum")
"""Which model the KL term holds the policy to: the one that training began with (the paper), or the momentum model."""


@dataclass
class MGRPOConfig(GRPOConfig):
    """Configuration of `MGRPOTrainer`.

    Defaults are the paper's (arXiv 2512.13070): 8 prompts x (24 + 8) completions a step, temperature 1.1, at most 3072
    completion tokens, AdamW at 1e-6 with a cosine schedule and 10% warm-up, KL 0.005, clip 0.2. TRL's own defaults
    differ in `temperature` (1.0), `beta` (0.0), `use_bias_correction_kl` (true, another gradient than k3's),
    `num_generations` (8), `max_completion_length` (256), `lr_scheduler_type` (linear), `warmup_steps` (0),
    `per_device_train_batch_size` (8) and `gradient_accumulation_steps` (1). All other fields are TRL's, unchanged.

    Raises:
        UserError: for a setting that cannot work, named with its value and the mend.
    """

    num_momentum_generations: int = field(
        default=8,
        metadata={
            "help": "N: completions per prompt from the momentum model. They vote and are not learnt from. "
            "`num_generations` is M, the policy's; a group has M + N. 0: no momentum model."
        },
    )
    momentum: float = field(
        default=0.99,
        metadata={"help": "m in theta_k <- m theta_k + (1 - m) theta_q, after each optimizer step; in [0, 1)."},
    )
    momentum_temperature: float | None = field(
        default=None,
        metadata={
            "help": "Sampling temperature of the momentum model's voters; none: `temperature`, as in the paper."
        },
    )
    momentum_schedule: str = field(
        default="constant",
        metadata={
            "help": "How m changes: 'constant', or 'cosine', from `momentum` at the first step to 1 at the last.",
            "choices": MOMENTUM_SCHEDULES,
        },
    )
    momentum_cpu_offload: bool = field(
        default=False,
        metadata={
            "help": "Keep the momentum weights in the CPU's memory: no GPU memory for them, at the price of two "
            "transfers of all trained weights a generation batch, and one and their average on the CPU a step. Not "
            "for sharded parameters (FSDP, DeepSpeed ZeRO-3)."
        },
    )
    kl_anchor: str = field(
        default="initial",
        metadata={
            "help": "Which model the KL (`beta`) holds the policy to: the 'initial' one, or the 'momentum' model, "
            "which needs no third copy in memory.",
            "choices": KL_ANCHORS,
        },
    )
    iqr_multiplier: float | None = field(
        default=0.75,
        metadata={"help": "k: completions with entropy below Q1 - k (Q3 - Q1) of their group are dropped. none: off."},
    )
    iqr_floor: float = field(
        default=0.0,
        metadata={"help": "Smallest Q3 - Q1, in nats per token, the filter's fence is built from (the paper: 0)."},
    )
    filter_scope: str = field(
        default="both",
        metadata={
            "help": "What completions that the filter drops are left out of: 'both', 'vote' or 'loss'.",
            "choices": FILTER_SCOPES,
        },
    )
    label_source: str = field(
        default="joined",
        metadata={
            "help": "Whose completions vote: 'joined', both models'; 'policy', as in SRT; 'momentum', as in "
            "Co-rewarding-II; 'frozen', the initial model's N, once a prompt. 'gold': the right answers are the "
            "labels, which is no label-free training: an upper line to compare with.",
            "choices": LABEL_SOURCES,
        },
    )
    reward: str = field(
        default="match",
        metadata={
            "help": "'match': 1 for the label's answer. 'soft_frequency': share of the votes for the completion's "
            "answer. 'self_certainty' (Intuitor), 'negative_entropy' (RENT): no vote. 'random': a coin, a control.",
            "choices": REWARDS,
        },
    )
    mask_answer_span: bool = field(
        default=False, metadata={"help": "Learn nothing from the tokens of the answer itself (OM-GRPO)."}
    )
    min_agreement: float = field(
        default=0.0, metadata={"help": "Groups in which a smaller share of the voters agree are not learnt from."}
    )
    max_agreement: float = field(
        default=1.0, metadata={"help": "Groups in which a larger share of the voters agree are not learnt from."}
    )
    label_flip_patience: int | None = field(
        default=None,
        metadata={
            "help": "A prompt whose label flipped from visit to visit more often than this, in a row, is learnt from "
            "less: its advantages are multiplied by patience / flips. Needs several epochs. none: off."
        },
    )
    probe_prompts: int = field(
        default=64,
        metadata={
            "help": "Training prompts that the initial model answers 8 times before the first step. How likely the "
            "policy still is to answer as it mostly did is logged, the earliest sign of a collapse. 0: off."
        },
    )
    completions_total_limit: int | None = field(
        default=None,
        metadata={
            "help": "Tables of completions (`log_completions`) that a run keeps, the newest; none: all. A table has "
            "the texts of one logged step."
        },
    )
    on_collapse: str = field(
        default="warn",
        metadata={
            "help": "When the collapse alarm goes off (docs/monitoring.md): 'warn'; 'stop', with a checkpoint; "
            "'rollback' to the last healthy checkpoint, and on from there.",
            "choices": ON_COLLAPSE,
        },
    )
    max_rollbacks: int = field(default=3, metadata={"help": "Rollbacks in a run; the next alarm stops it."})
    rollback_lr_scale: float = field(
        default=0.5, metadata={"help": "Each rollback multiplies the learning rate by this; 1 leaves it."}
    )
    rollback_momentum: float | None = field(
        default=None, metadata={"help": "m from the first rollback on. none: as before."}
    )
    resume: str = field(
        default="auto",
        metadata={
            "help": "What `mgrpo train` does with a run that output_dir holds. 'auto': it goes on from the last "
            "complete checkpoint if the recipe is the same, else it is refused; 'force': it goes on with another "
            "recipe too, which is recorded. A checkpoint's directory: it starts from that one."
        },
    )
    on_save_error: str = field(
        default="continue",
        metadata={
            "help": "When a checkpoint cannot be written: 'continue', and try again at the next interval; 'stop', "
            "with a checkpoint in rescue_dir.",
            "choices": ON_SAVE_ERROR,
        },
    )
    rescue_dir: str | None = field(
        default=None, metadata={"help": "Where on_save_error: stop saves instead. none: nowhere."}
    )
    entropy_source: str = field(
        default="exact",
        metadata={
            "help": "'exact': from the logits while sampling, over the full vocabulary. 'sampled': mean of -log p of "
            "the sampled tokens, its unbiased but noisy estimate, for engines that return no logits (vLLM). "
            "'top_20': with vLLM's log-probabilities of the 20 likeliest tokens, unbiased too and less noisy.",
            "choices": ENTROPY_SOURCES,
        },
    )
    vllm_server_log: str | None = field(
        default=None,
        metadata={"help": "File that the vLLM server's output goes to; where the server fails its end is shown."},
    )
    share_prompts: bool = field(
        default=False,
        metadata={
            "help": "Let a prompt that stands in many rows go through the model once, in sampling and in "
            "log-probabilities: the same numbers up to rounding, sooner where prompts are not much shorter than "
            "completions. Needs gradient_checkpointing off, and no adapter."
        },
    )

    skip_zero_advantage: bool | None = field(
        default=None,
        metadata={
            "help": "Let rows with advantage 0 skip the forward and backward passes. none: those that the loss is the "
            "same without: all where beta is 0, else those that are not learnt from. true: their KL is left out too. "
            "false: no row is skipped."
        },
    )

    watchdog_minutes: float | None = field(
        default=60.0,
        metadata={
            "help": "A run in which nothing moves for so long (no step, no batch, no pass of the model) writes the "
            "stacks of its threads down and ends. none: it waits for ever."
        },
    )

    # The paper's setting where TRL's default differs.
    num_generations: int | None = field(default=24, metadata={"help": "M: completions per prompt from the policy."})
    temperature: float = field(default=1.1, metadata={"help": "Sampling temperature."})
    max_completion_length: int | None = field(default=3072, metadata={"help": "Most tokens in a completion."})
    beta: float = field(default=0.005, metadata={"help": "Coefficient of the KL to the frozen initial model."})
    use_bias_correction_kl: bool = field(
        default=False, metadata={"help": "Multiply the KL by the probability ratio. The paper's KL is plain k3."}
    )
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Learning-rate schedule."})
    warmup_steps: float = field(default=0.1, metadata={"help": "Warm-up: below 1 a share of the steps, else steps."})
    per_device_train_batch_size: int = field(
        default=24, metadata={"help": "Policy completions per device in one forward and backward pass."}
    )
    gradient_accumulation_steps: int = field(default=8, metadata={"help": "Passes per optimizer step."})

    def __post_init__(self) -> None:
        """Check the settings that M-GRPO adds, before TRL and any model see them."""
        _check_method(self)
        _check_numbers(self)
        _check_rollback(self)
        _check_resumable(self)
        if self.generation_batch_size is None:
            _check_groups_stay_whole(self, self.steps_per_generation or self.gradient_accumulation_steps)
        super().__post_init__()
        _check_groups_stay_whole(self, self.steps_per_generation)


def has_momentum_model(config: MGRPOConfig) -> bool:
    """Whether anything asks for a momentum model: voters, or the KL."""
    return config.num_momentum_generations > 0 or config.kl_anchor == "momentum"


def skips_zero_advantage(config: MGRPOConfig) -> bool:
    """Whether rows with advantage 0 are left out of the loss: as told, else where they are in no other term of it."""
    if config.skip_zero_advantage is not None:
        return config.skip_zero_advantage
    has_entropy_term = config.entropy_coef != 0 or config.use_adaptive_entropy or config.top_entropy_quantile < 1
    # bnpo divides by the tokens of a pass, theirs included; the others by those of the batch, counted before
    return config.beta == 0 and config.loss_type != "bnpo" and not has_entropy_term


def check_loss_type(config: MGRPOConfig) -> None:
    """Refuse a loss that the vote cannot work with.

    Raises:
        UserError: if dropped completions would count in the loss's denominator.
    """
    if config.loss_type not in MASK_EXACT_LOSSES:
        raise UserError(
            f"loss_type is {config.loss_type!r}, which divides by dropped completions too; set it to one of "
            f"{', '.join(MASK_EXACT_LOSSES)}."
        )


def check_enough_prompts(num_prompts: int, config: MGRPOConfig) -> None:
    """Refuse data that makes no batch: TRL would train no step, and say that all went well.

    Raises:
        UserError: if a batch needs more prompts than there are.
    """
    assert config.num_generations is not None
    needed = config.generation_batch_size // config.num_generations
    if num_prompts < needed:
        raise UserError(
            f"there are {num_prompts} prompts to train on, but a batch needs {needed} different ones "
            f"({config.generation_batch_size} completions, {config.num_generations} of each); give more prompts, or "
            "lower per_device_train_batch_size or gradient_accumulation_steps."
        )


def _check_method(config: MGRPOConfig) -> None:
    if config.num_generations is None or config.num_generations < 2:
        raise UserError(
            f"num_generations is {config.num_generations}, but a group needs at least 2 policy completions to have a "
            "baseline; set num_generations to 2 or more."
        )
    if config.num_momentum_generations < 0:
        raise UserError(
            f"num_momentum_generations is {config.num_momentum_generations}; set it to 0 (no momentum model) or more."
        )
    if config.num_momentum_generations > 0 and not 0 <= config.momentum < 1:
        raise UserError(
            f"momentum is {config.momentum}, but must be in [0, 1): 1 would never follow the policy; "
            "set momentum below 1 (the paper: 0.99), num_momentum_generations to 0, or label_source to frozen."
        )
    if config.iqr_multiplier is not None and config.iqr_multiplier < 0:
        raise UserError(f"iqr_multiplier is {config.iqr_multiplier}; set it to 0 or more, or to none for no filter.")
    if config.completions_total_limit is not None and config.completions_total_limit < 1:
        raise UserError(
            f"completions_total_limit is {config.completions_total_limit}; set it to 1 or more, to none for no limit, "
            "or log_completions to false for no tables."
        )
    if config.iqr_floor < 0:
        raise UserError(f"iqr_floor is {config.iqr_floor} nats; set it to 0 or more.")
    _check_choices(config)
    _check_voters(config)
    if config.entropy_source == "top_20" and not config.use_vllm:
        raise UserError("entropy_source is 'top_20', but sampling is not through vLLM; set it to 'exact'.")
    if config.use_vllm and config.iqr_multiplier is not None and config.entropy_source == "exact":
        raise UserError(
            "entropy_source is 'exact', but vLLM returns no full logits; set entropy_source to 'top_20', or "
            "iqr_multiplier to none."
        )
    if config.share_prompts and config.gradient_checkpointing:
        raise UserError(
            "share_prompts and gradient_checkpointing are both on, but prompts that are forgotten and computed anew "
            "cannot be shared; set one of them to false."
        )
    if config.share_prompts and config.cache_implementation is not None:
        raise UserError(
            f"cache_implementation is {config.cache_implementation}, but prompts are shared in the usual cache alone; "
            "set it to null, or share_prompts to false."
        )
    if config.use_transformers_continuous_batching:
        raise UserError(
            "use_transformers_continuous_batching is on, but the momentum model's weights cannot be sampled that way "
            "(it casts the policy's own weights to bfloat16 for good); set it to false."
        )


def _check_choices(config: MGRPOConfig) -> None:
    for name, known in (
        ("filter_scope", FILTER_SCOPES),
        ("label_source", LABEL_SOURCES),
        ("reward", REWARDS),
        ("momentum_schedule", MOMENTUM_SCHEDULES),
        ("kl_anchor", KL_ANCHORS),
        ("on_collapse", ON_COLLAPSE),
        ("on_save_error", ON_SAVE_ERROR),
        ("entropy_source", ENTROPY_SOURCES),
    ):
        if getattr(config, name) not in known:
            raise UserError(f"{name} is {getattr(config, name)!r}; set it to one of {', '.join(known)}.")
    if not 0 <= config.min_agreement <= config.max_agreement <= 1:
        raise UserError(
            f"min_agreement is {config.min_agreement} and max_agreement {config.max_agreement}; set them so that "
            "0 <= min_agreement <= max_agreement <= 1."
        )
    if config.momentum_temperature is not None:
        if config.momentum_temperature <= 0:
            raise UserError(
                f"momentum_temperature is {config.momentum_temperature}; set it above 0 (0.05 is nearly greedy), or "
                "to none for the policy's."
            )
        if config.iqr_multiplier is not None:
            raise UserError(
                f"momentum_temperature is {config.momentum_temperature}, so the entropies of the two models cannot be "
                "compared by the filter; set iqr_multiplier to none, or momentum_temperature to none."
            )
    if config.label_flip_patience is not None and config.label_flip_patience < 1:
        raise UserError(
            f"label_flip_patience is {config.label_flip_patience}; set it to 1 or more, or to none for no such rule."
        )
    if config.reward == "self_certainty" and (config.use_vllm or config.entropy_source != "exact"):
        raise UserError(
            "reward is self_certainty, which needs the full logits; set use_vllm to false and entropy_source to "
            "'exact'."
        )
    if config.kl_anchor == "momentum" and config.beta == 0:
        raise UserError(
            "kl_anchor is momentum, but beta is 0, so there is no KL; set beta above 0, or kl_anchor to initial."
        )


def _check_voters(config: MGRPOConfig) -> None:
    source, num_momentum = config.label_source, config.num_momentum_generations
    if source in ("policy", "gold") and num_momentum > 0:
        raise UserError(
            f"label_source is {source}, so the {num_momentum} completions of the momentum model would be sampled for "
            "nothing; set num_momentum_generations to 0."
        )
    if source in ("momentum", "frozen") and num_momentum == 0:
        raise UserError(
            f"label_source is {source}, but num_momentum_generations is 0, so nobody would vote; set it to 1 or more."
        )


def _check_rollback(config: MGRPOConfig) -> None:
    if not 0 < config.rollback_lr_scale <= 1:
        raise UserError(f"rollback_lr_scale is {config.rollback_lr_scale}; set it above 0 and to 1 at most.")
    if config.rollback_momentum is not None and not 0 <= config.rollback_momentum < 1:
        raise UserError(
            f"rollback_momentum is {config.rollback_momentum}; set it to 0 or more and below 1, or to none."
        )
    if config.on_collapse != "rollback":
        return
    if config.save_strategy == "no":
        raise UserError(
            "on_collapse is rollback, but save_strategy is no, so there is nothing to go back to; set save_strategy "
            "to steps, or on_collapse to stop."
        )
    if config.save_total_limit is not None and config.save_total_limit < 3:
        raise UserError(
            f"on_collapse is rollback, but save_total_limit is {config.save_total_limit}, so the last healthy "
            "checkpoint would be gone when the alarm comes; set save_total_limit to 3 or more, or to none."
        )
    if config.use_vllm:
        raise UserError(
            "on_collapse is rollback, but use_vllm is on, whose engine cannot be started a second time in a process; "
            "set on_collapse to stop, and go on from the checkpoint that it names."
        )


def _check_resumable(config: MGRPOConfig) -> None:
    """Refuse what a run could not go on from with the same bits."""
    if config.save_only_model:
        raise UserError("save_only_model is on, so no run could go on from its checkpoints; set it to false.")
    if config.ignore_data_skip:
        raise UserError("ignore_data_skip is on, so a resumed run would see prompts again; set it to false.")
    if config.sync_ref_model:
        raise UserError(
            "sync_ref_model is on, but the reference model that it changes is in no checkpoint; set it to false, and "
            "kl_anchor to momentum for a reference that follows the policy."
        )
    if config.rescue_dir is not None and config.on_save_error != "stop":
        raise UserError(
            f"rescue_dir is {config.rescue_dir}, but on_save_error is {config.on_save_error}, so nothing would be "
            "saved there; set on_save_error to stop, or rescue_dir to none."
        )


def _check_numbers(config: MGRPOConfig) -> None:
    """TRL's own numbers that it would take, and stumble over once the model is loaded."""
    for name, smallest in (
        ("per_device_train_batch_size", 1),
        ("per_device_eval_batch_size", 1),
        ("gradient_accumulation_steps", 1),
        ("max_completion_length", 1),
        ("num_generations_eval", 1),
        ("steps_per_generation", 1),
        ("num_iterations", 1),
        ("probe_prompts", 0),
        ("max_rollbacks", 0),
        ("learning_rate", 0),
        ("beta", 0),
        ("seed", 0),
    ):
        value = getattr(config, name)
        if value is not None and value < smallest:
            raise UserError(f"{name} is {value}; set it to {smallest} or more.")
    if config.max_steps < 1 and config.max_steps != -1:
        # transformers reads 0 and -5 as -1, and trains for 3 epochs
        raise UserError(f"max_steps is {config.max_steps}; set it to 1 or more, or to -1 for num_train_epochs.")
    if config.watchdog_minutes is not None and config.watchdog_minutes <= 0:
        raise UserError(f"watchdog_minutes is {config.watchdog_minutes}; set it above 0, or to none for no watchdog.")
    if not 0 < config.top_p <= 1:
        raise UserError(f"top_p is {config.top_p}; set it above 0 and to 1 at most.")
    if config.temperature <= 0:
        raise UserError(
            f"temperature is {config.temperature}, but a group that is sampled greedily is one completion many times; "
            "set temperature above 0."
        )


def _check_groups_stay_whole(config: MGRPOConfig, steps_per_generation: int) -> None:
    """A group is voted on where it was sampled, so each process must hold whole groups."""
    assert config.num_generations is not None
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
