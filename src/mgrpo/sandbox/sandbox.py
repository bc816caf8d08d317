"""Runs an untrusted Python program, such as a model's, where it can do no harm.

Call `run_program`; `check_sandbox` tests beforehand whether this machine supports it. docs/how-to/generated-code.md
describes the guarantees, `launcher.py` implements them. Without full isolation nothing is run; no mode is weaker.
"""

import contextlib
import functools
import importlib.util
import json
import os
import selectors
import signal
import site
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mgrpo.errors import UserError

PROVIDED = ("numpy",)
"""Packages that a program can import in addition to the standard library, if they are installed."""
SETUP_SECONDS = 60.0
"""Limit for building the sandbox, which takes 0.05 s, on a machine under heavy load."""
_CHUNK = 2**16

Stopped = Literal["timeout", "memory", "output"]


@dataclass(frozen=True)
class Limits:
    """Limits of a program. It is a single process, so each limit covers everything it does."""

    wall_seconds: float = 10.0
    cpu_seconds: int = 10
    memory_bytes: int = 2**31
    """Of address space; numpy takes 0.2 GiB of it."""
    threads: int = 64
    file_bytes: int = 2**24
    """Of one file in its directory."""
    disk_bytes: int = 2**26
    """Of all files in its directory, which lies in memory."""
    files: int = 256
    output_bytes: int = 2**24
    """Of stdout and of stderr, each."""


@dataclass(frozen=True)
class ProgramOutcome:
    """How a program ended.

    Attributes:
        stdout: what it wrote, up to the limit; invalid UTF-8 is replaced.
        stderr: likewise.
        exit_code: its exit code, or minus the signal that ended it; None if a limit on time or output ended it.
        stopped: the limit that ended it, if any.
    """

    stdout: str
    stderr: str
    exit_code: int | None
    stopped: Stopped | None

    @property
    def is_success(self) -> bool:
        """Whether it ended by itself with exit code 0."""
        return self.stopped is None and self.exit_code == 0


def run_program(source: str, *, stdin: str = "", limits: Limits | None = None) -> ProgramOutcome:
    """Run a Python program in a sandbox of its own, with an empty directory, no network and no other processes.

    It can import the standard library and `PROVIDED`. When this returns, the program has ended and nothing of it is
    left. Several threads may call it.

    Raises:
        UserError: if isolation is not available here; the program was not run.
    """
    limits = limits or Limits()
    # the package comes last on the path, so that nothing next to it hides the standard library
    path = f"import sys; sys.path.append({str(Path(__file__).parents[2])!r})"
    launch = f"{path}; from mgrpo.sandbox.launcher import main; main()"
    if not sys.platform.startswith("linux"):
        raise _refusal(f"it needs Linux, and this is {sys.platform}")
    with contextlib.ExitStack() as stack:
        request = stack.enter_context(open(os.memfd_create("program"), "wb"))
        status, status_end = os.pipe()
        status_pipe = stack.enter_context(open(status, "rb", buffering=0))
        with open(status_end, "wb"):
            _write_request(request, source, stdin, limits, status_end)
            launcher = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", launch],
                stdin=request,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[status_end],
                env={},
                cwd="/",
                start_new_session=True,  # Ctrl-C reaches only the caller, which ends it
            )
        stack.enter_context(launcher)
        try:
            pipes = [launcher.stdout, launcher.stderr, status_pipe]
            outputs, stopped = _read(pipes, limits.output_bytes, limits.wall_seconds + SETUP_SECONDS)
        finally:
            launcher.terminate()  # which ends the other processes first; no effect if it has ended
            try:
                launcher.wait(SETUP_SECONDS)
            except subprocess.TimeoutExpired:
                launcher.kill()  # the other processes die with it
    return _outcome(outputs, stopped, limits)


@functools.cache
def check_sandbox() -> None:
    """Try the sandbox once, so that a run that needs it fails at its start.

    Raises:
        UserError: if isolation is not available here, with the reason.
    """
    outcome = run_program(_PROBE)
    if outcome.stdout != "isolated\n":
        lines = outcome.stderr.strip().splitlines() or [outcome.stopped or f"it ended with {outcome.exit_code}"]
        raise _refusal(f"a test program was not isolated or did not run ({lines[-1]})")


_PROBE = """
import os, socket, threading
thread = threading.Thread(target=int)
thread.start()
thread.join()
for attempt in (os.fork, socket.socket, lambda: open("/file", "w"), lambda: os.listdir("/proc")):
    try:
        attempt()
    except OSError:
        continue
    raise SystemExit("a forbidden operation succeeded")
assert os.listdir() == [] and os.getppid() == 1 and os.getuid() != 0, "it is not isolated"
print("isolated")
"""


def _write_request(file: Any, source: str, stdin: str, limits: Limits, status_fd: int) -> None:
    program = source.encode(errors="surrogatepass")  # Python then refuses it as invalid UTF-8
    spec = {**vars(limits), **_python(), "source_bytes": len(program), "status_fd": status_fd}
    file.write(json.dumps(spec).encode() + b"\n" + program + stdin.encode(errors="surrogatepass"))
    file.seek(0)


@functools.cache
def _python() -> dict[str, Any]:
    """The interpreter's paths, what a program can see of them, and how it is started."""
    from mgrpo.sandbox.launcher import BOX, PACKAGES  # a module that other systems cannot import

    executable = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    base = os.path.realpath(sys.base_prefix)
    spec = importlib.util.find_spec
    found = [Path(module.origin).parent for name in PROVIDED if (module := spec(name)) and module.origin]
    with_libraries = [path for package in found for path in (package, package.with_name(package.name + ".libs"))]
    return {
        "python": [executable, f"{base}/lib", f"{base}/{sys.platlibdir}", sysconfig.get_path("stdlib")],
        "packages": [str(path.resolve()) for path in with_libraries if path.is_dir()],
        "hidden": sorted(map(os.path.realpath, site.getsitepackages([base, sys.base_prefix]))),
        "command": [executable, "-P", "-s", "-B", "/program.py"],
        "environment": {
            "PATH": "/usr/bin:/bin",
            "HOME": BOX,
            "TMPDIR": BOX,
            "LANG": "C.UTF-8",
            "PYTHONPATH": PACKAGES,
            "PYTHONUTF8": "1",
            "PYTHONHASHSEED": "0",  # makes the order of a set, and with it a verdict, reproducible
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        },
    }


def _read(pipes: list[Any], most_bytes: int, seconds: float) -> tuple[list[bytearray], Stopped | None]:
    """Read pipes to their ends, until one exceeds `most_bytes` or the time is over."""
    read = [bytearray() for _ in pipes]
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for pipe, content in zip(pipes, read, strict=True):
            selector.register(pipe, selectors.EVENT_READ, content)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                return read, "timeout"
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK)
                key.data.extend(chunk)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif len(key.data) > most_bytes:
                    del key.data[most_bytes:]
                    return read, "output"
    return read, None


def _outcome(outputs: list[bytearray], stopped: Stopped | None, limits: Limits) -> ProgramOutcome:
    stdout, stderr = (output.decode(errors="replace") for output in outputs[:2])
    status: dict[str, Any] = {}
    for line in outputs[2].splitlines():
        status |= json.loads(line)
    if "refused" in status:
        raise _refusal(status["refused"])
    if not status and stopped is None:
        raise _refusal(f"the launcher ended without a report ({stderr.strip()[-500:] or 'no output'})")
    if status.get("timeout"):
        stopped = "timeout"
    exit_code = status.get("exit_code")
    if status and exit_code is None and stopped is None:
        exit_code = -signal.SIGKILL  # process 1 of a sandbox that existed has ended, and everything in it
    elif exit_code == -signal.SIGXCPU or (
        exit_code == -signal.SIGKILL and status["cpu_seconds"] >= limits.cpu_seconds
    ):
        stopped, exit_code = "timeout", None
    elif exit_code and stderr.rstrip().rpartition("\n")[2].startswith("MemoryError"):
        stopped = "memory"
    return ProgramOutcome(stdout, stderr, exit_code, stopped)


def _refusal(reason: str) -> UserError:
    return UserError(
        f"generated code runs in a sandbox only, and none is available here: {reason}. It needs Linux 5.14 or newer "
        "on x86-64 or aarch64, user namespaces (sysctl user.max_user_namespaces above 0, and if they exist "
        "kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0; Docker's default "
        "profile forbids them) and, for root, CAP_SYS_ADMIN; leave the code benchmarks out, or run them on a "
        "machine that has these"
    )
