"""The launcher of `sandbox.py`: a process that builds the sandbox, runs one program in it and ends with it.

There are three processes; each dies with the one before it:

    launcher     creates the namespaces and waits; on SIGTERM it ends the other two before itself
    init         process 1 in the namespaces: builds the file system and watches the deadline. When it ends, the kernel
                 ends everything in its process namespace before anyone is notified
    program      drops all rights, then becomes a fresh Python

Root does this with root's rights and runs the program as `nobody`; other users create a user namespace first. Either
way the program runs in a user namespace of its own, in which its threads are counted and which has no rights over the
others.

The launcher reads from its standard input a line of JSON, the program's source, and the program's standard input. It
uses only the standard library, imported at the top, because no modules can be found after `_build_root`.
"""

import ctypes
import json
import os
import resource
import signal
import stat
import sys
import time
from typing import Any, NoReturn

from mgrpo.sandbox import seccomp

NOBODY = 65534
BOX = "/box"
"""The program's working directory, and the only one in which it may write."""
PACKAGES = "/packages"
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")

_NEW_MOUNTS, _NEW_USER, _NEW_PIDS = 0x00020000, 0x10000000, 0x20000000
_NEW_HOST_NAME, _NEW_IPC, _NEW_NETWORK = 0x04000000, 0x08000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_AT_FDCWD, _AT_RECURSIVE, _MNT_DETACH = -100, 0x8000, 2
_SYS_MOUNT_SETATTR = 442  # on every architecture

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace")]


def main() -> None:
    """Run one program; how it ended is written to the status pipe as a line of JSON."""
    parent = os.getppid()
    spec = json.loads(sys.stdin.buffer.readline())
    source = sys.stdin.buffer.read(spec["source_bytes"])
    program_input = sys.stdin.buffer.read()
    os.set_inheritable(spec["status_fd"], False)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or a caller that ignores it would hide that children end
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    try:
        _make_namespaces()
        _prctl("PR_SET_PDEATHSIG", 1, signal.SIGKILL)
        if os.getppid() != parent:
            return
        init = os.fork()
    except Exception as error:
        _refuse(spec, error)
        return
    if init == 0:
        _init(spec, source, program_input)
    if signal.sigwait({signal.SIGTERM, signal.SIGCHLD}) == signal.SIGTERM:
        os.kill(init, signal.SIGKILL)
    os.waitpid(init, 0)


def _make_namespaces() -> None:
    kinds = _NEW_MOUNTS | _NEW_PIDS | _NEW_HOST_NAME | _NEW_IPC | _NEW_NETWORK
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        _call("unshare", kinds)
    else:
        _call("unshare", kinds | _NEW_USER)
        _map_ids(user, group, os.open("/proc", os.O_PATH))
    _call("sethostname", b"sandbox", len(b"sandbox"))


def _map_ids(user: int, group: int, proc: int) -> None:
    """Map only this process's user and group into its new user namespace."""
    _set_own("setgroups", "deny", proc)
    _set_own("uid_map", f"{user} {user} 1", proc)
    _set_own("gid_map", f"{group} {group} 1", proc)


def _set_own(name: str, value: str, proc: int) -> None:
    file = os.open(f"self/{name}", os.O_WRONLY, dir_fd=proc)
    os.write(file, value.encode())
    os.close(file)


def _init(spec: dict[str, Any], source: bytes, program_input: bytes) -> NoReturn:
    try:
        _prctl("PR_SET_PDEATHSIG", 1, signal.SIGKILL)
        os.setsid()  # or the program's kill(0, ...) reaches the launcher
        # the program's signals cannot hurt process 1 unless it handles them, as Python does with this one
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        proc = os.open("/proc", os.O_PATH)
        _build_root(spec, source, program_input)
        _report(spec, is_built=True)
        deadline = time.monotonic() + spec["wall_seconds"]
        program = os.fork()
        if program == 0:
            _become_program(spec, proc)
        while (left := deadline - time.monotonic()) > 0:
            signal.sigtimedwait({signal.SIGCHLD}, left)
            ended, status, usage = os.wait4(program, os.WNOHANG)
            if ended:
                cpu_seconds = usage.ru_utime + usage.ru_stime
                _report(spec, exit_code=os.waitstatus_to_exitcode(status), cpu_seconds=cpu_seconds)
                break
        else:
            _report(spec, timeout=True)
    except Exception as error:
        _refuse(spec, error)
    finally:
        os._exit(0)


def _build_root(spec: dict[str, Any], source: bytes, program_input: bytes) -> None:
    """Replace the machine's file system by an almost empty one, for this process and its children.

    It has Python and the libraries, read-only, at their usual paths; a few devices; the program and its input; and
    BOX. There is no /proc, so no other process is visible.
    """
    size = len(source) + len(program_input) + 2**20
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, f"size={size},mode=0755")
    os.chdir("/tmp")
    os.umask(0o022)
    os.mkdir("old")
    _call("pivot_root", b".", b"old")
    os.chdir("/")
    for path in (*_LIBRARIES, *spec["python"]):
        _show(path, path)
    for path in spec["packages"]:
        _show(path, f"{PACKAGES}/{os.path.basename(path)}")
    for path in filter(os.path.isdir, spec["hidden"]):
        _mount("tmpfs", path, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=4k,mode=0555")
    for path in _DEVICES:
        _show(path, path)
    _write("/program.py", source)
    _write("/input", program_input)
    os.symlink("/input", "/dev/stdin")
    os.mkdir(BOX)
    _call("umount2", b"/old", _MNT_DETACH)
    os.rmdir("/old")
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _mount("tmpfs", BOX, "tmpfs", flags, f"size={spec['disk_bytes']},nr_inodes={spec['files'] + 1},mode=0777")
    _restrict("/", _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV, recursive=False)
    os.chdir(BOX)


def _show(path: str, place: str) -> None:
    """Make the machine's file, directory or link `path` appear at `place`, read-only."""
    old = "/old" + path
    if not os.path.lexists(old) or os.path.lexists(place):
        return
    os.makedirs(os.path.dirname(place), exist_ok=True)
    if os.path.islink(old):
        os.symlink(os.readlink(old), place)
        return
    mode = os.stat(old).st_mode
    if stat.S_ISDIR(mode):
        os.mkdir(place)
    else:
        _write(place, b"")
    _mount(old, place, None, _MS_BIND | _MS_REC)
    _restrict(place, _ATTR_RDONLY | _ATTR_NOSUID | (0 if stat.S_ISCHR(mode) else _ATTR_NODEV), recursive=True)


def _become_program(spec: dict[str, Any], proc: int) -> NoReturn:
    try:
        os.setsid()
        user, group = os.geteuid(), os.getegid()
        if user == 0:
            user = group = NOBODY
            _call("setgroups", 0, None)
            _call("setresgid", group, group, group)
            _call("setresuid", user, user, user)
            _prctl("PR_SET_DUMPABLE", 4, 1)  # or /proc/self is root's
        _set_own("oom_score_adj", "1000", proc)  # if memory runs out, it is ended first
        _call("unshare", _NEW_USER)
        _map_ids(user, group, proc)
        os.dup2(os.open("/input", os.O_RDONLY), 0)
        _limit(spec)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)  # or it would ignore what the caller ignores
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _prctl("PR_SET_NO_NEW_PRIVS", 38, 1)
        seccomp.install(_libc)
        # it is not root in its user namespace, so its capabilities there end with this call
        os.execve(spec["command"][0], spec["command"], spec["environment"])
    except Exception as error:
        _refuse(spec, error)
    finally:
        os._exit(1)


def _limit(spec: dict[str, Any]) -> None:
    limits = {
        resource.RLIMIT_CPU: spec["cpu_seconds"] + 1,
        resource.RLIMIT_AS: spec["memory_bytes"],
        resource.RLIMIT_NPROC: spec["threads"],
        resource.RLIMIT_FSIZE: spec["file_bytes"],
        resource.RLIMIT_NOFILE: 256,
        # at 0 a core dump still goes to the machine's handler, if it has one; at 1 it goes nowhere
        resource.RLIMIT_CORE: 1,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for which, limit in limits.items():
        hard = resource.getrlimit(which)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        # SIGXCPU, which a program may ignore, arrives a second before SIGKILL
        resource.setrlimit(which, (limit - (which == resource.RLIMIT_CPU), limit))
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (2**23 if hard == resource.RLIM_INFINITY else min(2**23, hard), hard))


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def _mount(source: str | None, place: str, kind: str | None, flags: int, options: str = "") -> None:
    coded = [os.fsencode(text) if text is not None else None for text in (source, place, kind)]
    _call("mount", *coded, ctypes.c_ulong(flags), options.encode(), what=f"mount {kind or 'bind'} on {place}")


def _restrict(place: str, attributes: int, recursive: bool) -> None:
    structure = _MountAttributes(set=attributes)
    flags = _AT_RECURSIVE if recursive else 0
    size = ctypes.c_size_t(ctypes.sizeof(structure))
    reference = ctypes.byref(structure)
    arguments = _AT_FDCWD, os.fsencode(place), flags, reference, size
    _call("syscall", ctypes.c_long(_SYS_MOUNT_SETATTR), *arguments, what=f"mount_setattr on {place}")


def _call(name: str, *arguments: Any, what: str | None = None) -> None:
    if getattr(_libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what or name)


def _prctl(name: str, option: int, value: int) -> None:
    _call("prctl", option, *map(ctypes.c_ulong, (value, 0, 0, 0)), what=name)


def _refuse(spec: dict[str, Any], error: Exception) -> None:
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.filename:
        reason = f"{error.filename}: {error.strerror}"
    _report(spec, refused=reason)


def _report(spec: dict[str, Any], **values: Any) -> None:
    os.write(spec["status_fd"], json.dumps(values).encode() + b"\n")
