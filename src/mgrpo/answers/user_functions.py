"""Functions of the user's own, named as `module:function` in a recipe."""

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mgrpo.errors import UserError


def import_function(name: str, option: str) -> Callable[..., Any]:
    """Import a function from 'module:function', which `option` names; a module in the working directory is found too.

    Raises:
        UserError: if it cannot be imported, or is not a function.
    """
    module_name, _, function_name = name.partition(":")
    if not all(name.partition(":")):
        raise UserError(f"{option} is {name!r}; write it as module:function.")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that it hides nothing installed
        importlib.invalidate_caches()
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # the user's module runs here and may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, ImportError | AttributeError | SyntaxError):
            reason = f"{describe(error)}, {place_of(error)}"
        raise UserError(f"{option} is {name!r}, which cannot be imported ({reason}).") from error
    if not callable(function):
        raise UserError(f"{option} is {name!r}, which is not a function; name a function of {module_name}.")
    return function


def describe(error: Exception) -> str:
    """An error's type and message as one line."""
    return " ".join("".join(traceback.format_exception_only(error)).split())[:200]


def place_of(error: Exception, function: Any = None) -> str:
    """Where an error was raised: the last line in a function's own file that it came through, else the last of all."""
    frames = traceback.extract_tb(error.__traceback__)
    file = source_of(function)[0]
    frame = next((frame for frame in reversed(frames) if frame.filename == file), frames[-1])
    return f"{Path(frame.filename).name}, line {frame.lineno}"


def source_of(function: Any) -> tuple[str | None, int]:
    """The file and the line in which a function, a class, or an object's class is defined; None for one without."""
    function = inspect.unwrap(getattr(function, "func", function))  # a partial's
    if not (inspect.isroutine(function) or inspect.isclass(function)):
        function = type(function)
    try:
        return inspect.getsourcefile(function), inspect.getsourcelines(function)[1]
    except (TypeError, OSError):
        return None, 0
