"""The store in S3 keeps the promises of a store, on a real SeaweedFS."""

import time
from collections.abc import Iterator
from typing import ClassVar

import pytest

from tests.conformance.creating_suite import put
from tests.conformance.crossing_suite import CrossingSuite
from tests.conformance.store_suite import ODD_NAMES
from tests.servers.http_proxy import proxied
from tests.servers.seaweed import SeaweedServer, seaweed  # noqa: F401
from vault.core import limits
from vault.errors import Conflict, NotFound, Unavailable
from vault.ports import Store
from vault.storage import s3_listing
from vault.storage.opening import open_store
from vault.storage.s3 import S3Store

LITTLE = 64 * limits.MIB  # five parts of 8 MiB on each side, and some


class TestS3Store(CrossingSuite):
    little = LITTLE
    prefix: ClassVar[str] = "a/team's/vault"

    @pytest.fixture
    def store(self, seaweed: SeaweedServer) -> Iterator[Store]:  # noqa: F811
        self.server, self.bucket = seaweed, seaweed.new_bucket()
        yield open_store(seaweed.url(self.bucket, self.prefix))
        left = seaweed.client().list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        assert not left, "no part of a failed upload is left behind"

    def fill(self, store: Store, names: list[str]) -> None:
        self.server.fill(self.bucket, f"{self.prefix}/" if self.prefix else "", names)


@pytest.mark.slow
class TestS3StoreWithoutPrefix(TestS3Store):
    prefix = ""


@pytest.mark.parametrize("size", [5, 9 * limits.MIB], ids=["small", "large"])
def test_a_locked_object_is_not_deleted(seaweed: SeaweedServer, size: int) -> None:  # noqa: F811
    bucket = seaweed.new_bucket(ObjectLockEnabledForBucket=True)
    store = open_store(seaweed.url(bucket, "v", lock_mode="GOVERNANCE", lock_days="30"))
    put(store, "a", b"x" * size)
    with pytest.raises(Unavailable, match="locked") as caught:
        store.delete("a")
    assert caught.value.code == "storage-denied"
    assert store.stat("a").size == size
    with pytest.raises(Conflict):
        put(store, "a", b"y")


def test_in_a_versioned_bucket_a_deleted_name_may_be_created_again(
    seaweed: SeaweedServer,  # noqa: F811
) -> None:
    bucket = seaweed.new_bucket()
    seaweed.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    store = open_store(seaweed.url(bucket, "v"))
    for content in (b"1", b"2" * (9 * limits.MIB), b"3"):
        put(store, "a", content)
        with pytest.raises(Conflict):
            put(store, "a", content)
        assert list(store.list("")) == ["a"]
        store.delete("a")
        with pytest.raises(NotFound):
            store.read("a", limit=1)
        assert list(store.list("")) == []


@pytest.mark.parametrize("page", [1, 2, 7])
def test_folders_of_more_than_a_page_are_listed_level_by_level(
    seaweed: SeaweedServer,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    page: int,
) -> None:
    bucket = seaweed.new_bucket()
    names = [name for name in ODD_NAMES if not any(other.startswith(name + "/") for other in ODD_NAMES)]
    seaweed.fill(bucket, "v/", names)
    store = open_store(seaweed.url(bucket, "v"))
    monkeypatch.setattr(s3_listing, "_PAGE", page)
    for prefix in ("", "a", "b/c", "models/nepse/@/1", "z/."):
        expected = sorted(name for name in names if name.startswith(prefix))
        assert list(store.list(prefix)) == expected
        for after in (*names[:: 2 if page == 1 else 5], "models/nepse/@", "~"):
            found = list(store.list(prefix, after=after))
            assert found == [name for name in expected if name > after], (prefix, after)
    for prefix in ("", "b/", "models/", "models/nepse/@/"):
        below = [name[len(prefix) :] for name in names if name.startswith(prefix)]
        expected = sorted({part + slash for part, slash, _ in (name.partition("/") for name in below)})
        assert list(store.list_folders(prefix)) == expected


def test_names_after_a_given_one_take_few_requests_however_many_come_before(
    seaweed: SeaweedServer,  # noqa: F811
) -> None:
    bucket = seaweed.new_bucket()
    names = [f"logs/a/commit/{number:06d}.json" for number in range(1, 3_001)]
    seaweed.fill(bucket, "", names)
    with proxied(seaweed.endpoint) as proxy:
        store = open_store(seaweed.url(bucket, endpoint=f"http://{proxy.netloc}"))
        assert list(store.list("logs/a/commit/", after=names[2_990])) == names[2_991:]
        assert len(proxy.requests) <= 6


def test_the_servers_time_is_told(seaweed: SeaweedServer) -> None:  # noqa: F811
    store = open_store(seaweed.url(seaweed.new_bucket()))
    assert isinstance(store, S3Store)
    told = store.server_time()
    assert told is not None
    assert abs(told - time.time()) < 60
