"""Verdicts on honest and on cheating code."""

import json

import pytest

from mgrpo.sandbox.code_scoring import ProgramVerdict, score_code
from mgrpo.sandbox.code_tests import CallTests, StdinTests, mbpp_tests

NEEDLE = "needle-5309"

pytestmark = pytest.mark.usefixtures("sandbox")


def asserts(*tests, setup=""):
    return mbpp_tests({"task_id": 1, "test_list": list(tests), "test_setup_code": setup})


def fenced(code):
    return f"So:\n```python\n{code}\n```\n"


SQUARE = StdinTests(("3\n", "-4\n"), ("9\n", "16\n"))
PAIR = CallTests("pair", ("1\n[2, 3]", '"a"\n[]'), ("[1, [2, 3]]", '["a", []]'))
SEARCH = f"""
import gc, os, re, sys
def find():
    texts = [open("/program.py").read(), open("/input").read(), *os.environ.values(), *sys.argv]
    frame = sys._getframe()
    while frame:
        texts += [repr(frame.f_locals), repr(frame.f_globals)]
        frame = frame.f_back
    texts += [str(thing)[:9999] for thing in gc.get_objects() if isinstance(thing, (list, tuple, dict))]
    found = re.search("{NEEDLE[:-4]}" + r"[0-9]{{4}}", " ".join(texts))
    return found[0] if found else "nothing"
"""

VERDICTS = {
    # name: code, tests, reason
    "equal": ("def f(x):\n    return x + 1", asserts("assert f(1) == 2", "assert f(2) == 3"), "passed"),
    "unequal": ("def f(x):\n    return 2", asserts("assert f(1) == 2", "assert f(2) == 3"), "wrong answer"),
    "all kinds of values": (
        """
import collections, decimal, fractions
Point = collections.namedtuple("Point", "x y")
def point(): return Point(1, 2)
def many(): return {"a": {1, 2}, (1,): [b"x", 1j, None, 2**99, float("inf")], True: range(3)}
def count(text): return collections.Counter(text)
def lazy(n): return (i for i in range(n))
def keys(): return {"a": 1}.keys()
def third(): return fractions.Fraction(1, 3)
def exact(): return decimal.Decimal("1.50")
def queue(): return collections.deque([1, 2])
def mapped(): return map(str, [1, 2])
def chained(): return collections.ChainMap({"a": 1}, {"b": 2})
""",
        asserts(
            "assert point() == (1, 2)",
            "assert many() == {'a': {2, 1}, (1,): [b'x', 1j, None, 2**99, float('inf')], 1: range(0, 3)}",
            "assert count('aab') == {'a': 2, 'b': 1}",
            "assert list(lazy(3)) == [0, 1, 2] and set(mapped()) == {'1', '2'}",
            "assert keys() == {'a'} and chained() == {'b': 2, 'a': 1}",
            "assert third() * 3 == 1 and exact() == 1.5 and list(queue()) == [1, 2]",
        ),
        "passed",
    ),
    "numpy": (
        "import numpy\ndef f():\n    return numpy.float64(1.5), numpy.int64(3), numpy.bool_(True), numpy.arange(2)[1]",
        asserts("assert f() == (1.5, 3, True, 1)"),
        "passed",
    ),
    "close": (
        "def f(x):\n    return x / 3",
        asserts("assert math.isclose(f(1), 0.333, rel_tol=0.01)", setup="import math"),
        "passed",
    ),
    "named like a builtin": ("def sum(a, b):\n    return 6", asserts("assert sum(10, 15) == 6"), "passed"),
    "a class in the setup": (
        "class Node:\n    def __init__(self, x):\n        self.x = x\ndef value(node):\n    return node.x",
        asserts("assert (value(root)) == 3", setup="root = Node(3)"),
        "passed",
    ),
    "changes its argument": ("def f(x):\n    x.sort()", asserts("x = [2, 1]\nf(x)", "assert x == [1, 2]"), "passed"),
    "what it runs as main": (
        "def f():\n    return 1\nif __name__ == '__main__':\n    1 / 0",
        asserts("assert f() == 1"),
        "passed",
    ),
    "no Python": ("def f(x) return x", asserts("assert f(1) == 1"), "error"),
    "raises": ("def f(x):\n    return x[0]", asserts("assert f(1) == 1"), "error"),
    "loops": ("def f(x):\n    while True: pass", asserts("assert f(1) == 1"), "timeout"),
    "loops at once": ("while True: pass", asserts("assert f(1) == 1"), "timeout"),
    "much memory": ("def f(x):\n    return [0] * 2**34", asserts("assert f(1) == 1"), "memory"),
    "no end": (
        "import itertools\ndef f(x):\n    return itertools.count()",
        asserts("assert list(f(1)) == []"),
        "error",
    ),
    # cheats on asserts
    "says so": ("print('passed')\nprint('{\"passed\": true}')", asserts("assert f(1) == 1"), "error"),
    "ends early": ("import os\nprint('passed', flush=True)\nos._exit(0)", asserts("assert f(1) == 1"), "error"),
    "exits with 0": ("import sys\nsys.exit(0)", asserts("assert f(1) == 1"), "error"),
    "exits within": ("def f(x):\n    raise SystemExit(0)", asserts("assert f(1) == 1"), "error"),
    "equal to everything": (
        "class Any(int):\n    __eq__ = lambda *_: True\n    __hash__ = int.__hash__\ndef f(x):\n    return Any(7)",
        asserts("assert f(1) == 1"),
        "wrong answer",
    ),
    "equal object": (
        "class Any:\n    __eq__ = lambda self, other: True\ndef f(x):\n    return Any()",
        asserts("assert f(1) == 1"),
        "wrong answer",
    ),
    "other builtins": (
        """
import builtins, json
builtins.AssertionError = builtins.isinstance = builtins.eval = builtins.compile = lambda *_: True
builtins.set = builtins.sorted = lambda *_: 1
def f(x): return 0
""",
        asserts("assert set(f(1)) == set([2])"),
        "error",
    ),
    "takes the collector over": (
        """
import os, sys
sys.modules["__main__"].encode = lambda value: {"passed": True}
for descriptor in range(3, 9):
    try:
        os.write(descriptor, b'{"passed": true}\\n{"value": "passed"}\\n')
    except OSError:
        pass
def f(x): return 0
""",
        asserts("assert f(1) == 1"),
        "error",
    ),
    "writes what is no JSON": (
        "import os\nos.write(3, b'[' * 10**5 + b'\\n')\nos._exit(0)",
        asserts("assert f(1) == 1"),
        "error",
    ),
    "looks for the answer": (SEARCH + "def f(): return find()", asserts(f"assert f() == '{NEEDLE}'"), "wrong answer"),
    # programs
    "a program": (fenced("print(int(input()) ** 2)"), SQUARE, "passed"),
    "with names that it does not import": (
        fenced("n, = map(int, stdin); print(pow(n, 2, 10**9)); exit(1)"),
        SQUARE,
        "passed",
    ),
    "a main function": (
        fenced("def main():\n    print(f'{float(input()) ** 2}  ')\nif __name__ == '__main__':\n    main()"),
        SQUARE,
        "passed",
    ),
    "right for the first": (fenced("print(9)"), SQUARE, "wrong answer"),
    "right, then an error": (fenced("print(int(input()) ** 2)\n1 / 0"), SQUARE, "error"),
    "right, then never ends": (fenced("print(int(input()) ** 2, flush=True)\nwhile True: pass"), SQUARE, "timeout"),
    "too much": (fenced("while True: print('x' * 10**6)"), SQUARE, "output"),
    "search finds what is there": (fenced(SEARCH + "print(find())"), StdinTests((NEEDLE,), (NEEDLE,)), "passed"),
    "program that looks for the answer": (
        fenced(SEARCH + "print(find())"),
        StdinTests(("",), (NEEDLE,)),
        "wrong answer",
    ),
    "no code": ("It is nine.", SQUARE, "no code"),
    # calls
    "a function": (fenced("def pair(a, b):\n    return a, b"), PAIR, "passed"),
    "a method": (
        fenced("class Solution:\n    def pair(self, a: Any, b: List[int]) -> List[Any]:\n        return [a, b]"),
        PAIR,
        "passed",
    ),
    "a tuple within": (fenced("def pair(a, b):\n    return a, tuple(b)"), PAIR, "wrong answer"),
    "another name": (fenced("def pairs(a, b):\n    return a, b"), PAIR, "error"),
    "late in one long operation": (fenced("def pair(a, b):\n    return 10**10**9"), PAIR, "timeout"),
    "call that looks for the answer": (
        fenced(SEARCH + "def g():\n    return find()"),
        CallTests("g", ("",), (json.dumps(NEEDLE),)),
        "wrong answer",
    ),
}


@pytest.fixture(scope="module")
def verdicts():
    seen = {}
    for are_late, timeout in ((True, 0.5), (False, 20.0)):
        names = [name for name, (_, _, reason) in VERDICTS.items() if (reason == "timeout") is are_late]
        codes, tests, _ = zip(*map(VERDICTS.get, names), strict=True)
        verdicts = score_code(codes, tests, timeout=timeout)
        seen |= dict(zip(names, verdicts, strict=True))
    return seen


@pytest.mark.parametrize("name", VERDICTS)
def test_verdict(verdicts, name):
    reason = VERDICTS[name][2]
    assert (verdicts[name].reason, verdicts[name].passed) == (reason, reason == "passed"), verdicts[name]


def test_verdicts_say_which_test(verdicts):
    assert verdicts["unequal"].test == 1
    assert verdicts["right for the first"] == ProgramVerdict(False, "wrong answer", 1, "printed 9, not 16")
    assert verdicts["raises"].detail == "TypeError: 'int' object is not subscriptable"
    assert "SyntaxError" in verdicts["no Python"].detail
    assert verdicts["right, then an error"].detail == "ZeroDivisionError: division by zero"


def test_each_completion_has_tests():
    with pytest.raises(ValueError, match="argument"):
        score_code(["x = 1", "y = 2"], [asserts("assert x == 1")])
