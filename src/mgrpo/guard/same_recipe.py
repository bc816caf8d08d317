"""Processes that were started with different recipes: on several nodes each is started by a command of its own."""

from typing import Any

from accelerate.utils import gather_object

from mgrpo.errors import UserError

OWN_FIELDS = frozenset({"local_rank"})
"""What a process may have of its own."""
MOST_NAMED = 5


def check_processes_agree(fields: dict[str, Any]) -> None:
    """Refuse to train where processes have different fields; to be called on all of them.

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
