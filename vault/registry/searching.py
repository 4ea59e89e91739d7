"""Answer queries from the index: this reader's own file has both halves, a server the public one.

So a server never learns what was asked of the sealed half.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any as AnyType
from typing import Final

from sqlalchemy import Connection, select

from vault.core import names
from vault.core.names import Digest, Model, Version
from vault.core.registry_record import key_of
from vault.core.search_query import All, Any, Condition, Not, Query
from vault.errors import Malformed
from vault.registry import compiling, schema
from vault.registry.database import Database
from vault.registry.rows import AlteredError, text_of, whole_of

_SHOWN: Final = ("metric", "param", "library")  # whose values are shown where a query asks for them
_LAST_MOMENT: Final = 253_402_300_799  # the last second of the year 9999


@dataclass(frozen=True, slots=True)
class Hit:
    """One version as the index has it: a hint, which `mvault search --verify` and every load check again.

    `readable` tells whether its sealed half is in this reader's index; `values` are those that the query
    asks for, by `metric.auc` and the like.
    """

    model: Model
    version: Version
    manifest: Digest
    created: str
    size: int
    formats: tuple[str, ...]
    publishers: tuple[str, ...]
    channels: tuple[str, ...]
    tags: tuple[str, ...]
    readable: bool
    values: Mapping[str, str]

    @property
    def reference(self) -> str:
        """The version as `name:version`."""
        return f"{self.model}:{self.version}"


def find(catalog: Database, own: Database, query: Query, limit: int) -> tuple[list[Hit], bool]:
    """Give the newest `limit` versions that a query asks for, and whether there are more.

    `catalog` is the server, or the same as `own`, the file that has both halves. A
    server is asked what its half alone can answer; anything else is asked of the file.

    Raises:
        Refused: `memory-damaged`. Unavailable.
    """
    if catalog is own or not compiling.is_public(query):
        return own.read(lambda connection: _find(connection, own, query, limit))
    hits, more = catalog.read(lambda connection: _newest(connection, catalog, query, limit))
    return own.read(lambda connection: _with_sealed(connection, query, hits)), more


def _find(connection: Connection, own: Database, query: Query, limit: int) -> tuple[list[Hit], bool]:
    hits, more = _newest(connection, own, query, limit)
    return _with_sealed(connection, query, hits), more


def _newest(connection: Connection, database: Database, query: Query, limit: int) -> tuple[list[Hit], bool]:
    clause = compiling.in_public(query) if database.shared else compiling.whole(query)
    table = schema.versions.c
    newest = (table.created.desc(), table.number.desc())
    wanted = select(table.number).where(clause).order_by(*newest).limit(limit + 1)
    numbers = [number for (number,) in connection.execute(wanted)]
    return _hits(connection, numbers[:limit]), len(numbers) > limit


# --- what is shown ---


def _hits(connection: Connection, numbers: Sequence[int]) -> list[Hit]:
    """Read what is shown of some versions, in their order."""
    table = schema.versions.c
    query = select(table.number, table.model, table.version, table.manifest, table.created, table.size)
    rows = {row[0]: row for row in connection.execute(query.where(table.number.in_(numbers)))}
    formats = _texts(connection, schema.formats.c.format, numbers)
    publishers = _texts(connection, schema.signers.c.name, numbers)
    tags = _texts(connection, schema.tags.c.tag, numbers)
    places: dict[int, list[str]] = {}
    where = schema.in_force.c
    used = select(where.number, where.environment, where.slot).where(where.number.in_(numbers))
    for number, environment, slot in connection.execute(used):
        place = text_of(environment), text_of(slot)
        places.setdefault(number, []).append(place[0] if place[1] == names.MAIN else "/".join(place))
    hits = []
    for number in numbers:
        if number not in rows:
            continue
        told = [sorted(found.get(number, ())) for found in (formats, publishers, places, tags)]
        hits.append(_hit(rows[number], told))
    return hits


def _hit(row: Sequence[AnyType], told: Sequence[Sequence[AnyType]]) -> Hit:
    """Check one row: anybody may have written it.

    Raises:
        AlteredError: it is not one of ours.
    """
    number, model, version, manifest, created, size = row
    formats, publishers, places, tags = (tuple(values) for values in told)
    try:
        known = names.model(text_of(model)), names.version(text_of(version)), names.digest(text_of(manifest))
    except Malformed:
        raise AlteredError from None
    if key_of(manifest) != number:
        raise AlteredError
    return Hit(
        *known,
        names.time_text(whole_of(created, most=_LAST_MOMENT)),
        whole_of(size),
        formats,
        publishers,
        places,
        tags,
        readable=False,
        values={},
    )


def _texts(connection: Connection, column: AnyType, numbers: Sequence[int]) -> dict[int, list[str]]:
    table = column.table
    found: dict[int, list[str]] = {}
    for number, text in connection.execute(select(table.c.number, column).where(table.c.number.in_(numbers))):
        found.setdefault(number, []).append(text_of(text))
    return found


def _with_sealed(connection: Connection, query: Query, hits: Sequence[Hit]) -> list[Hit]:
    """Add to each hit what the sealed half says of it, as far as the query asks."""
    numbers = [key_of(hit.manifest) for hit in hits]
    readable = _texts(connection, schema.kept.c.environment, numbers)
    tags = _texts(connection, schema.kept_tags.c.tag, numbers)
    values: dict[int, dict[str, str]] = {}
    for field, name in sorted(_asked(query)):
        for number, text in _values(connection, field, name, numbers):
            values.setdefault(number, {})[f"{field}.{name}"] = text_of(text)
    return [
        replace(
            hit,
            tags=tuple(sorted({*hit.tags, *tags.get(number, ())})),
            readable=number in readable,
            values=values.get(number, {}),
        )
        for number, hit in zip(numbers, hits, strict=True)
    ]


def _asked(query: Query) -> set[tuple[str, str]]:
    """Give the metrics, parameters and libraries that a query names."""
    if isinstance(query, All | Any):
        return {asked for part in query.parts for asked in _asked(part)}
    if isinstance(query, Not):
        return _asked(query.part)
    if not isinstance(query, Condition) or query.field not in _SHOWN:
        return set()
    return {(query.field, query.name or query.text)}


def _values(
    connection: Connection, field: str, name: str, numbers: Sequence[int]
) -> Iterable[tuple[int, AnyType]]:
    table = {"metric": schema.metrics, "param": schema.parameters, "library": schema.libraries}[field]
    column = table.c.version if field == "library" else table.c.spelled
    query = select(table.c.number, column).where(table.c.name == name, table.c.number.in_(numbers))
    return ((number, text) for number, text in connection.execute(query))
