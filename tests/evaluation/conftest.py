"""Local copies of benchmarks' data."""

import json

import pytest


@pytest.fixture
def harness():
    """Skips a test if lm-evaluation-harness is not installed."""
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (extra eval)")


@pytest.fixture
def write(tmp_path):
    """Writes rows as a local copy; returns its path."""

    def write(*rows, name="data.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    return write


@pytest.fixture
def judged():
    """Whether a completion is right by our verdict, and by the library's."""

    def judged(benchmark, text, row=0):
        (verdict,) = benchmark.judge([text], [benchmark.task.columns["answer"][row]])
        return verdict.is_right, benchmark.harness[row].score(text)

    return judged
