"""`MGRPOConfig`: TRL's GRPOConfig, with the fields of M-GRPO and the paper's setting as defaults."""

from dataclasses import dataclass

from transformers import SchedulerType
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from trl import GRPOConfig

from mgrpo.algorithm import FILTER_SCOPES, LABEL_SOURCES, MOMENTUM_SCHEDULES, REWARDS
from mgrpo.errors import UserError
from mgrpo.monitoring.collapse import ON_COLLAPSE
from mgrpo.options import Range, check_choices, inherited, option
from mgrpo.runs.checkpoints import ON_SAVE_ERROR
from mgrpo.training.config_checks import check_groups_stay_whole, check_settings

ENTROPY_SOURCES = ("exact", "sampled", "top_20")
AGGREGATIONS = ("sum_then_normalize", "normalize_then_sum")
CPU_PRECISIONS = ("float32", "bfloat16", "auto")
SHARE = Range(min=0, max=1)
KL_ANCHORS = ("initial", "momentum")
"""The model that the KL term keeps the policy close to: the one before training (the paper), or the momentum model."""


@dataclass
class MGRPOConfig(GRPOConfig):
    """Configuration of `MGRPOTrainer`.

    Defaults are the paper's (arXiv 2512.13070): 8 prompts x (24 + 8) completions a step, temperature 1.1, at most 3072
    completion tokens, AdamW at 1e-6 with a cosine schedule and 10% warm-up, KL 0.005, clip 0.2. TRL's own defaults
    differ in `temperature` (1.0), `beta` (0.0), `use_bias_correction_kl` (true, another gradient than k3's),
    `num_generations` (8), `max_completion_length` (512), `lr_scheduler_type` (linear), `warmup_steps` (0),
    `per_device_train_batch_size` (8) and `gradient_accumulation_steps` (1). All other fields are TRL's, unchanged.

    Raises:
        UserError: for a setting that cannot work, with its value and how to fix it.
    """

    num_momentum_generations: int = option(
        8,
        "N: completions per prompt from the momentum model. They vote and are not trained on. `num_generations` is M, "
        "the policy's; a group has M + N. 0: no momentum model.",
        Range(min=0),
    )
    momentum: float = option(0.99, "m in theta_k <- m theta_k + (1 - m) theta_q, after each optimizer step.", SHARE)
    momentum_temperature: float | None = option(
        None,
        "Sampling temperature of the momentum model, without the filter; none: `temperature`, as in the paper.",
        Range(above=0),
    )
    momentum_schedule: str = option(
        "constant",
        "How m changes: 'constant', or 'cosine', from `momentum` at the first step to 1 at the last.",
        MOMENTUM_SCHEDULES,
    )
    momentum_cpu_offload: bool = option(
        False,
        "Keep the momentum weights in CPU memory. They take no GPU memory, but all trained weights are transferred "
        "twice per generation batch and once per step, and averaged on the CPU. Not with sharded parameters (FSDP, "
        "DeepSpeed ZeRO-3).",
    )
    kl_anchor: str = option(
        "initial",
        "The model that the KL (`beta`) keeps the policy close to: the 'initial' one, or the 'momentum' model, which "
        "needs no third copy in memory.",
        KL_ANCHORS,
    )
    iqr_multiplier: float | None = option(
        0.75,
        "k: completions with an entropy below Q1 - k (Q3 - Q1) of their group are dropped. none: no filter.",
        Range(min=0),
    )
    iqr_floor: float = option(0.0, "Smallest Q3 - Q1 that the filter uses, in nats per token.", Range(min=0))
    filter_scope: str = option(
        "both", "Where dropped completions do not count: 'both', in the 'vote' or in the 'loss'.", FILTER_SCOPES
    )
    label_source: str = option(
        "joined",
        "Whose completions vote: 'joined', both models'; 'policy', as in SRT; 'momentum', as in Co-rewarding-II; "
        "'frozen', the initial model's N, once per prompt. 'gold': the labels are the right answers (ground truth), "
        "which is not label-free; an upper bound to compare with.",
        LABEL_SOURCES,
    )
    reward: str = option(
        "match",
        "'match': 1 for the label's answer. 'soft_frequency': the share of the votes for the completion's answer. "
        "'self_certainty' (Intuitor), 'negative_entropy' (RENT): no vote. 'random': random 0 or 1, a control.",
        REWARDS,
    )
    mask_answer_span: bool = option(False, "Do not train on the tokens of the answer itself (OM-GRPO).")
    min_agreement: float = option(0.0, "Groups with a smaller share of agreeing voters are not trained on.", SHARE)
    max_agreement: float = option(1.0, "Groups with a larger share of agreeing voters are not trained on.", SHARE)
    label_flip_patience: int | None = option(
        None,
        "Down-weights a prompt whose pseudo-label changed on more than this many consecutive visits: its advantages "
        "are multiplied by patience / flips. Needs several epochs. none: off.",
        Range(min=1),
    )
    probe_prompts: int | None = option(
        None,
        "Training prompts that the initial model answers 8 times before the first step; none: 64, or what two steps "
        "sample if less. 0: off. Forgetting these answers is the earliest sign of a collapse (studies/monitoring.md).",
        Range(min=0),
    )
    completions_total_limit: int | None = option(
        None,
        "How many tables of completions (`log_completions`) a run keeps, the newest; none: all. A table has the texts "
        "of one logged step.",
        Range(min=1),
    )
    on_collapse: str = option(
        "warn",
        "What the collapse alarm (docs/how-to/watch-a-run.md) does: 'warn'; 'stop', with a checkpoint; 'rollback' to "
        "the last healthy checkpoint and continue from there.",
        ON_COLLAPSE,
    )
    max_rollbacks: int = option(3, "Rollbacks in a run; the next alarm stops it.", Range(min=0))
    rollback_lr_scale: float = option(
        0.5, "Each rollback multiplies the learning rate by this.", Range(above=0, max=1)
    )
    rollback_momentum: float | None = option(None, "m after a rollback; none: unchanged.", Range(min=0, below=1))
    resume: str = option(
        "auto",
        "What `mgrpo train` does with a run that is already in output_dir. 'auto': resume from its last complete "
        "checkpoint if the recipe is the same, else refuse. 'force': resume with another recipe too, and record the "
        "differences. A checkpoint's directory: start from that one.",
    )
    on_save_error: str = option(
        "continue",
        "When saving fails: 'continue' and try again at the next interval, or 'stop' and save in rescue_dir.",
        ON_SAVE_ERROR,
    )
    rescue_dir: str | None = option(None, "Where on_save_error: stop saves instead. none: nowhere.")
    entropy_source: str = option(
        "exact",
        "'exact': from the logits while sampling, over the full vocabulary. 'sampled': mean of -log p of the sampled "
        "tokens, an unbiased but noisy estimate, for engines that return no logits (vLLM). 'top_20': with vLLM's "
        "log-probabilities of the 20 likeliest tokens, unbiased too and less noisy.",
        ENTROPY_SOURCES,
    )
    vllm_server_log: str | None = option(None, "The vLLM server's log file; its end is shown if the server fails.")
    share_prompts: str = option(
        "auto",
        "Compute a prompt that is in many rows only once, in sampling and in log-probabilities. The numbers are the "
        "same up to rounding. 'auto': where it is possible and less work: prompts not much shorter than completions, "
        "and in log-probabilities completions of at most 128 tokens. true: longer ones too, unless "
        "gradient_checkpointing is on. false: never.",
        ("auto", "true", "false"),
    )
    skip_zero_advantage: bool | None = option(
        None,
        "Leave rows with advantage 0 out of the forward and backward passes. none: only where the loss stays the "
        "same, which is all of them where beta is 0, else the rows that are not trained on. true: always, without "
        "their KL. false: never.",
    )
    cpu_precision: str = option(
        "float32",
        "How a CPU multiplies: in 'float32'; in 'bfloat16', which rounds the factors of products alone (weights and "
        "activations stay float32); 'auto': in bfloat16 where this CPU has AMX or AVX512_BF16.",
        CPU_PRECISIONS,
    )
    watchdog_minutes: float | None = option(
        60.0,
        "A run without progress (no step, no batch, no pass of the model) for so long writes the stacks of its "
        "threads to a file and ends. none: it waits forever.",
        Range(above=0),
    )

    # The paper's setting where TRL's default differs.
    num_generations: int = option(24, "M: completions per prompt from the policy.", Range(min=2))
    temperature: float = option(1.1, "Sampling temperature; at 0 a group would be one completion.", Range(above=0))
    max_completion_length: int | None = option(3072, "Most tokens in a completion.", Range(min=1))
    beta: float = option(0.005, "Coefficient of the KL to the frozen initial model.", Range(min=0))
    use_bias_correction_kl: bool = option(False, "Multiply the KL by the probability ratio; the paper does not.")
    lr_scheduler_type: str = option("cosine", "Learning-rate schedule.", [word.value for word in SchedulerType])
    warmup_steps: float = option(0.1, "Warm-up: below 1 a share of the steps, else a number of steps.", Range(min=0))
    per_device_train_batch_size: int = option(
        24, "Policy completions per device in one forward and backward pass.", Range(min=1)
    )
    gradient_accumulation_steps: int = option(8, "Passes per optimizer step.", Range(min=1))

    # The libraries' defaults, with the limits that they check once the model is loaded, or never. TRL's other losses
    # divide by rows, dropped ones included; these by the tokens that are trained on.
    loss_type: str = inherited(GRPOConfig, "loss_type", ("dapo", "bnpo", "cispo", "vespo"))
    learning_rate: float = inherited(GRPOConfig, "learning_rate", Range(min=0))
    top_p: float = inherited(GRPOConfig, "top_p", Range(above=0, max=1))
    top_k: int = inherited(GRPOConfig, "top_k", Range(min=0))
    min_p: float | None = inherited(GRPOConfig, "min_p", SHARE)
    repetition_penalty: float = inherited(GRPOConfig, "repetition_penalty", Range(above=0))
    seed: int = inherited(GRPOConfig, "seed", Range(min=0))
    per_device_eval_batch_size: int = inherited(GRPOConfig, "per_device_eval_batch_size", Range(min=1))
    num_generations_eval: int | None = inherited(GRPOConfig, "num_generations_eval", Range(min=1))
    steps_per_generation: int = inherited(GRPOConfig, "steps_per_generation", Range(min=1))
    num_iterations: int = inherited(GRPOConfig, "num_iterations", Range(min=1))
    scale_rewards: str = inherited(GRPOConfig, "scale_rewards", ("group", "batch", "none"))
    importance_sampling_level: str = inherited(GRPOConfig, "importance_sampling_level", ("token", "sequence"))
    multi_objective_aggregation: str = inherited(GRPOConfig, "multi_objective_aggregation", AGGREGATIONS)
    vllm_mode: str = inherited(GRPOConfig, "vllm_mode", ("colocate", "server"))
    report_to: None | str | list[str] = inherited(GRPOConfig, "report_to", ("none", "all", *INTEGRATION_TO_CALLBACK))
    fsdp: bool | None = inherited(GRPOConfig, "fsdp")
    weight_decay: float = inherited(GRPOConfig, "weight_decay", Range(min=0))
    adam_beta1: float = inherited(GRPOConfig, "adam_beta1", Range(min=0, below=1))
    adam_beta2: float = inherited(GRPOConfig, "adam_beta2", Range(min=0, below=1))
    adam_epsilon: float = inherited(GRPOConfig, "adam_epsilon", Range(above=0))
    max_grad_norm: float = inherited(GRPOConfig, "max_grad_norm", Range(min=0))
    epsilon: float = inherited(GRPOConfig, "epsilon", Range(min=0))
    epsilon_high: float | None = inherited(GRPOConfig, "epsilon_high", Range(min=0))
    delta: float | None = inherited(GRPOConfig, "delta", Range(above=0))
    top_entropy_quantile: float = inherited(GRPOConfig, "top_entropy_quantile", SHARE)
    neftune_noise_alpha: float | None = inherited(GRPOConfig, "neftune_noise_alpha", Range(min=0))
    dataloader_num_workers: int = inherited(GRPOConfig, "dataloader_num_workers", Range(min=0))
    eval_accumulation_steps: int | None = inherited(GRPOConfig, "eval_accumulation_steps", Range(min=1))
    num_train_epochs: float = inherited(GRPOConfig, "num_train_epochs", Range(above=0))
    logging_steps: float = inherited(GRPOConfig, "logging_steps", Range(above=0))
    save_steps: float = inherited(GRPOConfig, "save_steps", Range(above=0))
    eval_steps: float | None = inherited(GRPOConfig, "eval_steps", Range(min=0))

    def __post_init__(self) -> None:
        """Check the settings that M-GRPO adds, before TRL and any model see them."""
        if isinstance(self.scale_rewards, bool):  # as TRL does
            self.scale_rewards = "group" if self.scale_rewards else "none"
        if isinstance(self.share_prompts, bool):
            self.share_prompts = str(self.share_prompts).lower()
        check_choices(self)
        check_settings(self)
        if self.generation_batch_size is None:
            check_groups_stay_whole(self, self.steps_per_generation or self.gradient_accumulation_steps)
        super().__post_init__()
        for name, value in vars(self).items():
            if name.endswith("_kwargs") and isinstance(value, str):  # the libraries read text that begins with {
                raise UserError(f"{name} is {value!r}; it must be a mapping, {{NAME: value}}.")
        check_groups_stay_whole(self, self.steps_per_generation)


def has_momentum_model(config: MGRPOConfig) -> bool:
    """Whether anything needs a momentum model: voters, or the KL."""
    return config.num_momentum_generations > 0 or config.kl_anchor == "momentum"


def check_enough_prompts(num_prompts: int, config: MGRPOConfig) -> None:
    """Refuse data that fills no batch: TRL would train no step and report success.

    Raises:
        UserError: if a batch needs more prompts than there are.
    """
    needed = config.generation_batch_size // config.num_generations
    if num_prompts < needed:
        raise UserError(
            f"there are {num_prompts} prompts to train on, but a batch needs {needed} different ones "
            f"({config.generation_batch_size} completions, {config.num_generations} of each); give more prompts, or "
            "lower per_device_train_batch_size or gradient_accumulation_steps."
        )
