"""Let this process make the system calls that computing needs, and no other.

A list of what is allowed: a call that a later kernel adds is refused until
somebody has thought about it. Refused calls fail with EPERM, so that a library
that merely tries can go on; another architecture's calls end the process.

Sources: Linux `Documentation/userspace-api/seccomp_filter.rst`,
`include/uapi/linux/filter.h`; the numbers as in `kernel`.
"""

import ctypes
import errno
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from vault.confinement import kernel

# By name: the number on x86-64 and on 64-bit ARM, None where the architecture has no such call.
ALLOWED: Final[Mapping[str, tuple[int | None, int | None]]] = MappingProxyType(
    {
        # reading, and writing to what is open already: pipes only, since nothing can be opened for writing
        "read": (0, 63), "readv": (19, 65), "pread64": (17, 67), "write": (1, 64), "writev": (20, 66),
        "lseek": (8, 62), "close": (3, 57), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24),
        "pipe": (22, None), "pipe2": (293, 59), "poll": (7, None), "ppoll": (271, 73),
        "select": (23, None), "pselect6": (270, 72), "fadvise64": (221, 223),
        # looking at files
        "stat": (4, None), "fstat": (5, 80), "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291),
        "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "getdents64": (217, 61),
        "readlink": (89, None), "readlinkat": (267, 78), "getcwd": (79, 17), "statfs": (137, 43),
        "fstatfs": (138, 44),
        # memory
        "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "mremap": (25, 216),
        "madvise": (28, 233), "mincore": (27, 232), "get_mempolicy": (239, 236),
        # threads, their locks and signals within this process
        "futex": (202, 98), "set_robust_list": (273, 99), "get_robust_list": (274, 100), "rseq": (334, 293),
        "set_tid_address": (218, 96), "arch_prctl": (158, None), "sched_yield": (24, 124),
        "sched_getaffinity": (204, 123), "sched_getscheduler": (145, 120), "sched_getparam": (143, 121),
        "sched_get_priority_max": (146, 125), "sched_get_priority_min": (147, 126), "getcpu": (309, 168),
        "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
        "sigaltstack": (131, 132), "restart_syscall": (219, 128), "exit": (60, 93), "exit_group": (231, 94),
        # who and when
        "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174),
        "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "getgroups": (115, 158),
        "getresuid": (118, 148), "getresgid": (120, 150), "uname": (63, 160), "sysinfo": (99, 179),
        "getrusage": (98, 165), "getrlimit": (97, 163), "times": (100, 153), "time": (201, None),
        "gettimeofday": (96, 169), "clock_gettime": (228, 113), "clock_getres": (229, 114),
        "clock_nanosleep": (230, 115), "nanosleep": (35, 101), "getrandom": (318, 278),
    }
)  # fmt: skip
# Looked at more closely in `program`.
CHECKED: Final[Mapping[str, tuple[int | None, int | None]]] = MappingProxyType(
    {
        "open": (2, None),
        "openat": (257, 56),
        "clone": (56, 220),
        "clone3": (435, 435),
        "openat2": (437, 437),
        "ioctl": (16, 29),
        "fcntl": (72, 25),
        "tgkill": (234, 131),
        "prlimit64": (302, 261),
    }
)

_SET_MODE_FILTER: Final = 1
_GET_ACTION_AVAIL: Final = 2
_FLAG_ALL_THREADS: Final = 1

_KILL: Final = 0x80000000
_ERRNO: Final = 0x00050000
_ALLOW: Final = 0x7FFF0000

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_IF_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

_NUMBER: Final = 0  # offsets in struct seccomp_data
_ARCH: Final = 4
_X32: Final = 0x40000000

_WRITING: Final = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CLONE_THREAD: Final = 0x00010000
_IOCTLS: Final = (0x5401, 0x5413, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONBIO, FIONCLEX, FIOCLEX
_FCNTLS: Final = (0, 1, 2, 3, 4, 1030)  # duplicate, and flags of descriptors; no locks, no signals

Instruction = tuple[int, int, int, int]


def available() -> bool:
    """Tell whether this kernel filters system calls, and whether their numbers are known here."""
    found = kernel.architecture()
    if found is None:
        return False
    action = ctypes.c_uint32(_ERRNO)
    try:
        kernel.call(found.seccomp, ctypes.c_uint(_GET_ACTION_AVAIL), ctypes.c_uint(0), ctypes.byref(action))
    except OSError:
        return False
    return True


def program(architecture: kernel.Architecture, process: int) -> list[Instruction]:
    """Write the filter for a process of id `process`, which may signal itself and nobody else."""
    column = architecture.column
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_IF_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if architecture.x32:
        code += [(_IF_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]

    def when(name: str, body: list[Instruction]) -> None:
        number = CHECKED[name][column]
        if number is not None:
            code.append((_IF_EQUAL, 0, len(body), number))
            code.extend(body)

    # Landlock sees to writing as well; this holds where it is missing, too.
    when("open", _unless_any_bit(1, _WRITING, errno.EACCES))
    when("openat", _unless_any_bit(2, _WRITING, errno.EACCES))
    when("clone", _only_threads())
    # Their arguments lie in memory, where a filter cannot look: the C library falls back on the others.
    when("clone3", [(_RETURN, 0, 0, _ERRNO | errno.ENOSYS)])
    when("openat2", [(_RETURN, 0, 0, _ERRNO | errno.ENOSYS)])
    when("ioctl", _one_of(1, _IOCTLS))
    when("fcntl", _one_of(1, _FCNTLS))
    when("tgkill", _one_of(0, (process,)))
    when("prlimit64", _one_of(0, (0,)))
    for numbers in ALLOWED.values():
        if numbers[column] is not None:
            code += [(_IF_EQUAL, 0, 1, numbers[column] or 0), (_RETURN, 0, 0, _ALLOW)]
    code.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
    return code


def _argument(index: int) -> int:
    """Give the offset of an argument's lower half; the kernel reads no more of an int."""
    return 16 + 8 * index


def _unless_any_bit(index: int, bits: int, code: int) -> list[Instruction]:
    return [
        (_LOAD, 0, 0, _argument(index)),
        (_IF_ANY_BIT, 0, 1, bits),
        (_RETURN, 0, 0, _ERRNO | code),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _only_threads() -> list[Instruction]:
    return [
        (_LOAD, 0, 0, _argument(0)),
        (_IF_ANY_BIT, 0, 1, _CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]


def _one_of(index: int, values: tuple[int, ...]) -> list[Instruction]:
    body: list[Instruction] = [(_LOAD, 0, 0, _argument(index))]
    for value in values:
        body += [(_IF_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    return [*body, (_RETURN, 0, 0, _ERRNO | errno.EPERM)]


class _Filter(ctypes.Structure):
    """`struct sock_filter`."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Filter)))


def restrict() -> None:
    """Restrict every thread of this process; `kernel.forbid_new_privileges` comes first.

    Raises:
        OSError: the kernel refuses, or its numbers are not known here.
    """
    found = kernel.architecture()
    if found is None:
        raise OSError(errno.ENOSYS, "the system calls of this machine are not known")
    code = program(found, os.getpid())
    instructions = (_Filter * len(code))(*(_Filter(*entry) for entry in code))
    loaded = _Program(len(code), instructions)
    kernel.call(
        found.seccomp,
        ctypes.c_uint(_SET_MODE_FILTER),
        ctypes.c_uint(_FLAG_ALL_THREADS),
        ctypes.byref(loaded),
    )
