"""Archives on real servers: cold classes and their restoring, locks and versions, another bucket."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import Built
from tests.e2e.archive_parts import content, nothing_is_lost, opened, payloads, pulled, three
from tests.servers.moto import MotoServer, moto, moto_user  # noqa: F401
from tests.servers.seaweed import SeaweedServer, seaweed  # noqa: F401
from vault.actions import archiving, retrieving
from vault.actions.archiving import ALREADY, ARCHIVED, INCOMPLETE
from vault.core import lifecycle_rules, limits, names
from vault.errors import NotFound, Unavailable
from vault.ports import Store
from vault.storage import s3_archive
from vault.storage.opening import open_store
from vault.storage.s3 import S3Store
from vault.vault import Vault

ONE = names.reference("churn:1")


def filled(built: Built, url: str) -> S3Store:
    """Put a vault's objects into a bucket."""
    store = open_store(url)
    assert isinstance(store, S3Store)
    for name, data in built.store.objects.items():
        with store.create(name, size=len(data)) as sink:
            sink.write(data)
    return store


def classes(moto: MotoServer, bucket: str, wanted: list[str]) -> set[str]:  # noqa: F811
    """Give the classes that objects are in."""
    client = moto.client()
    found = [client.head_object(Bucket=bucket, Key=f"v/{name}").get("StorageClass") for name in wanted]
    return {kind or "STANDARD" for kind in found}


@pytest.fixture
def built() -> Built:
    return three()


# --- cold classes, as moto models them ---


@pytest.mark.usefixtures("moto_user")
def test_a_cold_class_is_asked_waited_for_and_left_again(
    built: Built,
    moto: MotoServer,  # noqa: F811
    tmp_path: Path,
) -> None:
    bucket = moto.new_bucket()
    store = filled(built, moto.url(bucket, "v"))
    names_of = payloads(built, "churn:1")
    vault = opened(built, store=store)
    (row,) = vault.archive("churn:1", storage_class="DEEP_ARCHIVE", dry_run=True)
    assert row.state == archiving.PLANNED
    (row,) = vault.archive("churn:1", storage_class="DEEP_ARCHIVE")
    assert (row.state, row.where) == (ARCHIVED, "DEEP_ARCHIVE")
    assert classes(moto, bucket, names_of) == {"DEEP_ARCHIVE"}
    assert classes(moto, bucket, payloads(built, "churn:2")) == {"STANDARD"}
    assert vault.archive("churn:1", storage_class="DEEP_ARCHIVE")[0].state == ALREADY
    with pytest.raises(Unavailable) as caught:
        vault.pull("churn:1", tmp_path / "out")
    assert caught.value.code == "archived"
    assert "up to 12 hours" in caught.value.message
    assert "--request" in caught.value.hint
    with pytest.raises(Unavailable, match="DEEP_ARCHIVE"):
        vault.promote("churn:1", env="prod")
    assert vault.check("churn:1").whole
    out = _once_it_is_there(lambda: vault.pull("churn:1", tmp_path / "out", request=True))
    assert pulled(out) == content(1)
    assert classes(moto, bucket, names_of) == {"DEEP_ARCHIVE"}, "readable for some days, and still there"
    assert vault.unarchive("churn:1").state == retrieving.RETURNED
    assert classes(moto, bucket, names_of) == {"STANDARD"}
    assert pulled(vault.pull("churn:1", tmp_path / "again")) == content(1)


def _once_it_is_there(pull: Callable[[], Path]) -> Path:
    """Ask until what was asked for can be read, which moto does at once or at the next look."""
    for _ in range(5):
        try:
            return pull()
        except Unavailable as error:
            if error.code != "archived" or "asked for" not in error.message:
                raise
    raise AssertionError("it never came")


@pytest.mark.usefixtures("moto_user")
def test_waiting_looks_again_until_everything_can_be_read(
    built: Built,
    moto: MotoServer,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """moto restores at once; S3 takes hours, which is played here."""
    store = filled(built, moto.url(moto.new_bucket(), "v"))
    opened(built, store=store).archive("churn:1", storage_class="GLACIER")
    now = [0.0]
    state = s3_archive.archive_state

    def slowly(*arguments: object) -> s3_archive.ArchiveState:
        found = state(*arguments)  # type: ignore[arg-type]
        if found.archived and now[0] < 200:
            return s3_archive.ArchiveState(True, True, False, "", found.storage_class)
        return found

    monkeypatch.setattr(s3_archive, "archive_state", slowly)
    session = built.session(store=store)
    told: list[str] = []
    session.progress = lambda done, total, what: told.append(what)
    early = retrieving.Patience(tier="Bulk")
    with pytest.raises(Unavailable, match="5 to 12 hours"):
        retrieving.bring_back(session, ONE, patience=early)

    def sleep(seconds: float) -> None:
        now[0] += seconds

    patience = retrieving.Patience(wait=True, tier="Bulk", sleep=sleep)
    assert retrieving.bring_back(session, ONE, patience=patience).state == retrieving.RETURNED
    assert now[0] >= 200
    assert any("waiting for churn:1" in what for what in told)
    with pytest.raises(ValueError, match="tier"):
        retrieving.Patience(tier="Fast")


@pytest.mark.usefixtures("moto_user")
def test_what_a_rule_of_the_bucket_moved_is_told_of_too(
    built: Built,
    moto: MotoServer,  # noqa: F811
    tmp_path: Path,
) -> None:
    """No record tells of it: the storage did that by itself."""
    bucket = moto.new_bucket()
    store = filled(built, moto.url(bucket, "v"))
    for name in payloads(built, "churn:1"):
        store.set_class(name, "GLACIER")
    vault = opened(built, store=store)
    with pytest.raises(Unavailable) as caught:
        vault.pull("churn:1", tmp_path / "out")
    assert caught.value.code == "archived"
    assert "the store moved" in caught.value.message
    (told,) = [entry for entry in vault.check("churn:1").findings if entry.subject == "churn:1"]
    assert told.level == "ok"
    out = _once_it_is_there(lambda: vault.pull("churn:1", tmp_path / "out", request=True))
    assert pulled(out) == content(1)


@pytest.mark.usefixtures("moto_user")
def test_an_object_too_large_for_one_copy_is_copied_by_parts(
    moto: MotoServer,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3_archive, "_LARGEST_COPY", 6 * limits.MIB)
    monkeypatch.setattr(s3_archive, "_PART", 5 * limits.MIB)
    bucket = moto.new_bucket()
    store = open_store(moto.url(bucket, "v"))
    assert isinstance(store, S3Store)
    data = bytes(range(256)) * (50 * limits.KIB)
    with store.create("a", size=len(data)) as sink:
        sink.write(data)
    assert store.set_class("a", "GLACIER_IR")
    assert classes(moto, bucket, ["a"]) == {"GLACIER_IR"}
    assert store.read("a", limit=len(data)) == data
    assert not store.set_class("a", "GLACIER_IR")
    with pytest.raises(NotFound):
        store.set_class("b", "GLACIER_IR")


@pytest.mark.usefixtures("moto_user")
def test_a_locked_bucket_keeps_its_payloads_and_the_row_says_so(
    built: Built,
    moto: MotoServer,  # noqa: F811
    tmp_path: Path,
) -> None:
    bucket = moto.new_bucket(ObjectLockEnabledForBucket=True)
    store = filled(built, moto.url(bucket, "v", lock_mode="COMPLIANCE", lock_days="30"))
    (row,) = opened(built, store=store).archive("churn:1", to=str(tmp_path / "cold"))
    assert (row.state, row.code) == (INCOMPLETE, "storage-denied")
    assert "locked" in row.reason
    assert pulled(opened(built, store=store).pull("churn:1", tmp_path / "out")) == content(1)


# --- from one bucket to another ---


def _to_another_bucket(built: Built, store: Store, where: str, tmp_path: Path) -> Vault:
    vault = opened(built, store=store)
    assert vault.archive("churn:1", to=where)[0].state == ARCHIVED
    nothing_is_lost(built, store, open_store(where), "churn:1")
    for name in payloads(built, "churn:1"):
        with pytest.raises(NotFound):
            store.stat(name)
    assert pulled(vault.pull("churn:1", tmp_path / "out", wait=True)) == content(1)
    assert vault.unarchive("churn:1").state == retrieving.RETURNED
    assert pulled(vault.pull("churn:1", tmp_path / "again")) == content(1)
    return vault


def test_from_one_bucket_to_another_and_back(
    built: Built,
    seaweed: SeaweedServer,  # noqa: F811
    tmp_path: Path,
) -> None:
    store = filled(built, seaweed.url(seaweed.new_bucket(), "v"))
    _to_another_bucket(built, store, seaweed.url(seaweed.new_bucket(), "old"), tmp_path)


@pytest.mark.usefixtures("moto_user")
def test_an_archive_that_moved_its_payloads_to_a_cold_class_is_asked_for_them(
    built: Built,
    moto: MotoServer,  # noqa: F811
    tmp_path: Path,
) -> None:
    """The archive's own bucket has the rules that `mvault archive --lifecycle` prints; moto runs none."""
    store = filled(built, moto.url(moto.new_bucket(), "v"))
    bucket = moto.new_bucket()
    where = moto.url(bucket, "old")
    vault = opened(built, store=store)
    vault.archive("churn:1", to=where)
    rules = json.loads(lifecycle_rules.rules("s3", "old"))
    moto.client().put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)
    behind = open_store(where)
    assert isinstance(behind, S3Store)
    for name in payloads(built, "churn:1"):
        behind.set_class(name, "DEEP_ARCHIVE")
    out = _once_it_is_there(lambda: vault.pull("churn:1", tmp_path / "out", request=True))
    assert pulled(out) == content(1)
    assert vault.unarchive("churn:1").state == retrieving.RETURNED
