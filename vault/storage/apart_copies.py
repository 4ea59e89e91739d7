"""Copy objects from one store to another, whole or not at all, and see that what is there is the same."""

from typing import Final

from vault.core import limits
from vault.errors import Conflict, DigestMismatch, NotFound
from vault.ports import Source, Store

_PIECE: Final = limits.MIB


def copy(name: str, source: Store, target: Store) -> bool:
    """Copy an object, whose bytes nobody has verified; tell whether it was missing.

    Raises:
        DigestMismatch: other bytes have that name in `target`.
        NotFound: `source` does not have it.
        Unavailable: a store failed; nothing is visible of what was not copied whole.
    """
    with source.open(name) as found:
        try:
            with target.create(name, size=found.size) as sink:
                buffer = memoryview(bytearray(min(found.size, _PIECE)))
                for offset in range(0, found.size, _PIECE):
                    sink.write(_piece(found, offset, buffer, name))
        except Conflict:
            if not _equal(name, found, target):
                raise differs(name, source, target) from None
            return False
    return True


def same(name: str, one: Store, other: Store) -> bool:
    """Tell whether two stores have the same bytes under a name that `one` has.

    Raises:
        NotFound: `one` does not have it.
        Unavailable: a store failed.
    """
    with one.open(name) as found:
        return _equal(name, found, other)


def differs(name: str, source: Store, target: Store) -> DigestMismatch:
    """Say that two stores have different bytes under one name."""
    return DigestMismatch(
        f"{target.location} has other bytes than {source.location} under {name}.",
        subject=name,
        hint="Somebody put them there, or altered one of the two. Compare them (mvault check), "
        "then have the wrong one removed.",
    )


def _equal(name: str, found: Source, target: Store) -> bool:
    try:
        with target.open(name) as there:
            if there.size != found.size:
                return False
            room = min(found.size, _PIECE)
            left, right = memoryview(bytearray(room)), memoryview(bytearray(room))
            return all(
                _piece(found, offset, left, name) == _piece(there, offset, right, name)
                for offset in range(0, found.size, _PIECE)
            )
    except NotFound:
        return False


def _piece(source: Source, offset: int, buffer: memoryview, name: str) -> memoryview:
    part = buffer[: min(len(buffer), source.size - offset)]
    if source.read_into(offset, part) != len(part):
        raise DigestMismatch(
            f"{name} became shorter while it was copied.",
            code="size-mismatch",
            subject=name,
            hint="Try again.",
        )
    return part
