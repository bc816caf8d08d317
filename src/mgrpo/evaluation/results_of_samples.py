"""Samples as numbers for the result file, and in the form of a run's files for the report."""

from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from mgrpo.answers.equivalence import answer_ids as number_answers
from mgrpo.evaluation.benchmark import Questions, template_of
from mgrpo.evaluation.metrics import CONSISTENCY, MEAN_LENGTH, NO_ANSWER_RATE, Ints, count_votes, measure
from mgrpo.evaluation.results import BenchmarkResult, Model
from mgrpo.evaluation.statistics import estimate
from mgrpo.evaluation.store import Sample
from mgrpo.runs import metrics as names
from mgrpo.runs.files import METRICS_FILE, MetricsWriter, write_completions

UNFINISHED_RATE = "unfinished_rate"
"""Share of the completions that reached the limit of tokens."""


def measure_samples(
    questions: Questions, samples: list[list[Sample]], chat_template_kwargs: dict[str, Any] | None
) -> tuple[BenchmarkResult, Ints]:
    """The metrics of K samples of each of Q questions, and the samples' answer ids, (Q, K).

    Equal ids within a row are equal answers, -1 is no answer.
    """
    benchmark, task = questions.benchmark, questions.benchmark.task
    k = len(samples[0])
    answer_ids = np.array(number_answers([[s.answer for s in group] for group in samples], task.equivalence))
    is_right = np.array([[s.is_right for s in group] for group in samples])
    lengths = np.array([[s.num_tokens for s in group] for group in samples])
    metrics = measure(is_right, answer_ids, lengths)
    metrics[UNFINISHED_RATE] = estimate([fmean(not s.is_finished for s in group) for group in samples], is_share=True)
    if all(s.harness_right is not None for group in samples for s in group):
        shares = [fmean(bool(s.harness_right) for s in group) for group in samples]
        metrics[f"{benchmark.source.library} avg@{k}"] = estimate(shares, is_share=True)
    result = BenchmarkResult(
        source=benchmark.source,
        num_questions=len(questions.rows),
        limit=benchmark.limit,
        k=k,
        template=template_of(benchmark),
        system_prompt=task.system_prompt or None,
        conversational=questions.is_chat,
        chat_template_kwargs=chat_template_kwargs,
        extractor=task.extractor,
        equivalence=task.equivalence,
        scoring=benchmark.scoring,
        metrics=metrics,
    )
    return result, answer_ids


def write_for_report(
    directory: Path,
    questions: Questions,
    samples: list[list[Sample]],
    answer_ids: Ints,
    model: Model,
    result: BenchmarkResult,
) -> None:
    """Write the samples as a run's files: a table of completions at the model's step, and a row of metrics."""
    step = model.step or 0
    votes = count_votes(answer_ids)
    rows = []
    for group, (row, of_question) in enumerate(zip(questions.rows, samples, strict=True)):
        winner = votes[group].argmax()  # the first sample of the most common answer; of tied answers the first
        label = int(answer_ids[group, winner])
        shared = {
            "group": group,
            "question": row,
            "prompt": questions.texts[row],
            "right_answer": str(questions.gold[row]),
            "pseudo_label": of_question[winner].answer,
            "model": "momentum" if model.weights == "momentum" else "policy",
        }
        for sample, answer_id in zip(of_question, answer_ids[group].tolist(), strict=True):
            rows.append(
                {
                    **shared,
                    "sample": sample.number,
                    "completion": sample.completion,
                    "answer": sample.answer,
                    "answer_id": answer_id,
                    "num_tokens": sample.num_tokens,
                    "is_finished": sample.is_finished,
                    "is_match": answer_id >= 0 and answer_id == label,
                    "is_right": sample.is_right,
                    "harness_right": sample.harness_right,
                }
            )
    write_completions(rows, directory, step)
    named = {
        names.GOLD_ACCURACY: f"avg@{result.k}",
        names.NONE_RATE: NO_ANSWER_RATE,
        names.LENGTH: MEAN_LENGTH,
        names.AGREEMENT: CONSISTENCY,
        names.GOLD_LABEL_ACCURACY: f"maj@{result.k}",
    }
    values = {logged: result.metrics[name].value for logged, name in named.items() if name in result.metrics}
    writer = MetricsWriter(directory / METRICS_FILE)
    writer.write({"step": step, **values})
    writer.close()
