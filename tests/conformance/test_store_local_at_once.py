"""A folder deep in a local store is opened in one step, and only if that is where a walk would have led."""

import os
from pathlib import Path

import pytest

from tests.conformance.creating_suite import get, put
from vault.errors import NotFound, Unavailable
from vault.storage import local_folders
from vault.storage.local import LocalStore

DEEP = "a/b/c/d/e/f/name"
FOLDERS = DEEP.split("/")[:-1]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> LocalStore:
    store = LocalStore(root)
    put(store, DEEP, b"x")
    return store


def at_once(store: LocalStore, *parts: str) -> bool:
    folder = local_folders.open_at_once(os.path.realpath(store.location), parts)
    if folder is not None:
        os.close(folder)
    return folder is not None


def opened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    paths: list[object] = []
    real = os.open

    def call(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        paths.append(path)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", call)
    return paths


def test_what_a_deep_name_costs_does_not_grow_with_its_depth(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = opened(monkeypatch)
    assert store.read(DEEP, limit=1) == b"x"
    assert paths == [str((root / DEEP).parent), "name"]
    paths.clear()
    assert list(store.list_folders("a/b/c/d/e/f/")) == ["name"]
    assert paths == [str((root / DEEP).parent)]
    paths.clear()
    put(store, f"{DEEP}-too", b"y")
    assert paths == [str((root / DEEP).parent), ".", str((root / DEEP).parent)]


def test_where_the_kernel_tells_no_paths_it_is_walked(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_folders, "DESCRIPTORS", str(root / "nowhere"))
    assert not at_once(store, *FOLDERS)
    paths = opened(monkeypatch)
    assert get(store, DEEP) == b"x"
    assert [path for path in paths if path in FOLDERS] == FOLDERS
    put(store, f"{DEEP}-too", b"y")
    assert list(store.list("")) == [DEEP, f"{DEEP}-too"]
    store.delete(DEEP)
    with pytest.raises(NotFound):
        store.stat(DEEP)


@pytest.mark.parametrize("depth", range(len(FOLDERS)))
def test_a_link_anywhere_on_the_way_is_seen_even_where_it_leads_to_the_same_folder(
    store: LocalStore, root: Path, tmp_path: Path, depth: int
) -> None:
    place = root / "/".join(FOLDERS[: depth + 1])
    place.rename(tmp_path / "moved")
    place.symlink_to(tmp_path / "moved")
    assert (root / DEEP).read_bytes() == b"x"
    assert not at_once(store, *FOLDERS)
    for attempt in (get, put, LocalStore.delete):
        with pytest.raises(Unavailable, match="symbolic link"):
            attempt(store, DEEP)


def test_a_link_within_the_store_is_not_followed_either(store: LocalStore, root: Path) -> None:
    (root / "a/link").symlink_to(root / "a/b")
    assert not at_once(store, "a", "link", "c")
    with pytest.raises(Unavailable, match="symbolic link"):
        get(store, "a/link/c/d/e/f/name")


@pytest.mark.parametrize("change", ["removed", "moved", "replaced"])
def test_a_folder_that_is_changed_before_it_is_looked_at_is_not_taken(
    store: LocalStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    put(store, "g/h/i/name", b"y")
    real = os.readlink

    def readlink(path: str) -> str:
        if change == "removed":
            (root / "g/h/i/name").unlink()
            (root / "g/h/i").rmdir()
        else:
            (root / "g/h").rename(tmp_path / "moved")
            if change == "replaced":
                (root / "g/h/i").mkdir(parents=True)
        return real(path)

    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "readlink", readlink)
        assert not at_once(store, "g", "h", "i")
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(NotFound):
        get(store, "g/h/i/name")


def test_a_root_that_the_user_reaches_by_a_link_is_no_hindrance(tmp_path: Path, store: LocalStore) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "store")
    other = LocalStore(tmp_path / "link")
    assert at_once(other, *FOLDERS)
    assert get(other, DEEP) == b"x"
