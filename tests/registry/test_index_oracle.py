"""What SQL answers about any versions is what a slow judge of each version answers: on both databases."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.registry import parts
from tests.servers.postgres import PostgresServer, postgres  # noqa: F401 (a fixture)
from vault.core import names
from vault.core.registry_record import Entry, Facts, FileRow, Record
from vault.core.search_query import parse
from vault.ports import no_progress
from vault.registry import database, following, searching, writing
from vault.registry.database import Database
from vault.storage import sql_address, sql_postgres

Halves = tuple[Database, Database]
_quick = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def server_index(server: PostgresServer, schema: str | None) -> Database:
    address = sql_address.parse(server.url("public"))
    assert isinstance(address, sql_address.PostgresAddress)
    engine = sql_postgres.dialect(address).open_engine()
    return database.open_server(engine, parts.VAULT, place="PostgreSQL", schema_name=schema)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Halves]:
    """An index in a file."""
    made = parts.new_file(tmp_path_factory.mktemp("index"))
    yield made, made
    made.close()


@pytest.fixture(scope="module")
def server(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Halves]:  # noqa: F811
    """An index in PostgreSQL, with a reader's own file."""
    catalog, own = (
        server_index(postgres, postgres.new_schema()),
        parts.new_file(tmp_path_factory.mktemp("own")),
    )
    yield catalog, own
    catalog.close()
    own.close()


def _agree(halves: Halves, records: list[Record], questions: list[str]) -> None:
    halves[0].clear()
    if halves[0] is not halves[1]:
        halves[1].clear()
    parts.fill(*halves, records)
    for question in questions:
        query = parse(question)
        assert parts.asked(*halves, query) == parts.oracle(records, query), question


@settings(_quick, max_examples=60)
@given(parts.records(), st.lists(parts.queries(), min_size=1, max_size=12))
def test_a_file_answers_as_the_oracle_does(file: Halves, records: list[Record], questions: list[str]) -> None:
    _agree(file, records, questions)


@settings(_quick, max_examples=12)
@given(parts.records(), st.lists(parts.queries(), min_size=1, max_size=20))
def test_a_server_answers_as_the_oracle_does(
    server: Halves, records: list[Record], questions: list[str]
) -> None:
    _agree(server, records, questions)


@pytest.mark.slow
@settings(_quick, max_examples=1_500)
@given(parts.records(), st.lists(parts.queries(), min_size=1, max_size=20))
def test_a_file_answers_as_the_oracle_does_at_length(
    file: Halves, records: list[Record], questions: list[str]
) -> None:
    _agree(file, records, questions)


@settings(_quick, max_examples=8)
@given(parts.records(), parts.records(), parts.queries())
def test_a_file_follows_whatever_becomes_of_its_server(
    server: Halves, before: list[Record], after: list[Record], question: str
) -> None:
    catalog, own = server
    catalog.clear()
    own.clear()
    parts.fill(catalog, own, before)
    numbers = [seen.number for seen in catalog.read(writing.entries_seen).values()]
    models = [*catalog.read(writing.models_seen)]
    catalog.write(lambda connection: writing.forget_entries(connection, numbers))
    catalog.write(lambda connection: writing.forget_models(connection, models))
    own.write(lambda connection: writing.forget_facts(connection, numbers))
    parts.fill(catalog, own, after)
    query = parse(question)
    assert parts.asked(catalog, own, query) == parts.asked(own, own, query) == parts.oracle(after, query)
    assert following.follow(catalog, own, no_progress) == 0


def test_the_newest_come_first_and_no_more_than_was_asked_for(file: Halves) -> None:
    records = [
        Record(Entry(names.model("m"), names.version(str(number)),
                           parts.manifest_of("m", str(number)), 1_000 + number, (), ("ana",), seen="s"))
        for number in range(1, 8)
    ]  # fmt: skip
    file[0].clear()
    parts.fill(*file, records)
    hits, more = searching.find(*file, parse("m"), 3)
    assert [hit.version for hit in hits] == ["7", "6", "5"]
    assert more
    hits, more = searching.find(*file, parse("m"), 7)
    assert (len(hits), more) == (7, False)


def test_what_a_query_names_is_told_with_each_hit(server: Halves) -> None:
    facts = Facts((("auc", 0.9, "0.9"),), (("solver", None, "sag"),), (), (("numpy", "2.1"),), ("own",))
    entry = Entry(
        names.model("m"), names.version("1"), parts.manifest_of("m", "1"), 5,
        (FileRow("a", "model", "onnx", 7),), ("ana",), tags=("all",), seen="s",
    )  # fmt: skip
    record = Record(entry, frozenset({("prod", "blue")}), frozenset({("prod", "blue")}), facts)
    for half in server:
        half.clear()
    parts.fill(*server, [record])
    for question in ("metric.auc>0 param=solver not library.numpy<2", "env=prod"):
        (hit,), _ = searching.find(*server, parse(question), 5)
        assert (hit.reference, hit.created, hit.size) == ("m:1", "1970-01-01T00:00:05Z", 7)
        assert (hit.formats, hit.channels, hit.publishers) == (("onnx",), ("prod/blue",), ("ana",))
        assert (hit.tags, hit.readable) == (("all", "own"), True)
        named = {"metric.auc": "0.9", "param.solver": "sag", "library.numpy": "2.1"}
        assert hit.values == (named if "metric" in question else {})
