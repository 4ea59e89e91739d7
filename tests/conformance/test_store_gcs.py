"""The store in a bucket of Google Cloud Storage keeps the promises of a store."""

import tracemalloc

import pytest

from tests.conformance.crossing_suite import CrossingSuite
from tests.servers.fake_gcs import FakeGcs, fake_gcs  # noqa: F401
from vault.core import limits
from vault.ports import Store
from vault.storage.opening import open_store


class TestGcsStore(CrossingSuite):
    little = 64 * limits.MIB  # five parts of 8 MiB on the way down
    large_units = 128
    many_names = 2_100  # three pages

    @pytest.fixture
    def store(self, fake_gcs: FakeGcs) -> Store:  # noqa: F811
        self.server = fake_gcs
        self.bucket = fake_gcs.bucket()
        return open_store(fake_gcs.url(self.bucket))

    def fill(self, store: Store, names: list[str]) -> None:
        self.server.fill(self.bucket, {f"vault/{name}": name.encode() for name in names})


def test_a_resumable_upload_takes_little_memory_too(fake_gcs: FakeGcs) -> None:  # noqa: F811
    store = open_store(fake_gcs.url(fake_gcs.bucket(), upload="resumable"))
    piece = bytes(limits.MIB)
    tracemalloc.start()
    try:
        with store.create("large") as sink:
            for _ in range(128):
                sink.write(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * limits.MIB
    assert store.stat("large").size == 128 * limits.MIB
