"""The puzzle generators of the package reasoning-gym, which the extra [tasks] installs.

`reasoning_gym:NAME` is a stream of items that the seed determines, of which each split takes those that are its own
(`split_of`). Items are made, and answers checked, in worker processes: reasoning_gym_worker.py says why.
"""

import dataclasses
import importlib
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from mgrpo.answers import equal_to, get_equivalence
from mgrpo.answers.worker import Failed, in_workers
from mgrpo.errors import UserError, did_you_mean, first_line
from mgrpo.tasks.read import DEFAULT_TASK_SIZE
from mgrpo.tasks.reasoning_gym_generators import GENERATORS
from mgrpo.tasks.registry import check_options
from mgrpo.tasks.split import check_split, split_of
from mgrpo.tasks.task import Task

__all__ = ["GENERATORS", "reasoning_gym", "score"]

WORKER = "mgrpo.tasks.reasoning_gym_worker"
TEMPLATE = "{prompt}\n\nGive the final answer between <answer> and </answer>."
PATIENCE = 1000
"""Items in a row without a new prompt, after which a generator counts as exhausted."""
MIN_BATCH, MAX_BATCH = 8, 128
SECONDS_PER_ITEM = 30.0
SECONDS_PER_ANSWER = 10.0
SLOW_SECONDS = 10.0
"""After which the log says how long it will take."""

logger = logging.getLogger("mgrpo.tasks")

Gold = Mapping[str, Any]


def reasoning_gym(argument: str | None, *, split: str, size: int | None, seed: int, **options: Any) -> Task:
    """The items of one generator, each prompt once.

    Args:
        argument: name of the generator.
        split: `"train"` or `"test"`; they share no prompt.
        size: how many items; None: 1000, or as many as there are. A larger size begins with the same items.
        seed: which items.
        **options: fields of the generator's configuration. `difficulty` is a level of its curriculum, unless the
            configuration has a field of this name; what else is given wins over it.

    Raises:
        UserError: if there is no such generator or split, it refuses an option, or has too few different prompts.
    """
    check_split(split, "reasoning_gym")
    generator = _check_name(argument)
    fields = _check_options(_factory(), generator, options)
    equivalence = GENERATORS[generator].equivalence
    get_equivalence(equivalence)
    rows, num_made = _take(generator, fields, split, DEFAULT_TASK_SIZE if size is None else size, seed)
    if len(rows) < (size or 1):
        raise UserError(
            f"the {split} split of reasoning_gym:{generator} has {len(rows)} different prompts, counted in {num_made} "
            f"items, and size is {size}; ask for fewer, or set task_options so that there are more"
        )
    return Task(
        {"prompt": list(rows), "answer": list(rows.values())},
        prompt_template=TEMPLATE,
        extractor="tag",
        equivalence=equivalence,
        score=score,
    )


def score(answers: list[str | None], gold: Gold) -> list[bool]:
    """Which answers to one item are right.

    Those that are equivalent to the gold answer and, where others can be right too (`Form.is_checked`), those that
    the generator's checker passes. An answer on which the checker breaks is wrong.

    Args:
        answers: None where there is none.
        gold: the item's value in the column `answer`: its gold answer, and how to make it again.
    """
    form = GENERATORS[gold["generator"]]
    right = equal_to(answers, gold["answer"], form.equivalence) if gold["answer"] else [False] * len(answers)
    if not form.is_checked:
        return right
    others = list(dict.fromkeys(answer for answer, known in zip(answers, right, strict=True) if answer and not known))
    verdicts = in_workers(f"{WORKER}:is_right", [(answer, dict(gold)) for answer in others], SECONDS_PER_ANSWER)
    passed = {answer for answer, verdict in zip(others, verdicts, strict=True) if verdict is True}
    return [known or answer in passed for answer, known in zip(answers, right, strict=True)]


def _take(generator: str, options: str, split: str, num: int, seed: int) -> tuple[dict[str, Gold], int]:
    """The first `num` different prompts of a split with their gold, and how many items were made to find them."""
    rows: dict[str, Gold] = {}
    num_made = last_new = 0
    has_item = is_told = False
    started = time.monotonic()
    while len(rows) < num and num_made - last_new < PATIENCE:
        batch = range(num_made, num_made + min(MAX_BATCH, max(MIN_BATCH, num - len(rows))))
        items = in_workers(f"{WORKER}:make_item", [(generator, options, seed, i) for i in batch], SECONDS_PER_ITEM)
        failures = [item.reason for item in items if isinstance(item, Failed)]
        has_item = has_item or len(failures) < len(items)
        if not has_item:
            raise UserError(
                f"reasoning_gym:{generator} makes no item with task_options {options} ({failures[0]}); correct them"
            )
        for index, item in zip(batch, items, strict=True):
            num_made = index + 1
            # An empty gold answer is one that nobody can give.
            if not isinstance(item, Failed) and item[1] != "" and item[0] not in rows and split_of(item[0]) == split:
                where = {"generator": generator, "options": options, "seed": seed, "index": index}
                rows[item[0]] = {"answer": item[1] or "", **where}
                last_new = num_made
            if len(rows) == num or num_made - last_new == PATIENCE:
                break
        seconds = time.monotonic() - started
        if seconds > SLOW_SECONDS and not is_told and len(rows) < num:
            is_told = True
            logger.warning(
                "reasoning_gym:%s has made %d of %d prompts in %.0f seconds; a smaller size takes less",
                *(generator, len(rows), num, seconds),
            )
    return rows, num_made


def _check_name(name: str | None) -> str:
    if name is None:
        raise UserError("task is 'reasoning_gym'; write reasoning_gym:NAME (`mgrpo tasks reasoning_gym` lists them)")
    if name not in GENERATORS:
        raise UserError(
            f"task is 'reasoning_gym:{name}', and there is no such generator{did_you_mean(name, GENERATORS)}; "
            "`mgrpo tasks reasoning_gym` lists them"
        )
    if name == "composite":
        raise UserError(
            "task is 'reasoning_gym:composite', which mixes generators whose answers are compared in different ways; "
            "name one of the generators"
        )
    return name


def _factory() -> Any:
    try:
        return importlib.import_module("reasoning_gym.factory")
    except ImportError as error:
        raise UserError(
            f"the task reasoning_gym needs the package reasoning-gym ({error}): pip install 'mgrpo[tasks]'"
        ) from error


def _check_options(factory: Any, generator: str, options: Mapping[str, Any]) -> str:
    """The options as JSON, `difficulty` replaced by the options of that level."""
    make_config = factory.DATASETS[generator][1]
    known = [field.name for field in dataclasses.fields(make_config) if field.name not in ("size", "seed")]
    chosen = dict(options)
    if "difficulty" in options and "difficulty" not in known and generator in factory.CURRICULA:
        level = chosen.pop("difficulty")
        chosen = {**_at_level(factory.CURRICULA[generator](), generator, level), **chosen}
    check_options(chosen, known, f"reasoning_gym:{generator}")
    try:
        fields = json.dumps(chosen, sort_keys=True)
        config = make_config(**json.loads(fields), size=1, seed=0)
        if hasattr(config, "validate"):
            config.validate()
    except Exception as error:  # the generator's own checks, which raise anything
        raise UserError(
            f"reasoning_gym:{generator} refuses task_options {chosen} ({first_line(error)}); correct them"
        ) from error
    return fields


def _at_level(curriculum: Any, generator: str, level: Any) -> dict[str, Any]:
    attributes = curriculum.attributes.values()
    top = max(len(attribute.levels) for attribute in attributes) - 1
    if type(level) is not int or not 0 <= level <= top:
        raise UserError(f"difficulty={level!r}: reasoning_gym:{generator} has the levels 0 to {top}; choose one")
    curriculum.set_global_level(level)  # an attribute with fewer levels keeps its last one
    config = curriculum.generate_configuration()
    names = ("field_name", "lower_field_name", "upper_field_name")
    fields = [getattr(attribute, name, None) for attribute in attributes for name in names]
    return {field: getattr(config, field) for field in fields if field}
