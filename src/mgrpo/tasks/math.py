r"""MATH: competition problems whose answers are LaTeX in a `\boxed{}`; any of its mirrors, or a file of that kind."""

from typing import Any

from mgrpo.answers.boxes import boxed
from mgrpo.tasks.read import read_columns, task_columns
from mgrpo.tasks.task import Task

SOURCE = "nlile/hendrycks-MATH-benchmark"
QUESTIONS = ("problem", "question", "prompt")
TEMPLATE = "{prompt}\nPlease reason step by step, and put your final answer within \\boxed{}."


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
    r"""MATH, from the Hub data set or the file that `argument` names; None: from `SOURCE`.

    The gold answer is in the column `answer`, or in the last box of the column `solution`; a data set without
    either has none.

    Raises:
        UserError: if the data cannot be found or read, or has no column of questions.
    """
    place = argument or SOURCE
    columns = read_columns(place, split=split, dataset_config=dataset_config)
    wanted = task_columns(columns, place, prompt_column, answer_column, questions=QUESTIONS, answers=("answer",))
    if "answer" in wanted:
        wanted["answer"] = [_answer(value) for value in wanted["answer"]]
    elif "solution" in columns:
        wanted["answer"] = [boxed(value) if isinstance(value, str) else None for value in columns["solution"]]
    return Task(wanted, prompt_template=TEMPLATE, extractor="boxed", equivalence="math")


def _answer(value: Any) -> Any:
    """Some mirrors keep the box around the answer."""
    return boxed(value) or value if isinstance(value, str) else value
