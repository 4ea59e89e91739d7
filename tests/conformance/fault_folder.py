"""A folder that behaves as one mounted by NFS: calls of the operating system below it are stood in for.

What a client of NFS does and a disk does not (nfs(5), open(2), RFC 1813, RFC 8881):

- there are no unnamed files (`O_TMPFILE`);
- which names there are not is remembered, until their folder is opened for reading, whoever makes them
  meanwhile on another machine;
- the answer to LINK may be lost: the request is repeated and finds the name taken, by itself; or it is
  given up, and the link is there all the same;
- how many names an open file has is remembered from when it was opened;
- a file that is deleted by a name that it is open under gets a name that begins with `.nfs`;
- handles go stale: of files and of folders, when what they stood for is removed on another machine, or at
  any call that a plan says. Data that was written may be reported lost at fsync, or only at close.

`Folder(root).mounted()` is the client of one process; `elsewhere()` is what another machine does.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from vault.storage import local
from vault.storage.local_mount import Mount, mount_of

VERBS: Final = (
    "open", "close", "dup", "fsync", "write", "pread", "preadv", "fstat", "stat", "link", "mkdir", "unlink",
    "rmdir", "scandir", "listdir",
)  # fmt: skip
FILES: Final = "/proc/self/fd"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One call below the folder: its index, its name, and the path that it is about, from the folder.

    `asks`: it opens a folder for reading, so that the client asks the server.
    """

    index: int
    verb: str
    path: str
    asks: bool = False


Plan = Callable[[Call], int | None]  # the number of the error that a call fails with, before it does a thing
Lost = Callable[[int], int | None]  # the same of the n-th link, after it was made


def never(_: object) -> None:
    """Plan nothing."""


def at(index: int, number: int) -> Plan:
    """Plan an error for the call with this index."""
    return lambda call: number if call.index == index else None


def every(step: int, number: int = errno.EEXIST) -> Lost:
    """Lose every `step`-th answer to a link."""
    return lambda count: number if count % step == step - 1 else None


class Folder:
    """What one client knows of a folder that a file server holds.

    Attributes: `calls`, every call so far; `plan`, `lost`, which may be replaced.
    """

    def __init__(self, root: str | os.PathLike[str], *, plan: Plan = never, lost: Lost = never) -> None:
        """Stand in for calls below `root`."""
        self.root = os.path.realpath(root)
        self.plan = plan
        self.lost = lost
        self.calls: list[Call] = []
        self._links = 0
        self._absent: set[str] = set()
        self._opened: dict[int, str] = {}  # regular files by descriptor: the path that each was opened by
        self._names: dict[int, int] = {}  # how many names each had then
        self._unlinked: dict[str, str] = {}
        self._lock = threading.RLock()
        self._away = threading.local()
        self._real: dict[str, Any] = {}

    # --- mounting ---

    @contextmanager
    def mounted(self) -> Iterator["Folder"]:
        """Stand in for the calls until the block ends."""
        self.mount()
        try:
            yield self
        finally:
            local.mount_of = mount_of  # type: ignore[attr-defined]
            for verb, real in self._real.items():
                setattr(os, verb, real)

    def mount(self) -> None:
        """Stand in for the calls from now on, in this process."""
        self._real = {verb: getattr(os, verb) for verb in VERBS}
        for verb in VERBS:
            setattr(os, verb, getattr(self, f"_{verb}"))

        def stood_in(path: str) -> Mount:
            return Mount("nfs4") if self._inside(path) else mount_of(path)

        local.mount_of = stood_in  # type: ignore[attr-defined]

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """Let this thread be another machine: nothing is remembered, and nothing fails."""
        self._away.is_so = True
        try:
            yield
        finally:
            self._away.is_so = False

    # --- the calls ---

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        real = self._real["open"]
        full = self._below(path, dir_fd)
        if full is None:
            return int(real(path, flags, mode, dir_fd=dir_fd))
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

        asks = flags & (os.O_DIRECTORY | os.O_PATH) == os.O_DIRECTORY

        def act() -> int:
            if not flags & os.O_CREAT:
                self._remembered(full)
            descriptor = int(self._looked_up(full, dir_fd, lambda: real(path, flags, mode, dir_fd=dir_fd)))
            with self._lock:
                self._absent.discard(full)
                if asks:
                    self._absent = {name for name in self._absent if os.path.dirname(name) != full}
                elif not flags & (os.O_PATH | os.O_DIRECTORY):
                    self._opened[descriptor] = full
                    self._names[descriptor] = self._real["fstat"](descriptor).st_nlink
            return descriptor

        return self._step("open", full, act, asks=asks)

    def _stat(self, path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        real = self._real["stat"]
        full = None if isinstance(path, int) else self._below(path, dir_fd)

        def look() -> os.stat_result:
            found: os.stat_result = real(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
            return found

        if full is None:
            return look()

        def act() -> os.stat_result:
            self._remembered(full)
            return self._looked_up(full, dir_fd, look)

        return self._step("stat", full, act)

    def _link(self, source: Any, target: Any, *, src_dir_fd: int | None = None,
              dst_dir_fd: int | None = None, follow_symlinks: bool = True) -> None:  # fmt: skip
        real = self._real["link"]
        full = self._below(target, dst_dir_fd)

        def make() -> None:
            real(
                source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks
            )

        if full is None:
            return make()

        def act() -> None:
            self._looked_up(full, dst_dir_fd, make, remember=False)
            with self._lock:
                count, self._links = self._links, self._links + 1
            number = self.lost(count)
            if number is not None:
                raise OSError(number, os.strerror(number))  # and what was remembered is remembered still
            with self._lock:
                self._absent.discard(full)

        return self._step("link", full, act)

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        real = self._real["mkdir"]
        full = self._below(path, dir_fd)
        if full is None:
            real(path, mode, dir_fd=dir_fd)
            return

        def act() -> None:
            self._looked_up(full, dir_fd, lambda: real(path, mode, dir_fd=dir_fd), remember=False)
            with self._lock:
                self._absent.discard(full)

        self._step("mkdir", full, act)

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        real = self._real["unlink"]
        full = self._below(path, dir_fd)
        if full is None:
            real(path, dir_fd=dir_fd)
            return

        def act() -> None:
            with self._lock:
                is_open = full in self._opened.values()
                if is_open and full not in self._unlinked:
                    hidden = f"{os.path.dirname(full)}/.nfs{id(self):016x}{len(self._unlinked):08x}"
                    os.rename(full, hidden)
                    self._unlinked[full] = hidden
                    return
            self._looked_up(full, dir_fd, lambda: real(path, dir_fd=dir_fd), remember=False)

        self._step("unlink", full, act)

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        real = self._real["rmdir"]
        full = self._below(path, dir_fd)
        if full is None:
            real(path, dir_fd=dir_fd)
        else:
            self._step("rmdir", full, lambda: real(path, dir_fd=dir_fd))

    def _close(self, descriptor: int) -> None:
        full = self._of(descriptor)
        with self._lock:
            opened = self._opened.pop(descriptor, None)
            self._names.pop(descriptor, None)
            hidden = None if opened in self._opened.values() else self._unlinked.pop(opened or "", None)
            self._real["close"](descriptor)
        if hidden is not None:
            self._real["unlink"](hidden)
        if full is not None:
            self._step("close", full, lambda: None)

    def _dup(self, descriptor: int) -> int:
        def act() -> int:
            copy = int(self._real["dup"](descriptor))
            with self._lock:
                if descriptor in self._opened:
                    self._opened[copy] = self._opened[descriptor]
                    self._names[copy] = self._names[descriptor]
            return copy

        return self._by_descriptor("dup", descriptor, act)

    def _fstat(self, descriptor: int) -> os.stat_result:
        def act() -> os.stat_result:
            found = self._real["fstat"](descriptor)
            with self._lock:
                names = self._names.get(descriptor, found.st_nlink)
            return os.stat_result((*found[:3], names, *found[4:]))

        return self._by_descriptor("fstat", descriptor, act)

    def _fsync(self, descriptor: int) -> None:
        self._by_descriptor("fsync", descriptor, lambda: self._real["fsync"](descriptor))

    def _write(self, descriptor: int, data: Any) -> int:
        return int(self._by_descriptor("write", descriptor, lambda: self._real["write"](descriptor, data)))

    def _pread(self, descriptor: int, size: int, offset: int) -> bytes:
        real = self._real["pread"]
        return bytes(self._by_descriptor("pread", descriptor, lambda: real(descriptor, size, offset)))

    def _preadv(self, descriptor: int, buffers: Any, offset: int) -> int:
        real = self._real["preadv"]
        return int(self._by_descriptor("preadv", descriptor, lambda: real(descriptor, buffers, offset)))

    def _scandir(self, path: Any = ".") -> Any:
        real = self._real["scandir"]
        return self._by_descriptor("scandir", path, lambda: real(path))

    def _listdir(self, path: Any = ".") -> Any:
        real = self._real["listdir"]
        return self._by_descriptor("listdir", path, lambda: real(path))

    # --- what it rests on ---

    def _step(self, verb: str, full: str, act: Callable[[], T], *, asks: bool = False) -> T:
        with self._lock:
            call = Call(len(self.calls), verb, os.path.relpath(full, self.root), asks)
            self.calls.append(call)
        number = self.plan(call)
        if number is not None:
            raise OSError(number, os.strerror(number))
        return act()

    def _by_descriptor(self, verb: str, descriptor: Any, act: Callable[[], T]) -> T:
        full = self._of(descriptor) if isinstance(descriptor, int) else None
        return act() if full is None else self._step(verb, full, act)

    def _below(self, path: Any, dir_fd: int | None) -> str | None:
        """Give the full path, if it is in the folder and this thread is not elsewhere."""
        if dir_fd is not None:
            above = os.readlink(f"{FILES}/{dir_fd}").removesuffix(" (deleted)")
            path = above if path == "." else f"{above}/{path}"
        return self._inside(os.fspath(path))

    def _of(self, descriptor: int) -> str | None:
        try:
            return self._inside(os.readlink(f"{FILES}/{descriptor}").removesuffix(" (deleted)"))
        except OSError:
            return None

    def _inside(self, path: Any) -> str | None:
        if not isinstance(path, str) or getattr(self._away, "is_so", False):
            return None
        return path if path == self.root or path.startswith(self.root + "/") else None

    def _remembered(self, full: str) -> None:
        """Fail if this client remembers that the path, or a folder on the way to it, is not there."""
        with self._lock:
            for name in self._absent:
                if full == name or full.startswith(name + "/"):
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def _looked_up(self, full: str, dir_fd: int | None, act: Callable[[], T], *, remember: bool = True) -> T:
        """Do something with a path; remember what is not there; say so of a folder that was removed."""
        try:
            return act()
        except FileNotFoundError as error:
            if dir_fd is not None and os.readlink(f"{FILES}/{dir_fd}").endswith(" (deleted)"):
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE)) from error
            if remember and full != self.root:
                with self._lock:
                    self._absent.add(self._first_missing(full))
            raise

    def _first_missing(self, full: str) -> str:
        parts = full[len(self.root) + 1 :].split("/")
        path = self.root
        for part in parts:
            path = f"{path}/{part}"
            if not self._there(path):
                return path
        return full

    def _there(self, path: str) -> bool:
        try:
            self._real["stat"](path, follow_symlinks=False)
        except OSError:
            return False
        return True
