"""What was sampled, as numbers for the result file and as a run's files for the report."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mgrpo.answers.equivalence import number_answers
from mgrpo.evaluation.metrics import CONSISTENCY, MEAN_LENGTH, NO_ANSWER, NO_ANSWER_RATE, Samples, measure, pad
from mgrpo.evaluation.prompts import Asked, template_of
from mgrpo.evaluation.results import BenchmarkResult, Model
from mgrpo.evaluation.statistics import estimate
from mgrpo.evaluation.store import Sample
from mgrpo.runs import metrics as names
from mgrpo.runs.files import METRICS_FILE, MetricsWriter, write_completions

UNFINISHED_RATE = "unfinished_rate"
"""Share of the completions that the limit of tokens cut off."""


def measured(
    asked: Asked, taken: list[list[Sample]], chat_template_kwargs: dict[str, Any] | None
) -> tuple[BenchmarkResult, Samples]:
    """The metrics of a benchmark's samples.

    Args:
        asked: the benchmark.
        taken: the samples of each question, as many of each.
        chat_template_kwargs: what the chat template was given.
    """
    benchmark, task = asked.benchmark, asked.benchmark.task
    k = len(taken[0])
    ids = number_answers([[sample.answer for sample in group] for group in taken], task.equivalence).ids
    samples = pad(
        [[sample.is_right for sample in group] for group in taken],
        ids,
        [[sample.num_tokens for sample in group] for group in taken],
    )
    metrics = measure(samples)
    metrics[UNFINISHED_RATE] = estimate([_share(not s.is_finished for s in group) for group in taken], is_share=True)
    if all(sample.harness_right is not None for group in taken for sample in group):
        of_questions = [_share(bool(sample.harness_right) for sample in group) for group in taken]
        metrics[f"{benchmark.source.library} avg@{k}"] = estimate(of_questions, is_share=True)
    result = BenchmarkResult(
        source=benchmark.source,
        num_questions=len(asked.rows),
        limit=benchmark.limit,
        k=k,
        template=template_of(benchmark),
        system_prompt=task.system_prompt or None,
        conversational=asked.is_chat,
        chat_template_kwargs=chat_template_kwargs,
        extractor=task.extractor,
        equivalence=task.equivalence,
        scoring=benchmark.scoring,
        metrics=metrics,
    )
    return result, samples


def _share(verdicts: Iterable[bool]) -> float:
    values = list(verdicts)
    return sum(values) / len(values)


def write_for_report(
    directory: Path,
    asked: Asked,
    taken: list[list[Sample]],
    samples: Samples,
    model: Model,
    result: BenchmarkResult,
) -> None:
    """The samples as a run's files are: a table of completions at the model's step, and a row of metrics."""
    step = model.step or 0
    rows = []
    for group, its_samples in enumerate(taken):
        ids = samples.answer_ids[group].tolist()
        voted = [number for number in ids if number != NO_ANSWER]
        most = max(voted, key=voted.count) if voted else None
        shared = {
            "group": group,
            "question": asked.rows[group],
            "prompt": asked.texts[asked.rows[group]],
            "right_answer": str(asked.gold[asked.rows[group]]),
            "pseudo_label": None if most is None else its_samples[ids.index(most)].answer,
            "model": "momentum" if model.weights == "momentum" else "policy",
        }
        for sample, answer_id in zip(its_samples, ids, strict=True):
            rows.append(
                {
                    **shared,
                    "sample": sample.number,
                    "completion": sample.completion,
                    "answer": sample.answer,
                    "answer_id": answer_id,
                    "num_tokens": sample.num_tokens,
                    "is_finished": sample.is_finished,
                    "is_match": answer_id == most,
                    "is_right": sample.is_right,
                    "harness_right": sample.harness_right,
                }
            )
    write_completions(rows, directory, step)
    k = samples.is_right.shape[1]
    named = {
        names.GOLD_ACCURACY: f"avg@{k}",
        names.NONE_RATE: NO_ANSWER_RATE,
        names.LENGTH: MEAN_LENGTH,
        names.AGREEMENT: CONSISTENCY,
        names.GOLD_LABEL_ACCURACY: f"maj@{k}",
    }
    writer = MetricsWriter(directory / METRICS_FILE)
    row = {logged: result.metrics[name].value for logged, name in named.items() if name in result.metrics}
    writer.write({"step": step, **row})
    writer.close()
