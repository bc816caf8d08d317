"""How the tests of code benchmarks are read, how code is read out of a completion, and when outputs agree."""

import base64
import json
import pickle
import zlib

import pytest

from mgrpo.errors import UserError
from mgrpo.sandbox.code_tests import (
    AssertTests,
    CallTests,
    StdinTests,
    decode_private_tests,
    extract_fenced,
    extract_mbpp,
    extract_program,
    livecodebench_tests,
    mbpp_tests,
    same_output,
)


@pytest.mark.parametrize(
    ("printed", "expected", "agree"),
    [
        ("1 2\n3\n", "1 2\n3", True),
        ("  1 2  \n 3", "1 2\n3", True),
        ("1.0 2", "1 2.000", True),
        ("1e3", "1000", True),
        ("1  2", "1 2", True),
        ("a  b", "a b", False),
        ("1\n\n2", "1\n2", False),
        ("1", "1\n2", False),
        ("50000000000000001", "50000000000000000", False),
        ("0.1", "0.10000001", False),
        ("Yes", "YES", False),
        ("nan", "NaN", False),
        ("sNaN", "1", False),
        ("1e999999999", "1", False),
        ("", "\n", True),
    ],
)
def test_outputs_are_compared_as_livecodebench_does(printed, expected, agree):
    assert same_output(printed, expected) is agree


FENCE = "```"


@pytest.mark.parametrize(
    ("completion", "fence", "mbpp"),
    [
        ("no code", None, "no code"),
        ("def f(): pass\n[DONE]\n\nYou are [BEGIN]\ndef g(): pass", None, "def f(): pass\n"),
        ("[BEGIN]\ndef f(): pass\n[DONE]", None, "\ndef f(): pass\n"),
        (f"x\n{FENCE}python\na = 1\n{FENCE}\ny\n{FENCE}\nb = 2\nc = 3\n{FENCE}\nz", "b = 2\nc = 3", "b = 2\nc = 3"),
        (f"def f(): pass\n{FENCE}\nIt does.\n{FENCE}python\nf()\n{FENCE}", "f()", "def f(): pass"),
        (f"Cut:\n{FENCE}python\na = 1\nb =", None, "a = 1\nb ="),
        (f"x\n{FENCE}\na = 1\n{FENCE}\nand\n{FENCE}\nb =", "and", "a = 1"),  # the last one is cut off
        (f"x\n{FENCE}\nb =", None, "b ="),
        (f"{FENCE}\ndef f(): 1\n{FENCE}\nRun:\n{FENCE}bash\npython f.py\n{FENCE}", "python f.py", "def f(): 1"),
        (f"{FENCE}\ndef f(): 1\n{FENCE}\nUse:\n{FENCE}python\nx = f()\n{FENCE}", "x = f()", "def f(): 1"),
    ],
)
def test_code_is_read_out_of_a_completion(completion, fence, mbpp):
    assert extract_fenced(completion) == fence
    assert extract_mbpp(completion) == mbpp


def test_the_program_is_the_last_block_that_defines_what_is_tested():
    tests = mbpp_tests({"test_list": ["assert f(1) == 2", "x = 3", "assert f(x) == 4"]})
    first, second = "def f(n):\n    return n", "def f(n):\n    return n + 1"
    others = ("def test_f():\n    assert f(1) == 2", "y = f(1)", "2 4", "$ python f.py")
    completion = "".join(f"So:\n{FENCE}\n{block}\n{FENCE}\n" for block in (first, second, *others))
    assert extract_program(completion, tests) == second


CASES = [{"input": "1\n", "output": "2\n", "testtype": "stdin"}]


def packed(value):
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def row(private, **metadata):
    public = [{"input": "0\n", "output": "1\n", "testtype": "stdin"}]
    return {
        "question_id": "q1",
        "public_test_cases": json.dumps(public),
        "private_test_cases": private,
        "metadata": json.dumps(metadata),
    }


def test_a_row_of_mbpp_needs_tests():
    with pytest.raises(UserError, match="row 7 .*test_list"):
        mbpp_tests({"task_id": 7, "text": "..."})
    with pytest.raises(UserError, match="row 7 .*test_list"):
        mbpp_tests({"task_id": 7, "test_list": ["x = 1"]})


def test_a_program_is_read_as_the_benchmark_of_its_tests_reads_it():
    bare, fenced = "def f(): pass", f"x\n{FENCE}\na = 1\n{FENCE}"
    of_mbpp, of_livecodebench = mbpp_tests({"test_list": ["assert f()"]}), StdinTests(("",), ("",))
    assert isinstance(of_mbpp, AssertTests)
    assert (extract_program(bare, of_mbpp), extract_program(bare, of_livecodebench)) == (bare, None)
    assert extract_program(fenced, of_livecodebench) == "a = 1"
    assert extract_program(f"{FENCE}\n \n{FENCE}", of_livecodebench) is None


def test_livecodebench_rows_are_read():
    expected = StdinTests(("0\n", "1\n"), ("1\n", "2\n"))
    assert livecodebench_tests(row(json.dumps(CASES))) == expected
    assert livecodebench_tests(row(packed(json.dumps(CASES)))) == expected
    functional = json.dumps([{"input": "[1]\n2", "output": "3", "testtype": "functional"}])
    public = {"public_test_cases": "[]"}
    assert livecodebench_tests(row(packed(functional), func_name="f") | public) == CallTests("f", ("[1]\n2",), ("3",))


class Malicious:
    def __reduce__(self):
        return (pytest.fail, ("the pickle's code was run",))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (packed(Malicious()), "asks for"),
        (packed(b"x" * 10)[:20], "cut off|Incorrect|Invalid"),
        (packed([1]), "must be str"),
        ("!", "private tests"),
        (base64.b64encode(b"nothing").decode(), "incorrect header"),
    ],
)
def test_private_tests_run_no_code(text, reason):
    with pytest.raises(ValueError, match=reason):
        decode_private_tests(text)
    with pytest.raises(UserError, match="row q1 .*private_test_cases"):
        livecodebench_tests(row(text))
