"""The memory store keeps the promises of a store."""

import pytest

from tests.conformance.creating_suite import put
from tests.conformance.store_suite import StoreSuite
from vault.ports import Store
from vault.storage.memory import MemoryStore


class TestMemoryStore(StoreSuite):
    in_memory = True

    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


def test_tests_may_look_at_and_tamper_with_the_objects() -> None:
    store = MemoryStore({"a": b"1"})
    put(store, "b", b"2")
    assert store.objects == {"a": b"1", "b": b"2"}
    store.objects["a"] = b"tampered"
    assert store.read("a", limit=100) == b"tampered"
    assert store.location == "memory:"
