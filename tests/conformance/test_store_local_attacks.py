"""Whoever can write to a local store's folder cannot lead the store out of it, hang it or confuse it."""

import ctypes
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.creating_suite import get, put
from vault.errors import Conflict, NotFound, Unavailable, VaultError
from vault.storage import local_draft
from vault.storage.local import LocalStore

SECRET = b"outside the store"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "name").write_bytes(SECRET)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> LocalStore:
    store = LocalStore(root)
    put(store, "a/before", b"x")
    return store


def open_and_read(store: LocalStore, name: str) -> bytes:
    with store.open(name) as source:
        buffer = bytearray(source.size)
        source.read_into(0, memoryview(buffer))
        return bytes(buffer)


READERS: dict[str, Callable[[LocalStore, str], object]] = {
    "read": lambda store, name: store.read(name, limit=100),
    "open": open_and_read,
    "stat": LocalStore.stat,
}


@pytest.mark.parametrize("target", ["name", "missing", ".", "../store/a/before"])
def test_a_symbolic_link_at_a_name_is_never_followed(
    store: LocalStore, root: Path, outside: Path, target: str
) -> None:
    (root / "a/link").symlink_to(outside / target)
    for reader in READERS.values():
        with pytest.raises(Unavailable, match="symbolic link") as caught:
            reader(store, "a/link")
        assert (caught.value.code, caught.value.subject) == ("unavailable", "a/link")
    assert list(store.list("")) == ["a/before"]
    assert list(store.list_folders("a/")) == ["before"]
    with pytest.raises(Conflict):
        put(store, "a/link", b"through")
    store.delete("a/link")
    assert not (root / "a/link").is_symlink()
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"name": SECRET}
    put(store, "a/link", b"own")
    assert get(store, "a/link") == b"own"


@pytest.mark.parametrize("depth", ["link", "a/link", "a/b/link"])
def test_a_symbolic_link_at_a_folder_is_never_followed(
    store: LocalStore, root: Path, outside: Path, depth: str
) -> None:
    (root / depth).parent.mkdir(exist_ok=True)
    (root / depth).symlink_to(outside)
    (outside / "below").mkdir()
    (outside / "below/deep").write_bytes(SECRET)
    for name in (f"{depth}/name", f"{depth}/below/deep", f"{depth}/missing"):
        for verb, attempt in {**READERS, "create": put, "delete": LocalStore.delete}.items():
            with pytest.raises(Unavailable, match="symbolic link") as caught:
                attempt(store, name)
            assert caught.value.code == "unavailable", verb
    with pytest.raises(Unavailable, match="symbolic link"):
        list(store.list(f"{depth}/"))
    with pytest.raises(Unavailable, match="symbolic link"):
        store.list_folders(f"{depth}/")
    assert list(store.list("")) == ["a/before"]
    assert "link/" not in list(store.list_folders(depth.rpartition("link")[0]))
    assert sorted(os.listdir(outside)) == ["below", "name"]


def exchange(one: Path, other: Path) -> None:
    """Swap two names in one step (renameat2(2), `RENAME_EXCHANGE`)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, bytes(one), -100, bytes(other), 2) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def test_a_folder_swapped_for_a_link_at_any_moment_leads_nowhere(
    store: LocalStore, root: Path, outside: Path
) -> None:
    put(store, "a/b/name", b"inside")
    finished = threading.Event()

    (root / "link").symlink_to(outside)

    def swap() -> None:
        while not finished.is_set():
            exchange(root / "a", root / "link")
            time.sleep(0.0001)
        if (root / "a").is_symlink():
            exchange(root / "a", root / "link")

    (outside / "b").mkdir()
    (outside / "b/name").write_bytes(SECRET)
    swapper = threading.Thread(target=swap)
    swapper.start()
    read = refused = 0
    try:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            try:
                assert open_and_read(store, "a/b/name") == b"inside"
                read += 1
            except VaultError:
                refused += 1
            for attempt in (put, LocalStore.delete):
                try:
                    attempt(store, "a/b/new")
                except VaultError:
                    refused += 1
    finally:
        finished.set()
        swapper.join()
    assert read > 0
    assert refused > 0
    assert sorted(os.listdir(outside)) == ["b", "name"]
    assert os.listdir(outside / "b") == ["name"]
    assert get(store, "a/b/name") == b"inside"


def within_seconds(attempt: Callable[[], object]) -> VaultError:
    """Run what might hang in a thread, and give the error it ends with."""
    caught: list[VaultError] = []

    def run() -> None:
        try:
            attempt()
        except VaultError as error:
            caught.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout=10)
    assert not thread.is_alive(), "it hangs"
    return caught[0]


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_what_is_not_a_regular_file_neither_hangs_nor_passes(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "fifo":
        os.mkfifo(root / "a/odd")
    elif kind == "socket":
        monkeypatch.chdir(root)  # the path of a socket has at most some 100 bytes
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("a/odd")
    else:
        try:
            os.mknod(root / "a/odd", 0o600 | 0o020000, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("only root makes devices")
    for verb, reader in READERS.items():
        error = within_seconds(lambda reader=reader: reader(store, "a/odd"))  # type: ignore[misc]
        assert isinstance(error, Unavailable), verb
        assert (error.code, error.subject) == ("unavailable", "a/odd")
    assert list(store.list("")) == ["a/before"]
    assert list(store.list_folders("a/")) == ["before"]
    assert within_seconds(lambda: put(store, "a/odd")).code == "conflict"
    assert isinstance(within_seconds(lambda: put(store, "a/odd/below")), Unavailable)
    assert isinstance(within_seconds(lambda: store.read("a/odd/below", limit=1)), NotFound)


def test_a_folder_at_a_name_is_no_object_but_takes_the_name(store: LocalStore, root: Path) -> None:
    (root / "a/000007.json").mkdir()
    for reader in READERS.values():
        with pytest.raises(NotFound):
            reader(store, "a/000007.json")
    assert list(store.list("a/")) == ["a/before"]
    with pytest.raises(Conflict):
        put(store, "a/000007.json")
    store.delete("a/000007.json")
    assert (root / "a/000007.json").is_dir()


def test_a_file_where_a_folder_is_needed_is_unavailable_to_writers(store: LocalStore) -> None:
    with pytest.raises(Unavailable, match="A file lies where the name needs a folder") as caught:
        put(store, "a/before/x/y", b"x")
    assert (caught.value.code, caught.value.subject) == ("unavailable", "a/before/x/y")
    with pytest.raises(NotFound):
        get(store, "a/before/x/y")
    assert list(store.list("a/before/")) == []
    assert list(store.list_folders("a/before/x/")) == []
    store.delete("a/before/x/y")
    assert get(store, "a/before") == b"x"


def test_a_file_put_where_a_folder_is_needed_while_writing_is_unavailable_too(
    store: LocalStore, root: Path
) -> None:
    def attempt() -> None:
        with store.create("new/x") as sink:
            sink.write(b"x")
            (root / "new").write_bytes(b"stranger")

    with pytest.raises(Unavailable, match="Not a directory"):
        attempt()
    assert (root / "new").read_bytes() == b"stranger"


def test_a_name_squatted_while_writing_is_a_conflict_and_is_not_written_to(
    store: LocalStore, root: Path, outside: Path
) -> None:
    def attempt(squat: Callable[[], object]) -> None:
        with store.create("a/new") as sink:
            sink.write(b"x")
            squat()

    for squat in (
        lambda: (root / "a/new").symlink_to(outside / "name"),
        lambda: (root / "a/new").symlink_to(outside / "missing"),
        lambda: (root / "a/new").write_bytes(b"squatted"),
        lambda: os.mkfifo(root / "a/new"),
        (root / "a/new").mkdir,
    ):
        with pytest.raises(Conflict):
            attempt(squat)
        (root / "a/new").rmdir() if (root / "a/new").is_dir() else (root / "a/new").unlink()
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"name": SECRET}


def every_verb(store: LocalStore) -> dict[str, Callable[[], object]]:
    return {
        **{verb: lambda reader=reader: reader(store, "a/name") for verb, reader in READERS.items()},  # type: ignore[misc]
        "create": lambda: put(store, "a/new"),
        "list": lambda: list(store.list("")),
        "list_folders": lambda: list(store.list_folders("")),
        "delete": lambda: store.delete("a/name"),
        "sweep": lambda: store.sweep_leftovers(0, 1 << 40),
    }


def test_a_root_replaced_by_a_link_is_unavailable(store: LocalStore, root: Path, outside: Path) -> None:
    (outside / "a").mkdir()
    (outside / "a/name").write_bytes(SECRET)
    root.rename(root.with_name("aside"))
    root.symlink_to(outside)
    for verb, attempt in every_verb(store).items():
        with pytest.raises(Unavailable, match="symbolic link") as caught:
            attempt()
        assert caught.value.code == "unavailable", verb
    assert os.listdir(outside / "a") == ["name"]


def test_a_root_that_is_a_file_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for location in (tmp_path / "file", tmp_path / "file/below"):
        for verb, attempt in every_verb(LocalStore(location)).items():
            with pytest.raises(Unavailable, match="not a folder") as caught:
                attempt()
            assert caught.value.code == "unavailable", verb


def test_a_root_that_is_missing_is_empty_until_something_is_created(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "new/store")
    assert list(store.list("")) == []
    assert list(store.list_folders("")) == []
    assert store.sweep_leftovers(0, 1 << 40) == 0
    store.delete("name")
    with pytest.raises(NotFound):
        get(store, "name")
    assert not (tmp_path / "new").exists()
    put(store, "name", b"x")
    assert get(store, "name") == b"x"


def test_the_users_own_links_in_the_path_of_the_root_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    store = LocalStore(tmp_path / "link")
    put(store, "a/name", b"x")
    assert (tmp_path / "real/a/name").read_bytes() == b"x"
    assert store.location == str(tmp_path / "link")


@pytest.mark.parametrize("squat", ["link", "file"])
def test_a_squatted_hidden_folder_is_unavailable(
    store: LocalStore, root: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, squat: str
) -> None:
    monkeypatch.setattr(local_draft, "_DESCRIPTORS", str(root / "nowhere"))
    if squat == "link":
        (root / ".mvault-tmp").symlink_to(outside)
    else:
        (root / ".mvault-tmp").write_bytes(b"x")
    for attempt in (lambda: put(store, "name", b"x"), lambda: store.sweep_leftovers(0, 1 << 40)):
        with pytest.raises(Unavailable):
            attempt()
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"name": SECRET}


def test_strange_file_names_are_no_objects(store: LocalStore, root: Path) -> None:
    for name in (b"\xff\xfe", "é.json".encode(), b"a b", b"a\\b", b"a\nb", b"\x1b[2J", b"a\x7f"):
        (root / "a" / os.fsdecode(name)).write_bytes(b"x")
        (root / "folder" / os.fsdecode(name)).mkdir(parents=True)
        (root / "folder" / os.fsdecode(name) / "x").write_bytes(b"x")
    assert list(store.list("")) == ["a/before"]
    assert list(store.list_folders("a/")) == ["before"]
    assert list(store.list_folders("folder/")) == []


def test_a_tree_deeper_than_any_name_is_listed_as_far_as_names_go(store: LocalStore, root: Path) -> None:
    folder = os.open(root, os.O_RDONLY)
    for _ in range(470):  # few enough for the test's own folder to be removed by recursion
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    assert list(store.list("")) == ["a/before"]
