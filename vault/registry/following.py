"""Keep the public half in a reader's own file as a server has it: what changed there since is copied."""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, Select, Table, delete, select

from vault.ports import Progress
from vault.registry import schema
from vault.registry.database import Database
from vault.registry.writing import (
    MODEL,
    VERSION,
    Rows,
    forget_entries,
    forget_models,
    insert_rows,
    note,
    put_note,
    some_of,
)

_MOST_ROWS: Final = 200_000  # of one table for some versions: a server may say anything


def follow(catalog: Database, own: Database, progress: Progress) -> int:
    """Copy what changed in the server's index since it was last followed; give how many versions and models.

    Raises:
        Refused: `memory-damaged`: what the server holds is no index.
        Unavailable.
    """
    there = catalog.read(lambda connection: (note(connection, schema.GENERATION), _change(connection)))
    known = own.read(lambda connection: note(connection, schema.FOLLOWED)) or ""
    generation, _, since = known.partition(":")
    if there == (generation, _number(since)):
        return 0
    if there[0] != generation:
        own.write(_forget_public)
        since = "0"
    return catalog.read(lambda connection: _copy(connection, own, (generation, _number(since)), progress))


def _copy(server: Connection, own: Database, known: tuple[str, int], progress: Progress) -> int:
    table = schema.changes.c
    query = select(table.kind, table.name).where(table.change > known[1])
    kinds: dict[str, list[str]] = {VERSION: [], MODEL: []}
    for kind, name in server.execute(query):
        kinds.get(kind, []).append(name)
    total = sum(map(len, kinds.values()))
    done = 0
    for some in some_of(kinds[VERSION]):
        numbers = [_number(name) for name in some]
        tables = (schema.versions, schema.words, *schema.OF_ENTRIES)
        rows = _rows(server, ((each, select(each).where(each.c.number.in_(numbers))) for each in tables))

        def versions(connection: Connection, numbers: list[int] = numbers, rows: Rows = rows) -> None:
            forget_entries(connection, numbers)
            insert_rows(connection, rows)

        own.write(versions)
        done += len(some)
        progress(done, total, "index")
    for some in some_of(kinds[MODEL]):
        queries = [(schema.models, select(schema.models).where(schema.models.c.name.in_(some)))]
        queries += [(each, select(each).where(each.c.model.in_(some))) for each in schema.OF_MODELS]
        rows = _rows(server, queries)

        def models(connection: Connection, names: list[str] = some, rows: Rows = rows) -> None:
            forget_models(connection, names)
            insert_rows(connection, rows)

        own.write(models)
        done += len(some)
        progress(done, total, "index")
    mark = f"{note(server, schema.GENERATION)}:{_change(server)}"
    own.write(lambda connection: put_note(connection, schema.FOLLOWED, mark))
    return total


def _rows(server: Connection, queries: Iterable[tuple[Table, Select[Any]]]) -> Rows:
    return {
        table: found
        for table, query in queries
        if (found := [dict(row) for row in server.execute(query.limit(_MOST_ROWS)).mappings()])
    }


def _forget_public(connection: Connection) -> None:
    for table in schema.PUBLIC.sorted_tables:
        if table is not schema.meta:
            connection.execute(delete(table))


def _change(connection: Connection) -> int:
    return _number(note(connection, schema.CHANGE) or "")


def _number(text: str) -> int:
    """Read a number that the index wrote; anything else is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0
