"""Models on benchmarks: what is missing is sampled, judged and kept; then everything that is there is measured.

What an evaluation leaves in its directory, for each model a directory by its label (a model by name has none):

results.json                 what was measured, and all that shaped it
BENCHMARK/settings.json      what the samples depend on
BENCHMARK/samples.jsonl      the samples, as they came
BENCHMARK/metrics.jsonl, completions/   the same as a run's files: `mgrpo report` shows them
"""

import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from mgrpo.answers.equivalence import number_answers
from mgrpo.errors import UserError
from mgrpo.evaluation.benchmarks import Benchmark, is_known
from mgrpo.evaluation.intervals import estimate
from mgrpo.evaluation.metrics import Samples, measure, pad
from mgrpo.evaluation.protocols import Settings, num_samples
from mgrpo.evaluation.results import BenchmarkResult, Model, Protocol, Results, write_results
from mgrpo.evaluation.sampling import Engine, Request, seed_of
from mgrpo.evaluation.store import Sample, SampleStore
from mgrpo.monitoring import names
from mgrpo.monitoring.display import progress_bar, visible
from mgrpo.monitoring.run_log import METRICS_FILE, MetricsWriter, write_completions
from mgrpo.tasks.check import encode_prompts
from mgrpo.tasks.load import Prompt, make_prompts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Subject:
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
class How:
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
class Asked:
    """A benchmark's questions as a model sees them.

    Attributes:
        benchmark: the benchmark.
        rows: the numbers of the questions that have a right answer.
        texts: of each question, what is shown of it.
        ids: of each question, the tokens.
        gold: of each question, the right answer.
        template: how they are asked, in words for the result file.
    """

    benchmark: Benchmark
    rows: list[int]
    texts: list[str]
    ids: list[list[int]]
    gold: list[Any]
    template: str


def ask(benchmark: Benchmark, tokenizer: "PreTrainedTokenizerBase", settings: Settings, context: int | None) -> Asked:
    """Put a benchmark's questions into a model's tokens.

    Raises:
        UserError: if the model cannot be asked, or a completion of that length does not fit into its context.
    """
    from dataclasses import replace

    task = benchmark.task
    is_chat = bool(tokenizer.chat_template) if settings.conversational is None else settings.conversational
    dataset = make_prompts(replace(task, conversational=is_chat), benchmark.name)
    prompts: list[Prompt] = list(dataset["prompt"])
    encoded = encode_prompts(prompts, tokenizer, settings.chat_template_kwargs)
    gold = list(dataset["answer"])
    rows = [row for row, truth in enumerate(gold) if is_known(truth) and encoded[row] is not None]
    ids = [tokens or [] for tokens in encoded]
    longest = max(len(ids[row]) for row in rows)
    if context is not None and longest + settings.max_tokens > context:
        raise UserError(
            f"max_tokens is {settings.max_tokens}, and with the longest prompt of {benchmark.name}, of {longest} "
            f"tokens, that is more than the {context} tokens that the model takes; set max_tokens to "
            f"{max(context - longest, 1)} or less"
        )
    template = task.prompt_template or "{prompt}"
    if is_chat:
        template += f" [in the model's chat template, sha256 {_sha(str(tokenizer.chat_template))[:12]}]"
    return Asked(benchmark, rows, [_shown(prompt) for prompt in prompts], ids, gold, template)


def _shown(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


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
    subjects: Sequence[Subject], benchmarks: Sequence[Benchmark], how: How, output: Path
) -> list[list[Measurement]]:
    """Check everything that can be known before a model is loaded; for each model, a measurement a benchmark.

    Raises:
        UserError: if a model cannot be asked, or the output holds other samples.
    """
    planned = []
    for subject in subjects:
        of_subject = []
        for benchmark in benchmarks:
            asked = ask(benchmark, subject.tokenizer, how.settings, subject.context)
            directory = output / subject.label / directory_name(benchmark.name)
            store = SampleStore(directory, _fingerprint(subject, asked, how))
            for (row, _), sample in store.samples.items():
                if row < len(asked.ids) and sample.prompt != _digest(asked.ids[row]):
                    raise UserError(
                        f"{directory} holds samples of other questions (the prompt of question {row} has changed); "
                        "give another output_dir, or delete that directory"
                    )
            of_subject.append(Measurement(asked, store, num_samples(how.protocol, how.settings, benchmark.name)))
        planned.append(of_subject)
    return planned


def directory_name(benchmark: str) -> str:
    """A benchmark's name as a directory's."""
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in benchmark)
    return name if name == benchmark else f"{name[:60].strip('-.')}-{_sha(benchmark)[:6]}"


def _digest(ids: Sequence[int]) -> str:
    return _sha(json.dumps(ids))[:16]


def _fingerprint(subject: Subject, asked: Asked, how: How) -> dict[str, Any]:
    settings = {name: value for name, value in asdict(how.settings).items() if name != "k"}
    benchmark = asked.benchmark
    return {
        "benchmark": benchmark.name,
        "model": subject.identity,
        "engine": how.engine,
        "dtype": how.dtype,
        **settings,
        "template": asked.template,
        "scoring": benchmark.scoring,
        "library": f"{benchmark.source.library} {benchmark.source.version}",
        "versions": how.versions,
    }


def evaluate(
    subjects: Sequence[Subject], benchmarks: Sequence[Benchmark], how: How, output: Path
) -> dict[str, Results]:
    """Measure models on benchmarks; the results by the models' labels.

    Raises:
        UserError: for what cannot work, before a model is loaded where it can be known then.
    """
    planned = plan(subjects, benchmarks, how, output)
    results = {}
    for subject, measurements in zip(subjects, planned, strict=True):
        to_sample = [m for m in measurements if next(m.missing(how.batch_size), None) is not None]
        if to_sample:
            engine = subject.open_engine(max(_max_length(m, how.settings) for m in to_sample))
            with progress_bar(Console(file=sys.stderr)) as bar:
                for measurement in to_sample:
                    _sample(measurement, engine, how, bar, subject.label)
            del engine
        found = {m.asked.benchmark.name: _measured(m, subject, output) for m in measurements}
        protocol = Protocol(
            how.title,
            **{name: getattr(how.settings, name) for name in ("temperature", "top_p", "top_k", "max_tokens")},
            engine=how.engine,
            dtype=how.dtype,
            seed=how.settings.seed,
            versions=how.versions,
        )
        results[subject.label] = Results(subject.model, protocol, found)
        write_results(results[subject.label], output / subject.label)
    return results


def _max_length(measurement: Measurement, settings: Settings) -> int:
    return max(len(measurement.asked.ids[row]) for row in measurement.asked.rows) + settings.max_tokens


def _sample(measurement: Measurement, engine: Engine, how: How, bar: Progress, label: str) -> None:
    asked, store = measurement.asked, measurement.store
    total = len(asked.rows) * measurement.k
    wanted = set(itertools.product(asked.rows, range(measurement.k)))
    there = [store.samples[place] for place in wanted & store.samples.keys()]
    num_right, num_done = sum(sample.is_right for sample in there), len(there)
    name = visible(f"{label} {asked.benchmark.name}".strip())
    task = bar.add_task(name, total=total, completed=num_done, numbers="")
    for batch in measurement.missing(engine.batch_size):
        samples = sample_batch(asked, engine, batch, how.settings)
        store.append(samples)
        num_done, num_right = num_done + len(samples), num_right + sum(sample.is_right for sample in samples)
        bar.update(task, completed=num_done, numbers=f"right {num_right / num_done:.1%}")
    bar.remove_task(task)


def sample_batch(
    asked: Asked, engine: Engine, batch: Sequence[tuple[int, int]], settings: Settings
) -> list[Sample]:
    """Sample and judge some questions' samples, given by question and number."""
    benchmark = asked.benchmark
    requests = [
        Request(asked.ids[row], seed_of(settings.seed, benchmark.name, _digest(asked.ids[row]), number))
        for row, number in batch
    ]
    completions = engine.sample(requests)
    verdicts = benchmark.judge([c.text for c in completions], [asked.gold[row] for row, _ in batch])
    samples = []
    for (row, number), completion, verdict in zip(batch, completions, verdicts, strict=True):
        score = benchmark.harness[row].score if benchmark.harness is not None else None
        samples.append(
            Sample(
                row,
                number,
                _digest(asked.ids[row]),
                completion.text,
                completion.num_tokens,
                completion.is_finished,
                verdict.answer,
                verdict.is_right,
                None if score is None else score(completion.text),
            )
        )
    return samples


def _measured(measurement: Measurement, subject: Subject, output: Path) -> BenchmarkResult:
    """The metrics of what is there; writes the files that the report reads."""
    asked, taken = measurement.asked, measurement.taken()
    benchmark, task = asked.benchmark, asked.benchmark.task
    ids = number_answers([[sample.answer for sample in group] for group in taken], task.equivalence).ids
    samples = pad(
        [[sample.is_right for sample in group] for group in taken],
        ids,
        [[sample.num_tokens for sample in group] for group in taken],
    )
    metrics = measure(samples)
    metrics["unfinished_rate"] = estimate([_share(not s.is_finished for s in group) for group in taken])
    if all(sample.harness_right is not None for group in taken for sample in group):
        of_questions = [_share(bool(sample.harness_right) for sample in group) for group in taken]
        metrics[f"{benchmark.source.library} avg@{measurement.k}"] = estimate(of_questions)
    directory = output / subject.label / directory_name(benchmark.name)
    _write_for_report(directory, asked, taken, samples, subject.model)
    return BenchmarkResult(
        source=benchmark.source,
        num_questions=len(asked.rows),
        limit=benchmark.limit,
        k=measurement.k,
        template=asked.template,
        system_prompt=task.system_prompt or None,
        extractor=task.extractor,
        equivalence="the task's own checker" if task.score else task.equivalence,
        metrics=metrics,
    )


def _share(verdicts: Any) -> float:
    values = list(verdicts)
    return sum(values) / len(values)


def _write_for_report(
    directory: Path, asked: Asked, taken: list[list[Sample]], samples: Samples, model: Model
) -> None:
    """The samples as a run's files are: a table of completions at the model's step, and a row of metrics."""
    step = model.step or 0
    rows = []
    for group, (row, its_samples, its_ids) in enumerate(
        zip(asked.rows, taken, samples.answer_ids.tolist(), strict=True)
    ):
        voted = [number for number in its_ids if number >= 0]
        most = max(voted, key=voted.count) if voted else None
        label = None if most is None else its_samples[its_ids.index(most)].answer
        for sample, answer_id in zip(its_samples, its_ids, strict=True):
            rows.append(
                {
                    "group": group,
                    "question": row,
                    "sample": sample.number,
                    "prompt": asked.texts[row],
                    "completion": sample.completion,
                    "answer": sample.answer,
                    "answer_id": answer_id,
                    "model": "momentum" if model.weights == "momentum" else "policy",
                    "num_tokens": sample.num_tokens,
                    "is_finished": sample.is_finished,
                    "pseudo_label": label,
                    "is_match": most is not None and answer_id == most,
                    "is_right": sample.is_right,
                    "harness_right": sample.harness_right,
                    "right_answer": str(asked.gold[row]),
                }
            )
    write_completions(rows, directory, step)
    scores = measure(samples)
    k = samples.is_right.shape[1]
    metrics = {
        names.GOLD_ACCURACY: scores[f"avg@{k}"],
        names.NONE_RATE: scores["no_answer_rate"],
        names.LENGTH: scores["mean_length"],
    }
    if k > 1:
        metrics |= {names.AGREEMENT: scores["consistency"], names.GOLD_LABEL_ACCURACY: scores[f"maj@{k}"]}
    writer = MetricsWriter(directory / METRICS_FILE)
    writer.write({"step": step, **{name: value.value for name, value in metrics.items()}})
    writer.close()
