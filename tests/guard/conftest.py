"""Forked children: whatever ends them, the tests continue."""

import os
import signal
import time

import psutil
import pytest

SECONDS = 120


@pytest.fixture
def in_child(tmp_path, fork):
    """Has a forked child do something; returns its exit code, and what it said, if not to a terminal of the test's."""

    def act_in_child(act, terminal=None):
        child = fork(act, tmp_path / "said" if terminal is None else terminal)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                said = "" if terminal is not None else (tmp_path / "said").read_text()
                return os.waitstatus_to_exitcode(status), said
            time.sleep(0.02)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the child did not end")

    return act_in_child


@pytest.fixture
def are_gone():
    """Whether all of some processes are gone, or are soon; who was killed may take a moment."""

    def wait_until_gone(pids):
        deadline = time.monotonic() + 20
        while any(_is_alive(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.02)
        return not any(_is_alive(pid) for pid in pids)

    return wait_until_gone


def _is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
