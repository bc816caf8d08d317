"""The tests of code benchmarks as their data sets store them, and how code is read out of a completion.

| benchmark | a problem's tests | code | time limit |
|---|---|---|---|
| MBPP | `AssertTests`: assert statements on a function | `extract_mbpp` | 3 s (code_eval's limit) for all |
| LiveCodeBench | `StdinTests`: inputs and outputs of a program | `extract_fenced` | 6 s for each |
| LiveCodeBench | `CallTests`: arguments and values of a function or method | `extract_fenced` | 6 s for each |

Extraction, comparison of outputs, the names that a program finds imported and the limits follow lm-evaluation-harness
0.4.13 (`tasks/mbpp`) and LiveCodeBench's runner (`lcb_runner/evaluation/testing_util.py`).
"""

import ast
import base64
import binascii
import io
import json
import pickle
import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mgrpo.errors import UserError
from mgrpo.sandbox.assert_split import AssertTests, split_asserts

MBPP_SECONDS = 3.0
LIVECODEBENCH_SECONDS = 6.0
_MAX_TESTS_BYTES = 2**30


@dataclass(frozen=True)
class StdinTests:
    """Inputs of a program, and what it must print for each."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class CallTests:
    """Calls of a function, or of a method of a class `Solution`, and what it must return for each.

    Attributes:
        fn_name: name of the function or method.
        inputs: the arguments of each call, one JSON value a line.
        outputs: a JSON value for each call.
    """

    fn_name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


CodeTests = AssertTests | StdinTests | CallTests


def mbpp_tests(row: Mapping[str, Any]) -> AssertTests:
    """Tests of a row of MBPP, full (`test_setup_code`) or sanitized (`test_imports`).

    Raises:
        UserError: if its tests are missing, or are no assert statements.
    """
    setup = [row.get("test_setup_code") or "", *(row.get("test_imports") or ())]
    tests = split_asserts(list(row.get("test_list") or ()), "\n".join(setup))
    if not tests.checks:
        raise UserError(f"the MBPP row {row.get('task_id', '?')} has no assert statement in a test_list; give some")
    return tests


def livecodebench_tests(row: Mapping[str, Any]) -> StdinTests | CallTests:
    """Public and private tests of a row of LiveCodeBench (`code_generation`, `code_generation_lite`).

    Raises:
        UserError: if they are missing or cannot be read.
    """
    name = row.get("question_id", "?")
    try:
        tests = json.loads(row["public_test_cases"]) + decode_private_tests(row["private_test_cases"])
        fn_name = json.loads(row["metadata"]).get("func_name")
        inputs, outputs = (tuple(test[field] for test in tests) for field in ("input", "output"))
        if fn_name is None:
            return StdinTests(inputs, outputs)
        for text in (*(line for lines in inputs for line in lines.split("\n")), *outputs):
            json.loads(text)
        return CallTests(fn_name, inputs, outputs)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"the LiveCodeBench row {name} cannot be read ({type(error).__name__}: {error}); it needs "
            "public_test_cases, private_test_cases and metadata as in livecodebench/code_generation_lite"
        ) from None


def decode_private_tests(text: str) -> list[dict[str, str]]:
    """Read LiveCodeBench's private tests: JSON, or base64 of zlib of pickle of a string of JSON.

    The pickle may contain only a string. One that names a class or function is refused, so reading data runs no code.

    Raises:
        ValueError: if it is neither.
    """
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        inflate = zlib.decompressobj()
        pickled = inflate.decompress(base64.b64decode(text, validate=True), _MAX_TESTS_BYTES)
        if not inflate.eof:
            raise ValueError(f"more than {_MAX_TESTS_BYTES} bytes, or cut off")
        return json.loads(_PlainUnpickler(io.BytesIO(pickled)).load())
    except (binascii.Error, zlib.error, pickle.UnpicklingError, TypeError, EOFError, IndexError) as error:
        raise ValueError(f"private tests: {error}") from None


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}, and a string of tests needs nothing")


def extract_program(completion: str, tests: CodeTests) -> str | None:
    """The code in a completion, read as the tests' benchmark reads it; None if there is none."""
    if isinstance(tests, AssertTests):
        code: str | None = extract_mbpp(completion, tests.names)
    else:
        code = extract_fenced(completion)
    return code if code and code.strip() else None


def extract_fenced(completion: str) -> str | None:
    """The code between the last two lines that contain ```, as LiveCodeBench reads it; None without two such lines."""
    lines = completion.split("\n")
    fences = [number for number, line in enumerate(lines) if "```" in line]
    return "\n".join(lines[fences[-2] + 1 : fences[-1]]) if len(fences) > 1 else None


def extract_mbpp(completion: str, tested: Collection[str] = ()) -> str:
    """The code before the first [DONE], and after [BEGIN] if the completion repeats it.

    If that text has fences, it is the part before the first one if that is code (the prompt of `mbpp_instruct` opens
    the fence), or else the last block that parses as Python and defines one of the tested names, so that a block of
    usage or of output after it does not count. Without such a block it is the last one that defines a function or
    class, or a variable, or else the last one; a block that is not closed goes to the end. Without fences it is the
    whole text, as in lm-eval's `mbpp`.

    Args:
        completion: of the model.
        tested: names that the tests use; empty: not known.
    """
    text = completion.partition("[DONE]")[0].rpartition("[BEGIN]")[2]
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if line.lstrip().startswith("```")]
    if not fences:
        return text
    if _definitions(before := "\n".join(lines[: fences[0]])):
        return before
    closings = [*fences[1::2], len(lines)]
    blocks = ["\n".join(lines[start + 1 : end]) for start, end in zip(fences[::2], closings, strict=False)]
    definitions = [_definitions(block) for block in blocks]
    of_tested = [block for block, names in zip(blocks, definitions, strict=True) if not names.isdisjoint(tested)]
    of_any = [block for block, names in zip(blocks, definitions, strict=True) if names]
    of_functions = [block for block in of_any if re.search(r"^(?:async def|def|class) ", block, re.MULTILINE)]
    return (of_tested or of_functions or of_any or blocks)[-1]


def _definitions(text: str) -> set[str]:
    """The names that a program defines; none if it is not Python."""
    try:
        nodes = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    targets = [target for node in nodes if isinstance(node, ast.Assign) for target in node.targets]
    return names | {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def same_output(printed: str, expected: str) -> bool:
    """Whether two outputs agree, as LiveCodeBench compares them.

    Line by line, without white space around the whole and around each line. Lines that differ agree if both consist of
    numbers that are pairwise equal (1.0 and 1), exactly and without a tolerance.
    """
    ours, theirs = (text.strip().split("\n") for text in (printed, expected))
    return len(ours) == len(theirs) and all(map(_same_line, ours, theirs))


def _same_line(ours: str, theirs: str) -> bool:
    if ours.strip() == theirs.strip():
        return True
    words, expected = ours.split(), theirs.split()
    try:  # the count first: a program may print millions of numbers
        return len(words) == len(expected) and list(map(Decimal, words)) == list(map(Decimal, expected))
    except ArithmeticError:
        return False
