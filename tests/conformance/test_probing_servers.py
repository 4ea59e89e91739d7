"""Real servers keep the promises that a probe asks about, and nothing is left on them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.postgres import PostgresServer, postgres  # noqa: F401
from tests.servers.seaweed import SeaweedServer, seaweed  # noqa: F401
from vault.actions import probing
from vault.storage.opening import open_store


def _seaweed(request: pytest.FixtureRequest, _: Path) -> str:
    server: SeaweedServer = request.getfixturevalue("seaweed")
    return server.url(server.new_bucket(), "models")


def _postgres(request: pytest.FixtureRequest, _: Path) -> str:
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url(server.new_schema())


URLS: dict[str, Callable[[pytest.FixtureRequest, Path], str]] = {
    "sqlite": lambda _, folder: f"sqlite:///{folder}/store.db",
    "postgres": _postgres,
    "seaweed": _seaweed,
}


@pytest.mark.parametrize("kind", URLS)
def test_a_real_server_keeps_every_promise_and_nothing_is_left(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = open_store(URLS[kind](request, tmp_path))
    for large in (False, True):
        found = probing.survey(store, large=large)
        assert found.faults == ()
        assert (found.racers, found.winners) == (12, 1)
        assert found.creates_large is (True if large else None)
        assert (found.deletes, found.left) == ("done", ())
        assert list(store.list("")) == []
