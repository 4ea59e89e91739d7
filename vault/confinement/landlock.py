"""Let this process read below a few folders, and nothing else of the file system or the network.

Source: Linux `Documentation/userspace-api/landlock.rst` and
`include/uapi/linux/landlock.h`, ABI 1 to 7. A right that is handled and granted
by no rule is denied: every right that this kernel knows is handled, and only
reading is granted.
"""

import ctypes
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from vault.confinement import kernel

_CREATE_RULESET_VERSION: Final = 1 << 0
_RULE_PATH_BENEATH: Final = 1

_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_FIRST_RIGHTS: Final = (1 << 13) - 1  # execute, write, read, list, remove and make of every kind
_REFER: Final = 1 << 13  # since ABI 2
_TRUNCATE: Final = 1 << 14  # since ABI 3
_IOCTL_DEVICE: Final = 1 << 15  # since ABI 5
_NETWORK: Final = 0b11  # since ABI 4: bind and connect of TCP
_SCOPES: Final = 0b11  # since ABI 6: abstract sockets and signals to processes outside


def abi() -> int:
    """Give the version of the kernel's Landlock interface; 0 where there is none, or it is switched off."""
    if sys.platform != "linux":
        return 0
    try:
        return kernel.call(
            kernel.LANDLOCK_CREATE_RULESET,
            ctypes.c_void_p(None),
            ctypes.c_size_t(0),
            ctypes.c_uint32(_CREATE_RULESET_VERSION),
        )
    except OSError:
        return 0


def handled(version: int) -> tuple[int, int, int]:
    """Give what is denied unless granted under an ABI: rights of files, of the network, and scopes."""
    files = _FIRST_RIGHTS
    files |= _REFER if version >= 2 else 0
    files |= _TRUNCATE if version >= 3 else 0
    files |= _IOCTL_DEVICE if version >= 5 else 0
    return files, _NETWORK if version >= 4 else 0, _SCOPES if version >= 6 else 0


def restrict(readable: Iterable[Path], version: int) -> None:
    """Restrict the calling thread to reading below `readable`; places that are not there are left out.

    `version` is what `abi` gave. Nothing can be executed, not even what can be
    read: a library is mapped, not executed.

    Raises:
        OSError: the kernel refuses.
    """
    files, network, scopes = handled(version)
    # The kernel takes a shorter structure from callers that know fewer of its fields.
    words = [files, *([network] if version >= 4 else []), *([scopes] if version >= 6 else [])]
    attributes = (ctypes.c_uint64 * len(words))(*words)
    ruleset = kernel.call(
        kernel.LANDLOCK_CREATE_RULESET,
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
        ctypes.c_uint32(0),
    )
    try:
        for path in readable:
            _allow_reading(ruleset, path)
        kernel.call(kernel.LANDLOCK_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


class _PathBeneath(ctypes.Structure):
    """`struct landlock_path_beneath_attr`."""

    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def _allow_reading(ruleset: int, path: Path) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what cannot be opened cannot be read either
    try:
        folder = stat.S_ISDIR(os.fstat(opened).st_mode)
        rule = _PathBeneath(_READ_FILE | _READ_DIR if folder else _READ_FILE, opened)
        kernel.call(
            kernel.LANDLOCK_ADD_RULE,
            ctypes.c_int(ruleset),
            ctypes.c_int(_RULE_PATH_BENEATH),
            ctypes.byref(rule),
            ctypes.c_uint32(0),
        )
    finally:
        os.close(opened)
