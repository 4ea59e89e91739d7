"""Refuse a store that cannot hold a vault, and note what was found of one that can."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from vault.actions import objects
from vault.core import fields, layout, limits, strict_json
from vault.core.fields import Fields
from vault.core.names import Environment
from vault.errors import Conflict, NotFound, Refused, Unavailable
from vault.ports import Store
from vault.storage import probing
from vault.storage.ahead import AheadStore
from vault.storage.local import LocalStore
from vault.storage.probing import Probe

_LOCAL_RACERS: Final = 3  # link(2) on a disk of this machine: more of them would only sync more often


@runtime_checkable
class KeptApart(Protocol):
    """Several stores as one, with those of some environments apart from the main one."""

    @property
    def main(self) -> Store:
        """The main store."""

    @property
    def apart(self) -> Mapping[Environment, Store]:
        """The stores of the environments that are kept apart."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What `init` found: nobody signed it, and nothing but advice rests on it."""

    at: str
    probe: Probe


def survey(store: Store, *, large: bool = False) -> Probe:
    """Try what a store honours, and each of those that it consists of; give what was found of the main one.

    `large`: see `vault.storage.probing.probe`.

    Raises:
        Refused: it breaks a promise that nothing can make up for (`unsafe-store`).
        Unavailable: it failed, or refuses to be written to.
    """
    found = [_surveyed(one, large) for one in stores_of(store)]
    return found[0]


def stores_of(store: Store) -> Iterator[Store]:
    """Give the stores that a store consists of, the main one first, without what reads ahead for them."""
    while isinstance(store, AheadStore):
        store = store.inner
    if isinstance(store, KeptApart):
        yield store.main
        yield from store.apart.values()
    else:
        yield store


def _surveyed(store: Store, large: bool) -> Probe:
    is_disk = isinstance(store, LocalStore) and not store.mount.cached
    found = probing.probe(store, racers=_LOCAL_RACERS if is_disk else probing.RACERS, large=large)
    if found.faults:
        raise Refused(
            f"{store.location} cannot hold a vault: {'; '.join(found.faults)}.",
            code="unsafe-store",
            subject=store.location,
            hint="Use a store that creates a name only once and shows at once what it took: docs/storage.md.",
        )
    return found


def record(store: Store, found: Probe, now: str) -> None:
    """Write down what was found, unless something is written there; a vault is none the worse without it."""
    with suppress(Conflict, Unavailable):
        objects.create(store, layout.PROBE, encode(Recorded(now, found)))


def recorded(store: Store) -> Recorded | None:
    """Read what `init` found; None where nothing is written.

    Raises:
        Malformed: what is written is not that.
        Unavailable: the store failed.
    """
    try:
        return parse(store.read(layout.PROBE, limit=limits.PROBE_BYTES))
    except NotFound:
        return None


def encode(entry: Recorded) -> bytes:
    """Write a record (docs/format.md, "Probe"); what stayed behind is not in it."""
    found = entry.probe
    return strict_json.encode(
        {
            "at": entry.at,
            "creates": found.creates,
            "creates_large": found.creates_large,
            "deletes": found.deletes,
            "lists": found.lists,
            "orders": found.orders,
            "racers": found.racers,
            "ranges": found.ranges,
            "reads": found.reads,
            "winners": found.winners,
        }
    )


def parse(data: bytes) -> Recorded:
    """Read a record (docs/format.md, "Probe").

    Raises:
        Malformed: `malformed-json`, `malformed-document` or `too-large`.
    """
    given = Fields(strict_json.parse(data, limit=limits.PROBE_BYTES, subject=layout.PROBE), layout.PROBE)
    at, large = given.text("at", fields.time), given.raw("creates_large")
    if large is not None and not isinstance(large, bool):
        raise fields.malformed(layout.PROBE, "'creates_large' is true, false or null")
    found = Probe(
        racers=given.integer("racers"),
        winners=given.integer("winners"),
        creates=given.boolean("creates"),
        creates_large=large,
        reads=given.boolean("reads"),
        lists=given.boolean("lists"),
        orders=given.boolean("orders"),
        ranges=given.boolean("ranges"),
        deletes=given.text("deletes", fields.one_of(probing.DONE, probing.DENIED, probing.IGNORED)),
    )
    given.done()
    return Recorded(at, found)
