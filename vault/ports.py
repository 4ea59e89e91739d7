"""The Protocols between the vault and the world: storage, clock, randomness, progress."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Stat:
    """What a store knows about a name: its size in bytes."""

    size: int


class Sink(Protocol):
    """Takes the bytes of one new object, in order."""

    def write(self, data: Buffer) -> None:
        """Append `data`.

        Raises:
            Unavailable: the store failed or is full; nothing becomes visible.
        """


class Source(Protocol):
    """An open object: reads at any offset, from several threads at once."""

    @property
    def size(self) -> int:
        """The object's size in bytes when it was opened."""

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; return how many bytes were there (fewer only at the end).

        Raises:
            Unavailable: the store failed.
        """


class Store(Protocol):
    """Write-once storage: names are `/`-separated, ASCII, and never overwritten.

    `create` and `open` are context managers. `create` commits when its block
    ends without an exception, atomically and durably; the name is visible
    either whole or not at all. An exception inside the block discards.
    """

    @property
    def location(self) -> str:
        """The location as the user gave it, made absolute; names no secret."""

    def create(self, name: str, *, size: int | None = None) -> AbstractContextManager[Sink]:
        """Create `name`; `size` is a hint in bytes.

        Raises:
            Conflict: the name exists; raised at entry or at commit, and nothing was changed.
            Unavailable: the store failed, is full (`storage-full`) or refused (`storage-denied`).
        """

    def open(self, name: str) -> AbstractContextManager[Source]:
        """Open `name` for reading.

        Raises:
            NotFound: there is no such name.
            Unavailable: the store failed.
        """

    def read(self, name: str, *, limit: int) -> bytes:
        """Return all bytes of `name`, of which there may be at most `limit`.

        Raises:
            NotFound: there is no such name.
            Malformed: the object is larger than `limit` (`too-large`); nothing was read.
            Unavailable: the store failed.
        """

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """Yield the names that start with `prefix` and sort after `after`, in code-point order.

        Raises:
            Unavailable: the store failed, at any point of the iteration.
        """

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Yield, in order and once each, the next path part of the names under the folder `prefix`.

        `prefix` is empty or ends in `/`; a part that has names below it ends in `/`.

        Raises:
            Unavailable: the store failed.
        """

    def delete(self, name: str) -> None:
        """Remove `name`; a name that is not there is not an error.

        Raises:
            Unavailable: the store failed or refused.
        """

    def stat(self, name: str) -> Stat:
        """Return what is known about `name` without reading it.

        Raises:
            NotFound: there is no such name.
            Unavailable: the store failed.
        """


def is_far(store: Store) -> bool:
    """Tell whether each answer of a store takes a while; what is asked over a network says `round_trip`."""
    return bool(getattr(store, "round_trip", False))


@runtime_checkable
class CreatesTogether(Protocol):
    """A store that makes many small objects durable for little more than one of them costs."""

    def create_all(self, objects: Mapping[str, bytes]) -> list[str]:
        """Create the objects, name → bytes, each whole; return the names left for `create` to do.

        Raises:
            Unavailable: the store failed; some of the objects may be there.
        """


@runtime_checkable
class CreatesInStream(Protocol):
    """A store that makes one batch of small objects durable while the next is prepared."""

    def create_stream(self, batches: Iterable[Mapping[str, bytes]]) -> Iterator[Sequence[str]]:
        """Do as `CreatesTogether.create_all` with each batch; give the names left of each, in order.

        The next batch may be taken before what was left of the last is given.

        Raises:
            Unavailable: the store failed; some of the objects may be there.
        """


@runtime_checkable
class ReadsAhead(Protocol):
    """A store that answers sooner for many small objects when it is told in time that they will be read."""

    def reading_ahead(self, prefix: str, inner: str) -> AbstractContextManager[None]:
        """Prepare, while the block runs, for reads below `prefix`; it changes no answer.

        `inner` is a regular expression for the folders to be looked into, by their paths from `prefix`.
        """


class ArchiveState(Protocol):
    """Whether an object can be read now, and if not, whether it is on its way back."""

    @property
    def archived(self) -> bool:
        """Whether its class is one from which it must be restored."""

    @property
    def restoring(self) -> bool:
        """Whether that was asked for and takes time."""

    @property
    def readable(self) -> bool:
        """Whether it can be read now."""

    @property
    def storage_class(self) -> str:
        """The class that it is in."""


@runtime_checkable
class ColdStorage(Protocol):
    """A store that has colder classes for its objects, some of which must be restored to be read."""

    def archive_state(self, name: str) -> ArchiveState:
        """Tell whether `name` can be read now.

        Raises:
            NotFound, Unavailable.
        """

    def request_restore(self, name: str, days: int = 7, tier: str = "Standard") -> ArchiveState:
        """Ask for `name` to be readable for so many days; asking again, or without need, is no error.

        Raises:
            NotFound, Unavailable.
        """

    def set_class(self, name: str, storage_class: str) -> bool:
        """Put `name` into a class; tell whether it was in another one.

        Raises:
            NotFound, Unavailable.
        """


@runtime_checkable
class ListsSizes(Protocol):
    """A store whose listing tells the sizes of the objects, so that nobody has to ask for each."""

    def list_sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield the names that start with `prefix`, in code-point order, each with its size in bytes.

        Raises:
            Unavailable: the store failed, at any point of the iteration.
        """


@runtime_checkable
class SweepsLeftovers(Protocol):
    """A store in which interrupted writers leave parts of objects that have no name yet."""

    def sweep_leftovers(self, older_than_seconds: int, now: int) -> int:
        """Remove those last written to more than so long before `now`; return how many.

        Raises:
            Unavailable: the store failed or refused.
        """


class KeyService(Protocol):
    """Wraps keys under one key that never leaves a service, such as AWS KMS, and unwraps them there.

    The service binds what it wraps to a `context`, which is not secret: without
    the same one it does not unwrap.
    """

    def wrap(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        """Have the service wrap a key of at most `limits.RECIPIENT_CHARS` bytes.

        Raises:
            Unavailable: the service did not answer, or not as it should; worth trying again.
            AccessDenied: it refuses, or refuses to use its key (`key-service-denied`).
            NoUsableKey: there are no credentials for it here.
        """

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Have the service unwrap what `wrap` gave; of the answer nothing is trusted but its size.

        Raises:
            DigestMismatch: it was altered, or wrapped for another context or by another key
                (`decrypt-failed`).
            Unavailable, AccessDenied, NoUsableKey: see `wrap`.
        """


class SigningService(Protocol):
    """Signs with an Ed25519 key that never leaves a service."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`, 64 bytes, which was verified under the pinned public key.

        Raises:
            BadSignature: what the service gave is no signature by that key.
            Unavailable, AccessDenied, NoUsableKey: see `KeyService.wrap`.
        """


class Progress(Protocol):
    """Told how far long work has come; called from one thread at a time."""

    def __call__(self, done: int, total: int, what: str) -> None:
        """Report `done` of `total` bytes of `what`."""


Clock = Callable[[], int]  # seconds since 1970, UTC
Random = Callable[[int], bytes]  # n bytes fit for keys


def no_progress(done: int, total: int, what: str) -> None:
    """Report to nobody."""
