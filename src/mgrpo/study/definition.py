"""A study as a file: recipes, what varies over them, and seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from mgrpo.errors import UserError, did_you_mean
from mgrpo.options import absolute_path
from mgrpo.recipes.files import environment_of, read_recipe_file, read_recipe_files
from mgrpo.recipes.names import check_names

KEYS = ("base", "fields", "seeds", "baseline", "variants", "grid", "definitions")
SET_BY_STUDY = ("output_dir", "seed", "dataset_seed", "resume")


@dataclass(frozen=True)
class StudyRun:
    """One run of a study: its output_dir, its whole recipe, and what messages call that (`source`)."""

    variant: str
    seed: int
    directory: Path
    fields: dict[str, Any]
    source: str

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.variant}/{self.directory.name}"

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.directory.with_name(f"{self.directory.name}.log")


@dataclass(frozen=True)
class Study:
    """A study: each variant is run with each seed. Its recipes are not checked yet.

    Attributes:
        source: what messages call it.
        variants: each variant's fields, in the file's order.
        baseline: the variant that the others are compared with, or None.
        file: what it was read from, or None.
    """

    source: str
    variants: dict[str, dict[str, Any]]
    seeds: list[int]
    baseline: str | None
    file: Path | None = None

    @property
    def env(self) -> dict[str, str]:
        """Environment variables; all runs share them, since some are read when a process starts."""
        return next(iter(self.variants.values()))["env"]

    def runs(self, output_directory: Path) -> list[StudyRun]:
        """All runs, the first seed of every variant before the second, so that early tables compare something."""
        runs = []
        for seed, (variant, fields) in product(self.seeds, self.variants.items()):
            directory = output_directory / variant / f"seed-{seed}"
            fields = fields | {"seed": seed, "dataset_seed": seed, "output_dir": str(directory)}
            runs.append(StudyRun(variant, seed, directory, fields, f"{self.source}, variant {variant}"))
        return runs


def read_study(name: str) -> Study:
    """Read a study.

    Raises:
        UserError: if there is none, or it does not say what is to be run.
    """
    file = Path(absolute_path(name))
    if not file.is_file():
        raise UserError(f"there is no study {name}; name a YAML file.")
    given = read_recipe_file(name)
    for key in given:
        if key not in KEYS:
            raise UserError(
                f"{name} sets {key}{did_you_mean(str(key), KEYS)}, but a study consists of {', '.join(KEYS)}; what "
                "all runs share goes under fields."
            )
    shared = _checked_fields(given.get("fields"), f"{name}, fields")
    if "recipe" in shared:
        raise UserError(f"{name}, fields sets recipe, which only a variant may set; put it under base.")
    below = _laid_over(read_recipe_files(_recipes(given, "base", name)), shared, f"{name}, fields")
    variants = {}
    for variant, own in _variants(given, name).items():
        source = f"{name}, variant {variant}"
        fields = below
        if own.get("recipe"):
            fields = _laid_over(fields, read_recipe_files(_recipes(own, "recipe", source)), source)
        own.pop("recipe", None)
        variants[variant] = _laid_over(fields, own, source)
    _check_environments(variants, name)
    baseline = given.get("baseline")
    if baseline is not None and baseline not in variants:
        raise UserError(
            f"{name} sets baseline to {baseline!r}{did_you_mean(str(baseline), variants)}, which is no variant; name "
            f"one of {', '.join(variants)}."
        )
    return Study(name, variants, _seeds(given, name), baseline, file)


def _recipes(given: Mapping[str, Any], key: str, source: str) -> list[str]:
    recipes = [given[key]] if isinstance(given.get(key), str) else given.get(key)
    if not isinstance(recipes, list) or not recipes or not all(isinstance(recipe, str) for recipe in recipes):
        raise UserError(
            f"{source} sets {key} to {given.get(key)!r}; name a recipe, or a list of recipes of which later ones win."
        )
    return recipes


def _variants(given: Mapping[str, Any], source: str) -> dict[str, dict[str, Any]]:
    """Each variant's own fields: those under `variants`, and each of these at each point of `grid`."""
    named = given.get("variants")
    if named is not None and (not isinstance(named, dict) or not named):
        raise UserError(f"{source} sets variants to {named!r}; write a mapping of names to fields.")
    grid = given.get("grid")
    is_grid = isinstance(grid, dict) and grid and all(isinstance(values, list) and values for values in grid.values())
    if grid is not None and not is_grid:
        raise UserError(f"{source} sets grid to {grid!r}; write a mapping of fields to lists of values.")
    if named is None and grid is None:
        raise UserError(f"{source} has neither variants nor a grid, so there is nothing to run; add one.")
    variants: dict[str, dict[str, Any]] = {}
    for name, fields in (named or {"": {}}).items():
        own = _checked_fields(fields, f"{source}, variant {name}")
        for point in product(*(grid or {}).values()):
            values = dict(zip(grid or {}, point, strict=True))
            at_point = [f"{field}={_word(value)}" for field, value in values.items()]
            variant = ",".join([*([str(name)] if name != "" else []), *at_point])
            if not variant or not variant.isprintable() or Path(variant).name != variant or variant.startswith("."):
                raise UserError(
                    f"{source}: a variant is called {variant!r}, which cannot name a directory; rename it."
                )
            if variant in variants:
                raise UserError(f"{source} has two variants called {variant}; a grid's values must differ.")
            variants[variant] = _checked_fields(own | values, f"{source}, variant {variant}")
    return variants


def _word(value: Any) -> str:
    """A value as part of a variant's name, which is also a directory's."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value).replace("/", "-")


def _checked_fields(fields: Any, source: str) -> dict[str, Any]:
    fields = {} if fields is None else fields
    if not isinstance(fields, dict):
        raise UserError(f"{source} is {fields!r}; write a mapping of fields to values.")
    check_names({field: value for field, value in fields.items() if field != "recipe"}, source)
    for field in fields:
        if field in SET_BY_STUDY:
            raise UserError(f"{source} sets {field}, which the study itself sets for each run; remove it.")
    return fields


def _laid_over(below: dict[str, Any], above: dict[str, Any], source: str) -> dict[str, Any]:
    env = environment_of(below, source) | environment_of(above, source)
    return below | above | {"env": env}


def _seeds(given: Mapping[str, Any], source: str) -> list[int]:
    seeds = given.get("seeds")
    whole = [seed for seed in seeds if type(seed) is int and seed >= 0] if isinstance(seeds, list) else []
    if not whole or len(set(whole)) < len(whole) or whole != seeds:
        raise UserError(f"{source} sets seeds to {seeds!r}; write a list of different whole numbers, [0, 1, 2].")
    return whole


def _check_environments(variants: Mapping[str, dict[str, Any]], source: str) -> None:
    (first, fields), *others = variants.items()
    for other, other_fields in others:
        if other_fields["env"] != fields["env"]:
            raise UserError(
                f"{source}: {first} has env {fields['env']} and {other} has {other_fields['env']}, but the runs of a "
                "study share their environment variables; set env under fields."
            )
