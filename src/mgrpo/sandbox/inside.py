"""Runs inside the sandbox, around a candidate's function: the text of this file is sent there.

It has two programs, each for a sandbox of its own. `collect` has the candidate, calls it and writes down what it
returns, without any expected value. `judge` has the tests and those values, without the candidate's code. So a
candidate that takes over `collect` can only make it write down other values.

Values travel as JSON; a type that JSON lacks is a list that begins with a tag. Only built-in types arrive: an object
of the candidate's own class, whose `__eq__` might agree with anything, becomes one that equals nothing.
"""

import importlib
import itertools
import json
import os
import signal
import sys
import types
from collections import deque
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

MAX_ITEMS = 10**6
"""At most this many are taken from an iterator, which may be infinite."""
_EXACT = 2**53


def collect() -> None:
    """Run the statements, then evaluate each step, one line of JSON each; exit with 1 if a statement fails."""
    spec = json.loads(sys.stdin.readline())
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the candidate prints
    sys.set_int_max_str_digits(50_000)
    solution = types.ModuleType("solution")
    sys.modules["solution"] = solution

    def limited(mode: str, text: str) -> Any:
        # without a handler, so that the kernel ends a late step even within one long operation
        signal.setitimer(signal.ITIMER_REAL, spec["seconds"])
        value = encode(eval(compile(text, "solution", mode), solution.__dict__))
        signal.setitimer(signal.ITIMER_REAL, 0)
        return value

    def attempt(mode: str, text: str) -> dict[str, Any]:
        try:
            return {"value": limited(mode, text)}
        except BaseException as error:
            return {"error": f"{type(error).__name__}: {error}"[:500]}

    for statements in spec["statements"]:
        if error := attempt("exec", statements).get("error"):
            os.write(2, b"\n" + error.encode(errors="replace"))
            os._exit(1)
    for mode, text in spec["steps"]:
        results.write(json.dumps(attempt(mode, text)) + "\n")
        results.flush()
    os._exit(0)  # despite threads and exit handlers that the candidate left


def encode(value: Any) -> Any:
    """Write a value as JSON's types."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        value = int(value)
        return value if -_EXACT < value < _EXACT else ["int", hex(value)]
    if isinstance(value, float):
        value = float(value)
        return value if value - value == 0 else ["float", repr(value)]
    if isinstance(value, complex):
        return ["complex", repr(complex(value))]
    if isinstance(value, (bytes, bytearray)):
        return [_first(value, bytes, bytearray), bytes(value).hex()]
    if isinstance(value, range):
        return ["range", [value.start, value.stop, value.step]]
    if isinstance(value, dict):
        return ["dict", [[encode(key), encode(item)] for key, item in dict.items(value)]]
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return [_first(value, list, tuple, set, frozenset, deque), [encode(item) for item in value]]
    if isinstance(value, KeysView):
        return ["keys", list(map(encode, value))]
    return _encode_rare(value)


def _encode_rare(value: Any) -> Any:
    kind = type(value)
    if kind.__module__ == "numpy" and hasattr(value, "tolist"):
        listed = value.tolist()
        return ["iterator", list(map(encode, listed))] if isinstance(listed, list) else encode(listed)
    if isinstance(value, Mapping):  # ChainMap, UserDict: equal to the dict of their items
        return encode(dict(value))
    for name, (module, write, _) in _FROM_MODULES.items():
        if module in sys.modules and isinstance(value, getattr(sys.modules[module], name)):
            return [name, write(value)]
    if isinstance(value, (Iterator, ValuesView, ItemsView)):
        items = list(itertools.islice(value, MAX_ITEMS + 1))
        if len(items) <= MAX_ITEMS:
            return ["iterator", [encode(item) for item in items]]
    return ["object", kind.__name__]


def _first(value: Any, *kinds: type) -> str:
    return next(kind.__name__ for kind in kinds if isinstance(value, kind))


# class name: its module, how to write a value, how to read it. A subclass comes before its base.
_FROM_MODULES: dict[str, tuple[str, Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    "Decimal": ("decimal", str, lambda kind, content: kind(content)),
    "Fraction": ("fractions", str, lambda kind, content: kind(content)),
    "datetime": ("datetime", lambda value: value.isoformat(), lambda kind, content: kind.fromisoformat(content)),
    "date": ("datetime", lambda value: value.isoformat(), lambda kind, content: kind.fromisoformat(content)),
    "time": ("datetime", lambda value: value.isoformat(), lambda kind, content: kind.fromisoformat(content)),
    "timedelta": (
        "datetime",
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda kind, content: kind(*content),
    ),
}


def decode(coded: Any) -> Any:
    """Read what `encode` wrote; anything else raises an error."""
    if not isinstance(coded, list):
        return coded
    kind, content = coded
    if kind in _FROM_MODULES:
        module, _, read = _FROM_MODULES[kind]
        return read(getattr(importlib.import_module(module), kind), content)
    return _DECODERS[kind](content)


def _decode_all(content: list[Any]) -> list[Any]:
    return [decode(item) for item in content]


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "list": _decode_all,
    "tuple": lambda content: tuple(_decode_all(content)),
    "set": lambda content: set(_decode_all(content)),
    "frozenset": lambda content: frozenset(_decode_all(content)),
    "deque": lambda content: deque(_decode_all(content)),
    "iterator": lambda content: iter(_decode_all(content)),
    "keys": lambda content: dict.fromkeys(_decode_all(content)).keys(),
    "dict": lambda content: {decode(key): decode(item) for key, item in content},
    "int": lambda content: int(content, 16),
    "float": float,
    "complex": complex,
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "range": lambda content: range(*content),
    "object": lambda content: object(),
}


def judge() -> None:
    """Run the checks, in which `__value__(i)` is the i-th collected value, and print the first failure."""
    spec, *lines = map(json.loads, sys.stdin)
    sys.set_int_max_str_digits(50_000)

    def value(index: int) -> Any:
        if "error" in lines[index]:
            raise RuntimeError(lines[index]["error"])
        return decode(lines[index]["value"])

    def returned(index: int) -> Any:
        result = value(index)
        return list(result) if isinstance(result, tuple) else result

    namespace = {"__value__": value, "__returned__": returned, "__json__": json.loads}
    exec("\n".join(spec["imports"]), namespace)
    verdict: dict[str, Any] = {"passed": True}
    for number, check in enumerate(spec["checks"]):
        try:
            exec(check, namespace)
        except BaseException as error:
            reason = "wrong answer" if isinstance(error, AssertionError) else "error"
            verdict = {"passed": False, "test": number, "reason": reason, "detail": str(error)[:500]}
            break
    print(json.dumps(verdict))
