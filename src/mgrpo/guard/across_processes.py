"""What the processes of a run have in common: one recipe, and the decisions of the main process."""

from collections.abc import Callable
from typing import Any, TypeVar

from accelerate.utils import broadcast_object_list, gather_object
from transformers import TrainingArguments

from mgrpo.errors import UserError

OWN_FIELDS = frozenset({"local_rank"})
"""What a process may have of its own."""
MOST_NAMED = 5

T = TypeVar("T")


def decided_by_main(config: TrainingArguments, decide: Callable[[], T]) -> T:
    """What the main process decides, on all of them; what it refuses is refused on all."""
    if config.world_size == 1:
        return decide()
    decision: list[Any] = [None, None]
    if config.process_index == 0:
        try:
            decision[0] = decide()
        except UserError as error:
            decision[1] = str(error)
    decided, refusal = broadcast_object_list(decision)
    if refusal is not None:
        raise UserError(refusal)
    return decided


def check_processes_agree(fields: dict[str, Any]) -> None:
    """Refuse to train where processes have different fields; to be called on all of them.

    On several nodes each process is started by a command of its own.

    Args:
        fields: every field of this process's recipe.

    Raises:
        UserError: on all processes, if they differ in one.
    """
    first, *others = gather_object([{name: repr(value) for name, value in fields.items()}])
    differing: dict[str, str] = {}
    for process, theirs in enumerate(others, start=1):
        for name in sorted(first.keys() | theirs.keys()):
            here, there = first.get(name, "not set"), theirs.get(name, "not set")
            if here != there and name not in OWN_FIELDS:
                differing.setdefault(name, f"{name} is {here} on process 0 and {there} on process {process}")
    if not differing:
        return
    told = list(differing.values())
    more = f", and {len(told) - MOST_NAMED} more differ" if len(told) > MOST_NAMED else ""
    raise UserError(
        f"the processes disagree on the recipe: {'; '.join(told[:MOST_NAMED])}{more}. Start all of them with the same "
        "recipe and options."
    )
