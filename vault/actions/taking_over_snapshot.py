"""Copy an old model's files: what is inspected, hashed, converted and published are then the same bytes."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from vault.actions import local_files
from vault.actions.taking_over_places import Place, Stamp
from vault.core import limits
from vault.core.adoption_plan import Origin
from vault.errors import Malformed, Unavailable
from vault.storage.local_reading import LocalSource

_IN_MEMORY: Final = 64 * limits.MIB


@dataclass(frozen=True, slots=True)
class Copied:
    """One file of a snapshot: where it came from, and an open file without a name that holds its bytes."""

    path: str
    stamp: Stamp
    sha256: str
    descriptor: int

    def view(self) -> AbstractContextManager[memoryview]:
        """Look at the bytes as a whole."""
        return local_files.mapped(self.descriptor, self.stamp.size)

    @contextmanager
    def source(self) -> Iterator[LocalSource]:
        """Give the bytes to the sealing."""
        yield LocalSource(self.descriptor, self.stamp.size, self.path)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of one origin by their paths inside it, as they were; `close` lets go of them."""

    files: Mapping[str, Copied]

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.stamp.size for file in self.files.values())

    @property
    def modified(self) -> int | None:
        """When the youngest of them was changed, in seconds since 1970."""
        return max((file.stamp.modified or 0 for file in self.files.values()), default=0) or None

    @property
    def sha256(self) -> str:
        """The SHA-256 of the one file; of several that of the lines `SHA-256  path`, sorted by path."""
        if [*self.files] == [""]:
            return self.files[""].sha256
        lines = [f"{file.sha256}  {path}\n" for path, file in sorted(self.files.items())]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def close(self) -> None:
        """Let go of the copies, which are gone then."""
        for file in self.files.values():
            with suppress(OSError):
                os.close(file.descriptor)


@contextmanager
def take(place: Place, origin: Origin) -> Iterator[Snapshot]:
    """Copy the files of an origin; the copies are gone after the block.

    Raises:
        Malformed: they are larger than is taken over (`too-large`).
        NotFound, Unavailable: one cannot be read, or changed meanwhile.
    """
    copies: dict[str, Copied] = {}
    snapshot = Snapshot(copies)
    left = limits.ADOPT_FILE_BYTES
    try:
        for inside, path in origin.files.items():
            copies[inside] = _copied(place, path, left)
            left -= copies[inside].stamp.size
        yield snapshot
    finally:
        snapshot.close()


def _copied(place: Place, path: str, most: int) -> Copied:
    """Copy into a file without a name, and open that for reading alone, since a pickle will inherit it."""
    size = place.stamp(path).size
    if size > most:
        raise Malformed(
            f"{path} has {size:,} bytes; {limits.ADOPT_FILE_BYTES:,} at most are taken over as one version.",
            code="too-large",
            subject=path,
        )
    try:
        target = _nameless(size)
    except OSError as error:
        raise _no_room(path, error) from None
    try:
        stamp, digest = place.copy(path, target, most=most)
        with suppress(OSError):  # only Linux has the folder; only there a child gets the descriptor
            reading = os.open(f"/proc/self/fd/{target}", os.O_RDONLY | os.O_CLOEXEC)
            os.close(target)
            target = reading
    except OSError as error:
        os.close(target)
        raise _no_room(path, error) from None
    except BaseException:
        os.close(target)
        raise
    return Copied(path, stamp, digest, target)


def _nameless(size: int) -> int:
    if size <= _IN_MEMORY and hasattr(os, "memfd_create"):
        return os.memfd_create("mvault-adopt", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _no_room(path: str, error: OSError) -> Unavailable:
    return Unavailable(
        f"{path} cannot be copied for a look at it: {error.strerror}.",
        code="storage-full",
        subject=path,
        hint="Set TMPDIR to a folder with room for it.",
    )


def stamp(place: Place, origin: Origin) -> str:
    """Sum up what is known of an origin's files without reading them, to tell later whether one changed.

    Raises:
        NotFound, Unavailable.
    """
    told = [(path, place.stamp(path)) for path in sorted(origin.files.values())]
    lines = [f"{found.size} {found.modified} {found.mark} {path}\n" for path, found in told]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()
