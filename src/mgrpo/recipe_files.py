"""Recipes as files: the ones that come along, and any other YAML file."""

import difflib
from pathlib import Path
from typing import Any

from mgrpo.errors import UserError

RECIPES = Path(__file__).parent / "recipes"


def read_recipe_file(name: str) -> dict[str, Any]:
    """Read a recipe, a file or one that comes along, as a flat mapping.

    Raises:
        UserError: if there is none, or it is no flat mapping.
    """
    import yaml

    path = Path(name)
    if not path.exists():
        path = RECIPES / f"{Path(name).stem}.yaml"
    if not path.exists():
        known = sorted(recipe.stem for recipe in RECIPES.glob("*.yaml"))
        nearest = difflib.get_close_matches(Path(name).stem, known, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"recipes that come along: {', '.join(known)}."
        raise UserError(f"there is no recipe {name}; {hint}")
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{name} is no valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(fields, dict):
        raise UserError(f"{name} must be a flat mapping of fields, one `field: value` a line.")
    return fields
