"""The sandbox against programs that mean harm, as root and as an ordinary user; and where there can be none."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from mgrpo.errors import UserError
from mgrpo.sandbox.sandbox import Limits, run_program

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
sys.path.append(str(HERE))
from hostile_programs import PROGRAMS  # noqa: E402

NOBODY = 65534
SECRET = f"mgrpo-secret-{os.getpid()}"

pytestmark = pytest.mark.usefixtures("sandbox")


def python_for(user: int | None) -> str:
    """An interpreter that a user may start, and that finds the package."""
    for python in (sys.executable, "/usr/bin/python3", shutil.which("python3", path=os.defpath)):
        command = [python, "-c", "import sys, mgrpo.sandbox.sandbox; sys.exit(sys.version_info < (3, 11))"]
        try:
            tried = subprocess.run(command, **as_user(user), capture_output=True, check=False)
        except (OSError, TypeError):
            continue
        if tried.returncode == 0:
            return python
    pytest.skip(f"no Python of 3.11 or newer with which user {user} can read the package")


def as_user(user: int | None) -> dict:
    identity = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    environment = {"PYTHONPATH": str(SOURCE), "SECRET": SECRET, "PYTHONDONTWRITEBYTECODE": "1"}
    return {**identity, "cwd": "/", "env": environment}


@pytest.fixture(scope="module", params=["caller", pytest.param("nobody", marks=pytest.mark.slow)])
def attacked(request):
    """What became of every hostile program, run by the tests' user and by an ordinary one."""
    user = None
    if request.param == "nobody":
        if os.geteuid() != 0:
            pytest.skip("only root can become another user; the tests' own user is an ordinary one")
        user = NOBODY
    ran = subprocess.run(
        [python_for(user), str(HERE / "run_hostile.py")], **as_user(user), capture_output=True, text=True, timeout=240
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("name", PROGRAMS)
def test_hostile_program_is_contained(attacked, name):
    outcome, expected = attacked["outcomes"][name], PROGRAMS[name]
    if expected.ends == "contained":
        assert (outcome["exit_code"], outcome["stdout"].endswith("contained\n")) == (0, True), outcome
    elif expected.ends == "error":
        assert outcome["stopped"] is None and outcome["exit_code"] != 0, outcome
    else:
        assert outcome["stopped"] == expected.ends, outcome
    said = outcome["stdout"] + outcome["stderr"].replace('print("ESCAPED', "")
    assert "ESCAPED" not in said and SECRET not in said, outcome
    assert max(outcome["sizes"]) <= Limits().output_bytes
    assert outcome["seconds"] < 100, "a limit of a second of wall or processor time took too long"


def test_nothing_is_harmed_or_left(attacked):
    assert attacked["left"] == []
    assert attacked["is_bystander_alive"]
    assert not attacked["is_called"]
    places = [Path(place) for place in ("/", "/tmp", "/var/tmp", "/dev/shm", "/root", "/home", "/usr/lib")]
    assert [path for place in places for path in place.glob(f"*{SECRET}*")] == []


def test_programs_run_as_they_would_outside():
    source = "import sys, os\nprint(input()[::-1])\nprint(open('/dev/stdin').read(), os.listdir(), file=sys.stderr)"
    outcome = run_program(source, stdin="olleh ü\nrest")
    assert (outcome.stdout, outcome.stderr, outcome.exit_code) == ("ü hello\n", "olleh ü\nrest []\n", 0)
    assert outcome.is_success
    failed = run_program("import sys; sys.exit(3)")
    assert (failed.exit_code, failed.stopped, failed.is_success) == (3, None, False)


def test_numpy_and_threads_are_there():
    source = """
import asyncio, threading, numpy
print(numpy.linalg.solve(2 * numpy.eye(2), numpy.ones(2)))
threading.stack_size(2**27)
thread = threading.Thread(target=print, args=("in a thread",))
thread.start(); thread.join()
async def main(): print("in a loop")
asyncio.run(main())
"""
    outcome = run_program(source)
    assert outcome.stdout == "[0.5 0.5]\nin a thread\nin a loop\n", outcome.stderr


def test_a_set_has_the_same_order_each_time():
    source = "print(list({str(i) for i in range(99)}))"
    assert run_program(source).stdout == run_program(source).stdout


def test_programs_die_with_a_caller_that_is_killed():
    program = "run_program('import time; time.sleep(3600)', limits=Limits(3600))"
    command = [sys.executable, "-c", f"from mgrpo.sandbox.sandbox import *; {program}"]
    caller = subprocess.Popen(command, **as_user(None))
    deadline = time.monotonic() + 60
    family: list[psutil.Process] = []
    while not any("/program.py" in process.cmdline() for process in family):
        assert time.monotonic() < deadline, "the program did not start"
        family = [process for process in psutil.Process(caller.pid).children(recursive=True) if process.is_running()]
        family = [process for process in family if process.status() != psutil.STATUS_ZOMBIE]
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    assert len(family) == 3  # launcher, init, program
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []


def test_the_end_of_its_first_process_is_the_programs_failure():
    with ThreadPoolExecutor() as pool:
        future = pool.submit(run_program, "import time; time.sleep(3600)", limits=Limits(3600))
        program = None
        while program is None and not future.done():
            family = psutil.Process().children(recursive=True)
            program = next((process for process in family if "/program.py" in process.cmdline()), None)
        program.parent().kill()
        outcome = future.result()
    assert (outcome.exit_code, outcome.stopped, outcome.is_success) == (-signal.SIGKILL, None, False)


def test_what_the_caller_ignores_changes_nothing():
    ignoring = (
        "import signal\nfor s in (signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM): signal.signal(s, signal.SIG_IGN)"
    )
    program = "import os, signal; os.kill(os.getpid(), signal.SIGALRM)"
    script = f"{ignoring}\nfrom mgrpo.sandbox.sandbox import *\nprint(run_program({program!r}).exit_code)"
    ran = subprocess.run([sys.executable, "-c", script], **as_user(None), capture_output=True, text=True, timeout=120)
    assert ran.stdout == f"{-signal.SIGALRM}\n", ran.stderr


CHECK = "from mgrpo.sandbox.sandbox import check_sandbox; check_sandbox()"
NO_MORE_NAMESPACES = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
WITHOUT_CAPABILITIES = ["setpriv", "--bounding-set=-all"]
WITHOUT_NAMESPACES = ["unshare", "--user", "--map-user=1000", "--keep-caps", "sh", "-c", NO_MORE_NAMESPACES, "-"]


@pytest.mark.parametrize(
    ("wrapper", "reason"),
    [
        pytest.param(WITHOUT_CAPABILITIES, "unshare: Operation not permitted", id="root without capabilities"),
        pytest.param(WITHOUT_NAMESPACES, "unshare: No space left on device", id="no user namespaces"),
    ],
)
def test_without_isolation_nothing_is_run(wrapper, reason):
    if os.geteuid() != 0:
        pytest.skip("root takes these rights away from itself; others have none to take")
    if not shutil.which(wrapper[0]):
        pytest.skip(f"util-linux's {wrapper[0]} is not installed")
    refused = subprocess.run([*wrapper, sys.executable, "-c", CHECK], **as_user(None), capture_output=True, text=True)
    assert refused.returncode == 1
    assert "sandbox" in refused.stderr and reason in refused.stderr and "CAP_SYS_ADMIN" in refused.stderr


def test_other_systems_are_refused(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UserError, match="needs Linux, .*darwin"):
        run_program("print(1)")
