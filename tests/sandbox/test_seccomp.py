"""The filter's decisions, by a small interpreter of the instructions that the kernel would run."""

import errno
import struct

import pytest

from mgrpo.sandbox.seccomp import build_filter

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CLONE_THREAD = 0x10000


def decide(machine, number, *arguments, architecture=None):
    architecture = architecture or ARCHITECTURES[machine]
    data = struct.pack("IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    code = build_filter(machine)
    at, accumulator = 0, 0
    while True:
        instruction, jump_true, jump_false, value = struct.unpack_from("HBBI", code, 8 * at)
        at += 1
        if instruction == 0x06:  # return
            return value
        if instruction == 0x20:  # load
            (accumulator,) = struct.unpack_from("I", data, value)
            continue
        is_true = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[
            instruction
        ]
        at += jump_true if is_true else jump_false


@pytest.mark.parametrize(
    ("machine", "number", "decision"),
    [
        ("x86_64", 0, ALLOW),  # read
        ("aarch64", 63, ALLOW),
        ("x86_64", 41, ERRNO | errno.EPERM),  # socket
        ("aarch64", 198, ERRNO | errno.EPERM),
        ("x86_64", 254, ERRNO | errno.EPERM),  # inotify_add_watch
        ("aarch64", 27, ERRNO | errno.EPERM),
        ("x86_64", 73, ERRNO | errno.EPERM),  # flock
        ("x86_64", 101, ERRNO | errno.EPERM),  # ptrace
        ("x86_64", 57, ERRNO | errno.EAGAIN),  # fork
        ("x86_64", 435, ERRNO | errno.ENOSYS),  # clone3
        ("aarch64", 435, ERRNO | errno.ENOSYS),
        ("x86_64", 436, ALLOW),  # close_range
        ("x86_64", 9999, ERRNO | errno.ENOSYS),  # a call that no kernel has yet
        ("x86_64", 0x40000000, ERRNO | errno.ENOSYS),  # read in the x32 table
    ],
)
def test_system_calls(machine, number, decision):
    assert decide(machine, number) == decision


@pytest.mark.parametrize(("machine", "clone"), [("x86_64", 56), ("aarch64", 220)])
def test_threads_are_allowed_and_processes_are_not(machine, clone):
    assert decide(machine, clone, CLONE_THREAD | 0x100) == ALLOW
    assert decide(machine, clone, 17) == ERRNO | errno.EAGAIN  # SIGCHLD, as fork asks for


@pytest.mark.parametrize(
    ("machine", "number", "arguments", "is_allowed"),
    [
        ("x86_64", 302, (0, 0), True),  # prlimit64 of the process itself
        ("x86_64", 302, (1, 0), False),
        ("aarch64", 261, (2**32 - 1, 0), False),
        ("aarch64", 261, (0, 1), True),
        ("x86_64", 72, (3, 1), True),  # fcntl F_GETFD
        ("x86_64", 72, (3, 6), False),  # F_SETLK
        ("aarch64", 25, (3, 1024), False),  # F_SETLEASE
        ("x86_64", 16, (3, 0x5401), True),  # ioctl TCGETS
        ("x86_64", 16, (3, 0x5412), False),  # TIOCSTI
        ("x86_64", 16, (3, 0x5412 | 2**32), False),
        ("x86_64", 53, (1, 1), True),  # socketpair AF_UNIX
        ("aarch64", 199, (30, 1), False),  # AF_TIPC
        ("x86_64", 0, (1, 6), True),  # what comes after the last of them
    ],
)
def test_an_argument_decides(machine, number, arguments, is_allowed):
    assert decide(machine, number, *arguments) == (ALLOW if is_allowed else ERRNO | errno.EPERM)


def test_calls_of_another_architecture_end_the_program():
    assert decide("x86_64", 0, architecture=0x40000003) == KILL  # i386


def test_an_unknown_architecture_is_refused():
    with pytest.raises(OSError, match="riscv64"):
        build_filter("riscv64")
