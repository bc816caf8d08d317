"""Every package that `src` imports is one that `pip install mgrpo` installs, or an extra that its user is told of."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import mgrpo

SOURCE = Path(mgrpo.__file__).parent
ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

OF_EXTRAS = {
    # The workers' half of mathematical equality: only a worker process imports it, once math-verify was found.
    "answers/expressions.py": {"sympy": "math", "latex2sympy2_extended": "math", "math_verify": "math"},
    "evaluation/engines.py": {"vllm": "vllm"},
    "evaluation/harness.py": {"lm_eval": "eval"},
    "monitoring/plot.py": {"matplotlib": "report"},
    "study/report.py": {"matplotlib": "report"},
    "tasks/reasoning_gym.py": {"reasoning_gym": "tasks"},
    "tasks/reasoning_gym_worker.py": {"reasoning_gym": "tasks"},
    "training/sampling/vllm.py": {"vllm": "vllm"},
    "training/sampling/vllm_server.py": {"requests": "vllm"},
}
"""Files that import a package of an extra, and which extra. The checks behind them name the extra to the user."""

INSTALLED_BY = {"sympy": "math-verify", "latex2sympy2_extended": "math-verify"}
"""Packages that come with another one, on which it pins or requires them."""


def imports(tree):
    """Each imported top-level name, also by `import_module("...")`, and whether it is imported with the module."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    lazily = {node for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.level == 0 else []
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [node.args[0].value] if isinstance(node.args[0], ast.Constant) else []
        else:
            continue
        yield from ((name.split(".")[0], node not in lazily) for name in names)


def foreign(tree):
    return {(name, eager) for name, eager in imports(tree) if name not in sys.stdlib_module_names | {"mgrpo"}}


def normalized(requirement):
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


@cache
def distributions():
    return {name: {normalized(found) for found in all_found} for name, all_found in packages_distributions().items()}


def is_of(name, requirements):
    """Whether a package that is imported by this name is among the requirements."""
    known = distributions().get(name, set()) | {normalized(INSTALLED_BY.get(name, name))}
    return bool(known & {normalized(requirement) for requirement in requirements})


@pytest.fixture(scope="module")
def imported():
    return {str(path.relative_to(SOURCE)): foreign(ast.parse(path.read_text())) for path in SOURCE.rglob("*.py")}


def test_what_is_imported_is_a_dependency_or_an_extra(imported):
    undeclared = {
        path: names
        for path, of_file in imported.items()
        if (names := {name for name, _ in of_file if not is_of(name, PROJECT["dependencies"])})
    }
    assert undeclared == {path: set(names) for path, names in OF_EXTRAS.items()}


def test_extras_are_imported_when_they_are_used(imported):
    for path, names in OF_EXTRAS.items():
        eagerly = {name for name, eager in imported[path] if eager and name in names}
        assert not eagerly or path == "answers/expressions.py", path


def test_each_extra_installs_what_it_is_named_for():
    for path, names in OF_EXTRAS.items():
        for name, extra in names.items():
            assert is_of(name, PROJECT["optional-dependencies"][extra]), (path, name)


def test_extras_that_are_named_to_the_user_exist():
    texts = [path.read_text() for suffix in ("py", "yaml") for path in SOURCE.rglob(f"*.{suffix}")]
    texts += [path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))]
    groups = [group for text in texts for group in re.findall(r"mgrpo\[([a-z0-9,]+)\]", text)]
    named = {name for group in groups for name in group.split(",")}
    assert named - {"dev"} and named <= PROJECT["optional-dependencies"].keys()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import requests.adapters", {("requests", True)}),
        ("def f():\n    from requests import Session", {("requests", False)}),
        ("if TYPE_CHECKING:\n    import requests", {("requests", True)}),
        ("class A:\n    import requests", {("requests", True)}),
        ("importlib.import_module('requests.adapters')", {("requests", True)}),
        ("from . import requests\nimport os, mgrpo.errors", set()),
    ],
)
def test_the_walk_finds(source, found):
    assert foreign(ast.parse(source)) == found
