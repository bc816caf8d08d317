"""Load prompts from a built-in task, a local file or the Hub.

Nothing that could carry a label gets past this file: every column is dropped but the prompt, and the gold answer
where it was asked for by name. The answer is for measurement only.
"""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mgrpo.errors import UserError
from mgrpo.tasks.read import Columns, did_you_mean, is_task, read_columns

if TYPE_CHECKING:
    from datasets import Dataset

PLACEHOLDER = "{prompt}"

Message = dict[str, str]
Prompt = str | list[Message]


def load_prompts(
    dataset_name: str,
    *,
    split: str = "train",
    config: str | None = None,
    prompt_column: str = "prompt",
    answer_column: str | None = None,
    prompt_template: str | None = None,
    system_prompt: str | None = None,
    conversational: bool = False,
    size: int | None = None,
    seed: int = 0,
) -> "Dataset":
    r"""Load prompts into the columns `prompt` and, where there are gold answers, `answer`.

    A prompt that is null, blank or no text at all comes out blank, without template and system prompt, for
    `check_prompts` to find. A gold answer that is null comes out as `""`.

    Args:
        dataset_name: `task:` and a name in `TASKS`; a local file ending in .jsonl, .json, .parquet or .csv; or a name
            on the Hub.
        split: Split of a task or a Hub data set. A local file is one split, whatever its name.
        config: Configuration of a Hub data set.
        prompt_column: Column of the prompts: text, or lists of chat messages if `conversational`.
        answer_column: Column of the gold answers; None takes no answers. A task always brings its own.
        prompt_template: Text around the prompt, which stands at the literal `{prompt}`. No other braces count, so
            `\boxed{}` is safe. In a list of messages it goes around the last user message.
        system_prompt: First message of each conversation that has no system message.
        conversational: Whether `prompt` becomes a list of chat messages.
        size: How many rows: exactly so many of a task (None: 1000), at most so many of a file or Hub data set, chosen
            at random and kept in their order (None: all).
        seed: Which questions of a task, or rows of a data set, are chosen.

    Raises:
        UserError: If the source cannot be found or read, is empty or lacks a column, or if the options contradict
            each other.
    """
    import datasets

    if prompt_template is not None and PLACEHOLDER not in prompt_template:
        raise UserError(
            f"prompt_template={prompt_template!r} would give every row the same prompt; "
            f"put {PLACEHOLDER} where the prompt belongs"
        )
    if system_prompt is not None and not conversational:
        raise UserError("system_prompt is set but prompts are plain text; set conversational: true or remove it")
    if size is not None and size < 1:
        raise UserError(f"size={size}: a data set needs at least one row; set size to 1 or more, or leave it out")

    columns = read_columns(dataset_name, split=split, config=config, size=size, seed=seed)
    if is_task(dataset_name):
        answer_column = answer_column or "answer"
    num_rows = len(next(iter(columns.values()), ()))
    if num_rows == 0:
        raise UserError(f"{dataset_name} holds no rows; give a data set with at least one prompt")
    _require_column(columns, prompt_column, "prompt_column", dataset_name)
    if answer_column is not None:
        _require_column(columns, answer_column, "answer_column", dataset_name)

    rows: Sequence[int] = range(num_rows)
    if size is not None and size < num_rows:
        rows = sorted(random.Random(seed).sample(rows, size))
    prompts, answers = list(columns[prompt_column]), list(columns[answer_column]) if answer_column else None
    message = [{"role": datasets.Value("string"), "content": datasets.Value("string")}]
    features = {"prompt": message if conversational else datasets.Value("string")}
    data: dict[str, list[Any]] = {
        "prompt": [
            _shape_conversation(prompts[row], prompt_template, system_prompt)
            if conversational
            else _shape_text(prompts[row], prompt_template, f"row {row} of {dataset_name}")
            for row in rows
        ]
    }
    if answers is not None:
        features["answer"] = datasets.Value("string")
        data["answer"] = [_answer_text(answers[row], f"row {row} of {dataset_name}") for row in rows]
    return datasets.Dataset.from_dict(data, features=datasets.Features(features))


def _shape_text(value: object, template: str | None, place: str) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        raise UserError(f"{place} holds a list of chat messages, not text; set conversational: true")
    if not isinstance(value, str) or not value.strip():
        return ""
    return value if template is None else template.replace(PLACEHOLDER, value)


def _shape_conversation(value: object, template: str | None, system_prompt: str | None) -> list[Message]:
    messages = [{"role": "user", "content": value}] if isinstance(value, str) else value
    if not isinstance(messages, list) or not all(_is_message(message) for message in messages):
        return []
    conversation = [{"role": message["role"], "content": message["content"]} for message in messages]
    if not last_text(conversation).strip():
        return []
    if template is not None:
        last_user = next((message for message in reversed(conversation) if message["role"] == "user"), None)
        if last_user is not None:
            last_user["content"] = template.replace(PLACEHOLDER, last_user["content"])
    if system_prompt is not None and conversation[0]["role"] != "system":
        conversation.insert(0, {"role": "system", "content": system_prompt})
    return conversation


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and isinstance(value.get("content"), str)


def _answer_text(value: object, place: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise UserError(
        f"the answer in {place} is a {type(value).__name__}, not text or a number; choose another answer_column"
    )


def _require_column(columns: Columns, name: str, option: str, place: str) -> None:
    if name not in columns:
        raise UserError(
            f"{place} has no column {name!r}; set {option} to one of {', '.join(columns)}{did_you_mean(name, columns)}"
        )


def last_text(prompt: Prompt) -> str:
    """The text of a plain prompt, or of the last message of a conversation."""
    if isinstance(prompt, str):
        return prompt
    return prompt[-1]["content"] if prompt else ""
