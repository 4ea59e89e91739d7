"""Write what was read from a store into the index: whole versions and channels, in place of the old."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import ARRAY, Connection, Table, and_, bindparam, delete, func, insert, select

from vault.core import limits
from vault.core.names import Digest, Model
from vault.core.registry_record import (
    Entry,
    Facts,
    Step,
    indexed_words,
    key_of,
    library_order,
    phrase_of,
    version_key,
)
from vault.registry import schema
from vault.registry.rows import text_of, whole_of

T = TypeVar("T")

_PHRASE_CHARS: Final = 4 * limits.INDEX_WORDS * (limits.INDEX_WORD_CHARS + 1) + 2
_SOME: Final = 500  # values in one statement: fewer than either database allows

VERSION: Final = "version"
MODEL: Final = "model"

Rows = dict[Table, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Sealed:
    """The sealed half of one version, as read through `environment`; `created` is the version's."""

    number: int
    created: int
    environment: str
    facts: Facts


@dataclass(frozen=True, slots=True)
class Seen:
    """What the index has of a version: its number, and what stands for the objects it was read from."""

    number: int
    seen: str
    created: int


# --- what it has ---


def entries_seen(connection: Connection, model: Model | None = None) -> dict[tuple[str, str], Seen]:
    """Give what the index has: (model, version) → what was seen of it."""
    table = schema.versions.c
    query = select(table.model, table.version, table.number, table.seen, table.created)
    if model is not None:
        query = query.where(table.model == model)
    return {
        (text_of(name), text_of(version)): Seen(whole_of(number), text_of(seen), whole_of(created))
        for name, version, number, seen, created in connection.execute(query)
    }


def models_seen(connection: Connection) -> dict[str, str]:
    """Give what was seen of every model's channels."""
    found = connection.execute(select(schema.models.c.name, schema.models.c.seen))
    return {text_of(name): text_of(seen) for name, seen in found}


def facts_seen(connection: Connection) -> dict[int, str]:
    """Give whose sealed half the index has, and through which environment it was read."""
    found = connection.execute(select(schema.kept.c.number, schema.kept.c.environment))
    return {whole_of(number): text_of(environment) for number, environment in found}


def note(connection: Connection, name: str) -> str | None:
    """Give a note of the index about itself."""
    found = connection.execute(select(schema.meta.c.value).where(schema.meta.c.name == name)).scalar()
    return None if found is None else text_of(found)


def put_note(connection: Connection, name: str, value: str) -> None:
    """Write a note of the index about itself."""
    connection.execute(delete(schema.meta).where(schema.meta.c.name == name))
    connection.execute(insert(schema.meta), {"name": name, "value": value})


def counts(connection: Connection, *, sealed: bool) -> dict[str, int]:
    """Count models, versions and channel records; with `sealed`, the versions whose sealed half is there."""
    tables = {"models": schema.models, "versions": schema.versions, "channel_records": schema.channels}
    if sealed:
        tables["readable"] = schema.kept
    return {
        name: connection.execute(select(func.count()).select_from(table)).scalar() or 0
        for name, table in tables.items()
    }


# --- the public half ---


def put_entries(connection: Connection, entries: Sequence[Entry]) -> list[Entry]:
    """Write versions in place of what the index had of them; give those whose number another one has."""
    numbers = [key_of(entry.manifest) for entry in entries]
    table = schema.versions.c
    there: dict[int, tuple[str, str]] = {}
    for some in some_of(numbers):
        query = select(table.number, table.model, table.version).where(table.number.in_(some))
        there |= {number: (model, version) for number, model, version in connection.execute(query)}
    rows: Rows = {}
    crowded, kept = [], []
    for number, entry in zip(numbers, entries, strict=True):
        place = (entry.model, entry.version)
        if there.setdefault(number, place) != place:
            crowded.append(entry)  # two digests with the same 63 bits: somebody has made them so
            continue
        kept.append(number)
        _entry_rows(rows, number, entry)
    forget_entries(connection, kept)
    insert_rows(connection, rows)
    return crowded


def forget_entries(connection: Connection, numbers: Sequence[int]) -> None:
    """Remove versions from the public half; channels remember them still."""
    _forget(connection, numbers, schema.versions, schema.words, schema.OF_ENTRIES)
    _changed(connection, VERSION, [str(number) for number in numbers])


def _entry_rows(rows: Rows, number: int, entry: Entry) -> None:
    found = indexed_words(entry.text)
    _add(
        rows,
        schema.versions,
        number=number,
        model=entry.model,
        version=entry.version,
        ordinal=version_key(entry.version),
        manifest=entry.manifest,
        created=entry.created,
        size=entry.size,
        seen=entry.seen,
        phrase=phrase_of(found),
    )
    for file in entry.files:
        _add(
            rows,
            schema.files,
            number=number,
            path=file.path,
            role=file.role,
            format=file.format,
            size=file.size,
        )
    for kind in entry.formats:
        _add(rows, schema.formats, number=number, format=kind)
    for name in dict.fromkeys(entry.publishers):
        _add(rows, schema.signers, number=number, name=name)
    for vote in {(vote.action, vote.environment, vote.who): vote for vote in entry.votes}.values():
        _add(
            rows,
            schema.votes,
            number=number,
            action=vote.action,
            environment=vote.environment,
            who=vote.who,
            created=vote.created,
        )
    for parent in {(parent.manifest, parent.relation): parent for parent in entry.parents}.values():
        _add(
            rows,
            schema.parents,
            number=number,
            manifest=parent.manifest,
            relation=parent.relation,
            model=parent.model,
            version=parent.version,
        )
    for tag in dict.fromkeys(entry.tags):
        _add(rows, schema.tags, number=number, tag=tag)
    for place, text in enumerate(entry.notes):
        _add(rows, schema.notes, number=number, place=place, note=text)
    for place, test in enumerate(entry.tests):
        _add(
            rows,
            schema.load_tests,
            number=number,
            place=place,
            outcome=test.outcome,
            who=test.who,
            created=test.created,
            what=test.what,
        )
    for word in sorted(set(found)):
        _add(rows, schema.words, number=number, word=word)


def put_channels(
    connection: Connection,
    model: Model,
    steps: Iterable[Step],
    current: Mapping[tuple[str, str], Digest],
    seen: str,
) -> None:
    """Write what happened in a model's channels; `current` is in force: (environment, slot) → manifest."""
    forget_models(connection, [model])
    rows: Rows = {}
    _add(rows, schema.models, name=model, seen=seen)
    unique = {(step.environment, step.slot, step.seq, step.action, step.manifest): step for step in steps}
    for step in unique.values():
        _add(
            rows,
            schema.channels,
            environment=step.environment,
            slot=step.slot,
            model=model,
            seq=step.seq,
            action=step.action,
            number=key_of(step.manifest),
            manifest=step.manifest,
            who=" ".join(step.who),
            created=step.created,
        )
    for (environment, slot), manifest in current.items():
        _add(rows, schema.in_force, environment=environment, slot=slot, model=model, number=key_of(manifest))
    insert_rows(connection, rows)


def forget_models(connection: Connection, found: Collection[str]) -> None:
    """Remove models, and what happened in their channels."""
    for some in some_of(sorted(found)):
        connection.execute(delete(schema.models).where(schema.models.c.name.in_(some)))
        for table in schema.OF_MODELS:
            connection.execute(delete(table).where(table.c.model.in_(some)))
    _changed(connection, MODEL, found)


def _changed(connection: Connection, kind: str, found: Collection[str]) -> None:
    """Number what changes in a server's index, so that files can follow it; who writes there is alone."""
    if connection.dialect.name != "postgresql" or not found:
        return
    change = int(note(connection, schema.CHANGE) or 0) + 1
    put_note(connection, schema.CHANGE, str(change))
    table = schema.changes
    for some in some_of(sorted(found)):
        connection.execute(delete(table).where(table.c.kind == kind, table.c.name.in_(some)))
        connection.execute(insert(table), [{"kind": kind, "name": name, "change": change} for name in some])


# --- the sealed half ---


def put_facts(connection: Connection, found: Sequence[Sealed]) -> None:
    """Write the sealed halves of versions in place of what was there."""
    rows: Rows = {}
    unique = {sealed.number: sealed for sealed in found}
    for sealed in unique.values():
        _facts_rows(rows, sealed)
    forget_facts(connection, [*unique])
    insert_rows(connection, rows)


def forget_facts(connection: Connection, numbers: Sequence[int]) -> None:
    """Remove the sealed halves of versions."""
    _forget(connection, numbers, schema.kept, schema.kept_words, schema.OF_FACTS)


def _facts_rows(rows: Rows, sealed: Sealed) -> None:
    number, facts = sealed.number, sealed.facts
    found = indexed_words(facts.text)
    _add(
        rows,
        schema.kept,
        number=number,
        created=sealed.created,
        environment=sealed.environment,
        phrase=phrase_of(found),
    )
    for table, values in ((schema.metrics, facts.metrics), (schema.parameters, facts.parameters)):
        for name, value, text in values:
            _add(rows, table, number=number, name=name, value=value, spelled=text)
    for name in facts.features:
        _add(rows, schema.features, number=number, name=name)
    for name, version in facts.libraries:
        _add(
            rows,
            schema.libraries,
            number=number,
            name=name,
            version=version,
            ordinal=library_order(version),
        )
    for tag in facts.tags:
        _add(rows, schema.kept_tags, number=number, tag=tag)
    for place, text in enumerate(facts.notes):
        _add(rows, schema.kept_notes, number=number, place=place, note=text)
    for word in sorted(set(found)):
        _add(rows, schema.kept_words, number=number, word=word)


# --- rows ---


def _add(rows: Rows, table: Table, **values: Any) -> None:
    rows.setdefault(table, []).append(values)


def insert_rows(connection: Connection, rows: Rows) -> None:
    """Insert rows, table by table."""
    for table, values in rows.items():
        # In the order of the key, pages are filled one after another.
        keys = [column.name for column in table.primary_key]
        values.sort(key=lambda row: tuple(row[key] for key in keys))
        if connection.dialect.name == "postgresql":
            _insert_columns(connection, table, values)
        else:
            connection.execute(insert(table), values)


def _insert_columns(connection: Connection, table: Table, values: Sequence[dict[str, Any]]) -> None:
    """Insert rows as one array for each column, in one statement: a server is asked once, not once a row."""
    columns = [*table.columns]
    arrays = [func.unnest(bindparam(column.name, type_=ARRAY(column.type))) for column in columns]
    names = [column.name for column in columns]
    given = {name: [row[name] for row in values] for name in names}
    connection.execute(insert(table).from_select(names, select(*arrays)), given)


def _forget(
    connection: Connection, numbers: Sequence[int], main: Table, cut: Table, tables: Sequence[Table]
) -> None:
    """Remove the rows of some versions; their words by what these were cut from: that needs no index."""
    for some in some_of(numbers):
        query = select(main.c.number, main.c.phrase).where(main.c.number.in_(some))
        found = connection.execute(query)
        old = [(whole_of(number), set(text_of(phrase, _PHRASE_CHARS).split())) for number, phrase in found]
        if not old:
            continue
        for number, phrase in old:
            for part in some_of(sorted(phrase)):
                connection.execute(delete(cut).where(and_(cut.c.number == number, cut.c.word.in_(part))))
        for table in (main, *tables):
            connection.execute(delete(table).where(table.c.number.in_([number for number, _ in old])))


def some_of(values: Sequence[T]) -> Iterator[list[T]]:
    """Give values, as many at a time as one statement may have."""
    source = iter(values)
    while found := list(islice(source, _SOME)):
        yield found
