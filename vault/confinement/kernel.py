"""Call what the C library has no functions for: system calls by number, and `prctl`.

Sources: Linux `include/uapi/asm-generic/unistd.h`, `arch/x86/entry/syscalls/syscall_64.tbl`,
`include/uapi/linux/audit.h`, `prctl(2)`, `capset(2)`.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

# The same on every architecture.
LANDLOCK_CREATE_RULESET: Final = 444
LANDLOCK_ADD_RULE: Final = 445
LANDLOCK_RESTRICT_SELF: Final = 446

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAPABILITY_VERSION_3: Final = 0x20080522


@dataclass(frozen=True, slots=True)
class Architecture:
    """The numbers of one architecture: its audit name, and those system calls that are not the same."""

    audit: int
    seccomp: int
    capset: int
    column: int  # which of the two numbers in `seccomp.ALLOWED` is its own
    x32: bool = False  # numbers from 0x40000000 on are a second way to the same calls


_ARCHITECTURES: Final[Mapping[str, Architecture]] = MappingProxyType(
    {
        "x86_64": Architecture(audit=0xC000003E, seccomp=317, capset=126, column=0, x32=True),
        "aarch64": Architecture(audit=0xC00000B7, seccomp=277, capset=91, column=1),
    }
)


def architecture() -> Architecture | None:
    """Give the numbers of this machine; None where they are not known here."""
    wide = ctypes.sizeof(ctypes.c_void_p) == 8 and sys.byteorder == "little"
    return _ARCHITECTURES.get(platform.machine()) if wide and sys.platform == "linux" else None


def call(number: int, *arguments: Any) -> int:
    """Make a system call with `ctypes` values.

    Raises:
        OSError: the kernel refuses, or has no such call.
    """
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    result = int(library.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _prctl(option: int, value: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(word) for word in (value, 0, 0, 0)]
    if library.prctl(ctypes.c_int(option), *words) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def forbid_new_privileges() -> None:
    """Give up set-user-id programs and file capabilities, for good.

    Raises:
        OSError: the kernel refuses.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent, of process id `parent`, ends.

    Raises:
        OSError: the kernel refuses, or the parent has ended already.
    """
    import signal

    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise ProcessLookupError("the parent has ended")


def drop_capabilities() -> None:
    """Give up every capability, so that root is stopped by what stops everybody.

    Raises:
        OSError: the kernel refuses.
    """
    found = architecture()
    if found is None:
        return
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    call(found.capset, ctypes.byref(header), ctypes.byref(nothing))
