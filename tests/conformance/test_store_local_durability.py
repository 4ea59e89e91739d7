"""The local store syncs in the right order, and a failing file system leaves nothing visible."""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.creating_suite import get, put
from tests.conformance.failing import fail
from vault.core import limits
from vault.errors import Conflict, Unavailable
from vault.storage import local_draft
from vault.storage.local import LocalStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> Iterator[LocalStore]:
    root.mkdir()
    before = len(os.listdir("/proc/self/fd"))
    yield LocalStore(root)
    assert len(os.listdir("/proc/self/fd")) == before, "a descriptor was leaked"


def visible(root: Path) -> set[str]:
    """Give every file in the folder, also those that are no objects."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


@pytest.fixture
def calls(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record what is done to the disk: writes, syncs, links, folders; files by their final name."""
    recorded: list[str] = []
    paths: dict[int, str] = {}

    def label(descriptor: int) -> str:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        return "file" if "(deleted)" in path else os.path.relpath(path, root)

    def record(verb: str, describe: Callable[..., str]) -> None:
        real = getattr(os, verb)

        def call(*arguments: object, **options: object) -> object:
            recorded.append(f"{verb} {describe(*arguments, **options)}")
            return real(*arguments, **options)

        monkeypatch.setattr(os, verb, call)

    record("write", lambda fd, _: label(fd))
    record("fsync", label)
    record("link", lambda _, leaf, *, dst_dir_fd, **__: f"{label(dst_dir_fd)}/{leaf}")
    record("mkdir", lambda part, *_, dir_fd=None: f"{label(dir_fd)}/{part}" if dir_fd else "root")
    record("unlink", lambda leaf, *, dir_fd: f"{label(dir_fd)}/{leaf}")
    record("rmdir", lambda part, *, dir_fd: f"{label(dir_fd)}/{part}")
    assert not paths
    return recorded


def test_the_file_is_synced_before_it_is_linked_and_its_folder_after(
    store: LocalStore, calls: list[str]
) -> None:
    put(store, "name", b"x")
    assert calls == ["write file", "fsync file", "link ./name", "fsync ."]


def test_new_folders_are_on_disk_before_anything_in_them_is_visible(
    store: LocalStore, calls: list[str]
) -> None:
    put(store, "a/b/name", b"x")
    assert calls == [
        "write file",
        "fsync file",
        "mkdir ./a",
        "fsync .",
        "mkdir a/b",
        "fsync a",
        "link a/b/name",
        "fsync a/b",
    ]


def test_folders_that_another_writer_made_are_synced_once(
    root: Path, store: LocalStore, calls: list[str]
) -> None:
    (root / "a/b").mkdir(parents=True)
    calls.clear()
    put(store, "a/b/one")
    assert calls == ["fsync file", "fsync .", "fsync a", "link a/b/one", "fsync a/b"]
    calls.clear()
    put(store, "a/b/two")
    assert calls == ["fsync file", "link a/b/two", "fsync a/b"]


def test_a_new_root_is_on_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    put(LocalStore(tmp_path / "new/store"), "name")
    assert synced[:2] == [str(tmp_path), str(tmp_path / "new")]
    assert synced[-1] == str(tmp_path / "new/store")


def test_a_delete_is_synced_and_empty_folders_go(store: LocalStore, calls: list[str]) -> None:
    put(store, "a/b/name")
    calls.clear()
    store.delete("a/b/name")
    assert calls == ["unlink a/b/name", "fsync a/b", "rmdir a/b", "rmdir ./a"]


def test_a_folder_that_another_process_removed_is_synced_when_it_is_made_again(
    root: Path, store: LocalStore, calls: list[str]
) -> None:
    put(store, "a/name")
    LocalStore(root).delete("a/name")
    calls.clear()
    put(store, "a/name")
    assert calls == ["fsync file", "mkdir ./a", "fsync .", "link a/name", "fsync a"]


def test_write_back_starts_every_8_mib(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ranges = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _, start, length, __: ranges.append((start, length)))
    with store.create("large") as sink:
        for _ in range(20):
            sink.write(bytes(limits.MIB))
    assert ranges == [(0, 8 * limits.MIB), (8 * limits.MIB, 8 * limits.MIB)]


def is_folder(descriptor: int) -> bool:
    return os.path.isdir(f"/proc/self/fd/{descriptor}")


@pytest.mark.parametrize(
    ("verb", "number", "code"),
    [
        ("fsync", errno.EIO, "unavailable"),
        ("fsync", errno.ENOSPC, "storage-full"),
        ("fsync", errno.EDQUOT, "storage-full"),
        ("write", errno.ENOSPC, "storage-full"),
        ("write", errno.EIO, "unavailable"),
        ("dup", errno.EMFILE, "unavailable"),
        ("link", errno.EIO, "unavailable"),
        ("link", errno.ENOSPC, "storage-full"),
        ("link", errno.EPERM, "storage-denied"),
        ("link", errno.EMLINK, "unavailable"),
        ("mkdir", errno.EACCES, "storage-denied"),
        ("mkdir", errno.EROFS, "storage-denied"),
        ("mkdir", errno.ENOSPC, "storage-full"),
    ],
)
@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])
def test_nothing_is_visible_when_the_file_system_fails(
    root: Path,
    store: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    number: int,
    code: str,
    named: bool,
) -> None:
    put(store, "a/before")
    with monkeypatch.context() as patch:
        if named:
            patch.setattr(local_draft, "_DESCRIPTORS", str(root / "nowhere"))
            (root / ".mvault-tmp").mkdir()
        fail(patch, verb, number, lambda *_, **__: True)
        with pytest.raises(Unavailable) as caught:
            put(store, "a/b/name", b"x")
    assert (caught.value.code, caught.value.subject) == (code, "a/b/name")
    assert os.strerror(number) in caught.value.message
    assert caught.value.hint
    assert visible(root) == {"a/before"}
    put(store, "a/b/name", b"x")
    assert get(store, "a/b/name") == b"x"


def test_nothing_is_visible_when_closing_fails(
    root: Path, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system may tell of a full quota at close, so a duplicate is closed before the link."""
    duplicates = []
    real_dup, real_close = os.dup, os.close

    def dup(descriptor: int) -> int:
        duplicates.append(real_dup(descriptor))
        return duplicates[-1]

    def close(descriptor: int) -> None:
        real_close(descriptor)
        if descriptor in duplicates:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr(os, "dup", dup)
        patch.setattr(os, "close", close)
        with pytest.raises(Unavailable) as caught:
            put(store, "name", b"x")
    assert duplicates
    assert caught.value.code == "storage-full"
    assert visible(root) == set()


def test_nothing_is_visible_when_a_folder_above_cannot_be_synced(
    root: Path, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail(patch, "fsync", errno.EIO, is_folder)
        with pytest.raises(Unavailable):
            put(store, "a/name", b"x")
    assert visible(root) == set()


def test_a_lost_answer_after_the_link_is_unavailable_and_the_object_whole(
    root: Path, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail(patch, "fsync", errno.EIO, is_folder)
        with pytest.raises(Unavailable) as caught:
            put(store, "name", b"whole")
    assert caught.value.code == "unavailable"
    assert visible(root) == {"name"}
    assert get(store, "name") == b"whole"
    with pytest.raises(Conflict):
        put(store, "name", b"again")


def test_a_write_error_that_the_caller_swallows_still_discards(
    root: Path, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempt() -> None:
        with store.create("name") as sink:
            sink.write(b"part one")
            with monkeypatch.context() as patch:
                fail(patch, "write", errno.EIO, lambda *_: True)
                with pytest.raises(Unavailable):
                    sink.write(b"lost")
            sink.write(b"part three")

    with pytest.raises(Unavailable, match="earlier write"):
        attempt()
    assert visible(root) == set()


def test_a_real_limit_on_file_size_leaves_nothing(root: Path, store: LocalStore) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(Unavailable) as caught:
            put(store, "name", bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "unavailable"
    assert "too large" in caught.value.message
    assert visible(root) == set()


def test_short_writes_and_short_reads_are_continued(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, pread, preadv = os.write, os.pread, os.preadv
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: pread(fd, min(size, 3), offset))
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: preadv(fd, [buffers[0][:3]], offset))
    put(store, "name", b"0123456789")
    assert get(store, "name") == b"0123456789"
    buffer = bytearray(9)
    with store.open("name") as source:
        assert source.read_into(2, memoryview(buffer)) == 8
    assert buffer == b"23456789\0"


@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])
def test_a_link_whose_first_answer_was_lost_is_a_success(
    root: Path, store: LocalStore, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """NFS repeats a request whose answer was lost, and the second one finds the name taken, by itself."""
    real = os.link

    def link(*arguments: str, **options: int) -> None:
        real(*arguments, **options)  # type: ignore[arg-type]
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    if named:
        monkeypatch.setattr(local_draft, "_DESCRIPTORS", str(root / "nowhere"))
    monkeypatch.setattr(os, "link", link)
    put(store, "name", b"x")
    assert visible(root) == {"name"}


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL])
def test_a_file_system_without_unnamed_files_gets_a_hidden_name(
    root: Path, store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fail(monkeypatch, "open", number, lambda _, flags, *__, **___: flags & os.O_TMPFILE == os.O_TMPFILE)
    with store.create("a/name") as sink:
        sink.write(b"x")
        (hidden,) = (root / ".mvault-tmp").iterdir()
        assert list(store.list("")) == []
        assert list(store.list_folders("")) == []
        assert hidden.stat().st_size == 1
    assert visible(root) == {"a/name"}
    assert (root / "a/name").stat().st_nlink == 1


def test_leftovers_are_swept_when_they_are_old_enough(root: Path, store: LocalStore) -> None:
    assert store.sweep_leftovers(0, 2_000) == 0
    (root / ".mvault-tmp/folder").mkdir(parents=True)
    for name, written in (("old", 1_000), ("new", 1_900)):
        (root / ".mvault-tmp" / name).write_bytes(b"x")
        os.utime(root / ".mvault-tmp" / name, (written, written))
    (root / "object").write_bytes(b"x")
    os.utime(root / "object", (1, 1))
    assert store.sweep_leftovers(500, 2_000) == 1
    assert visible(root) == {".mvault-tmp/new", "object"}
    assert store.sweep_leftovers(50, 2_000) == 1
    assert store.sweep_leftovers(50, 2_000) == 0
