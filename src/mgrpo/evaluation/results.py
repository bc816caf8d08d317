"""`results.json`: what was measured of one model, and all settings that influence the numbers."""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mgrpo.errors import UserError
from mgrpo.evaluation.protocols import UsedProtocol
from mgrpo.evaluation.statistics import Estimate
from mgrpo.runs.files import write_whole
from mgrpo.runs.reading import UnreadableError, WrongTypeError, read_as, read_json_object

RESULTS_FILE = "results.json"
EVALUATION_DIRECTORY = "evaluation"
"""In a run's directory; it has a subdirectory for each of the run's models, with a label such as `final-momentum`."""
INITIAL = "initial"
"""The label of the model that a run started from."""
MOMENTUM_SUFFIX = "-momentum"
"""A momentum model's label is its policy's followed by this."""
RESULTS_FORMAT = 1
"""Raised when older readers would fail; a new field that they may ignore does not raise it."""

Weights = Literal["policy", "momentum", "other"]


@dataclass(frozen=True)
class Model:
    """Whose numbers these are.

    Attributes:
        name: on the Hub, or its path.
        weights: of a run's policy or momentum model, or of a model that belongs to no run.
        step: optimizer steps it was trained for in the run, or None.
        revision: commit on the Hub, or None.
    """

    name: str
    weights: Weights
    step: int | None
    revision: str | None


@dataclass(frozen=True)
class Source:
    """Where the questions come from: a library, a file, or a library that read a file.

    Attributes:
        library, version: such as `lm-eval`.
        task: the library's name of the benchmark.
        file: path of a local copy.
        dataset_seed: of generated questions, or of the order of a question's options.
        sha256: of the questions as they were read; equal ones are the same questions.
    """

    library: str | None
    version: str | None
    task: str | None
    file: str | None
    split: str | None
    dataset_seed: int | None
    sha256: str


@dataclass(frozen=True)
class BenchmarkResult:
    """What was measured on one benchmark.

    Attributes:
        num_questions: that were sampled.
        limit: only this many questions, the first ones, were taken; None is all.
        k: samples of each question.
        template: text around a question, or whose it is.
        conversational: whether the model's chat template is applied.
        scoring: how a completion is scored, in words.
        metrics: those of `metrics.measure` and others, by name.
    """

    source: Source
    num_questions: int
    limit: int | None
    k: int
    template: str
    system_prompt: str | None
    conversational: bool
    chat_template_kwargs: dict[str, Any] | None
    extractor: str
    equivalence: str
    scoring: str
    metrics: dict[str, Estimate]

    @property
    def headline(self) -> Estimate:
        """`avg@k`, which the tables show."""
        return self.metrics[f"avg@{self.k}"]


@dataclass(frozen=True)
class Results:
    """The content of a `results.json`: one model, one protocol, and its benchmarks by name."""

    model: Model
    protocol: UsedProtocol
    benchmarks: dict[str, BenchmarkResult]


def write_results(results: Results, directory: Path) -> Path:
    """Write `results.json` into a directory, which is created; an unknown interval is written as null."""
    directory.mkdir(parents=True, exist_ok=True)
    content = {"format": RESULTS_FORMAT, **_without_nan(dataclasses.asdict(results))}
    path = directory / RESULTS_FILE
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def read_results(directory: Path) -> Results:
    """Read the `results.json` of a directory, or a file of that format by its path.

    Raises:
        UserError: if there is none, or it is broken, not from `mgrpo evaluate`, or of a newer version.
    """
    path = directory if directory.is_file() else directory / RESULTS_FILE
    again = "; delete it and run `mgrpo evaluate` again"
    if not path.exists():
        raise UserError(f"{directory} holds no {RESULTS_FILE}; run `mgrpo evaluate`, which writes it.")
    try:
        content = read_json_object(path)
    except UnreadableError as error:
        raise UserError(f"{path} cannot be read: {error.reason}{again}.") from None
    if "format" not in content:
        raise UserError(f"{path} has no `format`, so `mgrpo evaluate` did not write it; name one that it wrote.")
    if content["format"] != RESULTS_FORMAT:
        raise UserError(
            f"{path} has format {content['format']!r:.40}, and this version of mgrpo reads format {RESULTS_FORMAT}; "
            "install the version that wrote it, or a newer one."
        )
    try:
        results: Results = read_as(Results, content)
        for name, of_benchmark in results.benchmarks.items():
            if f"avg@{of_benchmark.k}" not in of_benchmark.metrics:
                raise WrongTypeError(f"`benchmarks.{name}.metrics` has no `avg@{of_benchmark.k}`")
    except WrongTypeError as error:
        raise UserError(f"{path} is broken: {error}{again}.") from None
    return results


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(entry) for name, entry in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
