"""Reward functions of the user's: signatures are checked before a model is loaded, results when they are called."""

import inspect
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import Any

from torch import nn
from trl.trainer.utils import get_callable_name, is_async_callable

from mgrpo.answers.user_functions import describe, place_of, source_of
from mgrpo.errors import UserError

_logger = logging.getLogger("mgrpo.training")
GIVEN = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
"""What TRL passes to a reward function, by name, before the other columns of the data."""
WRONG_KIND = (TypeError, KeyError, AttributeError, IndexError)


def listed(values: Any) -> list[Any]:
    """Of one, several or None, a list."""
    return [] if values is None else list(values) if isinstance(values, list | tuple) else [values]


def check_reward(function: Any, columns: Iterable[str] = ()) -> None:
    """Refuse what cannot be called as a reward function; a function in C has no signature to check.

    Args:
        function: the reward function, or one of TRL's reward models.
        columns: of the data, those that reach rewards.

    Raises:
        UserError: if it is a class or no function, or asks for something that it is not given.
    """
    if _is_model(function):
        return
    (file, line), name = source_of(function), _name_of(function)
    name = f"{name} ({Path(file).name}, line {line})" if file else name
    if inspect.isclass(function):
        raise UserError(
            f"{name} is a class, and rewards are functions; make an object of it in the module, name that."
        )
    if not callable(function):
        raise UserError(f"the reward {function!r} is a {type(function).__name__}; pass the function itself.")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return
    given = [*GIVEN, *columns]
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    unknown = [p.name for p in required if p.name not in given or p.kind is p.POSITIONAL_ONLY]
    if unknown:
        raise UserError(
            f"{name} asks for {', '.join(unknown)}, but a reward is only given, by name, {', '.join(given)}: right "
            "answers never reach a reward. Take what it needs from these, or train on the right answers with "
            "label_source: gold."
        )
    if not any(p.kind is p.VAR_KEYWORD or p.name in given for p in parameters):
        raise UserError(f"{name} takes nothing that a reward is given, {', '.join(given)}; let it take completions.")


def guarded_reward(function: Any) -> Any:
    """A reward that is given only what it takes; what goes wrong in it becomes a message with its file and line."""
    if _is_model(function):
        return function
    name = _name_of(function)

    if is_async_callable(function):

        async def call(**given: Any) -> list[float | None]:
            with _refused(function, name, given["completions"]):
                result = await function(**_taken(function, given))
            return _checked(result, len(given["completions"]), name)
    else:

        def call(**given: Any) -> list[float | None]:  # type: ignore[misc]
            with _refused(function, name, given["completions"]):
                result = function(**_taken(function, given))
            return _checked(result, len(given["completions"]), name)

    call = wraps(function)(call)
    call.__name__ = get_callable_name(function)  # TRL logs a reward under it
    return call


def _is_model(reward: Any) -> bool:
    return isinstance(reward, nn.Module) or isinstance(reward, str) and ":" not in reward


def _name_of(function: Any) -> str:
    function = getattr(function, "func", function)  # a partial's
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"the reward {named.__module__}:{named.__qualname__}"


@contextmanager
def _refused(function: Callable, name: str, completions: Sequence[Any]) -> Iterator[None]:
    """Turn what the function raises into one clear message."""
    try:
        yield
    except Exception as error:  # the user's function may raise anything
        form = "a list of chat messages" if isinstance(completions[0], list) else "text"
        hint = f"; each completion is {form}, and right answers are not given" if isinstance(error, WRONG_KIND) else ""
        place = place_of(error, function)
        raise UserError(f"{name} failed with {describe(error)} ({place}{hint}); correct it there.") from error


def _taken(function: Callable, given: dict[str, Any]) -> dict[str, Any]:
    """Of what TRL passes, what the function takes."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return given
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return given
    return {parameter.name: given[parameter.name] for parameter in parameters if parameter.name in given}


def _checked(result: Any, size: int, name: str) -> list[float | None]:
    """One number or None for each completion.

    Raises:
        UserError: if there are others, or all are nan.
    """
    if isinstance(result, str | dict) or not isinstance(result, Iterable):
        raise UserError(f"{name} returned {result!r}; let it return a list with a number or None for each completion.")
    rewards = list(result)
    if len(rewards) != size:
        raise UserError(f"{name} returned {len(rewards)} rewards for {size} completions; let it return one for each.")
    for i, reward in enumerate(rewards):
        try:
            rewards[i] = None if reward is None else float(reward)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{name} returned {reward!r} for completion {i}; let it return numbers or None."
            ) from error
    if all(reward is None for reward in rewards):
        _warn_of_none(name, size)
    elif all(reward is not None and math.isnan(reward) for reward in rewards):
        raise UserError(
            f"{name} returned nan for all {size} completions; let it return numbers, or None for no reward."
        )
    return rewards


@cache
def _warn_of_none(name: str, size: int) -> None:
    _logger.warning(
        "%s returned None for all %d completions of a batch, so that it rewards nothing there.", name, size
    )
