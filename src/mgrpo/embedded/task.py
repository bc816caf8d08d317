"""The embedded models' tasks by name, and how their answers are read (standard library alone)."""

import re

from mgrpo.embedded.chains import Chain
from mgrpo.embedded.problem import Problem, draw_problems
from mgrpo.embedded.swaps import Swaps
from mgrpo.errors import UserError
from mgrpo.tasks.read import DEFAULT_TASK_SIZE
from mgrpo.tasks.split import Split, check_split
from mgrpo.tasks.task import Task

PROBLEMS: dict[str, type[Problem]] = {kind.name: kind for kind in (Chain, Swaps)}
"""The tasks: name behind `embedded:` -> its kind of problem."""

_ANSWER = re.compile(r"#([0-9]{2}|[a-d]{4})\s*$")


def embedded(argument: str | None, *, split: str, size: int | None, seed: int) -> Task:
    """The embedded models' tasks, `chains` and `swaps`.

    Raises:
        UserError: if there is no such task or split.
    """
    if argument not in PROBLEMS:
        names = " or ".join(f"embedded:{name}" for name in PROBLEMS)
        raise UserError(f"the embedded model has no task {argument!r}; write {names}")
    num = DEFAULT_TASK_SIZE if size is None else size
    drawn = draw_problems(PROBLEMS[argument], num, seed=seed, split=check_split(split, f"embedded:{argument}"))
    columns = {"prompt": [problem.prompt for problem in drawn], "answer": [problem.answer for problem in drawn]}
    return Task(columns, extractor=f"{__name__}:{extract_answer.__name__}", equivalence="text")


def chains(num: int, *, seed: int, split: Split) -> list[Chain]:
    """Draw chains, see `draw_problems`."""
    return draw_problems(Chain, num, seed=seed, split=split)


def extract_answer(text: str) -> str | None:
    """Read what follows the last `#` of a completion's text without special tokens.

    Returns:
        The answer, or None where the text does not end in `#` and two digits or four letters.
    """
    match = _ANSWER.search(text)
    return match.group(1) if match else None
