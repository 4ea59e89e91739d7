"""Confine the calling process, in the one order that works, and say how far that went."""

import os
import resource
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault.confinement import kernel, landlock, seccomp

_TASKS: Final = "/proc/self/task"
# What a C library and numerical libraries look at; none of it tells of a person.
_SYSTEM: Final = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/null",
    "/dev/urandom",
    "/sys/devices/system/cpu",
    "/proc/self/maps",  # its own: threadpoolctl looks there for the libraries that are loaded
)
_PACKAGE_FOLDERS: Final = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True, slots=True)
class Level:
    """How a process is confined: the ABI of Landlock (0: not at all), and whether seccomp filters calls."""

    landlock: int
    seccomp: bool

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        return self.landlock > 0 and self.seccomp

    def __str__(self) -> str:
        """Name both parts."""
        files = f"Landlock ABI {self.landlock}" if self.landlock else "no Landlock"
        return f"{files}, {'seccomp' if self.seccomp else 'no seccomp'}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a confined process may use: bytes of address space, and seconds of computing and of waiting."""

    memory: int
    seconds: int


def available() -> Level:
    """Tell how this kernel can confine a process."""
    return Level(landlock.abi(), seccomp.available())


def library_folders() -> tuple[Path, ...]:
    """Give the folders of the interpreter, of installed packages and of this one; no home folder."""
    found = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}:
        found.update(Path(prefix, name) for name in ("lib", "lib64"))
    found.update(path for path in map(Path, sys.path) if is_package_folder(path))
    return (*(Path(name) for name in _SYSTEM), *sorted(found), Path(__file__).parent.parent)


def is_package_folder(path: Path) -> bool:
    """Tell whether installers put packages there: a project's own folder on the path does not count."""
    return path.is_absolute() and bool(_PACKAGE_FOLDERS & set(path.parts))


def apply(bounds: Bounds, readable: Iterable[Path]) -> Level:
    """Confine this process for good, as far as the kernel can; to be called before any thread is started.

    Afterwards it can read below `readable`, write to descriptors that are open,
    and compute; it cannot open anything for writing, execute, fork, use the
    network, signal or look at other processes, or gain privileges.

    Raises:
        OSError: the kernel refuses something that it said it has, or there are several threads.
    """
    level = available()
    if level.landlock and len(os.listdir(_TASKS)) != 1:
        raise OSError("there are several threads already, and Landlock would confine only one of them")
    kernel.forbid_new_privileges()
    if level.landlock:
        landlock.restrict(readable, level.landlock)
    _limit(bounds, forks=level.seccomp)
    kernel.drop_capabilities()
    if level.seccomp:
        seccomp.restrict()
    return level


def _limit(bounds: Bounds, *, forks: bool) -> None:
    """Set the limits; `forks` says that something else sees to it that no process is started."""
    wanted = {
        resource.RLIMIT_AS: bounds.memory,
        resource.RLIMIT_CPU: bounds.seconds,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_MEMLOCK: 0,
    }
    if not forks:
        wanted[resource.RLIMIT_NPROC] = 0
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (least, least))
