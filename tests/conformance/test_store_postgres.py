"""The store in PostgreSQL keeps the promises of a store."""

from collections.abc import Iterator

import pytest

from tests.conformance.crossing_suite import CrossingSuite
from tests.conformance.test_store_sql import TogetherSuite
from tests.servers.postgres import PostgresServer, postgres  # noqa: F401
from vault.ports import Store
from vault.storage.opening import open_store


class TestPostgresStore(TogetherSuite, CrossingSuite):
    @pytest.fixture
    def store(self, postgres: PostgresServer) -> Iterator[Store]:  # noqa: F811
        schema = postgres.new_schema()
        self.server, self.schema = postgres, schema
        yield open_store(postgres.url(schema))
        if postgres.run(f"SELECT to_regclass('{schema}.mvault_schema')") != [(None,)]:
            assert postgres.run(f"SELECT version FROM {schema}.mvault_schema") == [(1,)]
        postgres.run(f"DROP SCHEMA {schema} CASCADE")

    def fill(self, store: Store, names: list[str]) -> None:
        fill_by_tables(self.server, self.schema, names, store)

    def check_no_litter(self, store: Store) -> None:
        if self.server.run(f"SELECT to_regclass('{self.schema}.mvault_chunks')") == [(None,)]:
            return
        orphans = self.server.run(
            f"SELECT count(*) FROM {self.schema}.mvault_chunks c WHERE NOT EXISTS "
            f"(SELECT 1 FROM {self.schema}.mvault_objects o WHERE o.content = c.content)"
        )
        assert orphans == [(0,)]


def fill_by_tables(server: PostgresServer, schema: str, names: list[str], store: Store) -> None:
    """Create many small objects in two statements, each with its name for its bytes."""
    with store.create("first"):
        pass
    store.delete("first")
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {schema}.mvault_chunks (content, seq, data) SELECT decode(md5(n), 'hex'), 0, "
            "convert_to(n, 'UTF8') FROM unnest(%s::text[]) n",
            [names],
        )
        cursor.execute(
            f"INSERT INTO {schema}.mvault_objects (name, size, content) SELECT n, octet_length(n), "
            "decode(md5(n), 'hex') FROM unnest(%s::text[]) n",
            [names],
        )
