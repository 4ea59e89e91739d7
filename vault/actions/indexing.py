"""Bring the registry index to what the store holds: names are listed, and only what is new is read.

Nothing of the index decides anything. What does not verify is not in it, and is told.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

from vault.actions import index_listing, index_place, index_reading
from vault.actions.index_listing import Versions
from vault.actions.index_place import Index
from vault.actions.session import Session
from vault.core import names
from vault.core.names import Model, Version
from vault.core.registry_record import Entry, Facts, key_of
from vault.core.stages import Authorised
from vault.core.trust import Skipped
from vault.errors import NotFound, NoUsableKey, Refused, Unavailable
from vault.ports import is_far

if TYPE_CHECKING:
    from vault.registry.writing import Sealed, Seen

T = TypeVar("T")
R = TypeVar("R")

READER: Final = "reader"  # the note of whose key opened what the index has of sealed halves
_BATCH: Final = 200  # versions in one transaction
_MANY: Final = 1_000  # versions, after which a database looks at itself
_THREADS: Final = 8  # for a store that is far away
_TRIED: Final = "-"  # in place of an environment: it was tried, and nothing opened it


@dataclass(slots=True)
class Updated:
    """What an update did: numbers of versions and models, and what is not in the index, with the reason.

    `readable` counts the sealed halves that were read anew. `unrecorded` are the environments through which
    some were not read, since each such load has to be recorded: `recorded=True` does both. `read_only` tells
    that others keep the server's half: what they have not taken in yet is not in it.
    """

    written: int = 0
    removed: int = 0
    models: int = 0
    readable: int = 0
    followed: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    unrecorded: tuple[str, ...] = ()
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """What an index holds. `updated` is None before the first update; `readable` counts sealed halves."""

    place: str
    shared: str | None
    updated: str | None
    models: int
    versions: int
    channel_records: int
    readable: int


def update(
    session: Session, index: Index, of: Collection[Model] | None = None, *, recorded: bool = False
) -> Updated:
    """Bring the index up to date, or what it has of some models.

    Raises:
        Refused: the trust documents do not verify, the store offers something older than was seen, or
            the index is none (`memory-damaged`).
        NotFound, Unavailable.
    """
    from vault.registry import following, schema, writing

    done = Updated()
    touched = index_place.take_touched(index.folder) if of is None else []
    run = _Run(session, index, done, of)
    try:
        run.listed = index_listing.versions(session, of)
        run.catalog()
        if index.shared:
            done.followed = following.follow(index.catalog, index.own, session.progress)
        run.sealed(recorded=recorded)
    except BaseException:
        for model in (touched if of is None else of) or ():
            if index.folder is not None:
                index_place.touch(index.folder, model)
        raise
    if of is None:
        index.own.write(lambda connection: writing.put_note(connection, schema.UPDATED, session.now()))
    return done


def rebuild(session: Session, index: Index, *, recorded: bool = False) -> Updated:
    """Make the index anew from the store.

    Raises:
        As `update`.
    """
    index.catalog.clear()
    if index.shared:
        index.own.clear()
    return update(session, index, recorded=recorded)


def status(index: Index) -> Status:
    """Tell what an index holds.

    Raises:
        Refused: `memory-damaged`. Unavailable.
    """
    from vault.registry import writing

    public = index.catalog.read(lambda connection: writing.counts(connection, sealed=False))
    return Status(
        place=index.own.place,
        shared=index.catalog.place if index.shared else None,
        updated=updated(index),
        readable=index.own.read(lambda connection: writing.counts(connection, sealed=True))["readable"],
        **public,
    )


def updated(index: Index) -> str | None:
    """Give when the index was last compared with the store, as documents spell times; None if it never was.

    Raises:
        Refused: `memory-damaged`. Unavailable.
    """
    from vault.registry import schema, writing

    found = index.own.read(lambda connection: writing.note(connection, schema.UPDATED))
    try:
        return None if found is None else names.time_text(names.timestamp(found))
    except Refused:
        raise index.own.damaged("its time is none") from None


@dataclass(slots=True)
class _Run:
    """One update: what the store lists, and what is done about it."""

    session: Session
    index: Index
    done: Updated
    of: Collection[Model] | None
    listed: Versions = field(default_factory=dict)

    # --- the public half ---

    def catalog(self) -> None:
        """Write what changed in the public half, unless only others may write to a shared one.

        Raises:
            Refused, NotFound, Unavailable.
        """
        try:
            self._versions()
            self._channels()
            if self.done.written >= _MANY:
                self.index.catalog.settle()
        except Unavailable as error:
            if not self.index.shared or error.code != "storage-denied":
                raise
            self.done.read_only = True

    def _known(self, seen: Mapping[tuple[str, str], T]) -> dict[tuple[str, str], T]:
        return {key: value for key, value in seen.items() if self.of is None or key[0] in self.of}

    def _seen(self) -> Mapping[tuple[str, str], "Seen"]:
        from vault.registry import writing

        if self.of is None:
            return self.index.catalog.read(writing.entries_seen)
        found: dict[tuple[str, str], Seen] = {}
        for model in self.of:
            found |= self.index.catalog.read(lambda c, model=model: writing.entries_seen(c, model))  # type: ignore[misc]
        return found

    def _versions(self) -> None:
        from vault.registry import writing

        under = self._under()
        known = self._seen()
        wanted = [
            (key, seen)
            for key, seen in ((key, listed.seen(under)) for key, listed in self.listed.items())
            if key not in known or known[key].seen != seen
        ]
        gone = [seen.number for key, seen in known.items() if key not in self.listed]
        total = len(wanted)
        for place, some in enumerate(_batches(self._each(wanted, self._entry))):
            entries = [entry for entry in some if entry is not None]
            if entries:
                catalog = self.index.catalog
                crowded = catalog.write(lambda c, entries=entries: writing.put_entries(c, entries))  # type: ignore[misc]
                self.done.skipped += [_crowded(entry) for entry in crowded]
                self.done.written += len(entries) - len(crowded)
            self.session.progress(min(total, (place + 1) * _BATCH), total, "versions")
        if gone:
            self.index.catalog.write(lambda connection: writing.forget_entries(connection, gone))
            self.done.removed += len(gone)

    def _entry(self, wanted: tuple[tuple[Model, Version], str]) -> Entry | None:
        (model, version), seen = wanted
        try:
            verified = index_reading.verify(self.session, model, version)
            return index_reading.entry(self.session, verified, seen, self.listed[model, version])
        except (Refused, NotFound) as error:
            self.done.skipped.append(Skipped(f"{model}:{version}", error.message, error.code))
            return None

    def _channels(self) -> None:
        from vault.registry import writing

        under = self._under()
        of_models: dict[Model, list[str]] = {}
        for (model, version), listed in self.listed.items():
            of_models.setdefault(model, []).append(f"{version} {listed.seen(under)}")
        there = index_listing.channels(self.session, self.of)
        known = self.index.catalog.read(writing.models_seen)
        for model in sorted({*of_models, *there}):
            records = there.get(model)
            seen = index_listing.model_seen(under, records, of_models.get(model, ()))
            if known.get(model) == seen:
                continue
            try:
                steps, current = index_reading.steps(
                    self.session, model, () if records is None else records.places
                )
            except Refused as error:
                self.done.skipped.append(Skipped(model, error.message, error.code))
                continue
            self.index.catalog.write(
                lambda c, m=model, s=steps, u=current, n=seen: writing.put_channels(c, m, s, u, n)  # type: ignore[misc]
            )
            self.done.models += 1
        gone = [model for model in known if model not in of_models and model not in there]
        gone = [model for model in gone if self.of is None or model in self.of]
        if gone:
            self.index.catalog.write(lambda connection: writing.forget_models(connection, gone))

    def _under(self) -> str:
        """Stand for what decides whose signatures count: a change of policy has all be judged again."""
        policy = self.session.trust().policy_id
        return f"{policy.era}.{policy.version}.{policy.digest}"

    # --- the sealed half ---

    def sealed(self, *, recorded: bool) -> None:
        """Read what this identity may read and the index has not, and forget what it may not read any more.

        Raises:
            Refused, Unavailable.
        """
        from vault.registry import writing

        own = self.index.own
        try:
            readers = index_reading.Readers(self.session, recorded=recorded)
        except NoUsableKey:
            return
        if own.read(lambda connection: writing.note(connection, READER)) != readers.key_id:
            everything = [*own.read(writing.facts_seen)]
            own.write(lambda connection: writing.forget_facts(connection, everything))
            own.write(lambda connection: writing.put_note(connection, READER, readers.key_id))
        known = own.read(writing.facts_seen)
        there = own.read(writing.entries_seen)
        numbers = {seen.number for seen in there.values()}
        lost = [number for number in known if number not in numbers]
        wanted = []
        for (model, version), listed in self.listed.items():
            seen = there.get((model, version))
            if seen is None:
                continue
            state = known.get(seen.number, "")
            if state and not state.startswith(_TRIED):
                if readers.holds(state, model):
                    continue
                lost.append(seen.number)
            through = tuple(readers.through(model, listed.keys))
            tried = _TRIED + ",".join(entry.resolved.rule.name for entry in through)
            if through and state != tried:
                wanted.append((seen.number, model, version, through, tried))
        own.write(lambda connection: writing.forget_facts(connection, lost))
        self._read(wanted)
        self.done.unrecorded = tuple(sorted(readers.unrecorded))

    def _read(self, wanted: Sequence["_Wanted"]) -> None:
        from vault.registry import writing

        total = len(wanted)
        for place, some in enumerate(_batches(self._each(wanted, self._facts))):
            sealed = [entry for entry in some if entry is not None]
            self.index.own.write(lambda connection, sealed=sealed: writing.put_facts(connection, sealed))  # type: ignore[misc]
            self.done.readable += sum(not entry.environment.startswith(_TRIED) for entry in sealed)
            self.session.progress(min(total, (place + 1) * _BATCH), total, "metadata")

    def _facts(self, wanted: "_Wanted") -> "Sealed | None":
        from vault.registry.writing import Sealed

        number, model, version, through, tried = wanted
        try:
            verified = index_reading.verify(self.session, model, version)
        except (Refused, NotFound):
            return None
        if key_of(verified.digest) != number:
            return None
        created = names.timestamp(verified.manifest.created)
        found = index_reading.facts(self.session, verified, through)
        if found is None:
            return Sealed(number, created, tried, Facts())
        return Sealed(number, created, *found)

    def _each(self, wanted: Iterable[T], act: Callable[[T], R]) -> Iterator[R]:
        """Do something for each, several at once where every answer of the store takes a while."""
        if not is_far(self.session.store):
            yield from map(act, wanted)
            return
        with ThreadPoolExecutor(_THREADS) as pool:
            source = iter(wanted)
            while some := list(islice(source, _BATCH)):
                yield from pool.map(act, some)


_Wanted = tuple[int, Model, Version, tuple[Authorised, ...], str]


def _batches(source: Iterable[T]) -> Iterator[list[T]]:
    entries = iter(source)
    while some := list(islice(entries, _BATCH)):
        yield some


def _crowded(entry: Entry) -> Skipped:
    return Skipped(
        f"{entry.model}:{entry.version}",
        "Its digest begins as that of another version does, which somebody must have made so.",
        "digest-mismatch",
    )
