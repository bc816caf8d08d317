"""Benchmarks by name. A name that is not in `BENCHMARKS` is a task's, as `mgrpo tasks` lists them.

If lm-evaluation-harness has a benchmark, its data loading and scoring are used, and its prompt too unless the papers
ask for a box (docs/how-to/evaluate.md has the table). `mgrpo.answers` judges answers, as in training; the library's
own verdict is kept next to ours.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mgrpo.answers import boxed, number
from mgrpo.errors import UserError, did_you_mean
from mgrpo.evaluation.benchmark import Benchmark, answer_judge, as_asked, digest_of_questions, installed_version
from mgrpo.evaluation.code_benchmarks import load_livecodebench, load_mbpp
from mgrpo.evaluation.harness import LIBRARY, HarnessQuestion, load_harness, require_harness
from mgrpo.evaluation.protocols import SamplingSettings
from mgrpo.evaluation.results import Source
from mgrpo.tasks.data_sets import BOX_TEMPLATE
from mgrpo.tasks.load import PLACEHOLDER
from mgrpo.tasks.read import READERS, data_suffix, read_columns
from mgrpo.tasks.registry import TASKS, installed_tasks, load_task
from mgrpo.tasks.task import Columns, Task, is_known


@dataclass(frozen=True)
class HarnessSpec:
    """How a benchmark is taken from lm-evaluation-harness.

    Attributes:
        summary: what it is.
        configs: paths under the library's `tasks/`.
        extractor, equivalence: how an answer is read, and when two are equal.
        question: the column that is asked; None: the library's own prompt.
        template: text around the question.
        read_gold: reads the gold answer out of the library's target.
        filter_name: the library's filter whose output its metric is given.
        prepare: puts a local copy's columns into the form that the library reads.
    """

    summary: str
    configs: tuple[str, ...]
    extractor: str
    equivalence: str
    question: str | None = None
    template: str = PLACEHOLDER
    read_gold: Callable[[str], str | None] = str.strip
    filter_name: str = "none"
    prepare: Callable[[Columns], Columns] = dict


def _with_solution(columns: Columns) -> Columns:
    """For copies of MATH-500 without solutions: the library reads the answer out of the box of a solution."""
    if "solution" in columns or "answer" not in columns:
        return columns
    return {**columns, "solution": [f"\\boxed{{{boxed(str(a)) or a}}}" for a in columns["answer"]]}


def _capitalized(columns: Columns) -> Columns:
    """For copies of AIME 2024 with the column names of the other years."""
    return {name.capitalize() if name in ("problem", "answer") else name: values for name, values in columns.items()}


_SUBJECTS = (
    *("biology", "business", "chemistry", "computer_science", "economics", "engineering", "health", "history"),
    *("law", "math", "other", "philosophy", "physics", "psychology"),
)
_boxed = partial(HarnessSpec, template=BOX_TEMPLATE, extractor="boxed", equivalence="math")
_gpqa = partial(
    HarnessSpec,
    read_gold=lambda target: target.strip().strip("()"),
    extractor="choice:ABCD",
    equivalence="choice",
    filter_name="flexible-extract",
)

OF_HARNESS: dict[str, HarnessSpec] = {
    "math500": _boxed(
        "500 problems of MATH", ("hendrycks_math/hendrycks_math500.yaml",), question="problem", prepare=_with_solution
    ),
    "aime24": _boxed("AIME 2024, 30 problems", ("aime/aime24.yaml",), question="Problem", prepare=_capitalized),
    "aime25": _boxed("AIME 2025, 30 problems", ("aime/aime25.yaml",), question="problem"),
    "gpqa_diamond": _gpqa("GPQA diamond, 198 questions", ("gpqa/cot_zeroshot/gpqa_diamond_cot_zeroshot.yaml",)),
    "gpqa_main": _gpqa("GPQA main, 448 questions", ("gpqa/cot_zeroshot/gpqa_main_cot_zeroshot.yaml",)),
    "mmlu_pro": HarnessSpec(
        "MMLU-Pro, 12,032 questions of 14 subjects in turn",
        tuple(f"mmlu_pro/mmlu_pro_{subject}.yaml" for subject in _SUBJECTS),
        extractor="choice:ABCDEFGHIJ",
        equivalence="choice",
        filter_name="custom-extract",
    ),
    "gsm8k": HarnessSpec(
        "GSM8K, 1,319 word problems",
        ("gsm8k/gsm8k-cot-zeroshot.yaml",),
        read_gold=number,
        extractor="number",
        equivalence="number",
        filter_name="flexible-extract",
    ),
}
"""Benchmarks of lm-evaluation-harness by name."""
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


DATA_SETS = ("file", "hub", "math")
"""Tasks of one kind: questions of a data set, which a recipe says how to ask."""
HOW_ASKED = (
    *("prompt_template", "system_prompt", "conversational", "chat_template_kwargs"),
    *("answer_extractor", "answer_equivalence"),
)
"""Fields of a recipe and of `SamplingSettings` alike: how a question is asked and its answer read."""


def as_trained(benchmark: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """How a run asked its prompts and read answers, if a benchmark is of the kind of the run's tasks; else nothing.

    Args:
        benchmark: its name.
        recipe: the run's fields; what they leave to the task is left to the benchmark, but for the chat template: a
            built-in task is asked without it unless the recipe sets it.
    """
    kinds = {_kind(str(recipe[field])) for field in ("task", "eval_task") if recipe.get(field)}
    if benchmark in BENCHMARKS or _kind(benchmark) not in kinds:
        return {}
    default = {"conversational": False} if benchmark.partition(":")[0] in TASKS else {}
    return default | {field: recipe[field] for field in HOW_ASKED if recipe.get(field) is not None}


def _kind(task: str) -> str:
    head = task.partition(":")[0]
    return DATA_SETS[0] if head in DATA_SETS else head if head in TASKS else task


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
    name: str, settings: SamplingSettings, *, data: str | Path | None = None, limit: int | None = None
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
    file = None if data is None or name not in BENCHMARKS else _local_file(name, Path(data))
    if name in OF_CODE:
        benchmark = OF_CODE[name][1](settings, file, limit)
    else:
        load = _load_from_harness if name in OF_HARNESS else _load_from_task
        task, questions, source = load(name, settings, file, limit)
        task = as_asked(task, settings)
        compared = task.equivalence if task.score is None else "then the task's own checker"
        scoring = f"{task.extractor}, {compared}"
        benchmark = Benchmark(name, task, answer_judge(task), questions, source, limit, scoring, settings)
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
    held = ", ".join(sorted(path.name for path in data.iterdir() if data_suffix(path.name))) or "no data"
    raise UserError(
        f"the directory {data} has no file {name}.jsonl (it holds {held}); put it there, or leave out data"
    )


Loaded = tuple[Task, list[HarnessQuestion] | None, Source]


def _load_from_harness(name: str, settings: SamplingSettings, file: str | None, limit: int | None) -> Loaded:
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
    return task, questions, Source(LIBRARY, require_harness(), configs, file, None, seed, digest_of_questions(task))


def _load_from_task(name: str, settings: SamplingSettings, file: str | None, limit: int | None) -> Loaded:
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
    return task, None, source
