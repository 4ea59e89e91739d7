"""The tables of a vault in a database, and every statement that is sent to them.

`mvault_objects` has a row for each object: its name, its size and a content id
of 16 random bytes. `mvault_chunks` has the bytes: rows of `CHUNK` bytes each,
the last of an object shorter, an empty object with one empty row. An object
exists when its name does, so its row is written last. `mvault_schema` has one
row, the version of this layout.

Rows are not trusted: sizes are looked at before bytes are fetched, and what
has another type, length or place than we write comes back as NULL.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import TextClause, text

from vault.core import limits

CHUNK: Final = limits.MIB
VERSION: Final = 1
CONTENT_BYTES: Final = 16
PAGE: Final = 1_000  # names fetched at once


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements of one kind of database; `make` makes the tables, each statement may be repeated."""

    make: tuple[str, ...]
    version: TextClause
    head: TextClause
    size: TextClause
    owner: TextClause
    range: TextClause
    names: TextClause
    sizes: TextClause
    folders: TextClause
    put_chunk: TextClause
    same_chunk: TextClause
    publish: tuple[TextClause, ...]
    together: tuple[TextClause, ...]
    delete: tuple[TextClause, ...]
    orphans: TextClause
    drop_orphan: TextClause


def postgres(schema: str) -> Statements:
    """Give the statements for PostgreSQL; `schema` is a checked name."""
    return _build(
        prefix=f'"{schema}".mvault_',
        is_bytes="TRUE",
        is_integer="TRUE",
        # A filter would keep the planner, before it has statistics, from reading names in the index's order.
        is_name="TRUE",
        position="strpos",
        shown=f"substr(o.name, 1, {limits.STORE_NAME_CHARS + 1})",
        make=_POSTGRES_TABLES,
        # The write-ahead log is on disk with the commit of the name; until then no chunk needs to be.
        put_chunk="""
            WITH relaxed AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
            INSERT INTO {prefix}chunks (content, seq, data) SELECT :content, :seq, :data FROM relaxed""",
        publish=(
            """
            WITH whole AS (
              INSERT INTO {prefix}chunks (content, seq, data)
              SELECT :content, :seq, :data WHERE :seq = (
                SELECT count(*) FROM {prefix}chunks WHERE content = :content AND seq >= 0 AND seq < :seq
              ) RETURNING content
            )
            INSERT INTO {prefix}objects (name, size, content)
            SELECT :name, :size, content FROM whole RETURNING 1""",
        ),
        # Whole columns at a time; gives the names that were free.
        together=(
            """
            WITH given AS (
              SELECT * FROM unnest(
                CAST(:names AS text[]), CAST(:sizes AS bigint[]),
                CAST(:contents AS bytea[]), CAST(:data AS bytea[])
              ) AS given(name, size, content, data)
            ), named AS (
              INSERT INTO {prefix}objects (name, size, content) SELECT name, size, content FROM given
              ON CONFLICT DO NOTHING RETURNING name, content
            ), put AS (
              INSERT INTO {prefix}chunks (content, seq, data)
              SELECT given.content, 0, given.data FROM given JOIN named ON named.content = given.content
            )
            SELECT name FROM named""",
        ),
        delete=(
            """
            WITH gone AS (DELETE FROM {prefix}objects WHERE name = :name RETURNING content)
            DELETE FROM {prefix}chunks USING gone WHERE {prefix}chunks.content = gone.content""",
        ),
    )


def sqlite() -> Statements:
    """Give the statements for SQLite, whose columns hold any type: each value is asked for its own."""
    return _build(
        prefix="mvault_",
        is_bytes="typeof({value}) = 'blob'",
        is_integer="typeof({value}) = 'integer'",
        is_name="typeof({name}) = 'text' AND length(CAST({name} AS BLOB)) <= {most} "
        "AND {name} NOT GLOB '*[^!-~]*'",
        position="instr",
        shown="o.name",
        make=_SQLITE_TABLES,
        put_chunk="INSERT INTO {prefix}chunks (content, seq, data) VALUES (:content, :seq, :data)",
        publish=(
            """
            INSERT INTO {prefix}chunks (content, seq, data)
            SELECT :content, :seq, :data WHERE :seq = (
              SELECT count(*) FROM {prefix}chunks WHERE content = :content AND seq >= 0 AND seq < :seq
            )""",
            "INSERT INTO {prefix}objects (name, size, content) VALUES (:name, :size, :content)",
        ),
        together=(
            "INSERT INTO {prefix}chunks (content, seq, data) VALUES (:content, 0, :data)",
            "INSERT INTO {prefix}objects (name, size, content) VALUES (:name, :size, :content)",
        ),
        delete=(
            """
            DELETE FROM {prefix}chunks
            WHERE content IN (SELECT content FROM {prefix}objects WHERE name = :name)""",
            "DELETE FROM {prefix}objects WHERE name = :name",
        ),
    )


# The object, and its first chunk if the object has at most :limit bytes and the chunk at most :cap.
_HEAD: Final = """
    SELECT {size}, CASE WHEN {content} THEN o.content END,
      CASE WHEN {data} THEN length(c.data) END,
      CASE WHEN {data} AND o.size <= :limit AND length(c.data) <= :cap THEN c.data END
    FROM {prefix}objects o LEFT JOIN {prefix}chunks c ON c.content = o.content AND c.seq = 0
    WHERE o.name = :name LIMIT 2"""
# Bytes :begin to :end of the chunks :first to :last, counted from 1 as SQL does.
_RANGE: Final = """
    SELECT c.seq, CASE WHEN {data} THEN length(c.data) END,
      CASE WHEN {data} AND length(c.data) <= {chunk} THEN substr(c.data,
        CASE WHEN c.seq = :first THEN :begin ELSE 1 END,
        CASE WHEN c.seq = :last THEN :end ELSE {chunk} END
          - CASE WHEN c.seq = :first THEN :begin ELSE 1 END + 1) END
    FROM {prefix}chunks c WHERE c.content = :content AND c.seq BETWEEN :first AND :last
    ORDER BY c.seq LIMIT :most"""
_NAMES: Final = """
    SELECT {shown} FROM {prefix}objects o
    WHERE o.name > :after AND o.name >= :low AND o.name < :high AND {named}
    ORDER BY o.name LIMIT {page}"""
_SIZES: Final = """
    SELECT {shown}, {size} FROM {prefix}objects o
    WHERE o.name > :after AND o.name >= :low AND o.name < :high AND {named}
    ORDER BY o.name LIMIT {page}"""
# From each name on, the first behind everything in its folder: one look into the index for each.
_FOLDERS: Final = """
    WITH RECURSIVE part(name) AS (
      SELECT * FROM (
        SELECT {shown} FROM {prefix}objects o
        WHERE o.name >= :low AND o.name < :high AND {named} ORDER BY o.name LIMIT 1
      ) first
      UNION ALL
      SELECT (
        SELECT {shown} FROM {prefix}objects o
        WHERE o.name < :high AND {named} AND o.name >= CASE
          WHEN {position}(substr(part.name, :skip), '/') > 0 THEN substr(part.name, 1,
            :skip + {position}(substr(part.name, :skip), '/') - 2) || '0'
          WHEN length(part.name) > {name_chars} THEN substr(part.name, 1, {name_chars}) || {last}
          ELSE part.name || '!' END
        ORDER BY o.name LIMIT 1
      ) FROM part WHERE part.name IS NOT NULL
    )
    SELECT name FROM part WHERE name IS NOT NULL LIMIT {page}"""
_ORPHANS: Final = """
    SELECT c.content FROM {prefix}chunks c
    WHERE length(c.content) = {content_bytes}
      AND NOT EXISTS (SELECT 1 FROM {prefix}objects o WHERE o.content = c.content)
    GROUP BY c.content HAVING max(c.created) < :before LIMIT {page}"""
_DROP_ORPHAN: Final = """
    DELETE FROM {prefix}chunks WHERE content = :content
      AND NOT EXISTS (SELECT 1 FROM {prefix}objects o WHERE o.content = :content)
      AND (SELECT max(l.created) FROM {prefix}chunks l WHERE l.content = :content) < :before"""
_POSTGRES_TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS {prefix}schema (version integer NOT NULL)""",
    """
    CREATE TABLE IF NOT EXISTS {prefix}objects (
      name varchar({name_chars}) COLLATE "C" PRIMARY KEY,
      size bigint NOT NULL CHECK (size >= 0),
      content bytea NOT NULL CHECK (octet_length(content) = {content_bytes}),
      created bigint NOT NULL DEFAULT floor(extract(epoch FROM clock_timestamp()))
    )""",
    """
    CREATE TABLE IF NOT EXISTS {prefix}chunks (
      content bytea NOT NULL CHECK (octet_length(content) = {content_bytes}),
      seq integer NOT NULL CHECK (seq >= 0),
      data bytea NOT NULL CHECK (octet_length(data) <= {chunk}),
      created bigint NOT NULL DEFAULT floor(extract(epoch FROM clock_timestamp())),
      PRIMARY KEY (content, seq)
    )""",
    # Ciphertext does not compress; and a part of an uncompressed value is read without the rest.
    "ALTER TABLE {prefix}chunks ALTER COLUMN data SET STORAGE EXTERNAL",
    "INSERT INTO {prefix}schema (version) SELECT {version} WHERE NOT EXISTS (SELECT 1 FROM {prefix}schema)",
)
_SQLITE_TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS {prefix}schema (version INTEGER NOT NULL)""",
    """
    CREATE TABLE IF NOT EXISTS {prefix}objects (
      name TEXT NOT NULL PRIMARY KEY CHECK (length(name) <= {name_chars}),
      size INTEGER NOT NULL CHECK (size >= 0),
      content BLOB NOT NULL CHECK (length(content) = {content_bytes}),
      created INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER))
    ) WITHOUT ROWID""",
    """
    CREATE TABLE IF NOT EXISTS {prefix}chunks (
      content BLOB NOT NULL CHECK (length(content) = {content_bytes}),
      seq INTEGER NOT NULL CHECK (seq >= 0),
      data BLOB NOT NULL CHECK (length(data) <= {chunk}),
      created INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER)),
      PRIMARY KEY (content, seq)
    )""",
    "INSERT INTO {prefix}schema (version) SELECT {version} WHERE NOT EXISTS (SELECT 1 FROM {prefix}schema)",
)


def _build(
    *,
    prefix: str,
    is_bytes: str,
    is_integer: str,
    is_name: str,
    position: str,
    shown: str,
    make: tuple[str, ...],
    put_chunk: str,
    publish: tuple[str, ...],
    together: tuple[str, ...],
    delete: tuple[str, ...],
) -> Statements:
    """Fill in what differs; every value is a bound parameter, only names and limits are written in."""
    filled_in = {
        "prefix": prefix,
        "size": f"CASE WHEN {is_integer.format(value='o.size')} THEN o.size END",
        "content": f"{is_bytes.format(value='o.content')} AND length(o.content) = {CONTENT_BYTES}",
        "data": is_bytes.format(value="c.data"),
        "named": is_name.format(name="o.name", most=limits.STORE_NAME_CHARS),
        "position": position,
        "last": f"{'chr' if position == 'strpos' else 'char'}({0x10FFFF})",
        "shown": shown,
        "name_chars": limits.STORE_NAME_CHARS,
        "content_bytes": CONTENT_BYTES,
        "chunk": CHUNK,
        "page": PAGE,
        "version": VERSION,
    }

    def clause(template: str) -> TextClause:
        return text(template.format_map(filled_in))

    return Statements(
        make=tuple(statement.format_map(filled_in) for statement in make),
        version=clause("SELECT version FROM {prefix}schema LIMIT 2"),
        head=clause(_HEAD),
        size=clause("SELECT {size} FROM {prefix}objects o WHERE o.name = :name LIMIT 2"),
        owner=clause(
            "SELECT CASE WHEN {content} THEN o.content END FROM {prefix}objects o "
            "WHERE o.name = :name LIMIT 2"
        ),
        range=clause(_RANGE),
        names=clause(_NAMES),
        sizes=clause(_SIZES),
        folders=clause(_FOLDERS),
        put_chunk=clause(put_chunk),
        same_chunk=clause(
            "SELECT 1 FROM {prefix}chunks WHERE content = :content AND seq = :seq AND data = :data LIMIT 1"
        ),
        together=tuple(clause(statement) for statement in together),
        publish=tuple(clause(statement) for statement in publish),
        delete=tuple(clause(statement) for statement in delete),
        orphans=clause(_ORPHANS),
        drop_orphan=clause(_DROP_ORPHAN),
    )
