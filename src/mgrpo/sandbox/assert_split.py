"""Splits assert statements into what a candidate must compute, and what is then checked.

`assert sorted(f([1, 2])) == [2, 3]` becomes the step `f([1, 2])`, which is evaluated with the candidate, and the check
`assert sorted(__value__(0)) == [2, 3]`, which is evaluated without it. The candidate never sees the expected value,
and cannot put an object of its own on either side of the `==`.
"""

import ast
import builtins
from collections.abc import Sequence
from dataclasses import dataclass

from mgrpo.errors import UserError

_SCOPES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class AssertTests:
    """Assert statements, each of which must hold, split into steps and checks.

    Attributes:
        steps: in order, ("eval", expression) or ("exec", statement), run with the candidate.
        checks: assert statements in which `__value__(i)` is the value of step i.
        imports: statements that the checks need.
    """

    steps: tuple[tuple[str, str], ...]
    checks: tuple[str, ...]
    imports: tuple[str, ...]

    @property
    def names(self) -> set[str]:
        """The names that the tests use."""
        trees = [ast.parse(source) for _, source in self.steps]
        return {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)}


def split_asserts(tests: Sequence[str], setup: str = "") -> AssertTests:
    """Split tests into the candidate's steps and the judge's checks.

    A name is the candidate's unless it is a builtin or imported by the setup or the tests. In an assert without such a
    name the candidate is named like a builtin (MBPP has a `sum`); it is the first function that is called.

    The tests are asserts, and statements that prepare them. The setup comes before them and may use the candidate's
    classes.

    Raises:
        UserError: if one is not valid Python, or has an assert within another statement.
    """
    known = set(dir(builtins))
    steps: list[tuple[str, str]] = []
    checks: list[str] = []
    imports: list[str] = []
    for text in (setup, *tests):
        for statement in _parse(text):
            if isinstance(statement, ast.Assert):
                checks.append(_check(statement, known, steps))
                continue
            if any(isinstance(node, ast.Assert) for node in ast.walk(statement)):
                raise UserError(
                    f"an assert is within another statement in the test {text!r}; write plain assert statements"
                )
            steps.append(("exec", ast.unparse(statement)))
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                imports.append(ast.unparse(statement))
                known |= {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    return AssertTests(tuple(steps), tuple(checks), tuple(imports))


def _parse(text: str) -> list[ast.stmt]:
    try:
        return ast.parse(text).body
    except SyntaxError as error:
        raise UserError(f"the test {text!r} is not valid Python ({error}); fix or remove it") from None


def _check(statement: ast.Assert, known: set[str], steps: list[tuple[str, str]]) -> str:
    test = _Splitter(known, steps).visit(statement.test)
    if not any(isinstance(node, ast.Name) and node.id == "__value__" for node in ast.walk(test)):
        called = (node.func for node in ast.walk(test) if isinstance(node, ast.Call))
        if name := next((function.id for function in called if isinstance(function, ast.Name)), None):
            test = _Splitter(known - {name}, steps).visit(test)
    return f"assert {ast.unparse(test)}"


class _Splitter(ast.NodeTransformer):
    """Moves the largest expressions that the candidate computes to the steps."""

    def __init__(self, known: set[str], steps: list[tuple[str, str]]) -> None:
        self._known, self._steps = known, steps

    def visit(self, node: ast.AST) -> ast.AST:
        if not self._is_candidates(node):
            return self.generic_visit(node)
        self._steps.append(("eval", ast.unparse(node)))
        return ast.parse(f"__value__({len(self._steps) - 1})", mode="eval").body

    def _is_candidates(self, node: ast.AST) -> bool:
        if isinstance(node, (*_SCOPES, ast.NamedExpr)):  # the names it binds have no value outside it
            names = [inner for inner in ast.walk(node) if isinstance(inner, ast.Name)]
            bound = {name.id for name in names if isinstance(name.ctx, ast.Store)}
            bound |= {inner.arg for inner in ast.walk(node) if isinstance(inner, ast.arg)}
            return isinstance(node, ast.NamedExpr) or any(name.id not in self._known | bound for name in names)
        while isinstance(node, (ast.Call, ast.Attribute, ast.Subscript)):
            node = node.func if isinstance(node, ast.Call) else node.value
        return isinstance(node, ast.Name) and node.id not in self._known
