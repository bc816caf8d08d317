"""Output that cannot be written costs the text, and neither the work nor the exit code."""

import os
import subprocess
import sys

import pytest

from mgrpo.guard.streams import forgive_output

WRITES = """
import os, sys
from mgrpo.guard.streams import forgive_output
forgive_output()
print("x" * 100_000, flush=True)
print("\\ud800 is no text")
print("an event", file=sys.stderr)
import logging; logging.warning("a warning")
from rich.console import Console; Console(file=sys.stderr).print("[b]bold")
with open("made", "w") as file:
    assert file.fileno() > 2, "a file took the place of a closed stream"
    file.write("work")
sys.exit(7)
"""
STREAMS = [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1", "| true"]


@pytest.mark.parametrize("streams", STREAMS)
def test_the_work_is_done_and_the_exit_code_is_its_own(tmp_path, streams):
    command = f'"$0" -c "$1" {streams}; exit ${{PIPESTATUS[0]}}'
    ended = subprocess.run(
        ["bash", "-c", command, sys.executable, WRITES], cwd=tmp_path, capture_output=True, text=True, env=os.environ
    )
    assert ended.returncode == 7, ended.stderr
    assert "Traceback" not in ended.stderr
    assert (tmp_path / "made").read_text() == "work"


def test_what_can_be_written_is_written(tmp_path):
    ended = subprocess.run([sys.executable, "-c", WRITES], cwd=tmp_path, capture_output=True, text=True)
    assert ended.stdout == "x" * 100_000 + "\n\\ud800 is no text\n"
    assert ended.stderr == "an event\nWARNING:root:a warning\nbold\n"


def test_streams_that_someone_else_replaced_stay(capsys):
    before = sys.stdout, sys.stderr
    forgive_output()
    assert (sys.stdout, sys.stderr) == before
