"""Copy objects between stores as they are: hashed on the way, each whole or not at all, and read back.

Nothing here needs a key or believes what it copies. A payload whose ciphertext
tree is known from a verified sealing record is compared with it before it is
committed, so that what is damaged never replaces what a backup lacks.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from vault.actions.backing_up_throttle import Throttle
from vault.core import age, backup_order, ciphertext_tree, limits
from vault.errors import Conflict, DigestMismatch, Malformed, NotFound, Unavailable, VaultError
from vault.ports import CreatesTogether, Source, Store

COPIED: Final = "copied"
THERE: Final = "there"  # somebody else copied it meanwhile: the same bytes
GONE: Final = "gone"  # it was deleted since it was listed
FAILED: Final = "failed"

SMALL: Final = limits.MIB  # objects up to this size are read whole
TOGETHER: Final = 64 * limits.KIB  # and up to this created together with others


@dataclass(frozen=True, slots=True)
class Item:
    """An object to copy: its name and listed size; `again` writes over what is derived and there."""

    name: str
    size: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class Copied:
    """What came of one object; `error` says why it failed."""

    item: Item
    state: str
    error: VaultError | None = None


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """What a verified sealing record says of a payload: its size and the root of its tree."""

    size: int
    root: bytes


class Copier:
    """Copies from one store to another; several threads may call it at once."""

    def __init__(
        self, source: Store, target: Store, throttle: Throttle, expected: Mapping[str, Ciphertext]
    ) -> None:
        """Copy at the pace of `throttle`; `expected` are payloads by name, and may grow meanwhile."""
        self._source = source
        self._target = target
        self._throttle = throttle
        self._expected = expected

    def together(self, items: Sequence[Item]) -> Iterator[Copied]:
        """Copy small objects without an order among them, together where the target can.

        Raises:
            Unavailable: the target is full or refuses.
        """
        data: dict[str, bytes] = {}
        by_name = {item.name: item for item in items}
        for item in items:
            try:
                data[item.name] = self._read(item)
            except VaultError as error:
                yield _failed(item, error)
        left = list(data)
        if isinstance(self._target, CreatesTogether) and len(data) > 1:
            self._throttle.take(sum(map(len, data.values())), 1)
            left = self._target.create_all(data)
        written = frozenset(data) - frozenset(left)
        for name, content in data.items():
            item = by_name[name]
            yield self._guarded(item, partial(self._put, item, content, written=name in written))

    def one(self, item: Item) -> Copied:
        """Copy one object.

        Raises:
            Unavailable: the target is full or refuses.
        """
        with ExitStack() as stack:
            try:
                source = stack.enter_context(self._source.open(item.name)) if item.size > SMALL else None
                data = self._read(item) if source is None else b""
            except VaultError as error:  # of the source alone
                return _failed(item, error)
            if source is None:
                return self._guarded(item, lambda: self._put(item, data, written=False))
            return self._guarded(item, lambda: self._stream(item, source))

    # --- small objects ---

    def _read(self, item: Item) -> bytes:
        self._throttle.take(item.size, 1)
        limit = 2 * SMALL if backup_order.is_derived(item.name) else max(item.size, 1)
        data = self._source.read(item.name, limit=limit)
        self._check(item.name, data)
        return data

    def _check(self, name: str, data: bytes) -> None:
        """Compare a small payload with its sealing record.

        Raises:
            DigestMismatch: it is damaged at the source.
        """
        expected = self._expected.get(name)
        if expected is None:
            return
        if len(data) != expected.size:
            raise _damaged(name, self._source, code="size-mismatch")
        _check_tree(name, self._source, expected, hashlib.sha256(data).digest())  # it is one unit at most

    def _guarded(self, item: Item, act: Callable[[], str]) -> Copied:
        try:
            return Copied(item, act())
        except VaultError as error:
            if error.code in {"storage-full", "storage-denied"}:
                raise
            return _failed(item, error)

    def _put(self, item: Item, data: bytes, *, written: bool) -> str:
        self._throttle.take(len(data), 2)
        if not written:
            try:
                self._create(item.name, data)
            except Conflict:
                if self._holds(item.name, data):
                    return THERE
                if not (item.again or backup_order.is_derived(item.name)):
                    raise differs(item.name, self._source, self._target) from None
                if not self._replaced(item.name, data):
                    return THERE
        if not self._holds(item.name, data):
            raise self._unfit(item.name)
        return COPIED

    def _replaced(self, name: str, data: bytes) -> bool:
        """Write what is derived in place of an older one; where nobody may delete, that stays."""
        try:
            self._target.delete(name)
        except Unavailable as error:
            if error.code != "storage-denied":
                raise
            return False
        self._create(name, data)
        return True

    def _create(self, name: str, data: bytes) -> None:
        with self._target.create(name, size=len(data)) as sink:
            sink.write(data)

    def _holds(self, name: str, data: bytes) -> bool:
        try:
            return self._target.read(name, limit=max(len(data), 1)) == data
        except (NotFound, Malformed):
            return False

    def _unfit(self, name: str) -> DigestMismatch:
        """Say that the target gives back other bytes than it was given, and take them away again."""
        with suppress(Unavailable):
            self._target.delete(name)
        return DigestMismatch(
            f"{self._target.location} gave back other bytes of {name} than were written.",
            subject=name,
            hint="Its disk, memory or network may be failing. Look at it before relying on this backup.",
        )

    # --- large objects ---

    def _stream(self, item: Item, source: Source) -> str:
        name = item.name
        expected = self._expected.get(name)
        digests = bytearray()
        try:
            with self._target.create(name, size=source.size) as sink:
                for part in _parts(source, name):
                    self._throttle.take(len(part))
                    digests += hashlib.sha256(part).digest()
                    sink.write(part)
                if expected is not None:
                    if source.size != expected.size:
                        raise _damaged(name, self._source, code="size-mismatch")
                    _check_tree(name, self._source, expected, bytes(digests))
        except Conflict:
            if self.read_back(name) != unit_digests(source, name):
                raise differs(name, self._source, self._target) from None
            return THERE
        if expected is None and self.read_back(name) != bytes(digests):
            raise self._unfit(name)
        return COPIED  # who knows its tree reads it back by that, with its whole version

    def read_back(self, name: str) -> bytes | None:
        """Give the digests of the units of a large object at the target; None where there is none.

        Raises:
            Unavailable: the target failed.
        """
        try:
            with self._target.open(name) as source:
                return unit_digests(source, name, self._throttle)
        except NotFound:
            return None


def unit_digests(source: Source, name: str, throttle: Throttle | None = None) -> bytes:
    """Give the SHA-256 of each unit of an open object, whatever it holds.

    Raises:
        DigestMismatch: it became shorter meanwhile.
        Unavailable: the store failed.
    """
    digests = bytearray()
    for part in _parts(source, name):
        if throttle is not None:
            throttle.take(len(part))
        digests += hashlib.sha256(part).digest()
    return bytes(digests)


def _parts(source: Source, name: str) -> Iterator[memoryview]:
    """Read an object in units of an age payload, whether or not it is one."""
    buffer = memoryview(bytearray(age.unit_start(1)))
    unit = start = 0
    while start < source.size:
        unit += 1
        end = min(age.unit_start(unit), source.size)
        part = buffer[: end - start]
        if source.read_into(start, part) != len(part):
            raise DigestMismatch(
                f"{name} became shorter while it was read.",
                code="size-mismatch",
                subject=name,
                hint="Try again.",
            )
        yield part
        start = end


def _check_tree(name: str, source: Store, expected: Ciphertext, digests: bytes) -> None:
    try:
        ciphertext_tree.check_root(expected.size, digests, expected.root)
    except DigestMismatch:
        raise _damaged(name, source) from None


def _damaged(name: str, source: Store, code: str = "digest-mismatch") -> DigestMismatch:
    return DigestMismatch(
        f"{name} was altered in {source.location}: it is not what was signed. It was not copied.",
        code=code,
        subject=name,
        hint="An earlier backup may have it as it was: mvault restore MODEL:VERSION",
    )


def differs(name: str, source: Store, target: Store) -> DigestMismatch:
    """Say that two stores have different bytes under the name of an object that never changes."""
    return DigestMismatch(
        f"{target.location} has other bytes than {source.location} under {name}; nothing was overwritten.",
        subject=name,
        hint="One of the two was altered. Find out which: mvault check, mvault backup verify",
    )


def _failed(item: Item, error: VaultError) -> Copied:
    return Copied(item, GONE) if isinstance(error, NotFound) else Copied(item, FAILED, error)
