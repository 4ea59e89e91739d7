"""Backups between real servers: SeaweedFS as a destination, PostgreSQL as the vault; folders, SQLite."""

from pathlib import Path

import pytest

from tests.attacks.vault_mixing import check, outcome
from tests.builders import Built
from tests.e2e.plugs import filled
from tests.e2e.test_backup import NIGHTLY, at, made
from tests.e2e.test_restore import with_key
from tests.servers.postgres import PostgresServer, postgres  # noqa: F401
from tests.servers.seaweed import SeaweedServer, seaweed  # noqa: F401
from vault.actions import backing_up, backing_up_plan, backing_up_verify, restoring
from vault.actions.backing_up_run import Backup, Options
from vault.ports import ListsSizes, Store
from vault.storage.ahead import AheadStore
from vault.storage.opening import open_store


@pytest.fixture
def bucket(seaweed: SeaweedServer) -> str:  # noqa: F811
    return seaweed.url(seaweed.new_bucket(), "copies/models")


@pytest.fixture
def database(postgres: PostgresServer) -> str:  # noqa: F811
    return postgres.url(postgres.new_schema())


def run(built: Built, source: Store, target: Store) -> Backup:
    return backing_up.backup(built.session(store=source), target, Options(name=NIGHTLY))


def there_and_back(built: Built, source: Store, target: Store, place: Store) -> None:
    """Back a vault up twice, verify the backup, restore it elsewhere and look at it."""
    done = run(built, source, target)
    assert done.whole, done.findings
    assert done.versions == 3
    again = run(built, source, target)
    assert (again.copied, again.verified_bytes, again.whole) == (0, 0, True)
    verified = backing_up_verify.verify(built.session(store=source), target, Options(name=NIGHTLY))
    assert (verified.whole, verified.versions) == (True, 3)
    here = restoring.Here(lambda: built.now, built.draws)
    found = restoring.restore(target, place, built.vault, with_key(built), here)
    assert found.whole, found.findings
    assert found.opened is not None
    assert found.opened.versions == 3
    assert list(backing_up_plan.sizes(place, "models/")) == list(backing_up_plan.sizes(source, "models/"))
    assert outcome(at(place, built), "churn@prod") == {"model.json": b'{"w":[1]}'}
    assert check(at(place, built)).whole


def test_from_postgresql_to_s3_and_back_into_a_folder(bucket: str, database: str, tmp_path: Path) -> None:
    built = made()
    with filled(open_store(database), built) as source:
        target = open_store(bucket)
        assert isinstance(source, ListsSizes)
        assert isinstance(target, ListsSizes)
        there_and_back(built, AheadStore(source), target, open_store(str(tmp_path / "models")))


def test_from_a_folder_to_sqlite_and_back_into_s3(bucket: str, tmp_path: Path) -> None:
    built = made()
    with filled(open_store(str(tmp_path / "models")), built) as source:
        target = open_store(f"sqlite:///{tmp_path / 'copies.sqlite'}")
        there_and_back(built, source, target, open_store(bucket))
