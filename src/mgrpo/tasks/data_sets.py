"""Data sets of questions: `file` and `hub` as they are, MATH and GSM8K with the way to ask and to read an answer."""

from collections.abc import Sequence
from typing import Any

from mgrpo.answers.boxes import boxed
from mgrpo.answers.last_number import number
from mgrpo.tasks.read import find_column, read_columns, read_file, read_hub, required
from mgrpo.tasks.task import Columns, Task

MATH = "nlile/hendrycks-MATH-benchmark"
BOX_TEMPLATE = "{prompt}\nPlease reason step by step, and put your final answer within \\boxed{}."
GSM8K, GSM8K_CONFIG = "openai/gsm8k", "main"
NUMBER_TEMPLATE = '{prompt}\nPlease reason step by step, and end with "#### " and the answer as a number.'


def file(
    argument: str | None,
    *,
    split: str,
    size: int | None,
    seed: int,
    prompt_column: str | None = None,
    answer_column: str | None = None,
) -> Task:
    """A local file; it is one split, whatever that is called.

    Raises:
        UserError: if it cannot be found or read, or lacks a column.
    """
    path = required(argument, "file:PATH")
    return Task(_columns(read_file(path), path, prompt_column, answer_column))


def hub(
    argument: str | None,
    *,
    split: str,
    size: int | None,
    seed: int,
    dataset_config: str | None = None,
    prompt_column: str | None = None,
    answer_column: str | None = None,
) -> Task:
    """A data set on the Hub.

    Raises:
        UserError: if it cannot be found or read, or lacks a column.
    """
    name = required(argument, "hub:NAME")
    return Task(_columns(read_hub(name, dataset_config, split), name, prompt_column, answer_column))


def math(
    argument: str | None,
    *,
    split: str,
    size: int | None,
    seed: int,
    dataset_config: str | None = None,
    prompt_column: str | None = None,
    answer_column: str | None = None,
) -> Task:
    r"""MATH or one of its mirrors, from the Hub data set or the file that `argument` names; None: from `MATH`.

    The gold answer is in the column `answer`, or in the last box of the column `solution`; a data set without
    either has none.

    Raises:
        UserError: if the data cannot be found or read, or has no column of questions.
    """
    place = argument or MATH
    columns = read_columns(place, split=split, dataset_config=dataset_config)
    wanted = _columns(columns, place, prompt_column, answer_column, ("problem", "question", "prompt"), "answer")
    if "answer" in wanted:  # some mirrors keep the box around it
        wanted["answer"] = [boxed(value) or value if isinstance(value, str) else value for value in wanted["answer"]]
    elif "solution" in columns:
        wanted["answer"] = [boxed(value) if isinstance(value, str) else None for value in columns["solution"]]
    return Task(wanted, prompt_template=BOX_TEMPLATE, extractor="boxed", equivalence="math")


def gsm8k(
    argument: str | None,
    *,
    split: str,
    size: int | None,
    seed: int,
    dataset_config: str | None = None,
    prompt_column: str | None = None,
    answer_column: str | None = None,
) -> Task:
    """GSM8K, from the Hub data set or the file that `argument` names; None: from `GSM8K`.

    The gold answer is read as a completion's is: the number after the last `####`, else the last number.

    Raises:
        UserError: if the data cannot be found or read, or has no column of questions.
    """
    place = argument or GSM8K
    columns = read_columns(place, split=split, dataset_config=dataset_config or (None if argument else GSM8K_CONFIG))
    wanted = _columns(columns, place, prompt_column, answer_column, ("question", "problem", "prompt"), "answer")
    if "answer" in wanted:
        wanted["answer"] = [None if value is None else number(str(value)) for value in wanted["answer"]]
    return Task(wanted, prompt_template=NUMBER_TEMPLATE, extractor="number", equivalence="number")


def _columns(
    columns: Columns,
    place: str,
    prompt_column: str | None,
    answer_column: str | None,
    questions: Sequence[str] = ("prompt",),
    answers: str | None = None,
) -> dict[str, Sequence[Any]]:
    """The columns `prompt` and, where there are gold answers, `answer`: the recipe's, else those with usual names."""
    wanted = {"prompt": find_column(columns, prompt_column, questions, "prompt_column", place, taken=answer_column)}
    if answer_column is not None:
        question = prompt_column or next(name for name in questions if name in columns)
        wanted["answer"] = find_column(columns, answer_column, (), "answer_column", place, taken=question)
    elif answers is not None and answers in columns:
        wanted["answer"] = columns[answers]
    return wanted
