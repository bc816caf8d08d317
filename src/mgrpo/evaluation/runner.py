"""Models on benchmarks: what is missing is sampled, judged and kept; then everything that is there is measured.

What an evaluation leaves in its directory, for each model a directory by its label (a model by name has none):

results.json                 what was measured, and all that shaped it
BENCHMARK/settings.json      what the samples depend on
BENCHMARK/samples.jsonl      the samples, as they came
BENCHMARK/metrics.jsonl, completions/   the same as a run's files: `mgrpo report` shows them
"""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from mgrpo.evaluation.benchmarks import Benchmark
from mgrpo.evaluation.engines import Engine, Request, seed_of
from mgrpo.evaluation.prepare import EvalSettings, EvaluatedModel, Measurement, earlier_results, plan, protocol_of
from mgrpo.evaluation.prompts import Asked, digest_of
from mgrpo.evaluation.protocols import Settings
from mgrpo.evaluation.results import Results, write_results
from mgrpo.evaluation.results_of_samples import measured, write_for_report
from mgrpo.evaluation.store import Sample
from mgrpo.monitoring.display import progress_bar, visible


def evaluate(
    subjects: Sequence[EvaluatedModel], benchmarks: Sequence[Benchmark], how: EvalSettings, output: Path
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
        found = {}
        for measurement in measurements:
            asked, taken = measurement.asked, measurement.taken()
            result, samples = measured(asked, taken, how.settings.chat_template_kwargs)
            write_for_report(measurement.store.directory, asked, taken, samples, subject.model, result)
            found[asked.benchmark.name] = result
        earlier = earlier_results(output / subject.label, subject, how)
        results[subject.label] = Results(subject.model, protocol_of(how), {**earlier, **found})
        write_results(results[subject.label], output / subject.label)
    return results


def _max_length(measurement: Measurement, settings: Settings) -> int:
    return max(len(measurement.asked.ids[row]) for row in measurement.asked.rows) + settings.max_tokens


def _sample(measurement: Measurement, engine: Engine, how: EvalSettings, bar: Progress, label: str) -> None:
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


def sample_batch(asked: Asked, engine: Engine, batch: Sequence[tuple[int, int]], settings: Settings) -> list[Sample]:
    """Sample and judge some questions' samples, given by question and number."""
    benchmark = asked.benchmark
    requests = [
        Request(asked.ids[row], seed_of(settings.seed, benchmark.name, digest_of(asked.ids[row]), number))
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
                digest_of(asked.ids[row]),
                completion.text,
                completion.num_tokens,
                completion.is_finished,
                verdict.answer,
                verdict.is_right,
                None if score is None else score(completion.text),
            )
        )
    return samples
