"""Tasks by name, as a recipe's `task` gives them: NAME or NAME:ARGUMENT.

A name is a built-in one (`TASKS`), an entry point in the group `mgrpo.tasks` of an installed package, or your
own `module:function`. Each names a function that is called with the keywords `split`, `size` and `seed` and the
recipe's `task_options`, and returns a `Task`. If it also takes `argument` it gets what follows the colon (None where
nothing does), and of the recipe's `dataset_config`, `prompt_column` and `answer_column` those that it takes.
"""

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mgrpo.answers.user_functions import describe, import_function, place_of
from mgrpo.errors import UserError, did_you_mean
from mgrpo.options import absolute_path
from mgrpo.tasks.read import find_column, is_local
from mgrpo.tasks.task import Columns, Task

# Names and not functions: a task may live in a layer above this one, and is imported when it is asked for.
TASKS: dict[str, str] = {
    "math": "mgrpo.tasks.data_sets:math",
    "gsm8k": "mgrpo.tasks.data_sets:gsm8k",
    "choice": "mgrpo.tasks.choice:choice",
    "reasoning_gym": "mgrpo.tasks.reasoning_gym:reasoning_gym",
    "arithmetic": "mgrpo.tasks.arithmetic:arithmetic",
    "smollm2-sums": "mgrpo.tasks.arithmetic:smollm2_sums",
    "embedded": "mgrpo.embedded.task:embedded",
    "file": "mgrpo.tasks.data_sets:file",
    "hub": "mgrpo.tasks.data_sets:hub",
}
"""The built-in tasks: name -> `module:function`."""

SUMMARIES: dict[str, str] = {
    "math[:SOURCE]": "MATH: competition problems, answers in \\boxed{}; SOURCE: a mirror on the Hub or a file",
    "gsm8k[:SOURCE]": "GSM8K: word problems of primary school with a number as answer",
    "choice:SOURCE": "multiple choice in the columns of GPQA, MMLU or MMLU-Pro",
    "reasoning_gym:NAME": "generated puzzles with a checker; `mgrpo tasks reasoning_gym` lists the names",
    "arithmetic": "generated: one- and two-digit sums, differences and products",
    "smollm2-sums": "generated: small sums and products, with one worked example in the chat form of SmolLM2",
    "embedded:NAME": "generated, for the embedded models: chains (chained arithmetic), swaps (letters that move)",
    "file:PATH": "your prompts in a .jsonl, .json, .parquet, .csv or .tsv file",
    "hub:NAME": "prompts in a data set on the Hub",
}
"""The built-in tasks: how each is written -> what it is."""

READ_FROM_FILES = ("math", "gsm8k", "choice")
"""Those that read a file, too, where one is named in place of a data set on the Hub."""
GROUP = "mgrpo.tasks"
GIVEN_BY_FIELDS = {"split": "dataset_train_split", "size": "dataset_size", "seed": "dataset_seed"}
SHARED_FIELDS = ("dataset_config", "prompt_column", "answer_column")


def load_task(
    name: str,
    *,
    split: str = "train",
    size: int | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    dataset_config: str | None = None,
    prompt_column: str | None = None,
    answer_column: str | None = None,
) -> Task:
    """Load a task by name; its columns are then `prompt` and, where there are gold answers, `answer`.

    Args:
        name: NAME or NAME:ARGUMENT, see above.
        split: which split of it.
        size: how many rows; a source that holds more may return them all.
        seed: which rows, and how they are made.
        options: the task's own.
        dataset_config: configuration of a Hub data set; other tasks have none.
        prompt_column: column of the prompts; None: the task's own.
        answer_column: column of the gold answers; None: the task's own.

    Raises:
        UserError: if there is no such task, it does not take what it is given, or it does not return a task.
    """
    function, argument, is_own = _find(name)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:  # one written in C
        raise UserError(f"task is {name!r}, which is not a Python function; name one") from error
    fields = {"dataset_config": dataset_config, "prompt_column": prompt_column, "answer_column": answer_column}
    taken = {field: value for field, value in fields.items() if field in parameters}
    if "argument" in parameters:
        taken["argument"] = argument
    elif argument is not None:
        raise UserError(f"task is {name!r}, but {name.partition(':')[0]} takes nothing after a colon; leave it out")
    options = dict(options or {})
    _check_signature(name, parameters, set(taken), options)
    call = partial(function, split=split, size=size, seed=seed, **taken, **options)
    task = _call_own(name, call) if is_own else call()
    columns = _checked_columns(name, task)
    chosen = {}
    for column, field in (("prompt", "prompt_column"), ("answer", "answer_column")):
        asked = None if field in taken else fields[field]
        if asked is not None or column == "prompt" or column in columns:
            other = prompt_column or "prompt" if column == "answer" else answer_column
            chosen[column] = find_column(columns, asked, (column,), field, name, taken=other)
    return replace(task, columns=chosen)


def absolute_name(name: str) -> str:
    """A task's name that is the same in every working directory: the path of a file is made absolute."""
    kind, _, argument = name.partition(":")
    if argument and (kind == "file" or kind in READ_FROM_FILES and is_local(argument)):
        return f"{kind}:{absolute_path(argument)}"
    return name


def installed_tasks() -> dict[str, EntryPoint]:
    """The tasks of other packages that are installed, by name."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in TASKS}


def check_options(options: Iterable[str], known: Collection[str], name: str) -> None:
    """Refuse options that a task does not have.

    Raises:
        UserError: if there is one.
    """
    for option in options:
        if option not in known:
            has = f"its options are {', '.join(known)}" if known else "it has no options"
            nearest = did_you_mean(option, known)
            raise UserError(f"task_options sets {option}, which {name} does not have{nearest}; {has}")


def _find(name: str) -> tuple[Callable[..., Any], str | None, bool]:
    """The function of a task, what follows its colon, and whether the function is not ours."""
    head, colon, argument = name.partition(":")
    if head in TASKS:
        module, function = TASKS[head].split(":")
        return getattr(import_module(module), function), argument if colon else None, False
    installed = installed_tasks()
    if head in installed:
        try:
            return installed[head].load(), argument if colon else None, True
        except Exception as error:  # the other package's module runs here and may raise anything
            raise UserError(f"the task {head!r} ({installed[head].value}) cannot be imported ({error})") from error
    known = [*TASKS, *installed]
    if re.fullmatch(r"[\w.]+:\w+", name):
        try:
            return import_function(name, "task"), None, True
        except UserError as error:
            is_there = not isinstance(error.__cause__, ModuleNotFoundError) or error.__cause__.name != head
            if is_there or not did_you_mean(head, known):
                raise
    if not colon and is_local(name):
        raise UserError(f"task is {name!r}, which does not say what it is; write file:{name}")
    if not colon and "/" in name:
        raise UserError(f"task is {name!r}, which does not say what it is; write hub:{name}")
    raise UserError(
        f"there is no task {head!r}{did_you_mean(head, known)}; set task to one of {', '.join(known)} "
        "(`mgrpo tasks` says what they are), or to your module:function"
    )


def _check_signature(
    name: str, parameters: Mapping[str, inspect.Parameter], taken: set[str], options: Mapping[str, Any]
) -> None:
    """Refuse options that a task does not have, and a function that cannot be a task's."""
    for option in options:
        if field := GIVEN_BY_FIELDS.get(option) or (option if option in SHARED_FIELDS else None):
            raise UserError(f"task_options sets {option}, which is no option of a task; set {field} instead")
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for given in GIVEN_BY_FIELDS:
        if given not in parameters and not takes_any:
            raise UserError(f"task is {name!r}, whose function does not take {given}; give it this keyword")
    own = {
        parameter.name: parameter
        for parameter in parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and parameter.name not in {*taken, *GIVEN_BY_FIELDS}
    }
    if not takes_any:
        check_options(options, own, name)
    for option, parameter in own.items():
        if parameter.default is parameter.empty and option not in options:
            raise UserError(f"{name} needs the option {option}; set it in task_options")


def _call_own(name: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except UserError:
        raise
    except Exception as error:  # the user's function runs here and may raise anything
        place = place_of(error, call)
        raise UserError(f"the task {name!r} failed with {describe(error)} ({place}); correct it there") from error


def _checked_columns(name: str, task: Any) -> Columns:
    if not isinstance(task, Task):
        raise UserError(f"the task {name!r} returned a {type(task).__name__}; return a mgrpo.tasks.Task")
    columns = task.columns
    if not isinstance(columns, Mapping):
        raise UserError(f"the columns of the task {name!r} are a {type(columns).__name__}; make them a dictionary")
    lengths = {column: len(values) for column, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"the columns of the task {name!r} have different lengths ({lengths}); make them equal")
    return columns
