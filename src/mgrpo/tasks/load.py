"""Load prompts from a built-in task, a local file or the Hub, and check them against a tokenizer.

Nothing that could carry a label gets past this file: every column is dropped but the prompt, and the gold answer
where it was asked for by name. The answer is for measurement only.
"""

import csv
import difflib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mgrpo.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

TASK_PREFIX = "task:"
# Names and not functions: a task may live in a layer above this one, and is imported when it is asked for.
TASKS: dict[str, str] = {
    "arithmetic": "mgrpo.tasks.arithmetic:arithmetic",
    "chains": "mgrpo.embedded.task:chains",
}
"""Built-in tasks: name -> `module:function`, called as `function(num, seed=, split=)`.

The function returns objects, or dictionaries, with a `prompt` and an `answer`."""

DEFAULT_TASK_SIZE = 1000
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

    is_task = dataset_name.startswith(TASK_PREFIX)
    if is_task:
        columns = _read_task(dataset_name, split, DEFAULT_TASK_SIZE if size is None else size, seed)
        answer_column = answer_column or "answer"
    elif _is_local(dataset_name):
        columns = _read_file(dataset_name)
    else:
        columns = _read_hub(dataset_name, config, split)

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


def check_prompts(
    dataset: "Dataset",
    tokenizer: "PreTrainedTokenizerBase",
    *,
    max_prompt_length: int | None,
    on_bad_prompt: Literal["drop", "refuse"],
) -> tuple["Dataset", dict[str, int]]:
    """Drop or refuse the prompts that no model can be trained on.

    Args:
        dataset: What `load_prompts` returned.
        tokenizer: Its chat template, generation prompt included, counts towards the length of a conversation.
        max_prompt_length: Longest prompt, in tokens; None checks no length.
        on_bad_prompt: `"drop"` leaves bad prompts out, `"refuse"` stops at the first one.

    Returns:
        The data set without them, and how many were `"empty"` (blank, null or no text) and `"too_long"`.

    Raises:
        UserError: If a prompt is refused, none is left, the tokenizer cannot encode one, or it has no chat template
            for conversations.
    """
    prompts: list[Prompt] = list(dataset["prompt"])
    is_conversational = any(isinstance(prompt, list) for prompt in prompts)
    if is_conversational and not tokenizer.chat_template:
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no chat template; "
            "set conversational: false or choose a model tuned for chat"
        )
    empty = [row for row, prompt in enumerate(prompts) if not _last_text(prompt).strip()]
    if empty and on_bad_prompt == "refuse":
        raise UserError(
            f"the prompt in row {empty[0]} (counted from 0) is empty (length 0), and {len(empty)} are in all; "
            "fill it in, or set on_bad_prompt: drop"
        )
    blank_rows = set(empty)
    filled = [row for row in range(len(prompts)) if row not in blank_rows]
    # The tokenizer runs even without a limit: a prompt it cannot encode would fail hours later, inside a rollout.
    lengths = _token_lengths([prompts[row] for row in filled], filled, tokenizer)
    limit = float("inf") if max_prompt_length is None else max_prompt_length
    too_long = [(row, length) for row, length in zip(filled, lengths, strict=True) if length > limit]
    if too_long and on_bad_prompt == "refuse":
        row, length = too_long[0]
        raise UserError(
            f"the prompt in row {row} (counted from 0), {_excerpt(prompts[row])}, has {length} tokens and "
            f"max_prompt_length is {max_prompt_length}; raise the limit, or set on_bad_prompt: drop"
        )
    kept = [row for row, length in zip(filled, lengths, strict=True) if length <= limit]
    if not kept:
        shortest = f", the shortest of {min(lengths)} tokens" if lengths else ""
        raise UserError(
            f"no prompt of {len(prompts)} is left: {len(empty)} are empty or no text, {len(too_long)} are longer than "
            f"max_prompt_length={max_prompt_length}{shortest}; check prompt_column or raise the limit"
        )
    counts = {"empty": len(empty), "too_long": len(too_long)}
    return (dataset.select(kept) if len(kept) < len(prompts) else dataset), counts


# Sources: each gives its columns by name, in the order of its rows.


def _read_task(dataset_name: str, split: str, num: int, seed: int) -> Mapping[str, Sequence[Any]]:
    name = dataset_name.removeprefix(TASK_PREFIX)
    if name not in TASKS:
        raise UserError(
            f"there is no task {dataset_name!r}; the tasks are "
            f"{', '.join(TASK_PREFIX + known for known in sorted(TASKS))}{_did_you_mean(name, TASKS, TASK_PREFIX)}"
        )
    if split not in ("train", "test"):
        raise UserError(f"split={split!r}: {dataset_name} has the splits 'train' and 'test'; choose one")
    module, function = TASKS[name].split(":")
    items = getattr(import_module(module), function)(num, seed=seed, split=split)
    pairs = [
        (item["prompt"], item["answer"]) if isinstance(item, dict) else (item.prompt, item.answer) for item in items
    ]
    return {"prompt": [prompt for prompt, _ in pairs], "answer": [answer for _, answer in pairs]}


def _read_file(name: str) -> Mapping[str, Sequence[Any]]:
    path = Path(name).expanduser()
    if path.is_dir():
        raise UserError(f"{name} is a directory; name one file in it, ending in {_suffixes()}")
    if path.suffix.lower() not in READERS:
        raise UserError(f"{name} ends in {path.suffix!r}; give a file ending in {_suffixes()}")
    if not path.exists():
        if not path.parent.is_dir():
            raise UserError(f"the file {name} does not exist, nor does its directory {path.parent}; correct the path")
        files = [entry.name for entry in path.parent.iterdir() if entry.suffix.lower() in READERS]
        raise UserError(f"the file {name} does not exist; correct the path{_did_you_mean(path.name, files)}")
    try:
        return READERS[path.suffix.lower()](path)
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise UserError(
            f"{name} cannot be read ({_first_line(error)}); check that it is whole and readable"
        ) from error


def _read_jsonl(path: Path) -> Mapping[str, Sequence[Any]]:
    records = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{path}, line {number} is not JSON ({error.msg}, column {error.colno}); "
                    "write one JSON object on each line"
                ) from error
            if not isinstance(record, dict):
                raise UserError(f"{path}, line {number} is not a JSON object; write one JSON object on each line")
            records.append(record)
    return _columns(records)


def _read_json(path: Path) -> Mapping[str, Sequence[Any]]:
    try:
        records = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {error.lineno} is not JSON ({error.msg}, column {error.colno}); "
            "correct it, or name the file .jsonl if each line is an object of its own"
        ) from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise UserError(f"{path} is not a list of JSON objects; write [{{...}}, {{...}}], one object a row")
    return _columns(records)


def _read_csv(path: Path) -> Mapping[str, Sequence[Any]]:
    # Not through `datasets`, which would turn the answer "007" into the number 7.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            records = []
            for record in reader:
                if None in record:
                    raise UserError(
                        f"{path}, line {reader.line_num} has more fields than the header's "
                        f"{len(reader.fieldnames or ())}; put quotes around text that holds commas"
                    )
                records.append(record)
        except csv.Error as error:
            line = reader.reader.line_num
            raise UserError(f"{path}, line {line} is not CSV ({error}); correct its quotes") from error
    return _columns(records)


def _read_parquet(path: Path) -> Mapping[str, Sequence[Any]]:
    import datasets
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} is not a whole Parquet file ({_first_line(error)}); write it again") from error
    dataset = datasets.Dataset(datasets.table.InMemoryTable(table))
    return {name: dataset[name] for name in dataset.column_names}


def _read_hub(name: str, config: str | None, split: str) -> Mapping[str, Sequence[Any]]:
    import datasets

    try:
        dataset = datasets.load_dataset(name, config, split=split)
    except (datasets.exceptions.DatasetNotFoundError, OSError) as error:
        raise UserError(
            f"the data set {name!r} is neither a local file nor reachable on the Hub ({_first_line(error)}); "
            "download it first where there is a network, correct its name, or give a local file ending in "
            f"{_suffixes()}"
        ) from error
    except ValueError as error:
        raise UserError(
            f"the Hub data set {name!r} has no split {split!r} in config {config!r} ({_first_line(error)}); "
            "choose a split and a config that it has"
        ) from error
    return {column: dataset[column] for column in dataset.column_names}


READERS: dict[str, Callable[[Path], Mapping[str, Sequence[Any]]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".csv": _read_csv,
}


def _is_local(name: str) -> bool:
    # A Hub name is `name` or `owner/name`; one without an owner never has a suffix.
    return (
        Path(name).suffix.lower() in READERS
        or name.startswith((".", "~", "/"))
        or name.count("/") > 1
        or ("/" not in name and bool(Path(name).suffix))
        or Path(name).exists()
    )


def _columns(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [record.get(name) for record in records] for name in names}


# Rows: shaping one prompt and one answer.


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
    if not _last_text(conversation).strip():
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


def _last_text(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    return prompt[-1]["content"] if prompt else ""


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


def _token_lengths(prompts: Sequence[Prompt], rows: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    def encode(batch: Sequence[Prompt]) -> list[int]:
        if not batch:
            return []
        if isinstance(batch[0], str):
            encoded = tokenizer(list(batch))
        else:
            encoded = tokenizer.apply_chat_template(
                list(batch), add_generation_prompt=True, tokenize=True, return_dict=True
            )
        return [len(ids) for ids in encoded["input_ids"]]

    try:
        return encode(prompts)
    except Exception:  # `tokenizers` and chat templates raise types of their own; the loop below finds the row
        for row, prompt in zip(rows, prompts, strict=True):
            try:
                encode([prompt])
            except Exception as error:
                raise UserError(
                    f"the tokenizer cannot encode the prompt in row {row} (counted from 0), {_excerpt(prompt)} "
                    f"({_first_line(error)}); choose prompts made for this model, or another model"
                ) from error
        raise


# Sentences.


def _require_column(columns: Mapping[str, Sequence[Any]], name: str, option: str, place: str) -> None:
    if name not in columns:
        raise UserError(
            f"{place} has no column {name!r}; "
            f"set {option} to one of {', '.join(columns)}{_did_you_mean(name, columns)}"
        )


def _did_you_mean(name: str, known: "Mapping[str, Any] | Sequence[str]", prefix: str = "") -> str:
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {prefix + nearest[0]!r}?)" if nearest else ""


def _suffixes() -> str:
    *most, last = READERS
    return f"{', '.join(most)} or {last}"


def _excerpt(prompt: Prompt) -> str:
    text = " ".join(_last_text(prompt).split())
    return repr(text if len(text) <= 40 else text[:40] + "...")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
