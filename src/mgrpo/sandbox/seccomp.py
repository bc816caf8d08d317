"""Refuses the system calls that a sandboxed program does not need, by a filter that the kernel runs.

A second barrier behind the namespaces. It makes the memory limit cover everything, because a program can have threads
but no child processes, and no memory outside its address space (System V and POSIX shared memory). It refuses what
acts on other processes (where the caller is not root, process 1 of the sandbox has the program's own user), and what
watches, locks or flushes the machine's files. It also closes the kernel interfaces that caused most holes in
namespaces. Uses only the standard library.
"""

import ctypes
import errno
import os
import struct

# name: number on x86-64, number on aarch64 (None: it has no such call)
_REFUSED: dict[str, tuple[int, int | None]] = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "get_robust_list": (274, 100),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setaffinity": (203, 122),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    # files of the machine: who else uses them, locks that others would wait for, the page cache, whole disks
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "flock": (73, 32),
    "mincore": (27, 232),
    "fadvise64": (221, 223),
    "readahead": (187, 213),
    "sync": (162, 81),
    "syncfs": (306, 267),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    "ustat": (136, None),
    "quotactl": (179, 60),
    # sockets of any family: some (vsock) ignore network namespaces. asyncio needs socketpair, which is allowed
    "socket": (41, 198),
    # memory and objects that outlive or evade the address space
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # namespaces, mounts, files by handle
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "execveat": (322, 281),
    # large parts of the kernel that no benchmark's program needs
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_setup": (206, 0),
    "io_submit": (209, 2),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "syslog": (103, 116),
}
# name: its numbers, which argument decides (from 0), and the values with which it is allowed
_ALLOWED_WITH: dict[str, tuple[tuple[int, int], int, tuple[int, ...]]] = {
    "prlimit64": ((302, 261), 0, (0,)),  # its own limits
    "socketpair": ((53, 199), 0, (1,)),  # AF_UNIX; others load modules into the kernel
    "fcntl": ((72, 25), 1, (0, 1, 2, 3, 4, 1030)),  # descriptors and their flags: no locks, leases, notices, sizes
    # is it a terminal, and its size; close on exec; non-blocking; how many bytes wait
    "ioctl": ((16, 29), 1, (0x5401, 0x5413, 0x5450, 0x5451, 0x5421, 0x541B)),
}
_FORKS: dict[str, tuple[int, int | None]] = {"fork": (57, None), "vfork": (58, None)}
_CLONE = (56, 220)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
# From here on numbers are the same on all architectures. New calls are refused except close_range, openat2,
# faccessat2 and epoll_pwait2; the C library then falls back to older ones (clone for clone3).
_FIRST_NEW = 424
_NEW_ALLOWED = (436, 437, 439, 441)
_X32 = 0x40000000  # x86-64 calls by their numbers in another table
_CLONE_THREAD = 0x10000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16  # in the kernel's struct seccomp_data
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def build_filter(machine: str) -> bytes:
    """The filter's instructions for an architecture, named as by `uname -m`.

    Raises:
        OSError: if the numbers of its system calls are unknown.
    """
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"the system calls of {machine} are unknown; use x86_64 or aarch64")
    column, architecture = _ARCHITECTURES[machine]
    code = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_EQUAL, architecture, jump_true=1),
        _instruction(_RETURN, _KILL),  # 32-bit calls
        _instruction(_LOAD, _NUMBER_AT),
    ]
    code += _if(_AT_LEAST, _X32, _ERRNO | errno.ENOSYS)
    for number in _NEW_ALLOWED:
        code += _if(_EQUAL, number, _ALLOW)
    code += _if(_AT_LEAST, _FIRST_NEW, _ERRNO | errno.ENOSYS)
    for calls, error in ((_REFUSED, errno.EPERM), (_FORKS, errno.EAGAIN)):
        for of_architectures in calls.values():
            if (refused := of_architectures[column]) is not None:
                code += _if(_EQUAL, refused, _ERRNO | error)
    for numbers, argument, values in _ALLOWED_WITH.values():
        checks = [_instruction(_LOAD, _FIRST_ARGUMENT_AT + 8 * argument)]
        for value in values:  # the kernel takes these arguments as 32 bits, too
            checks += _if(_EQUAL, value, _ALLOW)
        checks.append(_instruction(_RETURN, _ERRNO | errno.EPERM))
        code += [_instruction(_EQUAL, numbers[column], jump_false=len(checks)), *checks]
    code += [
        _instruction(_EQUAL, _CLONE[column], jump_false=3),
        _instruction(_LOAD, _FIRST_ARGUMENT_AT),
        _instruction(_ANY_BIT, _CLONE_THREAD, jump_true=1),
        _instruction(_RETURN, _ERRNO | errno.EAGAIN),
        _instruction(_RETURN, _ALLOW),
    ]
    return b"".join(code)


def install(libc: ctypes.CDLL) -> None:
    """Put this process under the filter permanently; PR_SET_NO_NEW_PRIVS must be set.

    Raises:
        OSError: if the kernel or the architecture does not support such filters.
    """
    code = build_filter(os.uname().machine)
    program = _Program(len(code) // 8, code)
    zero = ctypes.c_ulong(0)
    if libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(program), zero, zero):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "PR_SET_SECCOMP")


def _instruction(code: int, value: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, jump_true, jump_false, value)


def _if(test: int, value: int, result: int) -> list[bytes]:
    return [_instruction(test, value, jump_false=1), _instruction(_RETURN, result)]
