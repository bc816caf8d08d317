"""How a benchmark is sampled: the settings, and the papers' own as presets."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from mgrpo.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Settings:
    """What shapes a sample, and how many are taken; each field is an option of `mgrpo evaluate`."""

    temperature: float = field(default=0.0, metadata={"help": "Sampling temperature; 0 is greedy."})
    top_p: float = field(default=1.0, metadata={"help": "Share of the probability that is sampled from; 1 is all."})
    top_k: int = field(default=0, metadata={"help": "Tokens that are sampled from; 0 is all."})
    max_tokens: int = field(default=3072, metadata={"help": "Most tokens in a completion."})
    k: int | None = field(
        default=None, metadata={"help": "Samples of each question; left out: the protocol's for the benchmark."}
    )
    seed: int = field(default=0, metadata={"help": "Of the sampling."})
    dataset_seed: int = field(default=0, metadata={"help": "Which questions a generated task has."})
    split: str = field(default="test", metadata={"help": "Split of a task or of a data set on the Hub."})
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a data set on the Hub."})
    prompt_column: str | None = field(
        default=None, metadata={"help": "Column with the question, of a task; left out: the task's own."}
    )
    answer_column: str | None = field(
        default=None, metadata={"help": "Column with the right answer, of a task; left out: the task's, or 'answer'."}
    )
    prompt_template: str | None = field(
        default=None,
        metadata={"help": "Text in which {prompt} is replaced by the question; left out: the benchmark's."},
    )
    system_prompt: str | None = field(default=None, metadata={"help": "System message of a conversation."})
    conversational: bool | None = field(
        default=None, metadata={"help": "Ask through the chat template; left out: where the model has one."}
    )
    chat_template_kwargs: dict[str, Any] | None = field(
        default=None, metadata={"help": """What the chat template is given, as JSON: '{"enable_thinking": false}'."""}
    )
    answer_extractor: str | None = field(
        default=None, metadata={"help": "How an answer is read: boxed, number, ...; left out: the benchmark's."}
    )
    answer_equivalence: str | None = field(
        default=None, metadata={"help": "When answers are equal: math, text, ...; left out: the benchmark's."}
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be sampled."""
        for name, smallest in (("temperature", 0), ("top_k", 0), ("max_tokens", 1), ("seed", 0), ("k", 1)):
            value = getattr(self, name)
            if value is not None and not value >= smallest:
                raise UserError(f"{name} is {value}; set it to {smallest} or more.")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p is {self.top_p}; set it above 0 and to 1 at most.")
        if self.temperature == 0 and self.k is not None and self.k > 1:
            raise UserError(
                f"k is {self.k} and temperature 0, which samples one completion {self.k} times; set temperature above "
                "0, or k to 1."
            )


@dataclass(frozen=True)
class Protocol:
    """Settings under a name.

    Attributes:
        summary: where they come from.
        settings: all but the samples of each question.
        k: samples of each question.
        k_of: the same by benchmark, where it is another number.
    """

    summary: str
    settings: Settings
    k: int = 1
    k_of: Mapping[str, int] = field(default_factory=dict)


PROTOCOLS: dict[str, Protocol] = {
    "m-grpo": Protocol(
        "arXiv 2512.13070: avg@4 on MATH-500, avg@8 on AIME and GPQA diamond; ours: avg@8 on AMC, avg@1 elsewhere",
        Settings(temperature=0.8),
        k_of={"math500": 4, "aime24": 8, "aime25": 8, "gpqa_diamond": 8, "amc23": 8},
    ),
    "greedy": Protocol("one greedy completion of each question", Settings()),
    "srt": Protocol("arXiv 2505.21444: avg@32", Settings(temperature=1.0), k=32),
    "ttrl": Protocol("arXiv 2504.16084: avg@16", Settings(temperature=0.6, top_p=0.95), k=16),
}
"""How published numbers were sampled."""


def find_protocol(name: str) -> Protocol:
    """A protocol by its name.

    Raises:
        UserError: if there is none.
    """
    if name not in PROTOCOLS:
        raise UserError(
            f"there is no protocol {name!r}{did_you_mean(name, PROTOCOLS)}; name one of {', '.join(PROTOCOLS)}"
        )
    return PROTOCOLS[name]


def settle(protocol: str, overrides: Mapping[str, Any]) -> tuple[str, Settings]:
    """The settings of a protocol with some fields of the user's, and what to call them.

    Raises:
        UserError: if there is no such protocol, or a value cannot be.
    """
    settings = find_protocol(protocol).settings
    changed = {name: value for name, value in overrides.items() if value != getattr(settings, name)}
    sampled = {"temperature", "top_p", "top_k", "max_tokens", "k", "prompt_template", "system_prompt"}
    return protocol + (" (changed)" if changed.keys() & sampled else ""), replace(settings, **changed)


def num_samples(protocol: str, settings: Settings, benchmark: str) -> int:
    """Samples of each question of a benchmark."""
    of_protocol = find_protocol(protocol)
    if settings.k is not None:
        return settings.k
    return 1 if settings.temperature == 0 else of_protocol.k_of.get(benchmark, of_protocol.k)


OPTIONS = {setting.name: setting.metadata["help"] for setting in fields(Settings)}
"""The settings by name, with their help."""


def read_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among the options of a command line, whose values are text.

    Raises:
        UserError: for a value of the wrong kind.
    """
    readers: dict[str, tuple[Callable[[str], Any], str]] = {
        **dict.fromkeys(("temperature", "top_p"), (float, "a number")),
        **dict.fromkeys(("top_k", "max_tokens", "k", "seed", "dataset_seed"), (int, "a whole number")),
        "conversational": (_read_bool, "true or false"),
        "chat_template_kwargs": (_read_object, "a JSON object"),
    }
    read = {}
    for name in OPTIONS.keys() & given.keys():
        reader, kind = readers.get(name, (str, "text"))
        try:
            read[name] = reader(given[name])
        except (ValueError, KeyError):
            raise UserError(f"--{name} is {given[name]!r}; give {kind}") from None
    return read


def _read_bool(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _read_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(text)
    return value
