"""The local store keeps the promises of a store."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.conformance import worker
from tests.conformance.creating_suite import put
from tests.conformance.crossing_suite import CrossingSuite
from vault.ports import Store
from vault.storage import local_draft
from vault.storage.local import LocalStore


class TestLocalStore(CrossingSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        yield LocalStore(tmp_path / "store")
        assert not (tmp_path / "store" / ".mvault-tmp").exists(), "nothing needed a hidden name"

    def fill(self, store: Store, names: list[str]) -> None:
        fill_without_syncing(store, names)

    def check_no_litter(self, store: Store) -> None:
        root = Path(store.location)
        files = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
        assert files == set(store.list(""))


class TestLocalStoreWithoutUnnamedFiles(CrossingSuite):
    """The fallback, for NFS and for systems without `O_TMPFILE`."""

    environment = MappingProxyType({worker.NAMED_DRAFTS: "1"})

    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
        monkeypatch.setattr(local_draft, "_DESCRIPTORS", str(tmp_path / "no-proc"))
        yield LocalStore(tmp_path / "store")
        hidden = tmp_path / "store" / ".mvault-tmp"
        assert not hidden.exists() or not list(hidden.iterdir()), "no draft was left behind"

    def check_no_litter(self, store: Store) -> None:
        assert not [name for name in store.list("") if "mvault-tmp" in name]
        assert ".mvault-tmp/" not in list(store.list_folders(""))
        assert isinstance(store, LocalStore)
        store.sweep_leftovers(0, int(time.time()) + 60)
        root = Path(store.location)
        files = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
        assert files == set(store.list(""))

    def fill(self, store: Store, names: list[str]) -> None:
        fill_without_syncing(store, names)

    def test_the_fallback_is_what_runs(self, store: Store) -> None:
        put(store, "a")
        assert Path(store.location, ".mvault-tmp").is_dir()
        assert list(store.list("")) == ["a"]
        assert list(store.list_folders("")) == ["a"]


def fill_without_syncing(store: Store, names: list[str]) -> None:
    """Create many objects quickly: durability is not what the caller tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        for name in names:
            put(store, name, name.encode())
