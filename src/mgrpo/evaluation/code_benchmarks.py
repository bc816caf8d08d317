"""Benchmarks whose completions are programs: MBPP and LiveCodeBench. Generated code runs in a sandbox only."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mgrpo.errors import UserError, first_line
from mgrpo.evaluation.benchmark import Benchmark, Judge, Verdict, as_asked, digest_of_questions
from mgrpo.evaluation.harness import LIBRARY, load_harness, require_harness
from mgrpo.evaluation.protocols import SamplingSettings
from mgrpo.evaluation.results import Source
from mgrpo.sandbox.code_scoring import score_code
from mgrpo.sandbox.code_tests import CodeTests, extract_program, livecodebench_tests, mbpp_tests
from mgrpo.sandbox.sandbox import check_sandbox
from mgrpo.tasks.read import read_columns
from mgrpo.tasks.task import Columns, Task

LIVECODEBENCH = "livecodebench/code_generation_lite"
LIVECODEBENCH_FILES = ("test.jsonl", *(f"test{number}.jsonl" for number in range(2, 7)))
"""Of release v6: each file has the problems that its release added."""
LIVECODEBENCH_COLUMNS = (
    *("question_id", "question_content", "starter_code"),
    *("public_test_cases", "private_test_cases", "metadata"),
)
MBPP_CONFIG = "mbpp/mbpp_instruct.yaml"

Row = Mapping[str, Any]


def load_mbpp(settings: SamplingSettings, file: str | None, limit: int | None) -> Benchmark:
    """MBPP: small functions, each tested by three assert statements, loaded and asked as by lm-evaluation-harness.

    Raises:
        UserError: if no sandbox is available, or the data is missing or cannot be read.
    """
    _check("mbpp", settings)
    columns = None if file is None else read_columns(file, split="test", dataset_config=None)
    questions = load_harness((MBPP_CONFIG,), columns, settings.dataset_seed, metric=None)[:limit]
    gold = ["\n".join(question.document["test_list"]) for question in questions]
    rows = dict(zip(gold, (question.document for question in questions), strict=True))
    for row in rows.values():
        mbpp_tests(row)  # refuses bad tests before anything is sampled
    task = Task(
        {"prompt": [question.prompt for question in questions], "answer": gold},
        prompt_template="{prompt}",
        extractor="mgrpo.sandbox.code_tests:extract_mbpp",
        equivalence="text",
    )
    source = Source(LIBRARY, require_harness(), MBPP_CONFIG, file, None, None, digest_of_questions(task))
    scoring = "the problem's asserts, run in a sandbox"
    judge = _code_judge(rows, mbpp_tests)
    return Benchmark("mbpp", as_asked(task, settings), judge, questions, source, limit, scoring, settings)


def load_livecodebench(settings: SamplingSettings, file: str | None, limit: int | None) -> Benchmark:
    """LiveCodeBench: problems of programming contests, tested by inputs and outputs.

    Raises:
        UserError: if no sandbox is available, or the data is missing or cannot be read.
    """
    _check("livecodebench", settings)
    columns = _download_livecodebench() if file is None else read_columns(file, split="test", dataset_config=None)
    for name in LIVECODEBENCH_COLUMNS:
        if name not in columns:
            raise UserError(
                f"{file} has no column {name!r} (it has {', '.join(columns)}); livecodebench needs the columns of "
                f"{LIVECODEBENCH} on the Hub"
            )
    num = len(columns["question_id"][:limit])
    rows = [{name: columns[name][i] for name in LIVECODEBENCH_COLUMNS} for i in range(num)]
    gold = [f"the tests of {row['question_id']}" for row in rows]
    task = Task(
        {"prompt": [_ask_for_program(row) for row in rows], "answer": gold},
        prompt_template="{prompt}",
        extractor="mgrpo.sandbox.code_tests:extract_fenced",
        equivalence="text",
    )
    source = Source(None, None, LIVECODEBENCH, file, None, None, digest_of_questions(task))
    scoring = "the problem's inputs and outputs, run in a sandbox"
    judge = _code_judge(dict(zip(gold, rows, strict=True)), livecodebench_tests)
    return Benchmark("livecodebench", as_asked(task, settings), judge, None, source, limit, scoring, settings)


def _check(name: str, settings: SamplingSettings) -> None:
    for setting in ("answer_extractor", "answer_equivalence"):
        if getattr(settings, setting) is not None:
            raise UserError(f"{setting} is set, but the answers of {name} are programs, which are run; leave it out")
    check_sandbox()


def _code_judge(rows: Mapping[str, Row], read_tests: Callable[[Row], CodeTests]) -> Judge:
    """Runs the program of each completion against the tests in the row of its question's gold answer."""

    def judge(texts: Sequence[str], gold: Sequence[Any]) -> list[Verdict]:
        tests = [read_tests(rows[its_gold]) for its_gold in gold]
        programs = [extract_program(*pair) for pair in zip(texts, tests, strict=True)]
        verdicts = score_code(texts, tests)
        return [
            Verdict(program and program.strip(), verdict.passed)
            for program, verdict in zip(programs, verdicts, strict=True)
        ]

    return judge


def _ask_for_program(row: Row) -> str:
    if row["starter_code"]:
        request = f"Complete this Python code:\n\n```python\n{row['starter_code']}\n```"
    else:
        request = "Write a Python program that reads the input from standard input and prints the answer."
    ending = "End with the whole program in one block that begins with ```python."
    return f"{row['question_content']}\n\n{request}\n{ending}"


def _download_livecodebench() -> Columns:
    import datasets

    # Not by the data set's own script, which `datasets` no longer runs.
    files = [f"hf://datasets/{LIVECODEBENCH}/{name}" for name in LIVECODEBENCH_FILES]
    try:
        dataset = datasets.load_dataset("json", data_files=files, split="train")
    except Exception as error:  # datasets and huggingface_hub raise types of their own
        raise UserError(
            f"the data set {LIVECODEBENCH!r} is not available from the Hub ({first_line(error)}); try again with a "
            "network, or give a local copy with its columns by --data"
        ) from error
    return {name: dataset[name] for name in dataset.column_names}
