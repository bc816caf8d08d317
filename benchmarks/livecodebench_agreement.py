"""Count where verdicts differ from those of LiveCodeBench's own runner, which is no package and is not copied here.

python benchmarks/livecodebench_agreement.py CHECKOUT    # of github.com/LiveCodeBench/LiveCodeBench

Its runner has no sandbox, so the programs below are ones that were read. Random pairs of outputs: seed 0.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import random
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from mgrpo.sandbox.code_scoring import score_one
from mgrpo.sandbox.code_tests import CallTests, StdinTests, same_output

WORDS = ["1", "1.0", "01", "-0", "0", "1e3", "1000", "nan", "NaN", "inf", "a", "A", "Yes", "0.1", "0.10"]
WORDS += ["½", "１", "1_0", "10", "sNaN", ""]
SPACES = [" ", "  ", "\n", "\n\n", "\t", " \n", "\r\n"]
SQUARES = StdinTests(("3\n", "-4\n"), ("9\n", "16\n"))
PROGRAMS = [
    "print(int(input())**2)",
    "import sys\nfor l in sys.stdin: print(int(l)**2)",
    "n=int(input())\nprint(n*n if n>0 else 0)",
    "def main():\n  print(int(input())**2)\nmain()",
    "def main():\n  print(float(input())**2)\nif __name__=='__main__':\n  main()",
    "print(int(input())**2); exit()",
    "import sys\nprint(int(sys.stdin.readline())**2)\nsys.exit(1)",
    "print(int(input())**2)\n1/0",
    "print(open(0).read())",
    "x=int(input()\n",
    "data=sys.stdin.buffer.read().split()\nprint(int(data[0])**2)",
    "from collections import *\nprint(pow(int(input()),2))",
    "import numpy as np\nprint(np.int64(input())**2)",
    "print(*[int(input())**2],sep='')",
    "class S:\n  def f(self,n): return n*n\nprint(S().f(int(input())))",
    "n=int(input())\ndef g(k):\n  return 0 if k==0 else g(k-1)+2*k-1\nprint(g(abs(n)))",
    "while True: pass",
    "import threading\nthreading.stack_size(2**26)\ndef m(): print(int(input())**2)\n"
    "t=threading.Thread(target=m);t.start();t.join()",
    "print('9')",
    "input();input();print(9)",
    "from __future__ import annotations\nprint(int(input())**2)",
    "n=int(open('/dev/stdin').read())\nprint(n*n)",
    "import heapq,math\nprint(math.isqrt(int(input())**4))",
    "print(int(input())**2,end='')",
    "assert False",
    "print(None)",
]
LISTS = CallTests("f", ("1", "5"), ("[1]", "[5]"))
FUNCTIONS = [
    "def f(a): return [a]",
    "def f(a): return (a,)",
    "class Solution:\n  def f(self,a): return [a]",
    "class Solution:\n  def f(self, a: List[int]) -> List[int]:\n    return list([a])",
    "class Solution:\n  c=0\n  def f(self,a):\n    self.c+=1\n    return [a]",
    "def f(a): return [float(a)]",
    "def f(a): return {a}",
    "def f(a): return [[a]]",
    "def f(a): return [(a,)]",
    "def f(a): return [a] if a<3 else None",
    "def f(a): 1/0",
    "def g(a): return [a]",
    "import numpy as np\ndef f(a): return np.array([a])",
    "import numpy as np\ndef f(a): return [np.int64(a)]",
    "def f(a):\n  while 1: pass",
    "def f(a): sys.exit()",
    "x=1/0\ndef f(a): return [a]",
    "def f(a): return deque([a])",
    "from fractions import Fraction\ndef f(a): return [Fraction(a)]",
    "def f(a): print('x'); return [a]",
    "def f(a): return [True] if a==1 else [a]",
    "def f(a): return iter([a])",
    "def f(a): yield a",
    "if __name__=='__main__':\n  1/0\ndef f(a): return [a]",
    "def f(a):\n  return [a]\nassert f(1)==[1]",
]


def load_runner(checkout: Path) -> ModuleType:
    file = checkout / "lcb_runner" / "evaluation" / "testing_util.py"
    spec = importlib.util.spec_from_file_location("testing_util", file)
    assert spec and spec.loader
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    return runner


def compare_outputs(runner: ModuleType, num_pairs: int) -> None:
    """Have the runner judge texts that no program printed: what runs programs in it is replaced."""
    signal.signal(signal.SIGALRM, runner.timeout_handler)
    runner.compile_code = runner.get_function = lambda *_: print
    rng = random.Random(0)
    agreements = [compare_pair(runner, rng) for _ in range(num_pairs)]
    equal = sum(ours for ours, _ in agreements)
    print(
        f"outputs: {sum(ours != theirs for ours, theirs in agreements)} of {num_pairs} pairs differ; {equal} are equal"
    )


def compare_pair(runner: ModuleType, rng: random.Random) -> tuple[bool, bool]:
    def text() -> str:
        return "".join(rng.choice(WORDS) + rng.choice(SPACES) for _ in range(rng.randint(0, 4)))

    printed = text()
    expected = printed if rng.random() < 0.3 else text()
    if rng.random() < 0.5:
        expected = expected.replace("1.0", "1").replace("  ", " ")
    runner.call_method = lambda *_: print(printed, end="")
    try:
        results = runner.grade_stdio("", [""], [expected], 6)[0]
    except ArithmeticError:
        results = [False]
    return same_output(printed, expected), results == [True]


def verdict_of(runner: ModuleType, code: str, tests: StdinTests | CallTests) -> bool:
    """Their verdict, from a process of its own."""
    sample = {"inputs": tests.inputs, "outputs": tests.outputs, "fn_name": getattr(tests, "fn_name", None)}
    context = multiprocessing.get_context("fork")
    results: Any = context.Queue()
    process = context.Process(target=run_theirs, args=(runner, code, json.dumps(sample), results))
    process.start()
    process.join(30)
    process.kill()
    return not results.empty() and results.get()


def run_theirs(runner: ModuleType, code: str, sample: str, results: Any) -> None:
    with open(os.devnull, "w") as nowhere:
        sys.stdout = nowhere
        verdicts = runner.run_test({"input_output": sample}, test=code, timeout=3)[0]
    results.put(bool(verdicts) and all(verdict is not None and verdict > 0 for verdict in verdicts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--pairs", type=int, default=30_000)
    arguments = parser.parse_args()
    num_differ = 0
    for codes, tests in ((PROGRAMS, SQUARES), (FUNCTIONS, LISTS)):
        for code in codes:
            theirs = verdict_of(load_runner(arguments.checkout), code, tests)
            ours = score_one(f"```\n{code}\n```", tests, timeout=3)
            if ours.passed != theirs:
                num_differ += 1
                print(f"{'passed' if theirs else 'failed'} there, here {ours}:\n{code}\n")
    print(f"programs: {num_differ} of {len(PROGRAMS) + len(FUNCTIONS)} are judged otherwise")
    compare_outputs(load_runner(arguments.checkout), arguments.pairs)


if __name__ == "__main__":
    main()
