"""Models on benchmarks: samples, judges and keeps what is missing, then measures all that exists.

An evaluation writes into the output directory, for each model into the subdirectory of its label (if it has one):

results.json                 what was measured, and all settings that influence it
BENCHMARK/settings.json      what the samples depend on
BENCHMARK/samples.jsonl      the samples, in the order they were taken
BENCHMARK/metrics.jsonl, completions/   the same as a run's files, which `mgrpo report` shows
"""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from mgrpo.evaluation.benchmark import Benchmark
from mgrpo.evaluation.engines import Engine, Request, seed_of
from mgrpo.evaluation.prepare import EvalSettings, EvaluatedModel, Measurement, plan_measurements, read_earlier
from mgrpo.evaluation.prompts import Questions, digest_of_prompt
from mgrpo.evaluation.protocols import SamplingSettings
from mgrpo.evaluation.results import Results, write_results
from mgrpo.evaluation.results_of_samples import measure_samples, write_for_report
from mgrpo.evaluation.store import Sample
from mgrpo.monitoring.display import progress_bar, visible


def evaluate(
    models: Sequence[EvaluatedModel], benchmarks: Sequence[Benchmark], eval_settings: EvalSettings, output: Path
) -> dict[str, Results]:
    """Measure models on benchmarks; returns the results by the models' labels.

    Raises:
        UserError: for what cannot work, if possible before a model is loaded.
    """
    planned, results = plan_measurements(models, benchmarks, eval_settings, output), {}
    for model, measurements in zip(models, planned, strict=True):
        _sample_missing(model, measurements, eval_settings)
        found = {}
        for measurement in measurements:
            questions, samples = measurement.questions, measurement.samples()
            result, answer_ids = measure_samples(questions, samples, eval_settings.sampling.chat_template_kwargs)
            write_for_report(measurement.store.directory, questions, samples, answer_ids, model.model, result)
            found[questions.benchmark.name] = result
        directory = output / model.label
        earlier = read_earlier(directory, model, eval_settings)
        results[model.label] = Results(model.model, eval_settings.used_protocol, {**earlier, **found})
        write_results(results[model.label], directory)
    return results


def _sample_missing(model: EvaluatedModel, measurements: Sequence[Measurement], eval_settings: EvalSettings) -> None:
    to_sample = [m for m in measurements if next(m.missing(eval_settings.batch_size), None) is not None]
    if to_sample:
        engine = model.open_engine(max(m.longest_prompt for m in to_sample) + eval_settings.sampling.max_tokens)
        with progress_bar(Console(file=sys.stderr)) as bar:
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
    digests = [digest_of_prompt(questions.ids[row]) for row, _ in batch]
    requests = [
        Request(questions.ids[row], seed_of(settings.seed, benchmark.name, digest, number))
        for (row, number), digest in zip(batch, digests, strict=True)
    ]
    completions = engine.sample(requests)
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
