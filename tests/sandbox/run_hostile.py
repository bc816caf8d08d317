"""Runs every hostile program, as whoever started it, and prints what became of them and of what they were to harm.

It is a process of its own, so that it can be started as another user, and so that what a program leaves behind becomes
its child.
"""

import ctypes
import json
import os
import select
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from mgrpo.sandbox.sandbox import Limits, run_program

sys.path.append(str(Path(__file__).parent))
from hostile_programs import PROGRAMS  # noqa: E402

PR_SET_CHILD_SUBREAPER = 36
PROJECT = Path(__file__).parents[2]


def children() -> list[int]:
    """Processes of which this is the parent, by the kernel's own list."""
    pid = os.getpid()
    return [int(child) for task in os.listdir("/proc/self/task") for child in _children_of(pid, task)]


def _children_of(pid: int, task: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{task}/children").read_text().split()
    except FileNotFoundError:
        return []  # a thread that has ended


def main() -> None:
    secret = os.environ["SECRET"]
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    listener = socket.create_server(("127.0.0.1", 0))
    os.set_inheritable(os.open("/dev/null", os.O_RDONLY), True)
    words = {"secret": secret, "project": PROJECT, "port": listener.getsockname()[1], "pid": bystander.pid}

    def run(name: str) -> dict:
        program = PROGRAMS[name]
        source = program.source
        for word, value in words.items():
            source = source.replace("{" + word + "}", str(value))
        started = time.monotonic()
        usual = {"wall_seconds": 1.0 if program.ends == "timeout" else 30.0}
        outcome = run_program(source, limits=Limits(**usual | program.limits))
        seconds = time.monotonic() - started
        kept = {key: text[-1500:] if isinstance(text, str) else text for key, text in asdict(outcome).items()}
        return {**kept, "sizes": [len(outcome.stdout), len(outcome.stderr)], "seconds": seconds}

    with ThreadPoolExecutor(8) as pool:
        outcomes = dict(zip(PROGRAMS, pool.map(run, PROGRAMS), strict=True))
    is_called = bool(select.select([listener], [], [], 0)[0])
    left = sorted(set(children()) - {bystander.pid})
    is_alive = bystander.poll() is None
    bystander.communicate(b"\n")
    result = {"outcomes": outcomes, "left": left, "is_bystander_alive": is_alive, "is_called": is_called}
    print(json.dumps({**result, "user": os.getuid()}))


if __name__ == "__main__":
    main()
