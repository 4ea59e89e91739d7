"""A whole day with a vault in a database: made, pushed to, promoted, loaded elsewhere, checked, attacked."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import vault
from tests.servers.postgres import PostgresServer, postgres  # noqa: F401
from vault.vault import Vault

ROWS = 200
BLANK = {"sqlite": "zeroblob(1048576)", "postgr": "decode(repeat('00', 1048576), 'hex')"}
ELSEWHERE = """
import json, sys
import numpy as np
import vault

model = vault.open(sys.argv[1]).load_model("churn@prod")
print(json.dumps(model.predict(np.array(json.loads(sys.argv[2]))).tolist()))
"""


@dataclass(frozen=True)
class Place:
    """Where a vault is, and how whoever runs the database changes bytes in it."""

    url: str
    execute: Callable[[str], list[Any]]


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("MVAULT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MVAULT_STATE_DIR", str(tmp_path / "state"))
    if request.param == "sqlite":
        path = tmp_path / "vault.db"

        def execute(statement: str) -> list[Any]:
            with closing(sqlite3.connect(path)) as connection, connection:
                return connection.execute(statement).fetchall()

        yield Place(f"sqlite:///{path}", execute)
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    schema = server.new_schema()

    def run(statement: str) -> list[Any]:
        return server.run(f"SET search_path = {schema}", statement)

    yield Place(server.url(schema), run)
    server.run(f"DROP SCHEMA {schema} CASCADE")


@dataclass(frozen=True)
class Day:
    """A vault with a model in prod."""

    vault: Vault
    model: Any
    rows: Any


@pytest.fixture
def day(place: Place, tmp_path: Path) -> Day:
    opened = vault.init(place.url, name="owner", no_passphrase=True, recipient="x25519")
    random = np.random.default_rng(1)
    rows = random.normal(size=(ROWS, 4))
    model = LogisticRegression().fit(rows, rows @ [1, -2, 3, 0] > 0)
    reference = opened.save_model("churn", model, sample_input=rows)
    assert str(reference) == "churn:1"
    opened.promote("churn:1", env="prod")
    large = tmp_path / "large.bin"
    large.write_bytes(random.bytes(3_000_000))
    opened.push("weights", large)
    return Day(opened, model, rows)


def test_a_model_goes_in_and_comes_out_elsewhere(place: Place, day: Day, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    shown = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, place.url, json.dumps(day.rows[:20].tolist())],
        env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout) == day.model.predict(day.rows[:20]).tolist()

    again = vault.open(place.url)
    assert again.location == place.url, "one spelling, under which it is trusted"
    assert {row.model: row.newest for row in again.list()} == {"churn": "1", "weights": "1"}
    assert again.check(data=True).whole
    pulled = again.pull("weights:1", tmp_path / "out")
    assert (Path(pulled) / "large.bin").read_bytes() == (tmp_path / "large.bin").read_bytes()


def test_what_somebody_changes_in_the_tables_is_refused(place: Place, day: Day) -> None:
    found = place.execute(
        "SELECT content FROM mvault_objects WHERE name LIKE 'models/weights/%/files/%' AND size > 1000000"
    )
    assert len(found) == 1
    content = f"x'{found[0][0].hex()}'" if place.url.startswith("sqlite") else f"'\\x{found[0][0].hex()}'"
    chunk = f"content = {content} AND seq = 1 RETURNING 1"

    assert place.execute(f"UPDATE mvault_chunks SET data = {BLANK[place.url[:6]]} WHERE {chunk}") == [(1,)]
    report = vault.open(place.url).check("weights:1")
    assert {finding.code for finding in report.findings if finding.level == "bad"} == {"digest-mismatch"}
    assert place.execute(f"DELETE FROM mvault_chunks WHERE {chunk}") == [(1,)]
    report = vault.open(place.url).check("weights:1")
    assert {finding.code for finding in report.findings if finding.level == "bad"} == {"unavailable"}
    assert vault.open(place.url).check("churn:1").whole
