"""Recipes as files: the built-in ones, and any other YAML file. Nothing heavy is imported here."""

import difflib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mgrpo.errors import UserError
from mgrpo.options import COMMAND_LINE, absolute_path, read_words
from mgrpo.recipes.names import check_names
from mgrpo.runs.files import CONFIG_FILE, ENVIRONMENT_FILE
from mgrpo.runs.reading import UnreadableError, read_yaml_file
from mgrpo.yaml_text import read_flow

RECIPES = Path(__file__).parent
PRESETS = RECIPES / "presets"
"""Recipes that set a method and nothing else, to be combined with another one."""


def read_recipe_file(name: str) -> dict[str, Any]:
    """Read a recipe as a flat mapping: a file, or a built-in one by its name (`embedded`).

    Raises:
        UserError: if there is none, it cannot be read, it sets a field twice, or it is no flat mapping.
    """
    path = find_recipe(name)
    try:
        fields = read_yaml_file(path)
    except UnreadableError as error:
        raise UserError(f"{name} cannot be read: {error.reason}; correct it, or name another file.") from error
    except UserError as error:  # with the path of a built-in recipe
        raise UserError(str(error).replace(str(path), name, 1)) from error
    if not isinstance(fields, dict):
        raise UserError(f"{name} must be a flat mapping of fields, one `field: value` a line.")
    if path.name == CONFIG_FILE and path.with_name(ENVIRONMENT_FILE).exists():
        fields["output_dir"] = str(path.parent)  # of a run, which may have been moved
    return fields


def read_recipe_files(names: Sequence[str]) -> dict[str, Any]:
    """Combine recipes: later ones override earlier ones, except that `env` is joined.

    Raises:
        UserError: as `read_recipe_file`; for a name that is no field; or if an `env` is no mapping of names to values.
    """
    merged: dict[str, Any] = {}
    env: dict[str, str] = {}
    for name in names:
        fields = read_recipe_file(name)
        check_names(fields, name)
        env |= environment_of(fields, name)
        merged |= fields
    return merged | {"env": env}


def read_command(recipes: Sequence[str] | None, words: Sequence[str]) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """The fields of a command's recipes and of its other words; sets the recipes' environment variables.

    Returns:
        Fields of the recipes, what messages call their origin, and fields of the command line, which win.

    Raises:
        UserError: as `read_recipe_files`, `read_words` and `check_names`.
    """
    overrides = read_words(words)
    check_names(overrides, COMMAND_LINE)
    if not recipes:
        return {}, COMMAND_LINE, overrides
    fields, source = read_recipe_files(recipes), " + ".join(recipes)
    fields["env"] = environment_of(fields | overrides, source)
    overrides.pop("env", None)
    for name, value in fields["env"].items():  # before torch reads them; what the shell has set wins
        os.environ.setdefault(name, value)
    return fields, source, overrides


def find_recipe(name: str) -> Path:
    """The file of a recipe: its path, or a built-in one's name.

    Raises:
        UserError: if there is none.
    """
    path = Path(absolute_path(name) if name.startswith("~") else name)
    if path.is_file():
        return path
    # With another directory in front, the name is a mistyped path, not a built-in recipe.
    is_own = path.parent in (Path("."), Path("recipes"), Path("recipes/presets"))
    for directory in (RECIPES, PRESETS) if is_own else ():
        if (own := directory / f"{path.stem}.yaml").is_file():
            return own
    if path.is_dir():
        raise UserError(f"{name} is a directory; name the recipe file in it.")
    known = [stem for directory in (RECIPES, PRESETS) for stem in sorted(f.stem for f in directory.glob("*.yaml"))]
    neighbours = sorted(str(file) for file in path.parent.glob("*.y*ml"))
    nearest = difflib.get_close_matches(str(path), neighbours, n=1) or difflib.get_close_matches(path.stem, known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"built-in recipes: {', '.join(known)}."
    raise UserError(f"there is no recipe {name}; {hint}")


def environment_of(fields: dict[str, Any], source: str) -> dict[str, str]:
    """The environment variables that a recipe sets, as text.

    Raises:
        UserError: if `env` is no mapping of names to values.
    """
    env = fields.get("env") or {}
    with suppress(ValueError):
        env = read_flow(env) if isinstance(env, str) else env  # text of the command line
    if not isinstance(env, dict) or any(isinstance(value, dict | list) for value in env.values()):
        raise UserError(f"{source} sets env to {env!r}, but it must be a mapping: env: {{NAME: value}}.")
    return {str(name): str(value).lower() if isinstance(value, bool) else str(value) for name, value in env.items()}
