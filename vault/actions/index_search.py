"""Search a vault by its registry index, brought up to date first; verify what was found, if asked."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from vault.actions import index_listing, index_place, index_reading, indexing
from vault.actions.index_place import Index
from vault.actions.session import Session
from vault.core import limits, names
from vault.core.registry_record import PROMOTE, Facts, Record
from vault.core.search_match import matches
from vault.core.search_query import Query, parse
from vault.core.trust import Skipped
from vault.errors import NotFound, NoUsableKey, Refused
from vault.settings import Settings

if TYPE_CHECKING:
    from vault.registry.searching import Hit

FRESH_SECONDS: Final = 60  # for which an index is taken for up to date, but for what was done from here


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, newest first, and whether there is `more`.

    `updated` is when the index was last compared with the store. With `verified`, each hit is as the store
    proves it; `refuted` are those that the index had and the store does not bear out. `skipped` are versions
    that are not in the index, and why, where it was updated just now.
    """

    hits: "tuple[Hit, ...]"
    more: bool
    updated: str | None
    verified: bool
    refuted: tuple[Skipped, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    unrecorded: tuple[str, ...] = ()


def search(
    session: Session,
    settings: Settings,
    text: str,
    *,
    limit: int = 50,
    verify: bool = False,
    update: bool | None = None,
) -> Found:
    """Find the newest `limit` versions that a query asks for (docs/registry.md has its grammar).

    The index is brought up to date first where it is older than `FRESH_SECONDS`; always with `update`, and
    never with `update=False`. With `verify` each hit is verified and compared with the query again.

    Raises:
        ValueError: the query breaks the grammar, or the limit is out of its range.
        MissingLibrary: SQLAlchemy or alembic is not installed.
        Refused, NotFound, Unavailable.
    """
    query = parse(text)
    if not 1 <= limit <= limits.SEARCH_RESULTS:
        raise ValueError(f"A search gives from 1 to {limits.SEARCH_RESULTS:,} versions.")
    from vault.registry import searching

    index = index_place.open_index(settings, session.pin)
    try:
        done = _updated(session, index, update)
        hits, more = searching.find(index.catalog, index.own, query, limit)
        found = Found(
            tuple(hits),
            more,
            indexing.updated(index),
            verified=False,
            skipped=tuple(done.skipped),
            unrecorded=done.unrecorded,
        )
    finally:
        index.close()
    return _verified(session, query, found) if verify else found


def _updated(session: Session, index: Index, wanted: bool | None) -> indexing.Updated:
    """Bring the index up to date, as far as that is wanted: all of it, or what was changed from here."""
    from vault.registry import following

    if wanted is False:
        return indexing.Updated()
    last = indexing.updated(index)
    if wanted or last is None or not 0 <= session.clock() - names.timestamp(last) < FRESH_SECONDS:
        return indexing.update(session, index)
    touched = index_place.take_touched(index.folder)
    # What others have taken in, a server tells in a moment; what of it can be read, the store tells.
    if touched is None or (index.shared and following.follow(index.catalog, index.own, session.progress)):
        return indexing.update(session, index)
    return indexing.update(session, index, touched) if touched else indexing.Updated()


# --- what the store says of it ---


def _verified(session: Session, query: Query, found: Found) -> Found:
    """Read each hit from the store; what does not verify, or is not what was asked for, is refuted."""
    hits, refuted = [], list(found.refuted)
    for hit in found.hits:
        try:
            record = record_of(session, hit)
        except (Refused, NotFound) as error:
            refuted.append(Skipped(hit.reference, error.message, error.code))
            continue
        if not matches(query, record):
            reason = "The index is wrong about it: it is not what was searched for."
            refuted.append(Skipped(hit.reference, reason, "not-found"))
            continue
        hits.append(_as_stored(hit, record))
    return replace(found, hits=tuple(hits), verified=True, refuted=tuple(refuted))


def record_of(session: Session, hit: "Hit") -> Record:
    """Read what the index should have of a version.

    Raises:
        Refused, NotFound, Unavailable.
    """
    verified = index_reading.verify(session, hit.model, hit.version)
    if verified.digest != hit.manifest:
        raise NotFound(f"{hit.reference} is another version than the index has.", subject=hit.reference)
    listed = index_listing.versions(session, [hit.model])[hit.model, hit.version]
    places = index_listing.channels(session, [hit.model])
    where = places[hit.model].places if hit.model in places else set()
    steps, current = index_reading.steps(session, hit.model, where)
    facts: Facts | None = None
    try:
        # Who asks for a proof of what he can read has these few loads recorded, where that is demanded.
        readers = index_reading.Readers(session, recorded=True)
        opened = index_reading.facts(session, verified, readers.through(hit.model, listed.keys))
        facts = None if opened is None else opened[1]
    except NoUsableKey:
        pass
    return Record(
        index_reading.entry(session, verified),
        frozenset(place for place, manifest in current.items() if manifest == verified.digest),
        frozenset(
            (step.environment, step.slot)
            for step in steps
            if step.action == PROMOTE and step.manifest == verified.digest
        ),
        facts,
    )


def _as_stored(hit: "Hit", record: Record) -> "Hit":
    """Give a hit as the store proves it."""
    entry, facts = record.entry, record.facts or Facts()
    by_field = {"metric": facts.metrics, "param": facts.parameters}
    values = {f"{field}.{name}": text for field, found in by_field.items() for name, _, text in found}
    values |= {f"library.{name}": version for name, version in facts.libraries}
    return replace(
        hit,
        created=names.time_text(entry.created),
        size=entry.size,
        formats=entry.formats,
        publishers=entry.publishers,
        channels=tuple(sorted(_place(*place) for place in record.current)),
        tags=tuple(sorted({*entry.tags, *facts.tags})),
        readable=record.facts is not None,
        values={name: values[name] for name in hit.values if name in values},
    )


def _place(environment: str, slot: str) -> str:
    return environment if slot == names.MAIN else f"{environment}/{slot}"
