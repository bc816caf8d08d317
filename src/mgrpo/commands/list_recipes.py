"""`mgrpo recipes`: the built-in recipes and methods. Nothing heavy is imported here."""

from pathlib import Path

from mgrpo.commands.list_tasks import print_table
from mgrpo.errors import UserError
from mgrpo.recipes.files import PRESETS, RECIPES, find_recipe


def list_recipes() -> None:
    """Print the built-in recipes, then the methods to combine with them, with what each says of itself."""
    for directory, title in ((RECIPES, "Recipes"), (PRESETS, "Methods, to combine with a recipe")):
        print(f"{title}:")
        print_table({f"  {file.stem}": _summary(file) for file in sorted(directory.glob("*.yaml"))})
    print("\n`mgrpo recipes show NAME` prints one; `mgrpo recipes copy NAME [PATH]` writes a copy to edit.")


def copy_recipe(name: str, path: Path | None) -> None:
    """Write a copy of a recipe, by default to NAME.yaml in the working directory.

    Raises:
        UserError: if there is no such recipe, or a copy cannot be written there.
    """
    recipe = find_recipe(name)
    path = path or Path(recipe.name)
    path = path / recipe.name if path.is_dir() else path
    try:
        with path.open("xb") as file:
            file.write(recipe.read_bytes())
    except FileExistsError:
        raise UserError(f"{path} exists already; name another file, or remove it") from None
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); name another file") from error
    print(path)


def _summary(file: Path) -> str:
    """The first sentence of the comment that a recipe begins with."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.strip("# "):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines).split(". ")[0].rstrip(".")
