"""`mgrpo fields`: every field of a recipe, with what it accepts, its default and its help."""

import shutil
import textwrap
from collections.abc import Sequence

from mgrpo.errors import UserError
from mgrpo.options import options_of, plain
from mgrpo.recipes.recipe import RECIPE_TYPES


def list_fields(words: Sequence[str]) -> None:
    """Print the fields whose names contain one of the words; without words, all.

    Raises:
        UserError: if there is none.
    """
    options = options_of(*RECIPE_TYPES)
    names = [name for name in options if not words or any(word.replace("-", "_") in name for word in words)]
    if not names:
        raise UserError(f"no field has {' or '.join(words)} in its name; `mgrpo fields` lists all")
    wrap = textwrap.TextWrapper(shutil.get_terminal_size().columns, initial_indent="    ", subsequent_indent="    ")
    for name in names:
        option = options[name]
        default = plain(option.default)
        shown = str(default).lower() if default is None or isinstance(default, bool) else default
        kind = f"{option}, or none" if option.is_optional else str(option)
        print(f"{name}: {kind}; default: {shown!r}" if shown == "" else f"{name}: {kind}; default: {shown}")
        print(wrap.fill(" ".join(option.help.split())))
