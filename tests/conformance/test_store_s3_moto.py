"""What only AWS does, as moto models it: archive classes, locks, versions, encryption, storage classes."""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from tests.conformance import worker
from tests.conformance.creating_suite import get, put
from tests.conformance.store_suite import StoreSuite
from tests.house.source_tree import ROOT
from tests.servers.http_proxy import Exchange, FaultyProxy, forward, proxied
from tests.servers.moto import MotoServer, moto, moto_user  # noqa: F401
from vault.core import limits
from vault.errors import Conflict, NotFound, Unavailable
from vault.ports import Store
from vault.storage import s3_writing
from vault.storage.opening import open_store
from vault.storage.s3 import S3Store

LARGE = Random(0).randbytes(17 * limits.MIB)

pytestmark = pytest.mark.usefixtures("moto_user")


def opened(moto: MotoServer, bucket: str, **options: str) -> S3Store:  # noqa: F811
    store = open_store(moto.url(bucket, "v", **options))
    assert isinstance(store, S3Store)
    return store


@pytest.mark.slow
class TestS3StoreOnMoto(StoreSuite):
    """All that does not need a server which decides races: moto does not."""

    little = 64 * limits.MIB

    @pytest.fixture
    def store(self, moto: MotoServer) -> Store:  # noqa: F811
        return opened(moto, moto.new_bucket())

    def test_racing_threads_have_one_winner_for_each_name(self, store: Store) -> None:
        """One after the other: moto looks and then writes, so it decides no races."""
        assert [worker.race(store, writer, ["a"])["a"] for writer in ("1", "2")] == ["won", "conflict"]


# Archive classes.


@pytest.mark.parametrize("kind", ["GLACIER", "DEEP_ARCHIVE"])
def test_an_archived_object_is_unavailable_until_it_is_restored(
    moto: MotoServer,  # noqa: F811
    kind: str,
) -> None:
    bucket = moto.new_bucket()
    store = opened(moto, bucket)
    client = moto.client()
    client.put_object(Bucket=bucket, Key="v/files/a", Body=b"cold", StorageClass=kind)
    for verb in (lambda: store.read("files/a", limit=10), lambda: store.open("files/a").__enter__()):
        with pytest.raises(Unavailable) as caught:
            verb()
        assert (caught.value.code, caught.value.subject) == ("storage-archived", "files/a")
        assert "restore-object" in caught.value.hint
    assert store.stat("files/a").size == 4
    assert list(store.list("files/")) == ["files/a"]
    state = store.archive_state("files/a")
    assert (state.archived, state.restoring, state.readable) == (True, False, False)
    state = store.request_restore("files/a", days=3, tier="Bulk")
    assert state.archived
    assert state.restoring or state.readable
    assert store.request_restore("files/a") == store.archive_state("files/a"), "asking twice is no error"
    client.copy_object(
        Bucket=bucket, Key="v/files/a", CopySource=f"{bucket}/v/files/a", StorageClass="STANDARD"
    )
    assert get(store, "files/a") == b"cold"


def test_what_is_not_archived_needs_no_restoring(moto: MotoServer) -> None:  # noqa: F811
    store = opened(moto, moto.new_bucket())
    put(store, "a", b"warm")
    state = store.request_restore("a")
    assert (state.archived, state.restoring, state.readable, state.readable_until) == (
        False,
        False,
        True,
        "",
    )
    with pytest.raises(NotFound):
        store.archive_state("b")
    with pytest.raises(ValueError, match="days"):
        store.request_restore("a", days=0)
    with pytest.raises(ValueError, match="tier"):
        store.request_restore("a", tier="Fast")


# Versions and locks.


def test_in_a_versioned_bucket_a_deleted_name_is_gone_and_may_be_created_again(
    moto: MotoServer,  # noqa: F811
) -> None:
    bucket = moto.new_bucket()
    client = moto.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    store = opened(moto, bucket)
    put(store, "a", b"1")
    with pytest.raises(Conflict):
        put(store, "a", b"2")
    store.delete("a")
    store.delete("a")
    for verb in (lambda: store.read("a", limit=1), lambda: store.stat("a"), lambda: store.archive_state("a")):
        with pytest.raises(NotFound):
            verb()
    with pytest.raises(NotFound), store.open("a"):
        pass
    assert list(store.list("")) == list(store.list_folders("")) == []
    put(store, "a", b"3")
    assert get(store, "a") == b"3"
    assert len(client.list_object_versions(Bucket=bucket)["Versions"]) == 2, "the first one can be had back"


def test_a_locked_object_is_not_deleted(moto: MotoServer) -> None:  # noqa: F811
    bucket = moto.new_bucket(ObjectLockEnabledForBucket=True)
    store = opened(moto, bucket, lock_mode="COMPLIANCE", lock_days="30")
    put(store, "a", b"x")
    with pytest.raises(Unavailable, match="locked") as caught:
        store.delete("a")
    assert caught.value.code == "storage-denied"
    assert get(store, "a") == b"x"
    versions = moto.client().list_object_versions(Bucket=bucket)
    assert "DeleteMarkers" not in versions
    free = opened(moto, bucket)
    put(free, "b", b"x")
    free.delete("b")
    put(free, "c", b"x")
    moto.client().put_object_legal_hold(Bucket=bucket, Key="v/c", LegalHold={"Status": "ON"})
    with pytest.raises(Unavailable, match="legal hold"):
        free.delete("c")


# Settings of every new object.


@pytest.mark.parametrize("content", [b"small", LARGE], ids=["small", "large"])
def test_encryption_and_storage_class_are_asked_for_with_every_object(
    moto: MotoServer,  # noqa: F811
    content: bytes,
) -> None:
    bucket = moto.new_bucket()
    key = "arn:aws:kms:us-east-1:123456789012:key/1234"

    def stored(**options: str) -> dict[str, Any]:
        store = opened(moto, bucket, **options)
        name = f"{len(list(store.list('')))}"
        put(store, name, content)
        assert get(store, name) == content
        found = moto.client().head_object(Bucket=bucket, Key=f"v/{name}")
        return {part: found.get(part) for part in ("ServerSideEncryption", "SSEKMSKeyId", "StorageClass")}

    assert stored() == {"ServerSideEncryption": None, "SSEKMSKeyId": None, "StorageClass": None}
    assert stored(sse="AES256")["ServerSideEncryption"] == "AES256"
    found = stored(sse="aws:kms", kms_key=key, storage_class="STANDARD_IA")
    assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", key)
    assert found["StorageClass"] == "STANDARD_IA"


# A server that ignores the condition on some requests.


@pytest.fixture
def careless(moto: MotoServer) -> Iterator[FaultyProxy]:  # noqa: F811
    """Give a server that ignores `If-None-Match` when a multipart upload is completed, as Ceph's gateway."""

    def plan(exchange: Exchange) -> str | None:
        if exchange.method == "POST":
            exchange.headers = {k: v for k, v in exchange.headers.items() if k.lower() != "if-none-match"}
        return None

    with proxied(moto.endpoint) as proxy:
        proxy.before = plan
        yield proxy


def test_a_large_object_overwrites_nothing_where_completion_ignores_the_condition(
    moto: MotoServer,  # noqa: F811
    careless: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = moto.new_bucket()
    store = opened(moto, bucket, endpoint=f"http://{careless.netloc}")
    put(store, "large", LARGE)
    assert get(store, "large") == LARGE
    posts = [seen for seen in careless.requests if seen.method == "POST"]
    assert all(".mvault-tmp/conditional-writes" in seen.path for seen in posts), "published by one PUT"
    with pytest.raises(Conflict):
        put(store, "large", LARGE[::-1])

    def race() -> None:
        with store.create("raced") as sink:
            sink.write(LARGE)
            put(opened(moto, bucket), "raced", b"quick")

    with pytest.raises(Conflict):
        race()
    assert get(store, "raced") == b"quick"
    assert list(store.list("")) == ["large", "raced"], "what the probe left is no object"
    assert list(store.list_folders("")) == ["large", "raced"]
    asked = len([seen for seen in careless.requests if seen.method == "POST"])
    put(store, "again", LARGE)
    assert len([seen for seen in careless.requests if seen.method == "POST"]) == asked, "it is asked once"
    monkeypatch.setattr(s3_writing, "LARGEST_PUT", 16 * limits.MIB)
    with pytest.raises(Unavailable, match="larger than"):
        put(store, "larger", LARGE)
    with pytest.raises(NotFound):
        store.stat("larger")


def test_without_room_for_a_temporary_file_a_large_object_fails_clearly(
    moto: MotoServer,  # noqa: F811
    careless: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    store = opened(moto, moto.new_bucket(), endpoint=f"http://{careless.netloc}")
    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(Unavailable, match="temporary") as caught:
        put(store, "large", LARGE)
    assert caught.value.code == "storage-full"
    assert "TMPDIR" in caught.value.hint
    assert list(store.list("")) == []


def test_a_store_that_overwrites_gets_no_large_object(
    moto: MotoServer,  # noqa: F811
    careless: FaultyProxy,
) -> None:
    def plan(exchange: Exchange) -> str | None:
        exchange.headers = {k: v for k, v in exchange.headers.items() if k.lower() != "if-none-match"}
        return None

    careless.before = plan
    store = opened(moto, moto.new_bucket(), endpoint=f"http://{careless.netloc}")
    with pytest.raises(Unavailable, match="overwrites"):
        put(store, "large", LARGE)
    careless.before = forward
    with pytest.raises(NotFound):
        store.stat("large")


def test_a_conflicting_request_at_the_same_time_is_repeated(
    moto: MotoServer,  # noqa: F811
    careless: FaultyProxy,
) -> None:
    """Amazon S3 answers 409 where two conditional requests meet, and asks to try again."""
    body = b"<Error><Code>ConditionalRequestConflict</Code><Message>Meet.</Message></Error>"
    left = [2]

    def plan(exchange: Exchange) -> str | None:
        if exchange.method != "PUT" or not left[0]:
            return None
        left[0] -= 1
        exchange.say(409, body, kind="application/xml")
        return "answer"

    careless.before = plan
    store = opened(moto, moto.new_bucket(), endpoint=f"http://{careless.netloc}")
    put(store, "a", b"x")
    assert get(store, "a") == b"x"
    left[0] = 100
    with pytest.raises(Unavailable, match="ConditionalRequestConflict"):
        put(store, "b", b"x")


def test_the_bucket_policy_and_the_lifecycle_rule_of_the_examples_are_such_as_s3_takes(
    moto: MotoServer,  # noqa: F811
) -> None:
    bucket, client = moto.new_bucket(), moto.client()
    policy, rules = (
        json.loads((ROOT / f"examples/iam/{name}.json").read_text().replace("BUCKET", bucket))
        for name in ("bucket-policy", "lifecycle")
    )
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    assert json.loads(client.get_bucket_policy(Bucket=bucket)["Policy"]) == policy
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)
    assert client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == rules["Rules"]
