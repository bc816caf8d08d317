"""What TRL, transformers, PEFT and other libraries refuse before the first step, as one message."""

import re
import sysconfig
import traceback
from pathlib import Path

from mgrpo.answers.user_functions import describe
from mgrpo.errors import UserError
from mgrpo.options import plain
from mgrpo.recipes.recipe import Recipe

INSTALLED = tuple({Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")})
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))


def library_refusal(error: Exception, recipe: Recipe, note: str = "") -> UserError | None:
    """The message for an error that a library raised; None: it is this package's own and needs its traceback.

    Args:
        error: as it was raised.
        recipe: the run's; the fields that the error names are reported with their values.
        note: what else may be the reason.
    """
    place = _place_in_library(error)
    if place is None or isinstance(error, UserError):
        return None
    library, line = place
    text = f"{describe(error)} {' '.join(note for note in getattr(error, '__notes__', ()))}"
    # as a name, not as a word: `optim`, lora_r
    named = {name for name in recipe.resolved if re.search(rf"`{name}`" if "_" not in name else rf"\b{name}\b", text)}
    values = ", ".join(f"{name} ({plain(recipe.resolved[name])})" for name in sorted(named))
    about = f"; it names {values}" if named else ""
    return UserError(
        f"{library} cannot work with these settings ({describe(error)}; {line}){about}{note}; correct the field that "
        "this is about, or remove it (`mgrpo fields WORD` explains fields)."
    )


def _place_in_library(error: Exception) -> tuple[str, str] | None:
    """The installed package that raised an error, and the line; None: other code did."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        root = next((root for root in INSTALLED if file.is_relative_to(root)), None)
        if root is not None and (parts := file.relative_to(root).parts)[0] != "mgrpo":
            return parts[0].removesuffix(".py"), f"{'/'.join(parts[-2:])}, line {frame.lineno}"
        is_standard = file.is_relative_to(STANDARD_LIBRARY) or frame.filename.startswith("<frozen ")
        if root is not None or not is_standard:
            return None
    return None
