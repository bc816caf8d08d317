"""Multiple choice: GPQA, MMLU, MMLU-Pro and files with their columns."""

import random
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from mgrpo.errors import UserError
from mgrpo.tasks.read import read_columns, required
from mgrpo.tasks.task import Columns, Task, is_known

TEMPLATE = '{prompt}\n\nPlease reason step by step, and end with "Answer: " and the letter of the right option.'
RIGHT, WRONG = "Correct Answer", ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
GPQA = ("Question", RIGHT, *WRONG)


def choice(
    argument: str | None, *, split: str, size: int | None, seed: int, dataset_config: str | None = None
) -> Task:
    """Questions with lettered options, from a Hub data set or a file with the columns of GPQA, MMLU or MMLU-Pro.

    GPQA's right option comes first; its options are shuffled, each row's by the seed and the row. The others keep
    their order.

    Raises:
        UserError: if the data cannot be found or read, or its columns are none of these.
    """
    place = required(argument, "choice:SOURCE")
    columns = read_columns(place, split=split, dataset_config=dataset_config)
    if not columns:
        raise UserError(f"{place} holds no rows; give a data set with at least one question")
    listed = next((name for name in ("choices", "options") if {"question", name} <= set(columns)), None)
    if listed is not None:
        questions, options = columns["question"], [_options(v, i, place) for i, v in enumerate(columns[listed])]
        answers = columns.get("answer")  # the option's index from 0, or its letter
        gold = answers and [_letter(v, len(options[i]), f"row {i} of {place}") for i, v in enumerate(answers)]
    elif set(GPQA) <= set(columns):
        questions, (options, gold) = columns["Question"], _shuffled(columns, seed)
    else:
        raise UserError(
            f"{place} has the columns {', '.join(columns)}; choice needs {', '.join(GPQA)} (GPQA), or question, "
            "choices (MMLU) or options (MMLU-Pro) and, for measuring, answer"
        )
    num_letters = max(map(len, options))
    return Task(
        {
            "prompt": [_prompt(question, texts) for question, texts in zip(questions, options, strict=True)],
            **({"answer": gold} if gold else {}),
        },
        prompt_template=TEMPLATE,
        extractor=f"choice:{ascii_uppercase[:num_letters]}",
        equivalence="choice",
    )


def _shuffled(columns: Columns, seed: int) -> tuple[list[list[Any]], list[str | None]]:
    options: list[list[Any]] = []
    gold: list[str | None] = []
    for row, texts in enumerate(zip(*(columns[name] for name in (RIGHT, *WRONG)), strict=True)):
        order = list(range(len(texts)))
        random.Random(f"{seed} {row}").shuffle(order)
        options.append([texts[i] for i in order])
        gold.append(ascii_uppercase[order.index(0)])
    return options, gold


def _options(value: Any, row: int, place: str) -> list[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not 2 <= len(value) <= len(ascii_uppercase):
        raise UserError(f"row {row} of {place} has the options {value!r}; give a list of 2 to 26 texts")
    return list(value)


def _letter(value: Any, num_options: int, place: str) -> str | None:
    """The letter of the right option, None where it is not known."""
    if not is_known(value) or value == -1:  # MMLU's way to keep an answer back
        return None
    letters = ascii_uppercase[:num_options]
    text = str(value).strip()
    if text.isdecimal() and int(text) < num_options:
        return letters[int(text)]
    if len(text) == 1 and text.upper() in letters:
        return text.upper()
    raise UserError(f"the answer in {place} is {value!r}; give an index from 0 or a letter, of {num_options} options")


def _prompt(question: Any, options: Sequence[Any]) -> str | None:
    if not isinstance(question, str) or not question.strip() or any(option is None for option in options):
        return None
    lines = (f"{letter}) {str(text).strip()}" for letter, text in zip(ascii_uppercase, options, strict=False))
    return f"{question.strip()}\n\n" + "\n".join(lines)
