"""How a benchmark is sampled: the settings, and those of published papers as named protocols."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mgrpo.errors import UserError, did_you_mean
from mgrpo.options import Range, check_choices, option


@dataclass(frozen=True)
class SamplingSettings:
    """What determines a sample, and how many are taken; each field is an option of `mgrpo evaluate`.

    Raises:
        UserError: if a value is out of range.
    """

    temperature: float = option(0.0, "Sampling temperature; 0 is greedy.", Range(min=0))
    top_p: float = option(1.0, "Share of the probability that is sampled from; 1 is all.", Range(above=0, max=1))
    top_k: int = option(0, "Number of likeliest tokens that are sampled from; 0 is all.", Range(min=0))
    max_tokens: int = option(3072, "Most tokens in a completion.", Range(min=1))
    k: int | None = option(None, "Samples of each question; default: the protocol's for the benchmark.", Range(min=1))
    seed: int = option(0, "Seed of the sampling.", Range(min=0))
    dataset_seed: int = option(0, "Selects the questions of a generated task.")
    split: str = option("test", "Split of a task or of a data set on the Hub.")
    dataset_config: str | None = option(None, "Configuration of a data set on the Hub.")
    prompt_column: str | None = option(None, "A task's column with the question; default: the task's own.")
    answer_column: str | None = option(None, "A task's column with the right answer; default: the task's or 'answer'.")
    prompt_template: str | None = option(
        None, "Text in which {prompt} is replaced by the question; default: the benchmark's."
    )
    system_prompt: str | None = option(None, "System message of a conversation.")
    conversational: bool | None = option(
        None, "Ask through the chat template; default: as the benchmark says, else if the model has one."
    )
    chat_template_kwargs: dict[str, Any] | None = option(
        None, """Arguments of the chat template, as JSON: '{"enable_thinking": false}'."""
    )
    answer_extractor: str | None = option(None, "How an answer is read: boxed, number, ...; default: the benchmark's.")
    answer_equivalence: str | None = option(
        None, "When two answers are equal: math, text, ...; default: the benchmark's."
    )

    def __post_init__(self) -> None:  # noqa: D105
        check_choices(self)
        if self.temperature == 0 and self.k is not None and self.k > 1:
            raise UserError(
                f"k is {self.k} and temperature 0, which samples the same completion {self.k} times; set temperature "
                "above 0, or k to 1."
            )


@dataclass(frozen=True)
class Protocol:
    """Settings under a name.

    Attributes:
        summary: where they come from.
        settings: all but the number of samples.
        k, k_of: samples of each question, and for the benchmarks that need another number.
    """

    summary: str
    settings: SamplingSettings
    k: int = 1
    k_of: Mapping[str, int] = field(default_factory=dict)


PROTOCOLS: dict[str, Protocol] = {
    "m-grpo": Protocol(
        "arXiv 2512.13070: avg@4 on MATH-500, avg@8 on AIME and GPQA diamond; ours: avg@8 on AMC, avg@1 elsewhere",
        SamplingSettings(temperature=0.8),
        k_of={"math500": 4, "aime24": 8, "aime25": 8, "gpqa_diamond": 8, "amc23": 8},
    ),
    "greedy": Protocol("one greedy completion of each question", SamplingSettings()),
    "srt": Protocol("arXiv 2505.21444: avg@32", SamplingSettings(temperature=1.0), k=32),
    "ttrl": Protocol("arXiv 2504.16084: avg@16", SamplingSettings(temperature=0.6, top_p=0.95), k=16),
}
"""How published numbers were sampled."""


@dataclass(frozen=True)
class UsedProtocol:
    """How every benchmark of the file was sampled, by the fields of `SamplingSettings` and those of the model.

    Attributes:
        name: of the protocol, such as `m-grpo`; followed by ` (changed)` if one of its fields was overridden.
        dtype: of the weights, such as `bfloat16`.
        versions: of mgrpo, and of the installed libraries that influence a number, by their names.
    """

    name: str
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    engine: str
    dtype: str
    seed: int
    versions: dict[str, str]


def apply_protocol(
    protocol: str, overrides: Mapping[str, Any], *, engine: str, dtype: str, versions: dict[str, str]
) -> tuple[SamplingSettings, UsedProtocol]:
    """The settings of a protocol with the user's overrides, and what the result file has of them.

    Args:
        protocol: its name.
        overrides: settings by name.
        engine: that samples.
        dtype: of the weights.
        versions: of the libraries.

    Raises:
        UserError: if there is no such protocol, or a value is out of range.
    """
    if protocol not in PROTOCOLS:
        raise UserError(
            f"there is no protocol {protocol!r}{did_you_mean(protocol, PROTOCOLS)}; name one of {', '.join(PROTOCOLS)}"
        )
    settings = PROTOCOLS[protocol].settings
    changed = {name: value for name, value in overrides.items() if value != getattr(settings, name)}
    sampled = {"temperature", "top_p", "top_k", "max_tokens", "k", "prompt_template", "system_prompt"}
    settings = replace(settings, **changed)
    own = {name: getattr(settings, name) for name in ("temperature", "top_p", "top_k", "max_tokens", "seed")}
    title = protocol + (" (changed)" if changed.keys() & sampled else "")
    return settings, UsedProtocol(title, **own, engine=engine, dtype=dtype, versions=versions)


def num_samples(protocol: str, settings: SamplingSettings, benchmark: str) -> int:
    """Samples of each question of a benchmark."""
    if settings.k is not None:
        return settings.k
    return 1 if settings.temperature == 0 else PROTOCOLS[protocol].k_of.get(benchmark, PROTOCOLS[protocol].k)
