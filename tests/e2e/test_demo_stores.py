"""`mvault demo --vault URL`: the whole story, attacks included, on real servers of every kind."""

import json
from collections.abc import Callable

import pytest

from tests.servers.azurite import Azurite, azurite
from tests.servers.fake_gcs import FakeGcs, fake_gcs
from tests.servers.postgres import PostgresServer, postgres
from tests.servers.seaweed import SeaweedServer, seaweed
from vault.demo import attacks, log_attacks, main, train
from vault.storage.opening import open_store

__all__ = ["azurite", "fake_gcs", "postgres", "seaweed"]  # fixtures


def in_s3(request: pytest.FixtureRequest) -> str:
    server: SeaweedServer = request.getfixturevalue("seaweed")
    return server.url(server.new_bucket(), "team/models")


def in_gcs(request: pytest.FixtureRequest) -> str:
    server: FakeGcs = request.getfixturevalue("fake_gcs")
    return server.url(server.bucket(), "team/models")


def in_azure(request: pytest.FixtureRequest) -> str:
    server: Azurite = request.getfixturevalue("azurite")
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server.url(server.container(), "team/models")


def in_postgres(request: pytest.FixtureRequest) -> str:
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url(server.new_schema())


def in_sqlite(request: pytest.FixtureRequest) -> str:
    return f"sqlite:///{request.getfixturevalue('tmp_path')}/models.db"


PLACES = {"s3": in_s3, "gs": in_gcs, "az": in_azure, "postgresql": in_postgres, "sqlite": in_sqlite}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", PLACES)
def test_the_whole_demo_goes_as_promised_and_leaves_nothing_behind(
    scheme: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    location = PLACES[scheme](request)
    assert main.run(location=location, json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert [entry["ok"] for entry in told["attacks"]] == [True] * len(attacks.ATTACKS)
    assert [entry["ok"] for entry in told["log_attacks"]] == [True] * len(log_attacks.ATTACKS)
    assert len(told["models"]) == len(list(train.train())) == 5
    assert list(open_store(location).list("")) == []


def test_every_kind_of_store_is_tried() -> None:
    places: dict[str, Callable[[pytest.FixtureRequest], str]] = dict(PLACES)
    assert {*places, "file"} == open_store.__globals__["_ADAPTERS"].keys()
