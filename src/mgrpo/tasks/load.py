"""A task into a data set of prompts.

Nothing that could carry a label gets past this file: every column is dropped but the prompt, and the gold answer where
there is one. The answer is for measurement only.
"""

import dataclasses
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mgrpo.errors import UserError, first_line
from mgrpo.tasks.chat import Message, as_messages
from mgrpo.tasks.registry import load_task
from mgrpo.tasks.task import Task, is_known

if TYPE_CHECKING:
    from datasets import Dataset

PLACEHOLDER = "{prompt}"

Prompt = str | list[Message]


def load_prompts(name: str, *, size: int | None = None, seed: int = 0, **given: Any) -> tuple[Task, "Dataset"]:
    """Load a task by name, and make its prompts.

    Args:
        name: of the task, as `load_task` takes it.
        size: how many rows: exactly so many of a task that makes its prompts (None: 1000), at most so many of a data
            set, chosen at random and kept in their order (None: all).
        seed: which rows, and how they are made.
        **given: other arguments of `load_task`, and fields of `Task`, which win over the task's own where they are not
            None; for `prompt_template` and `system_prompt` `""` is none.

    Returns:
        The task, as it is asked, and what `make_prompts` makes of it.

    Raises:
        UserError: if the task cannot be loaded, is empty, or its fields contradict each other.
    """
    if size is not None and size < 1:
        raise UserError(f"size={size}: a data set needs at least one row; set size to 1 or more, or leave it out")
    fields = {field.name: given.pop(field.name) for field in dataclasses.fields(Task) if field.name in given}
    task = load_task(name, size=size, seed=seed, **given)
    task = dataclasses.replace(task, **{field: value for field, value in fields.items() if value is not None})
    return task, make_prompts(task, name, size=size, seed=seed)


def make_prompts(task: Task, name: str, *, size: int | None = None, seed: int = 0) -> "Dataset":
    """Put a task's rows into the columns `prompt` and, where there are gold answers, `answer`.

    At most `size` rows, chosen at random by `seed` and kept in their order; None: all. `name` is for messages.

    A prompt that is null, blank or a number comes out blank, without template and system prompt, for
    `check_prompts` to find. A gold answer that is null comes out as `""`, or as None where the task scores by itself.

    Raises:
        UserError: if there are no rows, or the task's fields or rows contradict each other.
    """
    import datasets

    _check_way_of_asking(task)
    num_rows = len(task.columns["prompt"])
    if num_rows == 0:
        raise UserError(f"{name} holds no rows; give a task with at least one prompt")
    rows: Sequence[int] = range(num_rows)
    if size is not None and size < num_rows:
        rows = sorted(random.Random(seed).sample(rows, size))
    prompts = list(task.columns["prompt"])
    if task.conversational:
        shaped: list[Any] = [_shape_conversation(prompts[row], task, f"row {row} of {name}") for row in rows]
        feature: Any = [{"role": datasets.Value("string"), "content": datasets.Value("string")}]
    else:
        shaped = [_shape_text(prompts[row], task, f"row {row} of {name}") for row in rows]
        feature = datasets.Value("string")
    try:
        dataset = datasets.Dataset.from_dict({"prompt": shaped}, datasets.Features({"prompt": feature}))
    except UnicodeError as error:  # half of a pair of surrogates, which JSON can spell
        raise UserError(f"a prompt of {name} is not Unicode text ({first_line(error)}); correct it") from error
    return _with_answers(dataset, task, rows, name) if "answer" in task.columns else dataset


def _check_way_of_asking(task: Task) -> None:
    if task.prompt_template and PLACEHOLDER not in task.prompt_template:
        raise UserError(
            f"prompt_template={task.prompt_template!r} would give every row the same prompt; "
            f"put {PLACEHOLDER} where the prompt belongs"
        )
    if task.system_prompt and not task.conversational:
        raise UserError(
            f"the system_prompt {task.system_prompt!r} needs a conversation, but prompts are plain text; "
            "set conversational: true, or system_prompt to '' for none"
        )


def _with_answers(dataset: "Dataset", task: Task, rows: Sequence[int], name: str) -> "Dataset":
    import datasets

    answers = list(task.columns["answer"])
    if task.score is None:
        texts = [_answer_text(answers[row], f"row {row} of {name}") for row in rows]
        return dataset.add_column("answer", texts, feature=datasets.Value("string"))
    try:
        return dataset.add_column("answer", [answers[row] for row in rows])
    except Exception as error:  # pyarrow and datasets raise types of their own
        raise UserError(
            f"the gold answers of {name} do not fit into one column ({first_line(error)}); give them one type"
        ) from error


def _shape_text(value: object, task: Task, place: str) -> str:
    if as_messages(value, place):
        raise UserError(f"{place} holds a list of chat messages, not text; set conversational: true")
    if not isinstance(value, str) or not value.strip():
        return ""
    return task.prompt_template.replace(PLACEHOLDER, value) if task.prompt_template else value


def _shape_conversation(value: object, task: Task, place: str) -> list[Message]:
    conversation = as_messages(value, place)
    if conversation is None:
        conversation = [{"role": "user", "content": value if isinstance(value, str) else ""}]
    if conversation and conversation[-1]["role"] == "assistant":
        raise UserError(
            f"the chat in {place} ends with a message of the assistant, so that the answer would be in the prompt; "
            "end it with the user's message"
        )
    if not last_text(conversation).strip():
        return []
    of_user = [message for message in conversation if message["role"] == "user"]
    if task.prompt_template and of_user:
        of_user[-1]["content"] = task.prompt_template.replace(PLACEHOLDER, of_user[-1]["content"])
    if task.system_prompt and conversation[0]["role"] != "system":
        conversation.insert(0, {"role": "system", "content": task.system_prompt})
    return conversation


def _answer_text(value: object, place: str) -> str:
    if not is_known(value):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise UserError(
        f"the answer in {place} is a {type(value).__name__}, not text or a number; choose another answer_column"
    )


def last_text(prompt: Prompt) -> str:
    """The text of a plain prompt, or of the last message of a conversation."""
    if isinstance(prompt, str):
        return prompt
    return prompt[-1]["content"] if prompt else ""
