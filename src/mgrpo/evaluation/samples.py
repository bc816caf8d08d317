"""Samples: on disk, as numbers for the result file, and in the form of a run's files for the report.

`samples.jsonl` is appended by batch, so that a crash loses only one; `settings.json` is next to it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from mgrpo.answers.equivalence import answer_ids as number_answers
from mgrpo.errors import UserError
from mgrpo.evaluation.benchmark import Questions, template_of
from mgrpo.evaluation.metrics import CONSISTENCY, MEAN_LENGTH, NO_ANSWER_RATE, Ints, count_votes, measure
from mgrpo.evaluation.results import BenchmarkResult, Model
from mgrpo.evaluation.statistics import estimate
from mgrpo.runs import metrics as names
from mgrpo.runs.files import METRICS_FILE, SAMPLES_FILE, MetricsWriter, write_completions, write_whole
from mgrpo.runs.reading import WrongTypeError, read_as, read_json_lines, read_json_object

SETTINGS_FILE = "settings.json"
UNFINISHED_RATE = "unfinished_rate"
"""Share of the completions that reached the limit of tokens."""


@dataclass(frozen=True)
class Sample:
    """A judged sample of a question, as one line of the file.

    Attributes:
        question: the question's number, from 0.
        number: the sample's number among the question's, from 0.
        prompt: digest of the prompt's tokens, which identifies the question.
        completion, num_tokens, is_finished: of the `Completion`.
        answer, is_right: of the `Verdict`.
        harness_right: whether lm-evaluation-harness finds it right; None if it did not score.
    """

    question: int
    number: int
    prompt: str
    completion: str
    num_tokens: int
    is_finished: bool
    answer: str | None
    is_right: bool
    harness_right: bool | None


class SampleStore:
    """The samples of one model on one benchmark; `samples` are the existing ones by question and number.

    Args:
        directory: of the samples; created with the first one.
        settings: everything that a sample depends on; samples of other settings are refused.

    Raises:
        UserError: if the directory holds samples of other settings, or settings that cannot be read.
    """

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        self.directory = directory
        self._settings = json.loads(json.dumps(settings, default=str))
        self.samples: dict[tuple[int, int], Sample] = {}
        self._length = 0  # bytes of whole lines
        if (directory / SAMPLES_FILE).exists():
            self._check_settings()
            self._read_samples()

    def append(self, samples: Sequence[Sample]) -> None:
        """Write more samples."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / SAMPLES_FILE).exists():
            write_whole(self.directory / SETTINGS_FILE, json.dumps(self._settings, indent=1) + "\n")
        with (self.directory / SAMPLES_FILE).open("ab") as file:
            file.truncate(self._length)  # half a line of a killed run
            file.write("".join(json.dumps(asdict(sample)) + "\n" for sample in samples).encode())
            file.flush()
            self._length = file.tell()
        self.samples |= {(sample.question, sample.number): sample for sample in samples}

    def _check_settings(self) -> None:
        stored = read_settings(self.directory)
        if stored is None:
            raise UserError(
                f"{self.directory} holds samples, but its {SETTINGS_FILE} cannot be read, so their settings are "
                "unknown; give another output_dir"
            )
        for name in dict.fromkeys([*self._settings, *stored]):
            was, now = stored.get(name), self._settings.get(name)
            if was != now:
                raise UserError(
                    f"{self.directory} holds samples of other settings: {name} was {json.dumps(was):.80} and is "
                    f"{json.dumps(now):.80}; give another output_dir, or delete that directory"
                )

    def _read_samples(self) -> None:
        for num_bytes, sample in read_samples(self.directory):
            self.samples[sample.question, sample.number] = sample
            self._length += num_bytes


def read_settings(directory: Path) -> dict[str, Any] | None:
    """What the samples of a directory depend on; None if that cannot be read."""
    try:
        return read_json_object(directory / SETTINGS_FILE)
    except (FileNotFoundError, UserError):
        return None


def read_samples(directory: Path) -> Iterator[tuple[int, Sample]]:
    """Read the samples of a directory, each with its length in bytes, up to a line that is none or half one."""
    for line, row in read_json_lines(directory / SAMPLES_FILE):
        try:
            sample = read_as(Sample, row)
        except WrongTypeError:
            return
        yield len(line), sample


def measure_samples(questions: Questions, samples: list[list[Sample]]) -> tuple[BenchmarkResult, Ints]:
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
        chat_template_kwargs=benchmark.settings.chat_template_kwargs,
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
