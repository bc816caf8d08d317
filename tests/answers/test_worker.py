"""Worker processes: results in order, failures in their place, fences, and nothing that stays behind.

The workers import this file themselves, for the functions at its head.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from mgrpo.answers import worker
from mgrpo.answers.worker import Failed, in_workers
from mgrpo.answers.worker_process import evaluation_allowed

pytestmark = pytest.mark.timeout(120)
HERE = "test_worker"  # as the workers know it


# Called in the workers.


def behave(how, value=None):
    """Return the value, in one way or another, or do not."""
    match how:
        case "value":
            return value
        case "nap":
            time.sleep(value)
            return value
        case "deaf":
            while True:
                try:
                    time.sleep(10)
                except BaseException:  # a parser that swallows the alarm
                    continue
        case "compute":
            return 9 ** (9**9)
        case "memory":
            return len(b"x" * 2**31)
        case "recursion":
            return behave("recursion", value)
        case "raise":
            raise ValueError(value)
        case "exit":
            sys.exit(value)
        case "die":
            os._exit(value)
        case "abort":
            os.abort()
        case "object":
            return object()
        case "noise":
            print('{"value": "noise"}', flush=True)
            os.write(1, b'{"value": "noise"}\n')
            os.write(2, b"noise")
            return value


KEPT = []


def swell(megabytes, _=None):
    """Take so much memory for good, and tell which process it was."""
    KEPT.append(b"x" * (megabytes * 2**20))
    return os.getpid()


def evaluate(text, is_allowed):
    if not is_allowed:
        with evaluation_allowed():
            pass
        return eval(text)
    with evaluation_allowed():
        return eval(text)


def evaluate_after_error():
    try:
        with evaluation_allowed():
            raise ValueError
    except ValueError:
        return eval("1 + 1")


# Around the tests.


@pytest.fixture(scope="module", autouse=True)
def new_workers():
    """Workers that find this file, and none before and after."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        worker._close()
        yield
        worker._close()


def worker_processes(of: int | None = None) -> list[psutil.Process]:
    children = psutil.Process(of).children()
    return [child for child in children if "mgrpo.answers.worker_process" in child.cmdline()]


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def still_alive(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that do not end within some seconds; they are ended then."""
    until = time.monotonic() + seconds
    while any(map(is_alive, processes)) and time.monotonic() < until:
        time.sleep(0.02)
    left = list(filter(is_alive, processes))
    for process in left:
        process.kill()
    return left


def start_script(text: str, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def run_script(text: str, **options) -> str:
    """What a script prints; it must end by itself, and well."""
    output, errors = (process := start_script(text, **options)).communicate(timeout=60)
    assert (process.returncode, errors.decode()) == (0, "")
    return output.decode().strip()


# Results and failures.


def test_nothing_to_do():
    assert in_workers(f"{HERE}:behave", []) == []


def test_results_are_in_order():
    chance = random.Random(0)
    naps = [chance.random() / 100 for _ in range(100)]
    assert in_workers(f"{HERE}:behave", [["nap", seconds] for seconds in naps]) == naps


@pytest.mark.parametrize(
    ("how", "value", "reason"),
    [
        ("nap", 30, "timeout"),
        ("deaf", None, "timeout"),
        ("compute", None, "timeout"),
        ("memory", None, "memory"),
        ("raise", "no good", "ValueError: no good"),
        ("raise", "\n{}\n\u2028", "ValueError: \n{}\n\u2028"),
        ("recursion", None, "RecursionError: maximum recursion depth exceeded"),
        ("exit", 3, "SystemExit: 3"),
        ("die", 0, "died"),
        ("abort", None, "died"),
    ],
)
def test_a_failure_stands_in_its_place(how, value, reason):
    items = [["value", 0], [how, value], ["value", 2], ["value", 3], [how, value], ["value", 5]]
    started = time.monotonic()
    results = in_workers(f"{HERE}:behave", items, seconds=0.5)
    assert [result for result in results if not isinstance(result, Failed)] == [0, 2, 3, 5]
    assert [results[i].reason[: len(reason)] for i in (1, 4)] == [reason] * 2
    assert time.monotonic() - started < 10


def test_a_result_that_is_no_json_is_a_failure():
    results = in_workers(f"{HERE}:behave", [["value", 1], ["object"], ["value", 2]])
    assert isinstance(results.pop(1), Failed) and results == [1, 2]


def test_what_a_call_prints_is_no_result():
    assert in_workers(f"{HERE}:behave", [["noise", i] for i in range(20)]) == list(range(20))


def test_failures_one_after_another_leave_workers_that_are_right():
    items = [["die", 1], ["raise", "x"], ["memory"], ["value", 1]] * 4
    results = in_workers(f"{HERE}:behave", items)
    assert [i for i, result in enumerate(results) if not isinstance(result, Failed)] == [3, 7, 11, 15]
    assert in_workers("math:sqrt", [[i * i] for i in range(50)]) == list(range(50))


def test_limits_hold_for_each_call():
    results = in_workers(f"{HERE}:behave", [["nap", 0.2]] * 10, seconds=0.8)
    assert results == [0.2] * 10


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core has one worker")
def test_few_calls_are_shared_between_the_workers():
    in_workers("time:sleep", [[0]] * 8)
    started = time.monotonic()
    in_workers("time:sleep", [[1]] * 2, 5)
    assert time.monotonic() - started < 1.8


def test_a_function_that_cannot_be_imported_raises_and_the_next_call_is_right():
    for function in ("no_such_module:function", "os:no_such_function", "nonsense"):
        with pytest.raises(RuntimeError, match=function):
            in_workers(function, [[1]] * 3)
        assert in_workers("math:sqrt", [[4]]) == [2]


def test_workers_that_do_not_start_are_counted_anew_after_they_were_reported(tmp_path, monkeypatch):
    (tmp_path / "dies_when_imported.py").write_text("import os\nos._exit(1)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    worker._close()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="4 worker processes in a row did not start"):
            in_workers("dies_when_imported:f", [[1]])
    worker._close()


def test_large_arguments_and_results():
    text = "é" * 2_500_000  # 15 MB as JSON
    assert in_workers("builtins:len", [[text]] * 6, 20) == [len(text)] * 6
    assert in_workers(f"{HERE}:behave", [["value", text[:200_000] + str(i)] for i in range(12)], 20) == [
        text[:200_000] + str(i) for i in range(12)
    ]


def test_many_small_calls():
    assert in_workers("math:sqrt", [[i * i] for i in range(5000)]) == list(range(5000))


@pytest.mark.parametrize("text", ["\ud800", "\x00\n\r\u2028", '{"value": 1}\n', "\U0010ffff", "]" * 10_000])
def test_any_text_comes_back_as_it_is(text):
    assert in_workers(f"{HERE}:behave", [["value", text], ["value", 1]]) == [text, 1]


def test_a_worker_that_has_grown_makes_room_for_another():
    text = "x" * 2_000_000  # still on the way when the first one goes
    pids = in_workers(f"{HERE}:swell", [[600, text] for _ in range(5)], 5)
    assert len(set(pids)) == 5
    assert not set(pids) & {process.pid for process in worker_processes()}


def test_workers_stay_beside_a_parent_that_is_larger_than_they_may_be():
    script = """
from mgrpo.answers.worker_process import RETIRE_BYTES
model = b"1" * (RETIRE_BYTES + 2**26)
print(len({pid for _ in range(5) for pid in in_workers("os:getpid", [[]])}))
"""
    assert run_script(ANSWERS + script) == "1"


def test_a_worker_that_dies_with_arguments_on_the_way():
    text = "x" * 3_000_000
    for _ in range(3):
        results = in_workers(f"{HERE}:behave", [["die", 1], ["value", text], ["die", 1], ["value", text]], 5)
        assert results == [Failed("died"), text, Failed("died"), text]


# Fences.


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("os:system", ["true"]),
        ("os:popen", ["true"]),
        ("os:fork", []),
        ("os:forkpty", []),
        ("os:execv", ["/bin/true", ["true"]]),
        ("os:spawnlp", [0, "true", "true"]),
        ("os:posix_spawn", ["/bin/true", ["true"], {}]),
        ("subprocess:run", [["true"]]),
        ("subprocess:getoutput", ["true"]),
        ("pty:spawn", ["true"]),
        ("os:kill", [1, 0]),
        ("builtins:open", ["FILE", "w"]),
        ("builtins:open", ["FILE", "a"]),
        ("builtins:open", ["FILE", "x"]),
        ("builtins:open", ["FILE", "r+"]),
        ("os:open", ["FILE", os.O_CREAT | os.O_WRONLY]),
        ("os:mkdir", ["FILE"]),
        ("os:symlink", ["/", "FILE"]),
        ("os:link", ["/etc/hostname", "FILE"]),
        ("os:rename", ["/nowhere", "FILE"]),
        ("os:remove", ["/nowhere"]),
        ("os:rmdir", ["/nowhere"]),
        ("os:chmod", ["/nowhere", 0]),
        ("os:truncate", ["/nowhere", 0]),
        ("os:utime", ["/nowhere"]),
        ("shutil:rmtree", ["/nowhere"]),
        ("tempfile:mkstemp", []),
        ("tempfile:mkdtemp", []),
        ("sqlite3:connect", ["FILE"]),
        ("shelve:open", ["FILE"]),
        ("logging:FileHandler", ["FILE"]),
        ("socket:socket", []),
        ("socket:create_connection", [["127.0.0.1", 1]]),
        ("urllib.request:urlopen", ["http://127.0.0.1"]),
        ("builtins:eval", ["1 + 1"]),
        ("builtins:exec", ["1 + 1"]),
        ("builtins:compile", ["1 + 1", "<string>", "eval"]),
        ("builtins:compile", ["1 + 1", "file.py", "eval"]),
        ("timeit:timeit", ["1 + 1"]),
        ("code:compile_command", ["1 + 1"]),
        ("sympy:sympify", ["x + 1"]),
        ("sympy.parsing.sympy_parser:parse_expr", ["x + 1"]),
        ("sympy:lambdify", ["x", "x + 1"]),
        ("ctypes:CDLL", [None]),
        ("resource:setrlimit", [7, [1, 1]]),
        ("pickle:loads", ["x"]),
    ],
)
def test_workers_are_refused(function, arguments, tmp_path):
    file = tmp_path / "file"
    results = in_workers(function, [[str(file) if part == "FILE" else part for part in arguments]], 10)
    assert isinstance(results[0], Failed)
    assert not file.exists()
    assert in_workers("math:sqrt", [[4]]) == [2]


@pytest.mark.parametrize("function", ["os:system", "subprocess:getoutput", "socket:gethostbyname", "ctypes:CDLL"])
def test_a_refusal_says_so(function):
    assert in_workers(function, [["true"]])[0].reason.startswith("refused ")


def test_evaluation_is_let_through_where_it_is_allowed_and_nothing_else(tmp_path):
    assert in_workers(f"{HERE}:evaluate", [["1 + 1", True]]) == [2]
    refused = [
        ["1 + 1", False],
        [f"open({str(tmp_path / 'file')!r}, 'w')", True],
        ["__import__('os').system('true')", True],
        ["__import__('subprocess').run('true')", True],
        ["__import__('socket').socket()", True],
    ]
    for result in in_workers(f"{HERE}:evaluate", refused):
        assert result.reason.startswith("refused ")
    assert in_workers(f"{HERE}:evaluate_after_error", [[]]) == [Failed("refused compile")]
    assert in_workers(f"{HERE}:evaluate", [["2 + 2", True]]) == [4]
    assert not list(tmp_path.iterdir())


def test_workers_know_nothing_of_the_environment(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    worker._close()
    assert in_workers("os:getenv", [["HF_TOKEN"], ["PATH"]]) == [None, os.environ["PATH"]]


def test_files_of_the_working_directory_are_not_imported(tmp_path, monkeypatch):
    for name in ("json", "random", "sympy", "signal"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit\n")
    monkeypatch.delenv("PYTHONPATH")
    script = "from mgrpo.answers.worker import in_workers; print(in_workers('sympy:isprime', [[7]]))"
    command = [sys.executable, "-P", "-c", script]
    output = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert output.stdout == "[True]\n", output.stderr


@pytest.mark.parametrize("limit", ["-t 1000", "-v 4000000", "-v 900000", "-f 100", "-c 0", "-n 64"])
def test_workers_start_under_the_users_own_limits(limit):
    script = "from mgrpo.answers.worker import in_workers; print(in_workers('math:sqrt', [[4]]))"
    command = ["bash", "-c", f'ulimit {limit} && exec "$0" -c "$1"', sys.executable, script]
    output = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert output.stdout == "[2.0]\n", output.stderr[-500:]


# Threads, forks and ends.


def test_two_threads_at_once():
    results: dict[int, list] = {}

    def work(start):
        for _ in range(5):
            items = [["value", number] for number in range(start, start + 50)]
            results[start] = in_workers(f"{HERE}:behave", [*items, ["raise", start]])

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {s: [*range(s, s + 50), Failed(f"ValueError: {s}")] for s in (0, 1000, 2000)}


def test_workers_outlive_the_thread_that_started_them():
    worker._close()
    thread = threading.Thread(target=in_workers, args=("os:getpid", [[]] * 8))
    thread.start()
    thread.join()
    pids = {process.pid for process in worker_processes()}
    time.sleep(0.1)
    assert pids and set(in_workers("os:getpid", [[]] * 8)) <= pids


def test_an_interrupted_call_leaves_no_replies_to_the_next(request):
    # a shell starts background jobs with SIGINT ignored
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.4, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        in_workers(f"{HERE}:behave", [["value", 0], ["nap", 5], ["value", 1], ["nap", 5]] * 4, 10)
    assert in_workers(f"{HERE}:behave", [["value", i] for i in range(30)]) == list(range(30))


def test_dead_workers_leave_no_descriptors():
    in_workers("math:sqrt", [[4]] * 8)
    before = len(os.listdir("/proc/self/fd"))
    in_workers(f"{HERE}:behave", [["die", 1], ["value", 1]] * 10)
    in_workers("math:sqrt", [[4]] * 8)
    assert len(os.listdir("/proc/self/fd")) <= before
    assert not [child for child in psutil.Process().children() if not is_alive(child)]


ANSWERS = r"""
import os, sys, time
from mgrpo.answers import answer_ids
from mgrpo.answers.worker import in_workers
GROUP, IDS = [r"\sqrt{12}", r"\frac{x}{2}+1", r"2\sqrt3", r"1+0.5x"], [0, 1, 0, 1]
"""


def test_a_forked_child_has_its_own_workers():
    script = """
def check(offset):
    for number in range(offset, offset + 20):
        assert answer_ids([[f"{answer}+{number}" for answer in GROUP]]) == [IDS]
check(0)
child = os.fork()
check(1000 if child else 2000)
if not child:
    os._exit(0)
_, status = os.waitpid(child, 0)
check(3000)
print(status)
"""
    assert run_script(ANSWERS + script) == "0"


@pytest.mark.slow
def test_a_fork_while_another_thread_waits():
    script = """
import threading
assert answer_ids([GROUP]) == [IDS]
thread = threading.Thread(target=in_workers, args=("time:sleep", [[1]] * 2, 5))
thread.start()
time.sleep(0.2)
child = os.fork()
if not child:
    os._exit(answer_ids([[answer + "+1" for answer in GROUP]]) != [IDS])
_, status = os.waitpid(child, 0)
thread.join()
print(status, answer_ids([[answer + "+2" for answer in GROUP]]) == [IDS])
"""
    assert run_script(ANSWERS + script) == "0 True"


@pytest.mark.slow
def test_from_a_thread():
    script = """
import threading
thread = threading.Thread(target=lambda: print(answer_ids([GROUP]) == [IDS]))
thread.start()
thread.join()
print(answer_ids([[answer + "+1" for answer in GROUP]]) == [IDS])
"""
    assert run_script(ANSWERS + script) == "True\nTrue"


SLOW = {
    "sleeps": 'in_workers("time:sleep", [[30]] * 2, seconds=60)',
    "computes": 'in_workers("builtins:pow", [[9, 9**9]] * 2)',
    "idle": "time.sleep(60)",
    "forked": "os.fork(); time.sleep(60)",
}


@pytest.mark.parametrize("what", SLOW)
def test_no_worker_outlives_a_killed_parent(what):
    script = 'in_workers("math:sqrt", [[4]] * 8)\nprint("ready", flush=True)\n'
    with start_script(ANSWERS + script + SLOW[what], start_new_session=True) as parent:
        assert parent.stdout.readline() == b"ready\n"
        time.sleep(0.3)
        workers = worker_processes(parent.pid)
        parent.kill()
        left = still_alive(workers, 5)
        os.killpg(parent.pid, signal.SIGKILL) if what == "forked" else None
    assert workers and not left


@pytest.mark.parametrize(
    "end", ["", "sys.exit()", "threading.Thread(target=in_workers, args=call, daemon=True).start()"]
)
def test_no_worker_outlives_its_run(end):
    script = f"""
import json, psutil, threading
call = ("time:sleep", [[30]] * 2, 60)
in_workers("math:sqrt", [[4]] * 8)
print(json.dumps([child.pid for child in psutil.Process().children()]), flush=True)
{end}
time.sleep(0.2)
"""
    process = start_script(ANSWERS + script)
    pids = json.loads(process.stdout.readline())
    workers = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has gone already
            workers.append(psutil.Process(pid))
    assert process.wait(timeout=20) == 0
    process.stdout.close()
    with process.stderr as errors:
        assert errors.read() == b""
    assert pids and not still_alive(workers, 5)
