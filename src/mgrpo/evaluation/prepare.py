"""What is to be measured: models on benchmarks, checked before any model is loaded."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgrpo.errors import UserError
from mgrpo.evaluation.benchmarks import Benchmark
from mgrpo.evaluation.engines import Engine
from mgrpo.evaluation.prompts import Asked, ask, digest_of, sha256, template_of
from mgrpo.evaluation.protocols import Settings, num_samples
from mgrpo.evaluation.results import RESULTS_FILE, BenchmarkResult, Model, UsedProtocol, read_results
from mgrpo.evaluation.store import Sample, SampleStore
from mgrpo.monitoring.display import visible

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class EvaluatedModel:
    """A model to be measured.

    Attributes:
        label: its directory's name in the output; empty: the output itself.
        model: whose numbers these are, for the result file.
        identity: what tells its weights from others'.
        tokenizer: its tokenizer.
        context: most tokens that it takes, or None.
        open_engine: loads it; called only if there is something to sample.
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
        protocol: the preset's name.
        title: what the result file calls it.
        settings: its settings, with the user's.
        engine: name of the engine.
        dtype: of the weights.
        batch_size: completions at a time.
        versions: of what shapes a number.
    """

    protocol: str
    title: str
    settings: Settings
    engine: str
    dtype: str
    batch_size: int
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """A model on a benchmark: what is to be sampled, and what there is.

    Attributes:
        asked: the questions.
        store: the samples.
        k: samples of each question.
    """

    asked: Asked
    store: SampleStore
    k: int

    def missing(self, batch_size: int) -> Iterator[list[tuple[int, int]]]:
        """Batches of questions and sample numbers, each question's first sample first, long prompts first.

        The batches do not depend on what is there, so that an evaluation that was interrupted pads as one in one go.
        """
        rows = sorted(self.asked.rows, key=lambda row: (-len(self.asked.ids[row]), row))
        for number in range(self.k):
            for start in range(0, len(rows), batch_size):
                batch = [(row, number) for row in rows[start : start + batch_size]]
                batch = [place for place in batch if place not in self.store.samples]
                if batch:
                    yield batch

    def taken(self) -> list[list[Sample]]:
        """The samples of each question, as many as asked for."""
        return [[self.store.samples[row, number] for number in range(self.k)] for row in self.asked.rows]


def plan(
    subjects: Sequence[EvaluatedModel], benchmarks: Sequence[Benchmark], how: EvalSettings, output: Path
) -> list[list[Measurement]]:
    """Check everything that can be known before a model is loaded; for each model, a measurement a benchmark.

    Raises:
        UserError: if a model cannot be asked, or the output holds other samples.
    """
    planned = []
    for subject in subjects:
        earlier_results(output / subject.label, subject, how)
        of_subject = []
        for benchmark in benchmarks:
            asked = ask(benchmark, subject.tokenizer, how.settings, subject.context)
            num_left_out = len(asked.ids) - len(asked.rows)
            if num_left_out and subject is subjects[0]:
                name = visible(benchmark.name)
                print(f"{name}: {num_left_out} questions without text or right answer are left out", file=sys.stderr)
            directory = output / subject.label / directory_name(benchmark.name)
            store = SampleStore(directory, _fingerprint(subject, asked, how))
            for (row, _), sample in store.samples.items():
                if row < len(asked.ids) and sample.prompt != digest_of(asked.ids[row]):
                    raise UserError(
                        f"{directory} holds samples of other questions (the prompt of question {row} has changed); "
                        "give another output_dir, or delete that directory"
                    )
            of_subject.append(Measurement(asked, store, num_samples(how.protocol, how.settings, benchmark.name)))
        planned.append(of_subject)
    return planned


def directory_name(benchmark: str) -> str:
    """A benchmark's name as a directory's."""
    plain = benchmark.replace(":", "-", 1)
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in plain)
    return name if name == plain and len(name) <= 60 else f"{name[:60].strip('-')}-{sha256(benchmark)[:6]}"


def _fingerprint(subject: EvaluatedModel, asked: Asked, how: EvalSettings) -> dict[str, Any]:
    settings = {name: value for name, value in asdict(how.settings).items() if name != "k"}
    benchmark = asked.benchmark
    return {
        "benchmark": benchmark.name,
        "model": subject.identity,
        "engine": how.engine,
        "dtype": how.dtype,
        **settings,
        "template": template_of(benchmark),
        "chat_template": sha256(str(subject.tokenizer.chat_template))[:16] if asked.is_chat else None,
        "extractor": benchmark.task.extractor,
        "scoring": benchmark.scoring,
        "library": f"{benchmark.source.library} {benchmark.source.version}",
        "versions": how.versions,
    }


def protocol_of(how: EvalSettings) -> UsedProtocol:
    """The protocol as the result file has it."""
    settings = {name: getattr(how.settings, name) for name in ("temperature", "top_p", "top_k", "max_tokens", "seed")}
    return UsedProtocol(how.title, engine=how.engine, dtype=how.dtype, versions=how.versions, **settings)


def earlier_results(directory: Path, subject: EvaluatedModel, how: EvalSettings) -> dict[str, BenchmarkResult]:
    """The benchmarks that an earlier call measured in this directory; all of a result file are of one protocol.

    Raises:
        UserError: if they are another model's, or of another protocol.
    """
    if not (directory / RESULTS_FILE).exists():
        return {}
    earlier, now = read_results(directory), protocol_of(how)
    if earlier.model != subject.model:
        raise UserError(f"{directory} holds results of the model {earlier.model.name}; give another output_dir")
    for name, value in asdict(now).items():
        was = getattr(earlier.protocol, name)
        if name != "name" and value != was:
            raise UserError(
                f"{directory} holds results of another protocol: {name} was {was} and is {value}; give another "
                "output_dir"
            )
    return earlier.benchmarks
