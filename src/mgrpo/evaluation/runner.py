"""Models on benchmarks: samples, judges and keeps what is missing, then measures all that exists.

An evaluation writes into the output directory, for each model into the subdirectory of its label (if it has one):

results.json                 what was measured, and all settings that influence it
BENCHMARK/settings.json      what the samples depend on
BENCHMARK/samples.jsonl      the samples, in the order they were taken
BENCHMARK/metrics.jsonl, completions/   the same as a run's files, which `mgrpo report` shows
"""

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from mgrpo.errors import UserError
from mgrpo.evaluation.benchmark import Benchmark, Questions, digest_of_prompt, encode_questions, sha256, template_of
from mgrpo.evaluation.engines import Engine, seed_of
from mgrpo.evaluation.metrics import NO_ANSWER_RATE
from mgrpo.evaluation.protocols import SamplingSettings, UsedProtocol, num_samples
from mgrpo.evaluation.results import RESULTS_FILE, BenchmarkResult, Model, Results, read_results, write_results
from mgrpo.evaluation.samples import UNFINISHED_RATE, Sample, SampleStore, measure_samples, write_for_report
from mgrpo.monitoring.display import progress_bar, visible

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


MOSTLY = 0.5
"""Share of completions without an answer above which a benchmark's numbers say little."""


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
        name: of the protocol.
        sampling: the protocol's settings, with the user's overrides.
        used: what the result file has of them, engine and type of the weights included.
        batch_size: completions at a time.
    """

    name: str
    sampling: SamplingSettings
    used: UsedProtocol
    batch_size: int


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


def evaluate(
    models: Sequence[EvaluatedModel], benchmarks: Sequence[Benchmark], eval_settings: EvalSettings, output: Path
) -> dict[str, Results]:
    """Measure models on benchmarks; returns the results by the models' labels.

    Raises:
        UserError: for what cannot work, if possible before a model is loaded: a question does not fit a model, or the
            output holds other samples.
    """
    planned, results = [_plan(model, benchmarks, eval_settings, output / model.label) for model in models], {}
    for questions in (measurement.questions for measurement in planned[0]):
        if num_left_out := len(questions.ids) - len(questions.rows):
            name = visible(questions.benchmark.name)
            print(f"{name}: {num_left_out} questions without text or right answer are left out", file=sys.stderr)
    for model, measurements in zip(models, planned, strict=True):
        _sample_missing(model, measurements, eval_settings)
        found = {}
        for measurement in measurements:
            questions, samples = measurement.questions, measurement.samples()
            result, answer_ids = measure_samples(questions, samples)
            write_for_report(measurement.store.directory, questions, samples, answer_ids, model.model, result)
            _warn_of_no_answers(questions.benchmark, result, model.label)
            found[questions.benchmark.name] = result
        directory = output / model.label
        earlier = _read_earlier(directory, model, eval_settings)
        results[model.label] = Results(model.model, eval_settings.used, {**earlier, **found})
        write_results(results[model.label], directory)
    return results


def _plan(
    model: EvaluatedModel, benchmarks: Sequence[Benchmark], eval_settings: EvalSettings, output: Path
) -> list[Measurement]:
    """A model's measurements, and every check that is possible before it is loaded."""
    _read_earlier(output, model, eval_settings)
    measurements = []
    for benchmark in benchmarks:
        questions = encode_questions(benchmark, model.tokenizer, model.context)
        directory = output / directory_name(benchmark.name)
        store = SampleStore(directory, _fingerprint(model, questions, eval_settings))
        for (row, _), sample in store.samples.items():
            if row < len(questions.ids) and sample.prompt != digest_of_prompt(questions.ids[row]):
                raise UserError(
                    f"{directory} holds samples of other questions (the prompt of question {row} has changed); "
                    "give another output_dir, or delete that directory"
                )
        k = num_samples(eval_settings.name, eval_settings.sampling, benchmark.name)
        measurements.append(Measurement(questions, store, k))
    return measurements


def directory_name(benchmark: str) -> str:
    """The directory of a benchmark; different names never share one."""
    plain = benchmark.replace(":", "-", 1)
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in plain)
    return name if name == plain and len(name) <= 60 else f"{name[:60].strip('-')}-{sha256(benchmark)[:6]}"


def _fingerprint(model: EvaluatedModel, questions: Questions, eval_settings: EvalSettings) -> dict[str, Any]:
    """Everything that a sample depends on; more samples (`k`) depend on nothing else."""
    benchmark = questions.benchmark
    sampling = {name: value for name, value in asdict(benchmark.settings).items() if name != "k"}
    return {
        "benchmark": benchmark.name,
        "model": model.identity,
        "engine": eval_settings.used.engine,
        "dtype": eval_settings.used.dtype,
        **sampling,
        "template": template_of(benchmark),
        "chat_template": sha256(str(model.tokenizer.chat_template))[:16] if questions.is_chat else None,
        "extractor": benchmark.task.extractor,
        "scoring": benchmark.scoring,
        "library": f"{benchmark.source.library} {benchmark.source.version}",
        "versions": eval_settings.used.versions,
    }


def _read_earlier(directory: Path, model: EvaluatedModel, eval_settings: EvalSettings) -> dict[str, BenchmarkResult]:
    """The benchmarks that an earlier call measured in this directory; a result file is of one model and protocol."""
    if not (directory / RESULTS_FILE).exists():
        return {}
    earlier, protocol = read_results(directory), eval_settings.used
    name = earlier.model.name if model.label else model.model.name  # a run's is a path, and the run may be moved
    if earlier.model != replace(model.model, name=name):
        raise UserError(f"{directory} holds results of the model {earlier.model.name}; give another output_dir")
    for name, value in asdict(protocol).items():
        was = getattr(earlier.protocol, name)
        if name != "name" and value != was:
            raise UserError(
                f"{directory} holds results of another protocol: {name} was {was} and is {value}; give another "
                "output_dir"
            )
    return earlier.benchmarks


def _warn_of_no_answers(benchmark: Benchmark, result: BenchmarkResult, label: str) -> None:
    """Say so where most completions cannot be judged: the prompt does not fit the extractor, or they are cut off."""
    none, cut = result.metrics[NO_ANSWER_RATE].value, result.metrics[UNFINISHED_RATE].value
    if none > MOSTLY:
        print(
            f"{visible(f'{label} {benchmark.name}'.strip())}: {none:.0%} of the completions have no answer that the "
            f"extractor {result.extractor} finds, and {cut:.0%} were cut off at max_tokens "
            f"{benchmark.settings.max_tokens}; set prompt_template, answer_extractor or max_tokens, and another "
            "output_dir.",
            file=sys.stderr,
        )


def _sample_missing(model: EvaluatedModel, measurements: Sequence[Measurement], eval_settings: EvalSettings) -> None:
    to_sample = [m for m in measurements if next(m.missing(eval_settings.batch_size), None) is not None]
    if to_sample:
        longest = max(len(m.questions.ids[row]) for m in to_sample for row in m.questions.rows)
        engine = model.open_engine(longest + eval_settings.sampling.max_tokens)
        with progress_bar(Console(file=sys.stderr, emoji=False)) as bar:
            for measurement in to_sample:
                _sample(measurement, engine, eval_settings.sampling, bar, model.label)


def _sample(measurement: Measurement, engine: Engine, settings: SamplingSettings, bar: Progress, label: str) -> None:
    questions, store = measurement.questions, measurement.store
    wanted = set(itertools.product(questions.rows, range(measurement.k)))
    existing = [store.samples[place] for place in wanted & store.samples.keys()]
    num_right, num_done = sum(sample.is_right for sample in existing), len(existing)
    name = visible(f"{label} {questions.benchmark.name}".strip())
    task = bar.add_task(name, total=len(wanted), completed=num_done, numbers="")
    for batch in measurement.missing(engine.batch_size):
        samples = sample_batch(questions, engine, batch, settings)
        store.append(samples)
        num_done, num_right = num_done + len(samples), num_right + sum(sample.is_right for sample in samples)
        bar.update(task, completed=num_done, numbers=f"right {num_right / num_done:.1%}")
    bar.remove_task(task)


def sample_batch(
    questions: Questions, engine: Engine, batch: Sequence[tuple[int, int]], settings: SamplingSettings
) -> list[Sample]:
    """Take and judge samples, each given by its question and number."""
    benchmark = questions.benchmark
    prompts = [questions.ids[row] for row, _ in batch]
    digests = [digest_of_prompt(ids) for ids in prompts]
    places = zip(digests, batch, strict=True)
    seeds = [seed_of(settings.seed, benchmark.name, digest, number) for digest, (_, number) in places]
    completions = engine.sample(prompts, seeds)
    verdicts = benchmark.judge([c.text for c in completions], [questions.gold[row] for row, _ in batch])
    samples = []
    for (row, number), digest, completion, verdict in zip(batch, digests, completions, verdicts, strict=True):
        score = benchmark.harness[row].score if benchmark.harness is not None else None
        samples.append(
            Sample(
                row,
                number,
                digest,
                completion.text,
                completion.num_tokens,
                completion.is_finished,
                verdict.answer,
                verdict.is_right,
                None if score is None else score(completion.text),
            )
        )
    return samples
