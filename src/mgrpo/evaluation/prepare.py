"""What is to be measured, models on benchmarks, checked before any model is loaded."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgrpo.errors import UserError
from mgrpo.evaluation.benchmark import Benchmark
from mgrpo.evaluation.engines import Engine
from mgrpo.evaluation.prompts import Questions, digest_of_prompt, encode_questions, sha256, template_of
from mgrpo.evaluation.protocols import SamplingSettings, num_samples
from mgrpo.evaluation.results import RESULTS_FILE, BenchmarkResult, Model, UsedProtocol, read_results
from mgrpo.evaluation.store import Sample, SampleStore
from mgrpo.monitoring.display import visible

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class EvaluatedModel:
    """A model to be measured.

    Attributes:
        label: name of its directory in the output; empty: the output itself.
        model: whose numbers these are, for the result file.
        identity: tells its weights from others'.
        tokenizer: its tokenizer.
        context: most tokens that it takes, or None.
        open_engine: loads it, given the longest prompt and completion together, in tokens; called only if there is
            something to sample.
    """

    label: str
    model: Model
    identity: dict[str, Any]
    tokenizer: "PreTrainedTokenizerBase"
    context: int | None
    open_engine: Callable[[int], Engine]


@dataclass(frozen=True)
class EvalSettings:
    """How an evaluation samples.

    Attributes:
        protocol: name of the protocol.
        title: the protocol's name in the result file, which says whether it was changed.
        sampling: the protocol's settings, with the user's overrides.
        engine: name of the engine.
        dtype: of the weights.
        batch_size: completions at a time.
        versions: of the packages that influence a number.
    """

    protocol: str
    title: str
    sampling: SamplingSettings
    engine: str
    dtype: str
    batch_size: int
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def used_protocol(self) -> UsedProtocol:
        """The protocol as the result file has it."""
        names = ("temperature", "top_p", "top_k", "max_tokens", "seed")
        sampling = {name: getattr(self.sampling, name) for name in names}
        return UsedProtocol(self.title, engine=self.engine, dtype=self.dtype, versions=self.versions, **sampling)


@dataclass(frozen=True)
class Measurement:
    """A model on a benchmark: its questions, the samples that exist, and k, the number of samples of each question."""

    questions: Questions
    store: SampleStore
    k: int

    def missing(self, batch_size: int) -> Iterator[list[tuple[int, int]]]:
        """Batches of (question, sample number) to sample: every question's first sample first, long prompts first.

        Batches do not depend on what exists already, so an interrupted evaluation pads as an uninterrupted one.
        """
        rows = sorted(self.questions.rows, key=lambda row: (-len(self.questions.ids[row]), row))
        for number in range(self.k):
            for start in range(0, len(rows), batch_size):
                batch = [(row, number) for row in rows[start : start + batch_size]]
                if batch := [place for place in batch if place not in self.store.samples]:
                    yield batch

    def samples(self) -> list[list[Sample]]:
        """The first k samples of each question."""
        return [[self.store.samples[row, number] for number in range(self.k)] for row in self.questions.rows]

    @property
    def longest_prompt(self) -> int:
        """Tokens of the longest prompt."""
        return max(len(self.questions.ids[row]) for row in self.questions.rows)


def plan_measurements(
    models: Sequence[EvaluatedModel], benchmarks: Sequence[Benchmark], eval_settings: EvalSettings, output: Path
) -> list[list[Measurement]]:
    """Check everything that can be checked before a model is loaded; returns each model's measurements by benchmark.

    Raises:
        UserError: if a question does not fit a model, or the output holds other samples.
    """
    planned = []
    for model in models:
        read_earlier(output / model.label, model, eval_settings)
        measurements = []
        for benchmark in benchmarks:
            questions = encode_questions(benchmark, model.tokenizer, eval_settings.sampling, model.context)
            num_left_out = len(questions.ids) - len(questions.rows)
            if num_left_out and model is models[0]:
                name = visible(benchmark.name)
                print(f"{name}: {num_left_out} questions without text or right answer are left out", file=sys.stderr)
            directory = output / model.label / directory_name(benchmark.name)
            store = SampleStore(directory, _fingerprint(model, questions, eval_settings))
            for (row, _), sample in store.samples.items():
                if row < len(questions.ids) and sample.prompt != digest_of_prompt(questions.ids[row]):
                    raise UserError(
                        f"{directory} holds samples of other questions (the prompt of question {row} has changed); "
                        "give another output_dir, or delete that directory"
                    )
            k = num_samples(eval_settings.protocol, eval_settings.sampling, benchmark.name)
            measurements.append(Measurement(questions, store, k))
        planned.append(measurements)
    return planned


def directory_name(benchmark: str) -> str:
    """The directory of a benchmark; different names never share one."""
    plain = benchmark.replace(":", "-", 1)
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in plain)
    return name if name == plain and len(name) <= 60 else f"{name[:60].strip('-')}-{sha256(benchmark)[:6]}"


def _fingerprint(model: EvaluatedModel, questions: Questions, eval_settings: EvalSettings) -> dict[str, Any]:
    """Everything that a sample depends on; more samples (`k`) depend on nothing else."""
    sampling = {name: value for name, value in asdict(eval_settings.sampling).items() if name != "k"}
    benchmark = questions.benchmark
    return {
        "benchmark": benchmark.name,
        "model": model.identity,
        "engine": eval_settings.engine,
        "dtype": eval_settings.dtype,
        **sampling,
        "template": template_of(benchmark),
        "chat_template": sha256(str(model.tokenizer.chat_template))[:16] if questions.is_chat else None,
        "extractor": benchmark.task.extractor,
        "scoring": benchmark.scoring,
        "library": f"{benchmark.source.library} {benchmark.source.version}",
        "versions": eval_settings.versions,
    }


def read_earlier(directory: Path, model: EvaluatedModel, eval_settings: EvalSettings) -> dict[str, BenchmarkResult]:
    """The benchmarks that an earlier call measured in this directory; a result file is of one model and protocol.

    Raises:
        UserError: if they are another model's, or of another protocol.
    """
    if not (directory / RESULTS_FILE).exists():
        return {}
    earlier, protocol = read_results(directory), eval_settings.used_protocol
    if earlier.model != model.model:
        raise UserError(f"{directory} holds results of the model {earlier.model.name}; give another output_dir")
    for name, value in asdict(protocol).items():
        was = getattr(earlier.protocol, name)
        if name != "name" and value != was:
            raise UserError(
                f"{directory} holds results of another protocol: {name} was {was} and is {value}; give another "
                "output_dir"
            )
    return earlier.benchmarks
