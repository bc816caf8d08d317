"""The metrics of a run: the names they are logged under, and what each one means.

Each constant is the name of a metric, and `METRICS` describes it. A value is a mean over the batches since the last
row, unless its meaning says otherwise. An evaluation logs the same metrics on held-out prompts, as `eval_` and the
name. Only names that begin with `gold/` or `benchmark/` are made with the right answers; training never sees them.
"""

from dataclasses import dataclass

SHARE, NATS, SECONDS = "share", "nats per token", "seconds"


@dataclass(frozen=True)
class Metric:
    """A metric, as tables, pictures and pages describe it.

    Attributes:
        name: the key in a metric row. It is part of the file format.
        label: a few words; the first one alone must do where there is no space, as in the live view.
        unit: of its values; empty where they have none.
        meaning: complete sentences.
    """

    name: str
    label: str
    unit: str
    meaning: str


METRICS: dict[str, Metric] = {}
"""All metrics of training by their names."""


def _metric(name: str, label: str, unit: str, meaning: str) -> str:
    METRICS[name] = Metric(name, label, unit, meaning)
    return name


def _share(name: str, label: str, meaning: str) -> str:
    return _metric(name, label, SHARE, meaning)


AGREEMENT = _share(
    "vote/agreement", "agreement", "Share of both models' completions with the label, whatever is rewarded."
)
TIE_RATE = _share("vote/tie_rate", "tie", "Share of groups in which two answers had the most votes.")
UNLABELLED_RATE = _share(
    "vote/unlabelled_rate",
    "no label",
    "Share of groups left out of the loss: no answer at all, or fewer than two policy completions kept.",
)
POLICY_AGREEMENT = _share(
    "vote/policy_agreement",
    "policy",
    "Share of groups in which the policy's completions alone, dropped ones included, vote for the same label.",
)
MOMENTUM_AGREEMENT = _share(
    "vote/momentum_agreement",
    "momentum model",
    "Share of groups in which the momentum model's completions alone, dropped ones included, vote for the same label.",
)
DROPPED_RATE = _share(
    "filter/dropped_rate", "dropped", "Share of completions, both models', that the entropy filter dropped."
)
ENTROPY = _metric("entropy/mean", "entropy", NATS, "Trajectory entropy of the policy's completions.")
ENTROPY_LOW = _metric(
    "entropy/p10", "10% are below", NATS, "A tenth of the step's completions have less; the report computes it."
)
ENTROPY_HIGH = _metric(
    "entropy/p90", "10% are above", NATS, "A tenth of the step's completions have more; the report computes it."
)
NONE_RATE = _share("answers/none_rate", "no answer", "Share of the policy's completions without an answer.")
FAILED_RATE = _share(
    "answers/failed_rate", "failed", "Share of both models' completions on which your own function failed."
)
TIMEOUT_RATE = _share(
    "answers/timeout_rate",
    "timed out",
    "Share of the different answers, both models', compared as text: comparing them failed or took too long.",
)
FLIP_RATE = _share(
    "labels/flip_rate",
    "flipped",
    "Share of the prompts seen before whose label differs from the last one; logged from the second epoch on.",
)
FLIP_WEIGHT = _metric(
    "labels/flip_weight", "weight of flipping labels", "", "Mean factor on the advantages where labels keep flipping."
)
DISTINCT = _metric(
    "answers/distinct", "distinct labels", "labels", "Different pseudo-labels in the batch, compared as text."
)
TOP_SHARE = _share(
    "answers/top_share", "most common label", "Share of the labelled prompts with the most common label."
)
LENGTH = _metric(
    "completion/length", "length of completions", "tokens", "Tokens in the policy's completions, end-of-text included."
)
PROBE = _metric(
    "probe/log_prob_change",
    "change in log-probability",
    NATS,
    "Change since training began in the log-probability of what the initial model mostly answered; each "
    "completion counts with 0.05 at most.",
)
FORGOTTEN = _share(
    "probe/forgotten",
    "forgotten",
    "Share of what the initial model mostly answered that has become less likely by more than 0.15 nats per token.",
)
DISTANCE = _metric(
    "momentum/distance",
    "distance of the momentum model",
    "relative",
    "|theta_k - theta_q| / |theta_q|, trained weights.",
)
MOMENTUM = _metric("momentum/m", "momentum", "", "m at the last optimizer step.")
SKIPPED_STEPS = _metric(
    "nonfinite/skipped_steps",
    "skipped steps",
    "steps",
    "Optimizer steps skipped, since training began or was resumed, because the loss or a gradient was not finite.",
)
NONFINITE_METRICS = _metric(
    "nonfinite/metrics", "metrics that are not finite", "", "Numbers of the row that are null: they were not finite."
)
ROWS_SKIPPED = _share(
    "learn/rows_skipped", "rows skipped", "Share of policy completions that learning skips: they have no gradient."
)
GRAD_NORM = _metric("grad_norm", "gradient norm", "", "Norm of the gradient before clipping.")
REWARD_STD = _metric(
    "reward_std", "reward spread", "", "Standard deviation within a group, mean over groups, as TRL logs it."
)
TRL_LENGTH = _metric(
    "completions/mean_length", "length of completions", "tokens", "`completion/length` as TRL logs it."
)
KL = _metric("kl", "KL to the initial model", NATS, "k3 estimate of the KL divergence from the initial model.")
GOLD_ACCURACY = _share(
    "gold/accuracy", "accuracy", "Share of the policy's completions that are right. For measurement only."
)
GOLD_LABEL_ACCURACY = _share(
    "gold/label_accuracy", "label accuracy", "Share of groups whose pseudo-label is right. For measurement only."
)
GOLD_MOMENTUM_ACCURACY = _share(
    "gold/momentum_accuracy",
    "momentum model's accuracy",
    "Share of its completions that are right. For measurement only.",
)
GOLD_DROPPED_ACCURACY = _share(
    "gold/dropped_accuracy",
    "accuracy of dropped ones",
    "Share of the policy's completions dropped by the filter that are right. For measurement only.",
)
TIME_POLICY = _metric("time/sample_policy", "policy sampling", SECONDS, "Time in which the policy sampled.")
TIME_MOMENTUM = _metric(
    "time/sample_momentum",
    "momentum sampling",
    SECONDS,
    "Time in which the momentum model sampled, the swap of its weights included. Of a batch that two LoRA "
    "adapters share, the share of its rows.",
)
TIME_LABEL = _metric("time/label", "label", SECONDS, "Time spent on reading answers, filtering and voting.")
TIME_LEARN = _metric(
    "time/learn", "learn", SECONDS, "What the other phases leave of a training step; the report computes it."
)
TIME_STEP = _metric("step_time", "training step", SECONDS, "Time of a whole training step.")

SAMPLING_PHASES = (TIME_POLICY, TIME_MOMENTUM, TIME_LABEL)
"""What a training step does before it learns."""

EVAL_PREFIX = "eval_"
HELD_OUT_ACCURACY = EVAL_PREFIX + GOLD_ACCURACY

BENCHMARK_PREFIX = "benchmark/"
POLICY, MOMENTUM_MODEL = "policy", "momentum"


def benchmark_metric(benchmark: str, model: str) -> str:
    """The name of the share of a benchmark's completions that are right, of `POLICY` or `MOMENTUM_MODEL`."""
    return f"{BENCHMARK_PREFIX}{benchmark}/{model}"


def describe(name: str) -> Metric:
    """Describe a metric of training, of held-out prompts (`eval_...`) or of a benchmark.

    Raises:
        KeyError: if there is no metric of this name.
    """
    if name.startswith(BENCHMARK_PREFIX):
        label = "momentum model" if name.endswith(f"/{MOMENTUM_MODEL}") else "policy"
        meaning = "Share of the benchmark's completions that are right, one greedy completion for each question."
        return Metric(name, label, SHARE, meaning)
    if name.startswith(EVAL_PREFIX):
        known = METRICS[name.removeprefix(EVAL_PREFIX)]
        return Metric(name, f"held-out {known.label}", known.unit, f"On held-out prompts: {known.meaning}")
    return METRICS[name]


def title(name: str) -> str:
    """A metric's label and unit, and whether it is measured with the right answers, as the title of a picture."""
    metric = describe(name)
    if name.startswith(BENCHMARK_PREFIX):
        benchmark = name.removeprefix(BENCHMARK_PREFIX).rpartition("/")[0]
        return f"{benchmark}, greedy, {metric.label} (measured)"
    unit = "" if metric.unit in ("", SHARE) else f", {metric.unit}"
    return f"{metric.label}{unit}{' (measured)' if knows_answers(name) else ''}"


def short_label(name: str) -> str:
    """The first word of a metric's label."""
    return describe(name).label.split()[0]


def knows_answers(name: str) -> bool:
    """Whether a metric is made with the right answers, which training never sees."""
    return name.removeprefix(EVAL_PREFIX).startswith(("gold/", BENCHMARK_PREFIX))
