"""Recipes as files: the ones that come along, and any other YAML file."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mgrpo.errors import UserError

RECIPES = Path(__file__).parent
PRESETS = RECIPES / "presets"
"""Recipes that set a method and nothing else, to be laid over another one."""


def read_recipe_file(name: str) -> dict[str, Any]:
    """Read a recipe as a flat mapping: a file, or one that comes along, by its name (`embedded`).

    Raises:
        UserError: if there is none, it cannot be read, or it is no flat mapping.
    """
    import yaml

    path = _find(name)
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{name} is no valid YAML: {' '.join(str(error).split())}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror}); name a file that can.") from error
    if not isinstance(fields, dict):
        raise UserError(f"{name} must be a flat mapping of fields, one `field: value` a line.")
    return fields


def read_recipe_files(names: Sequence[str]) -> dict[str, Any]:
    """Lay recipes over one another: of a field that several set, the last one's value stands; `env` is joined.

    Raises:
        UserError: as `read_recipe_file`; or if an `env` is no mapping of names to values.
    """
    merged: dict[str, Any] = {}
    env: dict[str, str] = {}
    for name in names:
        fields = read_recipe_file(name)
        env |= environment_of(fields, name)
        merged |= fields
    return merged | {"env": env}


def _find(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_file():
        return path
    # With another directory before it, the name is a path that was mistyped, not a recipe that comes along.
    for directory in (RECIPES, PRESETS):
        is_own = path.parent in (Path("."), Path("recipes"), Path("recipes/presets"))
        if is_own and (own := directory / f"{path.stem}.yaml").is_file():
            return own
    if path.is_dir():
        raise UserError(f"{name} is a directory; name the recipe file in it.")
    known = [stem for directory in (RECIPES, PRESETS) for stem in sorted(f.stem for f in directory.glob("*.yaml"))]
    beside = sorted(str(file) for file in path.parent.glob("*.y*ml"))
    nearest = difflib.get_close_matches(str(path), beside, n=1) or difflib.get_close_matches(path.stem, known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"recipes that come along: {', '.join(known)}."
    raise UserError(f"there is no recipe {name}; {hint}")


def environment_of(fields: dict[str, Any], source: str) -> dict[str, str]:
    """The environment variables that a recipe sets, as text.

    Raises:
        UserError: if `env` is no mapping of names to values.
    """
    env = fields.get("env") or {}
    if not isinstance(env, dict) or any(isinstance(value, dict | list) for value in env.values()):
        raise UserError(f"{source} sets env to {env!r}, but it must be a mapping: env: {{NAME: value}}.")
    return {str(name): str(value).lower() if isinstance(value, bool) else str(value) for name, value in env.items()}
