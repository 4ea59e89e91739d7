"""What a local store cannot read is unavailable, never absent, and listing has bounds."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.creating_suite import put
from tests.conformance.failing import fail
from vault.core import limits
from vault.errors import Unavailable
from vault.storage.local import LocalStore
from vault.storage.local_reading import read_exactly


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root)


def test_an_object_that_changes_while_it_is_read_is_unavailable(root: Path) -> None:
    root.mkdir()
    (root / "name").write_bytes(b"12345")
    descriptor = os.open(root / "name", os.O_RDONLY)
    try:
        assert read_exactly(descriptor, 5, "name") == b"12345"
        for size in (0, 4, 6, 1 << 40):
            with pytest.raises(Unavailable, match="changed while it was read"):
                read_exactly(descriptor, size, "name")
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(("number", "code"), [(errno.EIO, "unavailable"), (errno.EACCES, "storage-denied")])
def test_what_cannot_be_read_is_unavailable_and_never_absent(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    put(store, "a/b/name", b"x")
    put(store, "a/c", b"x")
    attempts: dict[str, Callable[[], object]] = {
        "read": lambda: store.read("a/b/name", limit=1),
        "stat": lambda: store.stat("a/b/name"),
        "open": lambda: read_first_byte(store, "a/b/name"),
        "list": lambda: list(store.list("a/")),
        "list_folders": lambda: list(store.list_folders("a/b/")),
        "delete": lambda: store.delete("a/b/name"),
        "create": lambda: put(store, "a/b/other"),
    }
    for verb, attempt in attempts.items():
        with monkeypatch.context() as patch:
            fail(patch, "open", number, lambda path, *_, **__: os.path.basename(path) == "b")
            with pytest.raises(Unavailable) as caught:
                attempt()
            assert caught.value.code == code, verb
    attempts["read_into"] = lambda: read_first_byte(store, "a/c")
    for failing, verbs in (
        ("pread", ["read"]),
        ("preadv", ["read_into"]),
        ("scandir", ["list", "list_folders"]),
        ("stat", ["stat", "create"]),
        ("fstat", ["read", "open", "read_into"]),
        ("unlink", ["delete"]),
        ("fsync", ["delete", "create"]),
    ):
        for verb in verbs:
            with monkeypatch.context() as patch:
                fail(patch, failing, number, lambda *_, **__: True)
                with pytest.raises(Unavailable) as caught:
                    attempts[verb]()
            assert caught.value.code == code, (failing, verb)


def read_first_byte(store: LocalStore, name: str) -> int:
    with store.open(name) as source:
        return source.read_into(0, memoryview(bytearray(1)))


def test_a_listing_reads_only_the_folders_it_needs(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1/x", "a/2/x", "b/1/x", "b/2/x", "b-/x", "c/x"):
        put(store, name)
    scanned = []
    real = os.scandir

    def scandir(folder: int) -> object:
        scanned.append(os.path.relpath(os.readlink(f"/proc/self/fd/{folder}"), root))
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    assert list(store.list("b/1/")) == ["b/1/x"]
    assert scanned == ["b/1"]
    scanned.clear()
    assert list(store.list("", after="b/1/x")) == ["b/2/x", "c/x"]
    assert scanned == [".", "b", "b/1", "b/2", "c"]
    scanned.clear()
    assert next(store.list("a/")) == "a/1/x"
    assert scanned == ["a", "a/1"], "names come before later folders are read"


def test_a_flooded_folder_is_refused_before_it_fills_the_memory(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        put(store, f"x/{name}")
    monkeypatch.setattr(limits, "LISTED_NAMES", 3)
    assert len(list(store.list("x/"))) == 3
    monkeypatch.setattr(limits, "LISTED_NAMES", 2)
    with pytest.raises(Unavailable, match="more than 2 entries"):
        list(store.list("x/"))
    with pytest.raises(Unavailable, match="more than 2 entries"):
        list(store.list_folders("x/"))
