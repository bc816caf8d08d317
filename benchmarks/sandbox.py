"""Time a program in the sandbox against a plain `python -c` of the same interpreter, side by side in one process.

python benchmarks/sandbox.py

Rounds take turns, so that what else runs on the machine slows both. Processor time is that of all processes it takes,
and says more than wall time where the machine is busy. Verdicts are on code that passes.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from mgrpo.sandbox.code_scoring import score_one
from mgrpo.sandbox.code_tests import CallTests, StdinTests, mbpp_tests
from mgrpo.sandbox.sandbox import check_sandbox, run_program

SQUARES = [str(n * n) for n in range(10)]
INPUTS = tuple(f"{n}" for n in range(10))
FUNCTION = "```\ndef square(n):\n    return n * n\n```"
PROGRAM = "```\nprint(int(input()) ** 2)\n```"
ASSERTS = mbpp_tests({"test_list": [f"assert square({n}) == {n * n}" for n in range(3)]})


def plain() -> None:
    subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, check=True)


def in_sandbox() -> None:
    assert run_program("print(1)").stdout == "1\n"


def verdict(completion: str, tests) -> Callable[[], None]:
    def score() -> None:
        assert score_one(completion, tests, timeout=60).passed

    return score


def seconds(call: Callable[[], None]) -> tuple[float, float]:
    """Wall time, and the processor time of its processes."""
    started, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    call()
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - used.ru_utime + after.ru_stime - used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    check_sandbox()
    cases = {
        "a program in the sandbox": in_sandbox,
        "a verdict of MBPP, 3 asserts": verdict(FUNCTION, ASSERTS),
        "a verdict of LiveCodeBench, 10 calls": verdict(FUNCTION, CallTests("square", INPUTS, tuple(SQUARES))),
        "a verdict of LiveCodeBench, 10 programs": verdict(PROGRAM, StdinTests(INPUTS, tuple(SQUARES))),
    }
    plains: list[float] = []
    ratios: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, call in cases.items():
            wall, processor = seconds(plain)
            wall_ours, processor_ours = seconds(call)
            plains.append(wall)
            ratios[name].append((wall_ours / wall, processor_ours / processor))
    print(f"python -c 'print(1)': {1e3 * statistics.median(plains):.0f} ms (median)")
    for name, of_case in ratios.items():
        walls, processors = zip(*of_case, strict=True)
        q1, median, q3 = statistics.quantiles(walls, n=4)
        print(f"{name}: {median:.1f} times that (quartiles {q1:.1f} {q3:.1f})", end="; ")
        print(f"{statistics.median(processors):.1f} times its processor time")


if __name__ == "__main__":
    main()
