"""Benchmarks whose completions are programs: MBPP and LiveCodeBench. What is generated runs in a sandbox alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mgrpo.errors import UserError
from mgrpo.evaluation.harness import HarnessQuestion, load_harness
from mgrpo.evaluation.judge import Verdict
from mgrpo.sandbox.code_scoring import score_code
from mgrpo.sandbox.code_tests import CodeTests, extract_fenced, extract_mbpp, livecodebench_tests, mbpp_tests
from mgrpo.sandbox.sandbox import check_sandbox
from mgrpo.tasks.read import first_line, read_columns
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


@dataclass(frozen=True)
class CodeQuestions:
    """Questions to be answered by programs.

    Attributes:
        task: the questions; the right answer of each says in words what it is tested by.
        judge: runs a completion's program against the tests.
        harness: the library's questions, or None where they are not of it.
        scoring: what says whether a program is right, in words.
    """

    task: Task
    judge: "CodeJudge"
    harness: list[HarnessQuestion] | None
    scoring: str


class CodeJudge:
    """Runs the program of each completion against its question's tests.

    Args:
        rows: of the data set, by what stands for the question's right answer.
        read_tests: the tests of a row.
        extract: the program in a completion.
    """

    def __init__(
        self, rows: Mapping[str, Row], read_tests: Callable[[Row], CodeTests], extract: Callable[[str], str | None]
    ) -> None:
        self._rows, self._read_tests, self._extract = rows, read_tests, extract

    def __call__(self, texts: Sequence[str], gold: Sequence[Any]) -> list[Verdict]:
        """Judge some completions; an answer is its program."""
        verdicts = score_code(texts, [self._read_tests(self._rows[its_gold]) for its_gold in gold])
        programs = [(self._extract(text) or "").strip() or None for text in texts]
        return [Verdict(program, verdict.passed) for program, verdict in zip(programs, verdicts, strict=True)]


def load_mbpp(columns: Columns | None, seed: int, limit: int | None) -> CodeQuestions:
    """MBPP: small functions, each tested by three assert statements, as lm-evaluation-harness loads and asks them.

    Raises:
        UserError: if there can be no sandbox here, or the data cannot be had or read.
    """
    check_sandbox()
    questions = load_harness((MBPP_CONFIG,), columns, seed, metric=None)[:limit]
    gold = ["\n".join(question.document["test_list"]) for question in questions]
    rows = dict(zip(gold, (question.document for question in questions), strict=True))
    for row in rows.values():
        mbpp_tests(row)
    columns = {"prompt": [question.prompt for question in questions], "answer": gold}
    judge = CodeJudge(rows, mbpp_tests, extract_mbpp)
    task = Task(
        columns, prompt_template="{prompt}", extractor="mgrpo.sandbox.code_tests:extract_mbpp", equivalence="text"
    )
    return CodeQuestions(task, judge, questions, "the problem's asserts, run in a sandbox")


def load_livecodebench(file: str | None, limit: int | None) -> CodeQuestions:
    """LiveCodeBench: problems of programming contests, tested by inputs and outputs.

    Raises:
        UserError: if there can be no sandbox here, or the data cannot be had or read.
    """
    check_sandbox()
    columns = _read_livecodebench() if file is None else read_columns(file, split="test", dataset_config=None)
    for name in LIVECODEBENCH_COLUMNS:
        if name not in columns:
            raise UserError(
                f"{file} has no column {name!r} ({', '.join(columns)} are there); livecodebench needs those of "
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
    judge = CodeJudge(dict(zip(gold, rows, strict=True)), livecodebench_tests, extract_fenced)
    return CodeQuestions(task, judge, None, "the problem's inputs and outputs, run in a sandbox")


def _ask_for_program(row: Row) -> str:
    if row["starter_code"]:
        how = f"Complete this Python code:\n\n```python\n{row['starter_code']}\n```"
    else:
        how = "Write a Python program that reads the input from standard input and prints the answer."
    return f"{row['question_content']}\n\n{how}\nEnd with the whole program in one block that begins with ```python."


def _read_livecodebench() -> Columns:
    import datasets

    # Not by the data set's own script, which `datasets` no longer runs.
    files = [f"hf://datasets/{LIVECODEBENCH}/{name}" for name in LIVECODEBENCH_FILES]
    try:
        dataset = datasets.load_dataset("json", data_files=files, split="train")
    except Exception as error:  # datasets and huggingface_hub raise types of their own
        raise UserError(
            f"the data set {LIVECODEBENCH!r} cannot be had from the Hub ({first_line(error)}); try again where there "
            "is a network, or give a local copy with its columns by --data"
        ) from error
    return {name: dataset[name] for name in dataset.column_names}
