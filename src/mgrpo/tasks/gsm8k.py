"""GSM8K: word problems of primary school, whose worked solutions end in `#### 42`."""

from mgrpo.answers.last_number import number
from mgrpo.tasks.read import read_columns, task_columns
from mgrpo.tasks.task import Task

SOURCE, CONFIG = "openai/gsm8k", "main"
QUESTIONS = ("question", "problem", "prompt")
TEMPLATE = '{prompt}\nPlease reason step by step, and end with "#### " and the answer as a number.'


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
    """GSM8K, from the Hub data set or the file that `argument` names; None: from `SOURCE`.

    The gold answer is read as a completion's is: the number after the last `####`, else the last number.

    Raises:
        UserError: if the data cannot be found or read, or has no column of questions.
    """
    place = argument or SOURCE
    columns = read_columns(place, split=split, dataset_config=dataset_config or (None if argument else CONFIG))
    wanted = task_columns(columns, place, prompt_column, answer_column, questions=QUESTIONS, answers=("answer",))
    if "answer" in wanted:
        wanted["answer"] = [None if value is None else number(str(value)) for value in wanted["answer"]]
    return Task(wanted, prompt_template=TEMPLATE, extractor="number", equivalence="number")
