"""The local store makes many small objects durable at once, and each of them whole or not at all."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tests.conformance.creating_suite import get, put
from tests.conformance.processes import REPOSITORY
from vault.actions import objects
from vault.errors import Conflict, Unavailable
from vault.ports import CreatesTogether, Store
from vault.storage import local_bulk
from vault.storage.local import LocalStore
from vault.storage.memory import MemoryStore

T = TypeVar("T")

MANY = {f"models/m{number % 40}/@/{number}/keys/dev-2/{number:032x}": b"%d" % number for number in range(300)}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    put(LocalStore(tmp_path / "store"), "vault.json", b"{}")
    return LocalStore(tmp_path / "store")


def test_many_objects_are_created_with_few_syncs(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[int] = []
    count_syncs(monkeypatch, syncs, int)
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("one by one"))
    assert store.create_all(MANY) == []
    assert len(syncs) == 2 * 2  # 300 objects, 256 at a time
    assert {name: get(store, name) for name in store.list("models/")} == MANY


def test_no_name_is_given_before_its_content_is_on_disk_nor_reported_before_the_name_is(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    count_syncs(monkeypatch, seen, lambda _: list(store.list("a/")))
    assert store.create_all({"a/1": b"1", "a/b/2": b"2"}) == []
    assert seen == [[], ["a/1", "a/b/2"]]


def test_names_that_are_taken_are_left_and_what_has_them_is_not_touched(store: LocalStore) -> None:
    put(store, "a/1", b"mine")
    put(store, "a/2/folder", b"")
    assert store.create_all({"a/0": b"0", "a/1": b"1", "a/2": b"2", "a/3": b"3"}) == ["a/1", "a/2"]
    assert (get(store, "a/1"), get(store, "a/0"), get(store, "a/3")) == (b"mine", b"0", b"3")


@pytest.mark.parametrize("together", [True, False])
def test_identical_bytes_count_as_success_and_others_as_conflict(store: LocalStore, together: bool) -> None:
    place: Store = store if together else MemoryStore()
    assert isinstance(place, CreatesTogether) is together
    put(place, "a/1", b"same")
    objects.create_all(place, {"a/1": b"same", "a/2": b"new"})
    assert get(place, "a/2") == b"new"
    with pytest.raises(Conflict) as caught:
        objects.create_all(place, {"a/1": b"other"})
    assert caught.value.subject == "a/1"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("sync", [0, 1])
def test_a_sync_that_fails_is_told(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int, sync: int
) -> None:
    calls: list[int] = []

    def failing(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == sync + 1:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(local_bulk, "_syncfs", lambda: failing)
    with pytest.raises(Unavailable) as caught:
        store.create_all({"a/1": b"1"})
    assert caught.value.code == ("unavailable" if number == errno.EIO else "storage-full")
    assert list(store.list("a/")) == (["a/1"] if sync else []), "nothing has a name before it is on disk"


@pytest.mark.parametrize("verb", ["write", "link", "mkdir", "open"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES])
def test_a_failing_call_leaves_whole_objects_or_none(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, verb: str, number: int
) -> None:
    real = getattr(os, verb)
    calls: list[object] = []

    def failing(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) > 9:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    monkeypatch.setattr(os, verb, failing)
    with pytest.raises(Unavailable):
        store.create_all(MANY)
    monkeypatch.undo()
    found = {name: get(store, name) for name in store.list("models/")}
    assert found.items() <= MANY.items()


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR, errno.ESTALE, errno.ENOENT])
def test_a_file_system_without_unnamed_files_leaves_all_to_one_at_a_time(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = os.open

    def refusing(path: str, flags: int, *arguments: int, **options: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(number, os.strerror(number))
        return real(path, flags, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refusing)
        assert store.create_all(MANY) == list(MANY)
    objects.create_all(store, MANY)
    assert len(list(store.list("models/"))) == len(MANY)


@pytest.mark.parametrize("release", ["5.7.19", "4.19", "4", "unknown", "x.y"])
def test_a_kernel_whose_sync_hides_failures_is_not_trusted_with_many(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    monkeypatch.setattr("platform.release", lambda: release)
    local_bulk._syncfs.cache_clear()
    try:
        assert store.create_all(MANY) == list(MANY)
    finally:
        local_bulk._syncfs.cache_clear()


def test_no_symbolic_link_is_followed(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    Path(store.location, "a").symlink_to(tmp_path / "elsewhere")
    for name in ("a/1", "a/b/1", "a/b/c/1"):
        with pytest.raises(Unavailable, match="symbolic link"):
            store.create_all({name: b"1"})
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["", "/a", "a/../b", "é", ".mvault-tmp/a"])
def test_a_bad_name_is_the_callers_mistake_before_anything_is_written(store: LocalStore, name: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        store.create_all({"a/1": b"1", name: b"2"})
    assert list(store.list("")) == ["vault.json"]


def test_every_descriptor_is_closed(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert store.create_all(MANY) == []
    put(store, "b/1", b"")
    with pytest.raises(Unavailable):
        store.create_all({"b/1/under": b""})
    assert len(os.listdir("/proc/self/fd")) == before


DYING = """
import os, signal, sys
from tests.conformance.test_store_local_together import MANY
from vault.storage.local import LocalStore
real, left = getattr(os, sys.argv[2]), [int(sys.argv[3])]
def last(*arguments, **options):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)
setattr(os, sys.argv[2], last)
LocalStore(sys.argv[1]).create_all(MANY)
"""


@pytest.mark.parametrize(
    ("verb", "call"), [("write", 1), ("write", 270), ("link", 1), ("link", 60), ("link", 300)]
)
def test_who_is_killed_leaves_whole_objects_and_the_next_one_adds_the_rest(
    store: LocalStore, verb: str, call: int
) -> None:
    command = [sys.executable, "-c", DYING, store.location, verb, str(call)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(command, check=False, cwd=REPOSITORY, env=environment)
    assert ended.returncode == -signal.SIGKILL
    found = {name: get(store, name) for name in store.list("models/")}
    assert found.items() <= MANY.items()
    assert len(found) == (call - 1 if verb == "link" else (call - 1) // 256 * 256)
    objects.create_all(store, MANY)
    assert {name: get(store, name) for name in store.list("models/")} == MANY


def count_syncs(monkeypatch: pytest.MonkeyPatch, into: list[T], what: Callable[[int], T]) -> None:
    """Note something at each sync of the file system, and sync."""
    real = local_bulk._syncfs()
    assert real is not None, "Linux 5.8 or newer is expected here"

    def sync(descriptor: int) -> None:
        into.append(what(descriptor))
        real(descriptor)

    monkeypatch.setattr(local_bulk, "_syncfs", lambda: sync)
