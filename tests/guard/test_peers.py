import os
import signal
import threading

import pytest

from mgrpo.guard.lock import machine_id
from mgrpo.guard.peers import Peers


@pytest.fixture
def other():
    """Another process."""
    child = os.fork()
    if child == 0:
        while True:
            signal.pause()
    yield child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_one_that_dies_ends_those_that_wait_for_it(in_child, other):
    """The main thread is where NCCL would have it: in a wait that nothing ends."""

    def wait_for_it():
        peers = Peers(0, [(0, machine_id(), os.getpid()), (1, machine_id(), other)], lambda: "this stays")
        with peers.watch():
            os.kill(other, signal.SIGKILL)
            threading.Event().wait()

    code, said = in_child(wait_for_it)
    assert code == 7
    assert said == (
        f"mgrpo: rank 0 ends: rank 1 (process {other}) of this run's 2 is gone, and the others cannot go on without "
        "it; this stays.\n"
    )


def test_those_that_live_and_those_elsewhere_are_none(other):
    peers = Peers(0, [(0, machine_id(), os.getpid()), (1, machine_id(), other), (2, "another", 2**22 + 1)], str)
    assert peers.lost() is None


def test_at_the_end_each_may_go(other):
    peers = Peers(0, [(0, machine_id(), os.getpid()), (1, machine_id(), other)], str)
    with peers.watch():
        peers.stop_watching()
        os.kill(other, signal.SIGKILL)
        assert "rank 1" in peers.lost(10.0)  # and yet this process goes on
