"""Programs that mean harm. Each prints ESCAPED if it got somewhere, and `contained` last if nothing stopped it.

`{secret}`, `{project}` and `{port}` stand for a word in the parent's environment and in the names of files that are
written, the directory of the project, and a port on which the parent listens.
"""

from typing import NamedTuple


class Hostile(NamedTuple):
    """A program, how it must end, and its limits where they are not those of all that end so."""

    source: str
    ends: str
    limits: dict = {}


ATTEMPTS = """
import ctypes, os, sys

libc = ctypes.CDLL(None, use_errno=True)

def refused(attempt, *arguments):
    try:
        result = attempt(*arguments)
    except (OSError, ValueError, AttributeError):
        return
    if result == -1:
        return
    print("ESCAPED", attempt, arguments, result)
"""
CONTAINED = "\nprint('contained')\n"


def attempts(body: str) -> Hostile:
    return Hostile(ATTEMPTS + body + CONTAINED, "contained")


PROGRAMS: dict[str, Hostile] = {
    "fork bomb": Hostile("import os\nwhile True:\n    os.fork()", "error"),
    "fork bomb that goes on": Hostile(
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass", "timeout"
    ),
    "other ways to fork": attempts("""
import platform, subprocess
refused(libc.fork)
refused(libc.vfork)
SIGCHLD, CLONE_VM = 17, 0x100
clone, clone3 = {"x86_64": (56, 435), "aarch64": (220, 435)}[platform.machine()]
refused(libc.syscall, clone, SIGCHLD, 0, 0, 0, 0)
refused(libc.syscall, clone, SIGCHLD | CLONE_VM, 0, 0, 0, 0)
refused(libc.syscall, clone3, (ctypes.c_uint64 * 8)(0, 0, 0, 0, SIGCHLD), 64)
refused(os.posix_spawn, sys.executable, [sys.executable, "-c", "print('ESCAPED')"], {})
refused(subprocess.run, [sys.executable, "-c", "print('ESCAPED')"])
refused(os.forkpty)
"""),
    "forks by 32-bit calls": Hostile(
        ATTEMPTS
        + """
import mmap
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(b"\\xb8\\x02\\x00\\x00\\x00\\xcd\\x80\\xc3")  # mov eax, 2; int 0x80; ret
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
print("ESCAPED")
""",
        "error",
    ),
    "thread bomb": Hostile(
        """
import threading, time
while True:
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
""",
        "error",
    ),
    "daemon that outlives it": attempts("""
def daemonise():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            import time
            time.sleep(3600)
    return "started"
refused(daemonise)
refused(os.setsid)
"""),
    "thread that outlives it": Hostile(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,)).start()", "timeout"
    ),
    "memory bomb": Hostile("x = []\nwhile True:\n    x.append(bytearray(2**24))", "memory", {"memory_bytes": 2**28}),
    "one huge object": Hostile("x = bytearray(2**40)", "memory"),
    "memory outside of the address space": attempts("""
refused(os.memfd_create, "x")
refused(libc.shmget, 0, ctypes.c_size_t(2**30), 0o1600)
refused(libc.msgget, 0, 0o1600)
import resource
refused(resource.setrlimit, resource.RLIMIT_AS, (-1, -1))
refused(resource.setrlimit, resource.RLIMIT_NPROC, (-1, -1))
"""),
    "writes outside": attempts("""
for directory in ("/", "/tmp", "/var/tmp", "/dev/shm", "/home", "/root", "/etc", "/usr/lib", "/dev", "/run",
                  "..", "../..", "{project}", os.path.expanduser("~/.."), sys.prefix, os.path.dirname(os.__file__)):
    refused(open, os.path.join(directory, "{secret}"), "w")
    refused(os.mkdir, os.path.join(directory, "{secret}.d"))
for file in ("/program.py", "/input", "/dev/stdin", os.__file__, sys.executable):
    refused(open, file, "r+")
    refused(os.remove, file)
    refused(os.chmod, file, 0o777)
    refused(os.rename, file, "/elsewhere")
"""),
    "deletes everything": attempts("""
import shutil
for directory in ("/dev", "/box", "/etc", os.path.dirname(os.__file__) + "/json"):
    before = sorted(os.listdir(directory))
    shutil.rmtree(directory, ignore_errors=True)
    assert sorted(os.listdir(directory)) == before
refused(os.remove, "/program.py")
assert open("/program.py").read()
"""),
    "environment of the parent": attempts("""
import glob
print(dict(os.environ))
for path in ("/proc/1/environ", "/proc/self/environ", "/proc/{pid}/environ", *glob.glob("/proc/*/environ")):
    refused(open, path, "rb")
libc.environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
"""),
    "open descriptors of the parent": attempts("""
for descriptor in range(3, 4096):
    refused(os.fstat, descriptor)
refused(os.write, 0, b"x")
"""),
    "sockets": attempts("""
import socket
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET, socket.AF_VSOCK):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
        refused(socket.socket, family, kind)
refused(socket.create_connection, ("127.0.0.1", {port}), 1)
import urllib.request
refused(urllib.request.urlopen, "http://127.0.0.1:{port}", None, 1)
"""),
    "kills the parent": Hostile("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nos.kill(0, 9)", "error"),
    "kills all that it sees": attempts("""
import signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGSTOP, signal.SIGKILL):
    for pid in (1, {pid}, -1):
        try:
            os.kill(pid, number)
        except OSError:
            pass
for pid in range(3, 2**15):
    refused(os.kill, pid, signal.SIGKILL)
"""),
    "kills its process group": Hostile("import os\nos.killpg(0, 9)", "error"),
    "prints a gigabyte": Hostile("for _ in range(2**10):\n    print('x' * 2**20)", "output"),
    "a gigabyte of errors": Hostile(
        "import sys\nfor _ in range(2**10):\n    print('x' * 2**20, file=sys.stderr)", "output"
    ),
    "catches SystemExit": Hostile(
        "while True:\n    try:\n        raise SystemExit\n    except BaseException:\n        pass", "timeout"
    ),
    "ignores signals": Hostile(
        """
import signal, time
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
while True:
    time.sleep(3600)
""",
        "timeout",
    ),
    "ignores the limit of processor time": Hostile(
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True:\n    pass",
        "timeout",
        {"wall_seconds": 120, "cpu_seconds": 1},
    ),
    "infinite loop": Hostile("while True:\n    pass", "timeout"),
    "one long operation": Hostile("10**10**9", "timeout"),
    "sleeps for ever": Hostile("import time\ntime.sleep(10**6)", "timeout"),
    "stops itself": Hostile("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", "timeout"),
    "closes its output": Hostile("import os, time\nos.closerange(0, 256)\ntime.sleep(3600)", "timeout"),
    "fills the disk": attempts("""
written = 0
try:
    for number in range(10**6):
        with open(f"f{number}", "wb", buffering=0) as file:
            written += file.write(bytes(2**20))
except OSError:
    pass
assert 0 < written <= 2**26, written
"""),
    "many files": attempts("""
number = 0
try:
    while True:
        os.mkdir(str(number))
        number += 1
except OSError:
    pass
assert 0 < number <= 256, number
"""),
    "huge file": attempts("""
file = open("huge", "wb", buffering=0)
refused(file.truncate, 2**40)
refused(os.posix_fallocate, file.fileno(), 0, 2**25)
try:
    for _ in range(64):
        file.write(bytes(2**20))
except OSError:
    pass
assert 0 < os.stat("huge").st_size <= 2**24
"""),
    "huge file, signal not ignored": Hostile(
        "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\nopen('huge', 'wb').truncate(2**40)", "error"
    ),
    "reads what is hidden": attempts("""
for path in ("/etc/shadow", "/etc/passwd", "/etc/hostname", "/root/.bashrc", "/home", "{project}/pyproject.toml",
             "{project}", "/var", "/tmp", "/sys", "/proc", "/proc/self/maps", "/dev/sda", "/dev/mem", "/dev/shm",
             "/run", "/boot", "/old", "/bin/sh", "/usr/bin/env"):
    refused(os.stat, path)
"""),
    "links": attempts("""
for number, target in enumerate(("/etc/shadow", "../../../etc/shadow", "/proc/1/root/etc/shadow", "{project}")):
    os.symlink(target, f"link{number}")
    refused(os.stat, f"link{number}")
os.symlink("/", "top")
refused(open, "top/{secret}", "w")
refused(os.link, "/program.py", "hard")
os.mkdir("down")
refused(os.chroot, "down")
os.chdir("/")
for _ in range(64):
    os.chdir("..")
assert "etc" not in os.listdir() or os.listdir("etc") == ["ld.so.cache"], os.listdir("etc")
"""),
    "ptrace": attempts("""
for pid in (1, {pid}, os.getpid()):
    refused(libc.ptrace, 16, pid, 0, 0)
    refused(libc.process_vm_readv, pid, 0, 0, 0, 0, 0)
    refused(os.pidfd_open, pid)
    for number in (424, 438, 440, 448):  # pidfd_send_signal, pidfd_getfd, process_madvise, process_mrelease
        refused(libc.syscall, number, pid, 0, 0, 0, 0, 0)
refused(libc.ptrace, 0, 0, 0, 0)
"""),
    "namespaces and mounts": attempts("""
for flag in (0x10000000, 0x20000000, 0x40000000, 0x20000):
    refused(libc.unshare, flag)
refused(libc.mount, b"tmpfs", b"/box", b"tmpfs", 0, 0)
refused(libc.umount2, b"/box", 2)
refused(libc.setns, 0, 0)
refused(os.setuid, 0)
refused(os.setgid, 0)
refused(libc.sethostname, b"x", 1)
"""),
    "limits and priorities of process 1": attempts("""
import platform, resource, signal, time
column = {"x86_64": 0, "aarch64": 1}[platform.machine()]
for limit in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE):
    for pid in (1, {pid}, os.getpid()):
        refused(resource.prlimit, pid, limit, (0, 0))
        refused(resource.prlimit, pid, limit)
for pid in (1, os.getpid()):
    refused(os.setpriority, os.PRIO_PROCESS, pid, 19)
    refused(os.sched_setaffinity, pid, {0})
    refused(os.sched_setscheduler, pid, os.SCHED_BATCH, os.sched_param(0))
    for numbers in ((251, 30), (256, 238), (279, 239), (274, 100)):  # ioprio_set, migrate_pages, ...
        refused(libc.syscall, numbers[column], pid, 1, 0, 0, 0, 0)
for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGXCPU, signal.SIGKILL):
    try:
        os.kill(1, number)
    except OSError:
        pass
assert resource.prlimit(0, resource.RLIMIT_CPU) == resource.getrlimit(resource.RLIMIT_CPU)
"""),
    "watches, locks and flushes files of the machine": attempts("""
import fcntl, platform, shutil, signal
column = {"x86_64": 0, "aarch64": 1}[platform.machine()]
refused(libc.inotify_init)
refused(libc.inotify_init1, 0)
refused(libc.inotify_add_watch, 0, b"/usr/lib", 0xFFF)
refused(libc.fanotify_init, 0, 0)
refused(libc.fanotify_mark, 0, 1, ctypes.c_uint64(0x20), -100, b"/usr/lib")
refused(os.statvfs, "/usr/lib")
refused(shutil.disk_usage, os.__file__)
with open(os.__file__) as file:
    for kind in (fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_SH | fcntl.LOCK_NB):
        refused(fcntl.flock, file, kind)
    refused(fcntl.lockf, file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    for command in (5, 6, 7, 36, 37, 38):
        refused(fcntl.fcntl, file, command, bytes(32))
    refused(fcntl.fcntl, file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    refused(fcntl.fcntl, file, fcntl.F_NOTIFY, fcntl.DN_ACCESS)
    refused(fcntl.fcntl, file, fcntl.F_SETOWN, 1)
    refused(os.posix_fadvise, file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    refused(libc.syncfs, file.fileno())
    for request in (0x5452, 0x80086601, 0xC020660B, 2):  # FIOASYNC, FS_IOC_GETFLAGS, FS_IOC_FIEMAP, FIGETBSZ
        refused(fcntl.ioctl, file, request, bytearray(64))
    refused(fcntl.ioctl, open("/dev/urandom"), 0x80045200, bytearray(8))  # how much entropy there is
refused(libc.syscall, (162, 81)[column])  # sync, which cannot fail otherwise
refused(libc.syscall, (27, 232)[column], 0, 0, 0)  # mincore
refused(libc.socketpair, 30, 1, 0, (ctypes.c_int * 2)())  # AF_TIPC, which would load a module
fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL))
os.set_inheritable(0, True)
"""),
    "nice things": attempts("""
refused(os.nice, -5)
refused(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1))
import time
refused(time.clock_settime, time.CLOCK_REALTIME, 0.0)
"""),
    "deep recursion": Hostile(
        "import sys\nsys.setrecursionlimit(2**31 - 1)\nx = ()\nfor _ in range(10**6):\n    x = (x,)\nhash(x)", "error"
    ),
    "crash": Hostile("import ctypes\nctypes.string_at(0)", "error"),
    "abort": Hostile("import os\nos.abort()", "error"),
    "ends early": Hostile("import os\nprint('passed')\nos._exit(1)", "error"),
    "becomes another program": Hostile(
        "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'import os; os.fork()'])", "error"
    ),
    "no text": Hostile("\ud800", "error"),
}
