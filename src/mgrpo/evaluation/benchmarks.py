"""Benchmarks by name. A name that is not in `BENCHMARKS` is a task's, as `mgrpo tasks` lists them.

If lm-evaluation-harness has a benchmark, its data loading and scoring are used, and its prompt too unless the papers
ask for a box (docs/evaluation.md has the table). `mgrpo.answers` judges answers, as in training; the library's own
verdict is kept next to ours.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mgrpo.answers import get_equivalence, get_extractor
from mgrpo.errors import UserError, did_you_mean
from mgrpo.evaluation.benchmark import Benchmark, answer_judge, as_asked, digest_of_questions, installed_version
from mgrpo.evaluation.code_benchmarks import load_livecodebench, load_mbpp
from mgrpo.evaluation.harness import LIBRARY, HarnessQuestion, load_harness, require_harness
from mgrpo.evaluation.harness_benchmarks import OF_HARNESS
from mgrpo.evaluation.protocols import SamplingSettings
from mgrpo.evaluation.results import Source
from mgrpo.tasks.read import READERS, read_columns
from mgrpo.tasks.registry import TASKS, installed_tasks, load_task
from mgrpo.tasks.task import Task, is_known

OF_TASKS: dict[str, tuple[str, str, str]] = {
    "amc23": ("AMC 12 of 2022 and 2023, 83 problems", "math:AI-MO/aimo-validation-amc", "train"),
}
"""Benchmarks that are a task under another name: summary, task, split."""
OF_CODE = {
    "mbpp": ("MBPP, 500 small functions, run in a sandbox", load_mbpp),
    "livecodebench": ("LiveCodeBench v6, programs for contests, run in a sandbox", load_livecodebench),
}
"""Benchmarks whose completions are programs: summary, loader."""

BENCHMARKS: dict[str, str] = {
    **{name: spec.summary for name, spec in OF_HARNESS.items()},
    **{name: summary for name, (summary, *_) in OF_TASKS.items()},
    **{name: summary for name, (summary, _) in OF_CODE.items()},
}
"""The built-in benchmarks: name -> what it is."""


def parse_names(values: Sequence[str]) -> list[str]:
    """Benchmark names as the command line gives them: several words, or one with commas.

    Raises:
        UserError: if there is none, one is named twice, or one does not exist.
    """
    named = [name.strip() for value in values for name in value.split(",") if name.strip()]
    if not named:
        raise UserError(f"no benchmark is named; name some of {', '.join(BENCHMARKS)}, or tasks")
    known = [*BENCHMARKS, *TASKS, *installed_tasks()]
    for name in named:
        if named.count(name) > 1:
            raise UserError(f"the benchmark {name!r} is named twice; name it once")
        if name not in known and ":" not in name:
            raise UserError(
                f"there is no benchmark {name!r}{did_you_mean(name, known)}; name one of {', '.join(BENCHMARKS)}, or "
                "a task (`mgrpo tasks`)"
            )
    return named


def load_benchmark(
    name: str, settings: SamplingSettings, *, data: str | None = None, limit: int | None = None
) -> Benchmark:
    """Load a benchmark's questions.

    Args:
        name: one of `BENCHMARKS`, or a task's.
        settings: those on how a question is asked or read override the benchmark's own.
        data: a file, or a directory with a file of the benchmark's name; None: the benchmark's own source.
        limit: only the first `limit` questions.

    Raises:
        UserError: if the benchmark or its data is not available, or it has no right answers.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}; set it to 1 or more, or leave it out for all questions")
    for get, value in ((get_extractor, settings.answer_extractor), (get_equivalence, settings.answer_equivalence)):
        if value is not None:
            get(value)
    file = None if data is None or name not in BENCHMARKS else _local_file(name, Path(data))
    if name in OF_HARNESS:
        benchmark = _load_from_harness(name, settings, file, limit)
    elif name in OF_CODE:
        benchmark = OF_CODE[name][1](settings, file, limit)
    else:
        benchmark = _load_from_task(name, settings, file, limit)
    if not any(is_known(gold) for gold in benchmark.task.columns.get("answer", ())):
        raise UserError(f"{name} has no right answers, so nothing can be measured; name a data set that has them")
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


def _load_from_harness(name: str, settings: SamplingSettings, file: str | None, limit: int | None) -> Benchmark:
    spec, seed = OF_HARNESS[name], settings.dataset_seed
    columns = None if file is None else spec.prepare(read_columns(file, split="test", dataset_config=None))
    questions = load_harness(spec.configs, columns, seed, metric="exact_match", filter_name=spec.filter_name)[:limit]
    task = Task(
        {
            "prompt": [q.prompt if spec.question is None else q.document[spec.question] for q in questions],
            "answer": [spec.read_gold(q.target) for q in questions],
        },
        prompt_template=spec.template,
        extractor=spec.extractor,
        equivalence=spec.equivalence,
    )
    configs = spec.configs[0] if len(spec.configs) == 1 else f"{spec.configs[0]} and {len(spec.configs) - 1} more"
    source = Source(LIBRARY, require_harness(), configs, file, None, seed, digest_of_questions(task))
    return _judged_by_answers(name, task, settings, questions, source, limit)


def _load_from_task(name: str, settings: SamplingSettings, file: str | None, limit: int | None) -> Benchmark:
    task_name, split = name, settings.split
    if name in OF_TASKS:
        _, task_name, split = OF_TASKS[name]
    generator = task_name.partition(":")[0]
    if file is not None:
        task_name = f"{generator}:{file}"
    task = load_task(
        task_name,
        split=split,
        size=limit,
        seed=settings.dataset_seed,
        dataset_config=settings.dataset_config,
        prompt_column=settings.prompt_column,
        # Training takes an answer column only if it is named; without answers there is nothing to measure here.
        answer_column=settings.answer_column or ("answer" if generator in ("file", "hub") else None),
    )
    task = replace(task, columns={column: list(values)[:limit] for column, values in task.columns.items()})
    library = "reasoning-gym" if generator == "reasoning_gym" else None
    version, split_read = library and installed_version(library), None if file else split
    source = Source(library, version, task_name, file, split_read, settings.dataset_seed, digest_of_questions(task))
    return _judged_by_answers(name, task, settings, None, source, limit)


def _judged_by_answers(
    name: str,
    task: Task,
    settings: SamplingSettings,
    questions: list[HarnessQuestion] | None,
    source: Source,
    limit: int | None,
) -> Benchmark:
    task = as_asked(task, settings)
    compared = task.equivalence if task.score is None else "then the task's own checker"
    return Benchmark(name, task, answer_judge(task), questions, source, limit, f"{task.extractor}, {compared}")
