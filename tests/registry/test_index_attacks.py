"""What an index that somebody else wrote can do: give wrong hints, or be refused; nothing else."""

import contextlib
import multiprocessing
import os
import random
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table

from tests.registry import parts
from tests.registry.test_index_oracle import server_index
from tests.servers.postgres import PostgresServer, postgres  # noqa: F401 (a fixture)
from vault.actions import indexing
from vault.actions.index_place import Index
from vault.core import names
from vault.core.names import Digest
from vault.core.registry_record import Entry, Facts, FileRow, LoadTest, ParentRow, Record, Vote
from vault.core.search_query import parse
from vault.errors import Refused, Unavailable
from vault.ports import no_progress
from vault.registry import database, following, migrations, schema, searching, writing
from vault.registry.database import Database

RECORD = Record(
    Entry(
        names.model("churn"),
        names.version("1"),
        parts.manifest_of("churn", "1"),
        parts.DAY,
        (FileRow("m", "model", "onnx", 5),),
        ("ana",),
        (Vote("approve", "prod", "ben", parts.WHEN),),
        (ParentRow("base", "1", parts.manifest_of("base", "1"), "same-data"),),
        ("best",),
        ("a note",),
        (LoadTest("passed", "robot", parts.WHEN),),
        "seen",
    ),
    frozenset({("prod", "main")}),
    frozenset({("prod", "main")}),
    Facts((("auc", 0.9, "0.9"),), (("depth", 5.0, "5"),), ("age",), (("numpy", "2.1"),), ("own",), ("mine",)),
)
QUESTIONS = (
    *(
        "churn",
        "model=*",
        "metric.auc>0.5",
        "param=depth",
        "library.numpy>=2",
        "env=prod",
        "tag=best",
        "mine",
    ),
    *("not absent", "approved=ben", "parent=base", "test=passed", "size>1", "created>2026-01-01", '"a note"'),
)


def filled(folder: Path) -> Path:
    """Make an index of one version; give its file."""
    made = parts.new_file(folder)
    parts.fill(made, made, [RECORD])
    made.close()
    return folder / database.FILE


def use(path: Path) -> list[str]:
    """Do with an index whatever is done with one: ask, count, update, forget, clear; give what was found."""
    opened = database.open_file(path, parts.VAULT)
    found: list[str] = []
    try:
        for question in QUESTIONS:
            with contextlib.suppress(Refused, Unavailable):
                for hit in searching.find(opened, opened, parse(question), 10)[0]:
                    names.model(hit.model), names.version(hit.version)
                    assert hit.created.endswith("Z")
                    found.append(hit.reference)
        acts: list[Callable[[Connection], object]] = [
            writing.entries_seen,
            writing.models_seen,
            writing.facts_seen,
            lambda c: writing.counts(c, sealed=True),
            lambda c: writing.put_entries(c, [RECORD.entry]),
            lambda c: writing.put_channels(c, names.model("churn"), [], {}, "s"),
        ]
        for act in acts:
            with contextlib.suppress(Refused, Unavailable):
                opened.write(act)
        for told in (indexing.updated, indexing.status):
            with contextlib.suppress(Refused, Unavailable):
                told(Index(opened, opened, None))
        with contextlib.suppress(Refused, Unavailable):
            opened.clear()
    finally:
        opened.close()
    return found


def test_a_sound_index_answers_every_question(tmp_path: Path) -> None:
    assert use(filled(tmp_path / "index")) == ["churn:1"] * len(QUESTIONS)


@pytest.mark.parametrize("content", [b"garbage" * 999, b"\0" * 5_000, b"SQLite format 3\0" + b"x" * 4_080])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / database.FILE).write_bytes(content)
    with pytest.raises(Refused, match="mvault index rebuild") as caught:
        database.open_file(tmp_path / database.FILE, parts.VAULT)
    assert caught.value.code == "memory-damaged"


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE mine(a)",
        "PRAGMA application_id=7",
        "PRAGMA application_id=1836470857; CREATE VIEW versions AS SELECT 1 AS number",
        "PRAGMA application_id=1836470857; CREATE TABLE t(a);CREATE TRIGGER r DELETE ON t BEGIN SELECT 1;END",
    ],
)
def test_another_programs_file_and_one_with_views_or_triggers_are_refused(
    tmp_path: Path, script: str
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / database.FILE)) as made:
        made.executescript(script)
    with pytest.raises(Refused, match="another program") as caught:
        database.open_file(tmp_path / database.FILE, parts.VAULT)
    assert caught.value.code == "memory-damaged"


def test_the_index_of_another_vault_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path / "index")
    with pytest.raises(Refused, match="of another vault"):
        database.open_file(path, Digest("cd" * 32))


@pytest.mark.parametrize("revision", ["9999", "'; DROP TABLE versions; --", "\x1b[31m"])
def test_an_index_of_an_unknown_revision_is_refused(tmp_path: Path, revision: str) -> None:
    path = filled(tmp_path / "index")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as made:
        made.execute("UPDATE registry_version SET version_num = ?", (revision,))
    with pytest.raises(Refused) as caught:
        database.open_file(path, parts.VAULT)
    assert caught.value.code == "memory-damaged"
    assert "\x1b" not in str(caught.value)


HOSTILE: tuple[object, ...] = (
    *("", "\x1b]0;owned\x07", "x" * 100_000, "../../etc/passwd", "a\0b", "né", "-1", "1e400", "NaN"),
    *(-1, (1 << 63) - 1, 1.5, float("inf"), b"\xff\xfe", b""),
)
TABLES = [*schema.PUBLIC.sorted_tables, *schema.SEALED.sorted_tables]


READ_FIRST = ("versions", "in_force", "kept")


def test_a_few_values_in_the_columns_that_are_read_do_no_more_than_be_refused_or_lie(tmp_path: Path) -> None:
    chosen = [table for table in TABLES if table.name in READ_FIRST]
    assert len(chosen) == len(READ_FIRST)
    for table in chosen:
        tamper(tmp_path / table.name, table, (HOSTILE[1], -1, b"\xff\xfe"))


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_no_value_in_any_column_does_more_than_be_refused_or_lie(tmp_path: Path, table: Table) -> None:
    assert len(HOSTILE) == 15
    tamper(tmp_path, table, HOSTILE)


def tamper(folder: Path, table: Table, values: Sequence[object]) -> None:
    """Put each value into each column, and use what comes of it."""
    folder.mkdir(exist_ok=True)
    sound = filled(folder / "index").read_bytes()
    for column in table.columns:
        for place, value in enumerate(values):
            path = folder / f"{column.name}-{place}"
            path.write_bytes(sound)
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as made:
                with contextlib.suppress(sqlite3.IntegrityError):
                    made.execute(f"UPDATE {table.name} SET {column.name} = ?", (value,))
                # What claims to be text need not be UTF-8.
                if isinstance(value, bytes):
                    made.execute(
                        f"UPDATE OR IGNORE {table.name} SET {column.name} = CAST(? AS TEXT)", (value,)
                    )
            with contextlib.suppress(Refused, Unavailable):
                use(path)


def test_no_damage_to_the_file_does_more_than_be_refused_or_lie(tmp_path: Path) -> None:
    sound = filled(tmp_path / "index").read_bytes()
    draw = random.Random(7)
    for number in range(60):
        data = bytearray(sound)
        for _ in range(draw.randrange(1, 40)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        if number % 5 == 0:
            del data[draw.randrange(len(data)) :]
        path = tmp_path / str(number)
        path.write_bytes(bytes(data))
        with contextlib.suppress(Refused, Unavailable):
            use(path)


def test_a_query_is_never_a_part_of_the_statement(tmp_path: Path) -> None:
    made = parts.new_file(tmp_path / "index")
    parts.fill(made, made, [RECORD])
    for text in ("'; DROP TABLE versions; --", "%", "_", "*", "\\", "a' OR '1'='1", "x\0"):
        quoted = text.replace('"', "")
        for query in (f'tag="{quoted}"', f'feature="{quoted}"', f'param."{quoted}"=1', f'by="{quoted}"'):
            assert parts.asked(made, made, parse(query)) == []
    assert parts.asked(made, made, parse("churn")) == ["churn:1"]


def test_two_versions_whose_digests_begin_alike_do_not_replace_each_other(tmp_path: Path) -> None:
    made = parts.new_file(tmp_path / "index")
    parts.fill(made, made, [RECORD])
    twin = Digest(RECORD.entry.manifest[:16] + "0" * 48)
    other = Entry(names.model("evil"), names.version("1"), twin, 5, (), ("eve",))
    assert made.write(lambda connection: writing.put_entries(connection, [other])) == [other]
    assert parts.asked(made, made, parse("model=*")) == ["churn:1"]


# --- tables ---


def test_migrations_make_the_tables_that_statements_are_written_for(tmp_path: Path) -> None:
    both = MetaData()
    for table in TABLES:
        table.to_metadata(both)
    made = parts.new_file(tmp_path / "index")

    def differences(connection: Connection) -> list[object]:
        options = {"version_table": schema.VERSIONS_OF_SCHEMA}
        return [*compare_metadata(MigrationContext.configure(connection, opts=options), both)]

    assert made.read(differences) == []
    assert len(TABLES) == 23


def test_the_newest_migration_is_the_one_that_an_open_index_has() -> None:
    config = Config()
    config.set_main_option("script_location", next(iter(migrations.__path__)))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def _open(path: Path) -> str:
    opened = database.open_file(path, parts.VAULT)
    try:
        return str(opened.read(lambda connection: writing.note(connection, schema.VAULT)))
    finally:
        opened.close()


def test_processes_that_open_a_new_index_at_once_all_succeed(tmp_path: Path) -> None:
    path = tmp_path / database.FILE
    path.touch(mode=0o600)
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert pool.map(_open, [path] * 8) == [parts.VAULT] * 8


# --- a server ---


def test_a_server_has_no_sealed_tables(postgres: PostgresServer) -> None:  # noqa: F811
    name = postgres.new_schema()
    server_index(postgres, name).close()
    query = f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{name}'"
    tables = {row[0] for row in postgres.run(query)}
    public = {table.name for table in schema.PUBLIC.sorted_tables}
    assert tables == public | {schema.VERSIONS_OF_SCHEMA}
    assert tables.isdisjoint(table.name for table in schema.SEALED.sorted_tables)


def test_a_server_with_other_tables_is_refused(postgres: PostgresServer, tmp_path: Path) -> None:  # noqa: F811
    name = postgres.new_schema()
    server_index(postgres, name).close()
    postgres.run(f"DROP TABLE {name}.words", f"ALTER TABLE {name}.versions RENAME COLUMN size TO bulk")
    opened = server_index(postgres, name)
    own = parts.new_file(tmp_path / "own")
    for question in ("size>5", "churn"):
        with pytest.raises(Refused) as caught:
            opened.write(lambda connection: writing.put_entries(connection, [RECORD.entry]))
        assert caught.value.code == "memory-damaged"
        with contextlib.suppress(Refused):
            searching.find(opened, own, parse(question), 5)
    opened.clear()  # as a rebuild does, which makes what is no index anew
    parts.fill(opened, own, [RECORD])
    assert parts.asked(opened, own, parse("size>1")) == ["churn:1"]
    opened.close()


def test_what_a_hostile_server_says_is_refused_or_is_a_lie(postgres: PostgresServer, tmp_path: Path) -> None:  # noqa: F811
    name = postgres.new_schema()
    catalog, own = server_index(postgres, name), parts.new_file(tmp_path / "own")
    parts.fill(catalog, own, [RECORD])
    for place, statement in enumerate(
        [
            "UPDATE {}.versions SET model = '../x'",
            "UPDATE {}.versions SET created = -5",
            "UPDATE {}.versions SET manifest = 'short'",
            "UPDATE {}.changes SET name = name || '9999999', change = 99",
            "UPDATE {}.changes SET kind = kind || 'y', change = 100",
            "UPDATE {}.registry_meta SET value = 'x' WHERE name = 'change'",
            "UPDATE {}.registry_meta SET value = repeat('x', 5000) WHERE name = 'generation'",
        ]
    ):
        postgres.run(statement.format(name), f"UPDATE {name}.changes SET change = change + {place}")
        with contextlib.suppress(Refused, Unavailable):
            following.follow(catalog, own, no_progress)
        for question in ("model=*", "churn"):
            with contextlib.suppress(Refused, Unavailable):
                assert set(parts.asked(catalog, own, parse(question))) <= {"churn:1"}
    catalog.close()
    own.close()


def test_many_who_open_and_write_one_server_at_once_all_succeed(postgres: PostgresServer) -> None:  # noqa: F811
    from concurrent.futures import ThreadPoolExecutor

    name = postgres.new_schema()

    def act(number: int) -> int:
        opened = server_index(postgres, name)
        try:
            entry = Entry(
                names.model(f"m{number % 2}"),
                names.version("1"),
                parts.manifest_of("m", str(number % 2)),
                5,
                (),
                (),
            )
            for _ in range(5):
                opened.write(lambda connection: writing.put_entries(connection, [entry]))
            return len(opened.read(writing.entries_seen))
        finally:
            opened.close()

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(act, range(6))) <= {1, 2}


def test_who_may_only_read_a_server_is_told_so(postgres: PostgresServer) -> None:  # noqa: F811
    from vault.storage import sql_address, sql_postgres

    name = postgres.new_schema()
    server_index(postgres, name).close()
    user = f"reader_{os.getpid()}"
    postgres.run(
        f"DROP ROLE IF EXISTS {user}",
        f"CREATE ROLE {user} LOGIN PASSWORD '{postgres.password}'",
        f"GRANT USAGE ON SCHEMA {name} TO {user}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {name} TO {user}",
    )
    address = sql_address.parse(postgres.url("public", user=user))
    assert isinstance(address, sql_address.PostgresAddress)
    engine = sql_postgres.dialect(address).open_engine()
    opened = database.open_server(engine, parts.VAULT, place="PostgreSQL", schema_name=name)
    assert opened.read(writing.entries_seen) == {}
    with pytest.raises(Unavailable) as caught:
        opened.write(lambda connection: writing.put_entries(connection, [RECORD.entry]))
    assert caught.value.code == "storage-denied"
    opened.close()


def test_a_server_that_is_away_is_unavailable(tmp_path: Path) -> None:
    from vault.storage import sql_address, sql_postgres

    address = sql_address.parse("postgresql://nobody@127.0.0.1:1/none")
    assert isinstance(address, sql_address.PostgresAddress)
    engine = sql_postgres.dialect(address).open_engine()
    with pytest.raises(Unavailable):
        Database(engine, parts.VAULT, place="PostgreSQL", schema_name="s")
