"""Scores completions by running their code against a benchmark's tests, in sandboxes.

Why verdicts can be trusted: no expected output enters a sandbox in which a candidate's code runs. What a program
prints is compared here, outside, and what a function returns is judged in a second sandbox without the candidate
(`inside.py`). So printing "passed", ending early with exit code 0, catching SystemExit, replacing builtins,
rewriting the test file or returning an object that equals everything does not help; the right values have to be
computed.

What a cheating candidate can still do: answer the tests that its prompt shows from memory; within an assert, do the
comparison itself if it cannot be separated (`all(f(i) == i for i in ...)`), or read a value that the tests assign to a
name; remove the alarm on single calls, and use the time of all of them; and choose the reason for which it fails.
"""

import json
import math
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from mgrpo.sandbox import code_tests
from mgrpo.sandbox.code_tests import CallTests, CodeTests, StdinTests
from mgrpo.sandbox.sandbox import Limits, ProgramOutcome, check_sandbox, run_program

Reason = Literal["passed", "wrong answer", "error", "timeout", "memory", "output", "no code"]

_STARRED = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json", "builtins", "typing"),
)
PRELUDE = "\n".join(
    [f"from {module} import *" for module in _STARRED]
    + [f"import {module}" for module in _STARRED if module not in ("builtins", "typing")]
    + ["sys.setrecursionlimit(50_000)", "sys.set_int_max_str_digits(50_000)"]
)
"""What LiveCodeBench's runner puts before each program, in its order, since later names hide earlier ones."""

JUDGE_SECONDS = 30.0
"""Limit for comparing values, which takes milliseconds unless a candidate made them to take longer."""


@dataclass(frozen=True)
class ProgramVerdict:
    """Whether a completion's code passed all tests.

    Attributes:
        reason: why not; "output" is more output than allowed, "no code" a completion without code.
        test: the first test that failed, from 0, if known.
        detail: an error's last line, or what was wrong, for a reader.
    """

    passed: bool
    reason: Reason
    test: int | None = None
    detail: str = ""


def score_code(
    completions: Sequence[str], tests: Sequence[CodeTests], *, timeout: float | None = None
) -> list[ProgramVerdict]:
    """Run the code of each completion against its tests.

    A verdict takes at most (number of tests + 1) times the timeout, plus `JUDGE_SECONDS` and the sandboxes' own time.

    Args:
        completions: texts; the code is read out of them as the benchmark does it.
        tests: for each completion.
        timeout: wall-clock seconds, for each test of LiveCodeBench and for all of an MBPP problem; None: what the
            benchmark's own runner allows.

    Raises:
        UserError: if no sandbox is available here; nothing was run.
    """
    check_sandbox()
    pairs = list(zip(completions, tests, strict=True))
    # One sandbox a core: with more, right programs would run into the timeout.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)), "sandbox") as pool:
        return list(pool.map(lambda pair: score_one(*pair, timeout=timeout), pairs))


def score_one(completion: str, tests: CodeTests, *, timeout: float | None = None) -> ProgramVerdict:
    """Run the code of one completion against its tests; see `score_code`."""
    code = code_tests.extract_program(completion, tests)
    if code is None:
        return ProgramVerdict(False, "no code")
    if isinstance(tests, StdinTests):
        return _score_program(code, tests, timeout or code_tests.LIVECODEBENCH_SECONDS)
    if isinstance(tests, CallTests):
        return _score_calls(code, tests, timeout or code_tests.LIVECODEBENCH_SECONDS)
    timeout = timeout or code_tests.MBPP_SECONDS
    spec = {"statements": [code], "steps": tests.steps, "seconds": timeout}
    return _score_steps(spec, {"checks": tests.checks, "imports": tests.imports}, timeout)


def _score_program(code: str, tests: StdinTests, timeout: float) -> ProgramVerdict:
    # any exit code that the program chose counts as 0
    run = f"exec(compile({code!r}, 'solution', 'exec'), globals())"
    program = f"{PRELUDE}\ntry:\n    {run}\nexcept SystemExit:\n    pass\n"
    for number, (given, expected) in enumerate(zip(tests.inputs, tests.outputs, strict=True)):
        outcome = run_program(program, stdin=given, limits=_limits(timeout))
        if not outcome.is_success:
            return _failure(outcome, number)
        if not code_tests.same_output(outcome.stdout, expected):
            return ProgramVerdict(
                False, "wrong answer", number, f"printed {_short(outcome.stdout)}, not {_short(expected)}"
            )
    return ProgramVerdict(True, "passed")


def _score_calls(code: str, tests: CallTests, timeout: float) -> ProgramVerdict:
    owner = "Solution()." if "class Solution" in code else ""
    arguments = (f"[{','.join(lines.split(chr(10)))}]" for lines in tests.inputs)
    spec = {
        "statements": [PRELUDE, code, f"__method__ = {owner}{tests.fn_name}"],
        "steps": [("eval", f"__method__(*__import__('json').loads({text!r}))") for text in arguments],
        "seconds": timeout,
    }
    checks = [f"assert __returned__({i}) == __json__({text!r})" for i, text in enumerate(tests.outputs)]
    return _score_steps(spec, {"checks": checks, "imports": []}, timeout * (len(checks) + 1))


def _score_steps(spec: dict[str, Any], checks: dict[str, Any], seconds: float) -> ProgramVerdict:
    """Collect the candidate's values in one sandbox, and judge them in another."""
    outcome = run_program(_in_sandbox("collect"), stdin=json.dumps(spec), limits=_limits(seconds))
    num_done = outcome.stdout.count("\n")
    if not outcome.is_success:
        return _failure(outcome, num_done if len(spec["steps"]) == len(checks["checks"]) else None)
    if num_done != len(spec["steps"]):
        return ProgramVerdict(False, "error", detail="it ended before its tests did")
    to_judge = f"{json.dumps(checks)}\n{outcome.stdout}"
    judged = run_program(_in_sandbox("judge"), stdin=to_judge, limits=_limits(JUDGE_SECONDS))
    if not judged.is_success:
        return _failure(judged, None)
    verdict = json.loads(judged.stdout)
    if verdict["passed"]:
        return ProgramVerdict(True, "passed")
    reason, detail = verdict["reason"], verdict["detail"]
    if reason == "error" and detail.startswith("MemoryError"):
        reason = "memory"
    return ProgramVerdict(False, reason, verdict["test"], detail)


@cache
def _in_sandbox(function: str) -> str:
    return Path(__file__).with_name("inside.py").read_text() + f"\n{function}()\n"


def _limits(seconds: float) -> Limits:
    return Limits(wall_seconds=seconds, cpu_seconds=math.ceil(seconds) + 1)


def _failure(outcome: ProgramOutcome, test: int | None) -> ProgramVerdict:
    last = outcome.stderr.strip().rpartition("\n")[2]
    if outcome.stopped:
        return ProgramVerdict(False, outcome.stopped, test, _short(last))
    if outcome.exit_code == -signal.SIGALRM:
        return ProgramVerdict(False, "timeout", test)
    return ProgramVerdict(
        False, "error", test, _short(last) or f"it ended with {outcome.exit_code} and printed nothing"
    )


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 200 else f"{text[:200]}..."
