"""The store in PostgreSQL when server, network or rights fail: clear errors, nothing half there."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from random import Random

import pytest

from tests.conformance.creating_suite import get, put
from tests.house.source_tree import ROOT
from tests.servers.postgres import PostgresServer, postgres, running  # noqa: F401
from tests.servers.postgres_proxy import Proxy, in_front_of
from vault.core import limits
from vault.errors import Conflict, NotFound, Unavailable
from vault.ports import Store
from vault.storage import sql_database, sql_postgres
from vault.storage.opening import open_store
from vault.storage.sql import SqlStore

CHUNKS = 3
LARGE = Random(5).randbytes(CHUNKS * limits.MIB - 1)
PUBLISH = b"WITH whole AS"
PUT_CHUNK = b"WITH relaxed AS"


def sql_store(url: str) -> SqlStore:
    store = open_store(url)
    assert isinstance(store, SqlStore)
    return store


@pytest.fixture
def schema(postgres: PostgresServer) -> Iterator[str]:  # noqa: F811
    name = postgres.new_schema()
    yield name
    postgres.run(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[Proxy]:  # noqa: F811
    with in_front_of(postgres.port) as standing:
        yield standing


@pytest.fixture
def cut(postgres: PostgresServer, proxy: Proxy, schema: str) -> SqlStore:  # noqa: F811
    """A store whose every byte goes through the proxy."""
    return sql_store(postgres.url(schema, port=proxy.port))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_database, "_PAUSES", (0.0, 0.0, 0.0))


# Lost answers.


@pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=["empty", "small", "large"])
def test_a_commit_whose_answer_is_lost_is_a_success(cut: SqlStore, proxy: Proxy, data: bytes) -> None:
    put(cut, "before")
    proxy.watch_for(PUBLISH, lose_answer=True)
    put(cut, "a/b", data)
    assert proxy.seen == 1
    assert get(cut, "a/b") == data


def test_a_commit_that_did_not_reach_the_server_is_sent_again(cut: SqlStore, proxy: Proxy) -> None:
    put(cut, "before")
    proxy.watch_for(PUBLISH, drop=True, times=3)
    put(cut, "a/b", LARGE)
    assert proxy.seen == 3
    assert get(cut, "a/b") == LARGE


@pytest.mark.parametrize("lose_answer", [True, False])
def test_a_chunk_whose_answer_or_request_is_lost_is_there_once(
    cut: SqlStore, proxy: Proxy, lose_answer: bool
) -> None:
    put(cut, "before")
    proxy.watch_for(PUT_CHUNK, lose_answer=lose_answer, drop=not lose_answer)
    put(cut, "a/b", LARGE)
    assert proxy.seen == 1
    assert get(cut, "a/b") == LARGE


def test_somebody_elses_commit_while_an_answer_was_lost_is_a_conflict(
    cut: SqlStore,
    proxy: Proxy,
    postgres: PostgresServer,  # noqa: F811
    schema: str,
) -> None:
    direct = open_store(postgres.url(schema))
    put(direct, "before")
    proxy.watch_for(PUBLISH, before=lambda: put(direct, "a/b", b"theirs"), lose_answer=True)
    with pytest.raises(Conflict):
        put(cut, "a/b", b"ours")
    assert proxy.seen == 1
    assert get(cut, "a/b") == b"theirs"


def test_a_commit_that_is_never_answered_is_unavailable_and_the_retry_tells(
    cut: SqlStore, proxy: Proxy, impatient: None
) -> None:
    put(cut, "before")
    proxy.watch_for(PUBLISH, drop=True, times=sql_database.ATTEMPTS)
    with pytest.raises(Unavailable) as caught:
        put(cut, "a/b", LARGE)
    assert (caught.value.code, caught.value.subject) == ("unavailable", "a/b")
    assert list(cut.list("")) == ["before"]
    put(cut, "a/b", LARGE)
    assert get(cut, "a/b") == LARGE


def test_backends_that_are_terminated_again_and_again_lose_nothing(
    postgres: PostgresServer,  # noqa: F811
    schema: str,
) -> None:
    store = open_store(postgres.url(schema))
    put(store, "before")
    stop = threading.Event()

    def terminate() -> None:
        while not stop.wait(0.05):
            postgres.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mvault'"
            )

    killer = threading.Thread(target=terminate)
    killer.start()
    stored = set()
    try:
        for number in range(12):
            try:
                put(store, f"a/{number:02d}", LARGE[: 250_000 * number])
                stored.add(f"a/{number:02d}")
            except Unavailable:
                continue
    finally:
        stop.set()
        killer.join()
    assert len(stored) > 6, "a lost connection is replaced"
    found = set(store.list("a/"))
    assert stored <= found
    for name in found:
        assert get(store, name) == LARGE[: 250_000 * int(name[2:])], name


# A server that goes away.


@pytest.fixture(scope="module")
def durable() -> Iterator[PostgresServer]:
    """A server of this module's own, which syncs, and which tests stop and start."""
    with running(()) as server:
        yield server


def _open(store: SqlStore) -> bytes:
    buffer = bytearray(len(LARGE))
    with store.open("large") as source:
        source.read_into(0, memoryview(buffer))
    return bytes(buffer)


VERBS: dict[str, tuple[bytes, Callable[[SqlStore], object]]] = {
    "create": (b"SELECT CASE", lambda store: put(store, "new", b"x")),
    "write": (PUT_CHUNK, lambda store: put(store, "new", LARGE)),
    "commit": (PUBLISH, lambda store: put(store, "new", LARGE)),
    "open": (b"LEFT JOIN", _open),
    "read_into": (b"BETWEEN", _open),
    "read": (b"LEFT JOIN", lambda store: get(store, "large")),
    "list": (b"ORDER BY o.name", lambda store: list(store.list(""))),
    "list_folders": (b"RECURSIVE", lambda store: list(store.list_folders(""))),
    "delete": (b"WITH gone", lambda store: store.delete("small")),
    "stat": (b"SELECT CASE", lambda store: store.stat("small")),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_server_that_is_out_of_reach_in_any_verb_is_unavailable_and_then_the_retry_succeeds(
    postgres: PostgresServer,  # noqa: F811
    proxy: Proxy,
    cut: SqlStore,
    schema: str,
    impatient: None,
    verb: str,
) -> None:
    pattern, _ = VERBS[verb]
    interrupt(
        cut, open_store(postgres.url(schema)), verb, lambda: proxy.watch_for(pattern, drop=True, times=99)
    )
    assert proxy.seen == sql_database.ATTEMPTS


STOPS = [
    *((verb, signal.SIGQUIT) for verb in VERBS),
    *((verb, signal.SIGKILL) for verb in ("write", "commit", "delete")),  # for a reader it is as a stop
]


@pytest.mark.parametrize(
    ("verb", "how"),
    [
        pytest.param(verb, how, marks=() if verb == "commit" else pytest.mark.slow, id=f"{verb}-{how.name}")
        for verb, how in STOPS
    ],
)
def test_a_server_that_goes_away_in_any_verb_is_unavailable_and_then_the_retry_succeeds(
    durable: PostgresServer, impatient: None, verb: str, how: signal.Signals
) -> None:
    schema = durable.new_schema()
    pattern, _ = VERBS[verb]
    with in_front_of(durable.port) as proxy:
        store = sql_store(durable.url(schema, port=proxy.port))
        plan = partial(proxy.watch_for, pattern, before=lambda: durable.stop(how))
        interrupt(store, store, verb, plan, durable.start)
        assert proxy.seen == 1


def interrupt(
    store: SqlStore,
    healthy: Store,
    verb: str,
    plan: Callable[[], None],
    mend: Callable[[], None] | None = None,
) -> None:
    """Let a verb fail as planned; then nothing is half there, and the same succeeds."""
    act = VERBS[verb][1]
    put(store, "small", b"small")
    put(store, "large", LARGE)
    plan()
    try:
        with pytest.raises(Unavailable) as caught:
            act(store)
        assert caught.value.code == "unavailable"
        assert caught.value.hint
    finally:
        if mend is not None:
            mend()
    assert list(healthy.list("")) == ["large", "small"], "nothing half visible, nothing half gone"
    assert (get(healthy, "large"), get(healthy, "small")) == (LARGE, b"small")
    act(sql_store(healthy.location))
    assert "new" not in set(healthy.list("")) or get(healthy, "new") in {b"x", LARGE}


def test_what_was_stored_survives_a_crash_of_the_server_at_once(durable: PostgresServer) -> None:
    schema = durable.new_schema()
    store = open_store(durable.url(schema))
    put(store, "a", LARGE)
    durable.stop(signal.SIGKILL)
    durable.start()
    assert get(store, "a") == LARGE


@pytest.mark.slow
def test_a_server_that_comes_back_within_seconds_is_waited_for(durable: PostgresServer) -> None:
    store = open_store(durable.url(durable.new_schema()))
    put(store, "a", b"x")
    durable.stop()
    durable.start(wait=False)
    assert get(store, "a") == b"x"
    durable.wait()


def test_a_server_that_lost_chunks_of_an_upload_is_found_out_at_its_commit(durable: PostgresServer) -> None:
    schema = durable.new_schema()
    store = open_store(durable.url(schema))
    put(store, "before")

    def write() -> None:
        with store.create("a") as sink:
            sink.write(LARGE)
            durable.run(f"DELETE FROM {schema}.mvault_chunks WHERE octet_length(data) = 1048576 AND seq = 0")

    with pytest.raises(Unavailable, match="lost some of it"):
        write()
    assert list(store.list("")) == ["before"]


@pytest.mark.parametrize("verb", ["read", pytest.param("commit", marks=pytest.mark.slow)])
def test_a_server_that_hangs_is_not_waited_for_for_ever(
    durable: PostgresServer, impatient: None, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr(sql_postgres, "WAIT_SECONDS", 0.3)
    monkeypatch.setattr(sql_postgres, "_CONNECT_SECONDS", 2)
    pattern, act = VERBS[verb]
    with in_front_of(durable.port) as proxy:
        store = sql_store(durable.url(durable.new_schema(), port=proxy.port))
        put(store, "small", b"small")
        put(store, "large", LARGE)

        def freeze() -> None:
            for pid in backends:
                os.kill(pid, signal.SIGSTOP)

        backends = [
            pid
            for (pid,) in durable.run("SELECT pid FROM pg_stat_activity WHERE application_name = 'mvault'")
        ]
        assert durable.process is not None
        backends.append(durable.process.pid)
        proxy.watch_for(pattern, before=freeze)
        started = time.monotonic()
        try:
            with pytest.raises(Unavailable):
                act(store)
        finally:
            for pid in backends:
                os.kill(pid, signal.SIGCONT)
        assert time.monotonic() - started < 30
        assert get(store, "large") == LARGE


# Who may.


def documented(block: str) -> str:
    """Give a block of SQL from the page, so that what is tested is what people read."""
    page = (ROOT / "docs" / "storage" / "sql.md").read_text(encoding="utf-8")
    found = re.findall(rf"<!-- sql: {block} -->\n```sql\n(.*?)```", page, re.DOTALL)
    assert len(found) == 1
    return str(found[0])


@pytest.fixture
def roles(postgres: PostgresServer) -> Iterator[Callable[[str], SqlStore]]:  # noqa: F811
    """The page's roles on a real server, and a store for each."""
    names = ("vault_admin", "publisher", "web", "auditor", "vault_reader", "vault_writer")
    try:
        postgres.run(documented("schema"))
        for name in names[:1]:
            postgres.run(f"ALTER ROLE {name} PASSWORD '{postgres.password}'")
        put(sql_store(postgres.url("models", user="vault_admin")), "README.txt", b"made by the owner")
        postgres.run(documented("grants"))
        for name in names[1:4]:
            postgres.run(f"ALTER ROLE {name} PASSWORD '{postgres.password}'")
        yield lambda name: sql_store(postgres.url("models", user=name))
    finally:
        postgres.run("DROP SCHEMA IF EXISTS models CASCADE")
        for name in ("publisher", "web", "auditor", "vault_writer", "vault_reader", "vault_admin"):
            postgres.run(f"DROP ROLE IF EXISTS {name}")


def test_each_documented_role_can_do_its_work_and_nothing_more(
    postgres: PostgresServer,  # noqa: F811
    roles: Callable[[str], SqlStore],
) -> None:
    put(roles("publisher"), "models/churn/@/1/files/ab", LARGE)
    for name in ("publisher", "web", "auditor", "vault_admin"):
        assert get(roles(name), "models/churn/@/1/files/ab") == LARGE
        assert list(roles(name).list_folders("")) == ["README.txt", "models/"]
        assert roles(name).stat("README.txt").size == 17
    put(roles("web"), "log/access/web/here/commit/000001", b"record")

    for name, taken in (
        ("web", "models/churn/@/2/manifest.json"),
        ("web", "log/access/other/here/commit/000001"),
        ("web", "log/access/webb"),
        ("auditor", "log/access/web/here/commit/000002"),
        ("auditor", "a"),
    ):
        with pytest.raises(Unavailable) as caught:
            put(roles(name), taken, LARGE)
        assert (caught.value.code, caught.value.subject) == ("storage-denied", taken)
        assert "docs/storage/sql.md" in caught.value.hint
    for name in ("publisher", "web", "auditor"):
        with pytest.raises(Unavailable) as caught:
            roles(name).delete("README.txt")
        assert caught.value.code == "storage-denied"
        for statement in (
            "UPDATE models.mvault_objects SET size = 0",
            "UPDATE models.mvault_chunks SET data = ''",
            "DELETE FROM models.mvault_chunks",
            "TRUNCATE models.mvault_chunks",
            "DROP TABLE models.mvault_objects",
            "INSERT INTO models.mvault_chunks (content, seq, data, created) VALUES ('', 9, '', 0)",
            "INSERT INTO models.mvault_schema (version) VALUES (2)",
        ):
            with (
                postgres.connect(user=name) as connection,
                pytest.raises(Exception, match=r"permission|owner"),
            ):
                connection.execute(statement)
    assert get(roles("auditor"), "models/churn/@/1/files/ab") == LARGE
    assert set(roles("auditor").list("")) == {
        "README.txt", "models/churn/@/1/files/ab", "log/access/web/here/commit/000001",
    }  # fmt: skip
    assert roles("vault_admin").sweep_leftovers(-60, int(time.time())) > 0, "the owner may tidy up"
    roles("vault_admin").delete("README.txt")
    with pytest.raises(NotFound):
        roles("auditor").stat("README.txt")


def test_who_may_not_make_tables_is_told_so(postgres: PostgresServer, schema: str) -> None:  # noqa: F811
    postgres.run(f"CREATE ROLE {schema}_guest LOGIN PASSWORD '{postgres.password}'")
    try:
        store = open_store(postgres.url(schema, user=f"{schema}_guest"))
        for act in (lambda: put(store, "a"), lambda: list(store.list(""))):
            with pytest.raises(Unavailable, match="permission denied") as caught:
                act()
            assert caught.value.code == "storage-denied"
        postgres.run(f"GRANT USAGE ON SCHEMA {schema} TO {schema}_guest")
        assert list(store.list("")) == []
        with pytest.raises(Unavailable, match="permission denied") as caught:
            put(store, "a")
        assert caught.value.code == "storage-denied"
    finally:
        postgres.run(f"DROP OWNED BY {schema}_guest", f"DROP ROLE {schema}_guest")


def test_a_wrong_password_is_denied_and_no_password_is_shown(
    postgres: PostgresServer,  # noqa: F811
    schema: str,
) -> None:
    url = postgres.url(schema).replace("@127", ":hunter2secret@127")
    store = open_store(url)
    with pytest.raises(Unavailable) as caught:
        store.stat("a")
    assert caught.value.code == "storage-denied"
    shown = f"{caught.value} {caught.value.subject} {store.location} {store!r} {caught.value.__cause__!r}"
    assert "hunter2secret" not in shown
    assert store.location == postgres.url(schema)


def test_what_is_not_there_is_said(postgres: PostgresServer, impatient: None) -> None:  # noqa: F811
    store = open_store(postgres.url("no_such_schema"))
    assert list(store.list("")) == []
    with pytest.raises(Unavailable) as caught:
        put(store, "a")
    assert "CREATE SCHEMA" in caught.value.hint
    nobody = postgres.url("public").replace("/postgres?", "/no_such_database?")
    with pytest.raises(Unavailable, match="does not exist"):
        open_store(nobody).stat("a")
    with in_front_of(postgres.port) as proxy:
        port = proxy.port
    with pytest.raises(Unavailable, match="refused") as caught:
        open_store(postgres.url("public", port=port)).stat("a")
    assert caught.value.code == "unavailable"


# Leftovers, children, versions.


def test_leftovers_are_swept_after_their_time_and_what_has_a_name_never(
    postgres: PostgresServer,  # noqa: F811
    schema: str,
) -> None:
    store = sql_store(postgres.url(schema))
    assert store.sweep_leftovers(0, int(time.time())) == 0
    put(store, "a", LARGE)

    def fail() -> None:
        with store.create("b") as sink:
            sink.write(LARGE)
            raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            fail()
    assert store.sweep_leftovers(3600, int(time.time())) == 0
    assert store.sweep_leftovers(0, int(time.time()) + 3600) == 2
    assert postgres.run(f"SELECT count(*) FROM {schema}.mvault_chunks") == [(CHUNKS,)]
    assert get(store, "a") == LARGE

    def swept() -> None:
        with store.create("c") as sink:
            sink.write(LARGE)
            assert store.sweep_leftovers(0, int(time.time()) + 3600) == 1

    with pytest.raises(Unavailable, match="swept"):
        swept()
    assert list(store.list("")) == ["a"]


def test_no_name_is_given_to_what_is_being_swept(postgres: PostgresServer, schema: str) -> None:  # noqa: F811
    """A sweeper that deletes while a writer commits: the writer waits, and then finds its chunks gone."""
    store = sql_store(postgres.url(schema))
    put(store, "a")
    committing = threading.Thread(target=lambda: outcome.append(_outcome(store)))
    outcome: list[object] = []
    with postgres.connect() as sweeper:
        with sweeper.transaction():
            sweeper.execute(f"LOCK TABLE {schema}.mvault_objects IN SHARE MODE")
            committing.start()
            while not postgres.run("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                time.sleep(0.01)
            sweeper.execute(
                f"DELETE FROM {schema}.mvault_chunks c WHERE NOT EXISTS "
                f"(SELECT 1 FROM {schema}.mvault_objects o WHERE o.content = c.content)"
            )
        committing.join()
    assert isinstance(outcome[0], Unavailable)
    assert list(store.list("")) == ["a"]


def _outcome(store: SqlStore) -> object:
    try:
        put(store, "b", LARGE)
    except Unavailable as error:
        return error
    return None


def test_a_child_of_a_fork_has_connections_of_its_own(postgres: PostgresServer, schema: str) -> None:  # noqa: F811
    store = open_store(postgres.url(schema))
    put(store, "a", b"parent")
    child = os.fork()
    if child == 0:
        try:
            for _ in range(50):
                if get(store, "a") != b"parent":
                    os._exit(1)
            put(store, "b", b"child")
            os._exit(0)
        finally:
            os._exit(2)
    for _ in range(50):
        assert get(store, "a") == b"parent"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert get(store, "b") == b"child"


def test_tables_of_another_version_are_not_used(postgres: PostgresServer, schema: str) -> None:  # noqa: F811
    put(open_store(postgres.url(schema)), "a")
    for change in ("UPDATE {} SET version = 2", "DELETE FROM {}", "INSERT INTO {} VALUES (1), (1)"):
        postgres.run(change.format(f"{schema}.mvault_schema"))
        store = open_store(postgres.url(schema))
        with pytest.raises(Unavailable, match="version"):
            put(store, "b")
        with pytest.raises(Unavailable, match="version"):
            list(store.list(""))


def test_other_tables_in_the_schema_are_left_alone(postgres: PostgresServer, schema: str) -> None:  # noqa: F811
    postgres.run(
        f"CREATE TABLE {schema}.objects (name text)", f"INSERT INTO {schema}.objects VALUES ('theirs')"
    )
    put(open_store(postgres.url(schema)), "a")
    tables = {
        row[0] for row in postgres.run(f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'")
    }
    assert tables == {"objects", "mvault_schema", "mvault_objects", "mvault_chunks"}
    assert postgres.run(f"SELECT * FROM {schema}.objects") == [("theirs",)]
