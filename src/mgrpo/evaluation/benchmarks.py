"""Benchmarks by name. A name that is none of `BENCHMARKS` is a task's, as `mgrpo tasks` lists them.

Where lm-evaluation-harness has the benchmark, its data loading and its scoring are used, and its prompt but where the
papers ask for a box (docs/evaluation.md has the table). An answer is judged by `mgrpo.answers` as in training; the
library's own verdict is kept beside it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mgrpo.answers import get_equivalence, get_extractor
from mgrpo.errors import UserError, did_you_mean
from mgrpo.evaluation.code_benchmarks import LIVECODEBENCH, MBPP_CONFIG, load_livecodebench, load_mbpp
from mgrpo.evaluation.harness import LIBRARY, HarnessQuestion, load_harness, require_harness
from mgrpo.evaluation.harness_benchmarks import OF_HARNESS, HarnessSpec
from mgrpo.evaluation.judge import AnswerJudge, Judge
from mgrpo.evaluation.protocols import Settings
from mgrpo.evaluation.results import Source
from mgrpo.tasks.read import READERS, read_columns
from mgrpo.tasks.registry import TASKS, installed_tasks, load_task
from mgrpo.tasks.task import Task, is_known


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that was loaded.

    Attributes:
        name: as it was asked for.
        task: its questions and gold answers, how they are asked and read.
        judge: says which completions are right.
        harness: the library's questions in the same order, or None where they are not of it.
        source: where the questions come from.
        limit: only the first so many were taken; None: all.
        scoring: what says whether a completion is right, in words for the result file.
    """

    name: str
    task: Task
    judge: Judge
    harness: list[HarnessQuestion] | None
    source: Source
    limit: int | None
    scoring: str


OF_TASKS: dict[str, tuple[str, str, str]] = {
    "amc23": ("AMC 12 of 2022 and 2023, 83 problems", "math:AI-MO/aimo-validation-amc", "train"),
}
"""Benchmarks that are a task under another name: summary, task, split."""
OF_CODE: dict[str, str] = {
    "mbpp": "MBPP, 500 small functions, run in a sandbox",
    "livecodebench": "LiveCodeBench v6, programs for contests, run in a sandbox",
}
"""Benchmarks whose completions are programs."""

BENCHMARKS: dict[str, str] = {
    **{name: spec.summary for name, spec in OF_HARNESS.items()},
    **{name: summary for name, (summary, _, _) in OF_TASKS.items()},
    **OF_CODE,
}
"""The benchmarks that come along, with what they are."""


def parse_names(values: Sequence[str]) -> list[str]:
    """Benchmarks as the command line gives them: several words, or one with commas.

    Raises:
        UserError: if there is none, one is named twice, or one does not exist.
    """
    named = [name.strip() for value in values for name in value.split(",") if name.strip()]
    if not named:
        raise UserError(f"no benchmark is named; name some of {', '.join(BENCHMARKS)}, or tasks")
    for name in named:
        if named.count(name) > 1:
            raise UserError(f"the benchmark {name!r} is named twice; name it once")
        head = name.partition(":")[0]
        known = [*BENCHMARKS, *TASKS, *installed_tasks()]
        if name not in BENCHMARKS and head not in known and ":" not in name:
            raise UserError(
                f"there is no benchmark {name!r}{did_you_mean(name, known)}; name one of {', '.join(BENCHMARKS)}, or "
                "a task (`mgrpo tasks`)"
            )
    return named


def load_benchmark(name: str, settings: Settings, *, data: str | None = None, limit: int | None = None) -> Benchmark:
    """Load a benchmark's questions.

    Args:
        name: one of `BENCHMARKS`, or a task's.
        settings: those that change how a question is asked or read win over the benchmark's own.
        data: a file, or a directory with a file of the benchmark's name; None: from where it comes from.
        limit: only the first so many questions.

    Raises:
        UserError: if the benchmark or its data cannot be had, or it has no right answers.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}; set it to 1 or more, or leave it out for all questions")
    for get, value in ((get_extractor, settings.answer_extractor), (get_equivalence, settings.answer_equivalence)):
        if value is not None:
            get(value)
    file = None if data is None or name not in BENCHMARKS else _local_file(name, Path(data))
    if name in OF_HARNESS:
        benchmark = _load_harness(name, OF_HARNESS[name], settings, file, limit)
    elif name in OF_CODE:
        benchmark = _load_code(name, settings, file, limit)
    else:
        benchmark = _load_task(name, settings, file, limit)
    if not any(is_known(gold) for gold in benchmark.task.columns.get("answer", ())):
        raise UserError(f"{name} has no right answers, so nothing can be measured; name a data set that has")
    return benchmark


def _local_file(name: str, data: Path) -> str:
    if data.is_file():
        return str(data)
    if not data.is_dir():
        raise UserError(f"data is {data}, which does not exist; name a file, or a directory with {name}.jsonl")
    for suffix in READERS:
        if (data / f"{name}{suffix}").is_file():
            return str(data / f"{name}{suffix}")
    held = ", ".join(sorted(path.name for path in data.iterdir() if path.suffix in READERS)) or "no data"
    raise UserError(
        f"the directory {data} has no file {name}.jsonl (it holds {held}); put it there, or leave out data"
    )


def _load_harness(name: str, spec: HarnessSpec, settings: Settings, file: str | None, limit: int | None) -> Benchmark:
    columns = None if file is None else spec.prepare(read_columns(file, split="test", dataset_config=None))
    questions = load_harness(
        spec.configs, columns, settings.dataset_seed, metric="exact_match", filter_name=spec.filter_name
    )[:limit]
    task = Task(
        {
            "prompt": [q.prompt if spec.question is None else q.document[spec.question] for q in questions],
            "answer": [spec.read_gold(q.target) for q in questions],
        },
        prompt_template=spec.template,
        extractor=spec.extractor,
        equivalence=spec.equivalence,
    )
    task = _as_asked(task, settings)
    configs = spec.configs[0] if len(spec.configs) == 1 else f"{spec.configs[0]} and {len(spec.configs) - 1} more"
    source = Source(LIBRARY, require_harness(), configs, file, None, settings.dataset_seed, _digest(task))
    return Benchmark(name, task, _answer_judge(task), questions, source, limit, _scoring(task))


def _load_code(name: str, settings: Settings, file: str | None, limit: int | None) -> Benchmark:
    for setting in ("answer_extractor", "answer_equivalence"):
        if getattr(settings, setting) is not None:
            raise UserError(f"{setting} is set, but the answers of {name} are programs, which are run; leave it out")
    if name == "mbpp":
        columns = None if file is None else read_columns(file, split="test", dataset_config=None)
        code = load_mbpp(columns, settings.dataset_seed, limit)
        library, version, where = LIBRARY, require_harness(), MBPP_CONFIG
    else:
        code = load_livecodebench(file, limit)
        library, version, where = None, None, LIVECODEBENCH
    task = _as_asked(code.task, settings)
    source = Source(library, version, where, file, None, None, _digest(task))
    return Benchmark(name, task, code.judge, code.harness, source, limit, code.scoring)


def _load_task(name: str, settings: Settings, file: str | None, limit: int | None) -> Benchmark:
    task_name, split = name, settings.split
    if name in OF_TASKS:
        _, task_name, split = OF_TASKS[name]
        if file is not None:
            task_name = f"{task_name.partition(':')[0]}:{file}"
    generator, _, _ = task_name.partition(":")
    task = load_task(
        task_name,
        split=split,
        size=limit,
        seed=settings.dataset_seed,
        dataset_config=settings.dataset_config,
        prompt_column=settings.prompt_column,
        # In training no answer is taken that nobody asked for; here nothing can be measured without.
        answer_column=settings.answer_column or ("answer" if generator in ("file", "hub") else None),
    )
    columns = {column: list(values)[:limit] for column, values in task.columns.items()}
    task = _as_asked(replace(task, columns=columns), settings)
    library = "reasoning-gym" if generator == "reasoning_gym" else None
    version = None if library is None else installed_version(library)
    source = Source(library, version, task_name, file, None if file else split, settings.dataset_seed, _digest(task))
    return Benchmark(name, task, _answer_judge(task), None, source, limit, _scoring(task))


def _as_asked(task: Task, settings: Settings) -> Task:
    asked: dict[str, Any] = {
        "prompt_template": settings.prompt_template,
        "system_prompt": settings.system_prompt,
        "conversational": settings.conversational,
        "extractor": settings.answer_extractor,
        "equivalence": settings.answer_equivalence,
    }
    return replace(task, **{name: value for name, value in asked.items() if value is not None})


def _answer_judge(task: Task) -> Judge:
    return AnswerJudge(task.extractor, task.equivalence, task.score)


def _scoring(task: Task) -> str:
    return f"{task.extractor}, then the task's own checker" if task.score else f"{task.extractor}, {task.equivalence}"


def _digest(task: Task) -> str:
    rows = {name: [str(value) for value in values] for name, values in task.columns.items()}
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def installed_version(package: str) -> str | None:
    """Version of a package, or None where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None
