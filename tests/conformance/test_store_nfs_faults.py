"""What goes wrong between a client of NFS and its server: stale handles, lost answers, old answers."""

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.creating_suite import get, put
from tests.conformance.fault_folder import Call, Folder, at
from vault.errors import Conflict, NotFound, Unavailable
from vault.storage import local_mount, naming
from vault.storage.local import LocalStore
from vault.storage.local_mount import Mount

NAME = "models/churn/@/1/manifest.json"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "store").mkdir()
    with Folder(tmp_path / "store").mounted() as mounted:
        yield mounted
    assert len(os.listdir("/proc/self/fd")) == before, "a descriptor was leaked"


@pytest.fixture
def store(folder: Folder) -> LocalStore:
    return LocalStore(folder.root)


def visible(folder: Folder) -> dict[str, bytes]:
    """Give what another machine sees, drafts left aside."""
    root = Path(folder.root)
    with folder.elsewhere():
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and naming.RESERVED not in path.parts
        }


# --- a lost answer to LINK ---


@pytest.mark.parametrize("number", [errno.EEXIST, errno.EIO, errno.ETIMEDOUT, errno.ESTALE, errno.ENOENT])
def test_a_link_that_was_made_and_whose_answer_was_lost_is_a_success(
    folder: Folder, store: LocalStore, number: int
) -> None:
    folder.lost = lambda _: number
    put(store, NAME, b"ours")
    assert visible(folder) == {NAME: b"ours"}
    with pytest.raises(Conflict):
        put(store, NAME, b"again")


@pytest.mark.parametrize("number", [errno.EIO, errno.ETIMEDOUT])
def test_a_link_that_was_not_made_is_no_success(folder: Folder, store: LocalStore, number: int) -> None:
    folder.plan = lambda call: number if call.verb == "link" else None
    with pytest.raises(Unavailable):
        put(store, NAME, b"ours")
    assert visible(folder) == {}


@pytest.mark.parametrize("number", [errno.EEXIST, errno.EIO, errno.ETIMEDOUT])
def test_what_somebody_else_stored_is_a_conflict_whatever_answer_was_lost(
    folder: Folder, store: LocalStore, number: int
) -> None:
    folder.plan = lambda call: number if call.verb == "link" else None

    def race() -> None:
        with store.create(NAME) as sink:
            sink.write(b"ours")
            with folder.elsewhere():
                put(LocalStore(folder.root), NAME, b"theirs")

    with pytest.raises((Conflict, Unavailable)) as caught:
        race()
    assert isinstance(caught.value, Conflict) == (number == errno.EEXIST)
    assert visible(folder) == {NAME: b"theirs"}


def test_the_same_bytes_by_somebody_else_are_a_conflict(folder: Folder, store: LocalStore) -> None:
    def race() -> None:
        with store.create(NAME) as sink:
            sink.write(b"same")
            with folder.elsewhere():
                put(LocalStore(folder.root), NAME, b"same")

    with pytest.raises(Conflict):
        race()


def test_where_the_name_cannot_be_seen_the_files_own_count_of_names_decides(
    folder: Folder, store: LocalStore
) -> None:
    """The client says that nothing has the name, and also that our file has a second one."""
    folder.lost = lambda _: errno.EEXIST
    blind = threading.Event()

    def plan(call: Call) -> int | None:
        return errno.ENOENT if blind.is_set() and (call.verb, call.path) == ("stat", NAME) else None

    folder.plan = plan
    with store.create(NAME) as sink:
        sink.write(b"ours")
        blind.set()
    assert visible(folder) == {NAME: b"ours"}

    def refused() -> None:
        with store.create(NAME + "2"):
            blind.clear()
            with folder.elsewhere():
                put(LocalStore(folder.root), NAME + "2", b"theirs")
            folder.plan = lambda call: (
                errno.ENOENT if (call.verb, call.path) == ("stat", NAME + "2") else None
            )

    folder.lost = lambda _: None
    with pytest.raises(Conflict):
        refused()
    assert visible(folder)[NAME + "2"] == b"theirs"


def test_a_draft_whose_creation_was_answered_twice_gets_another_name(
    folder: Folder, store: LocalStore
) -> None:
    made: list[str] = []

    def plan(call: Call) -> int | None:
        if call.verb == "open" and call.path.startswith(naming.RESERVED + "/") and not made:
            made.append(call.path)
            with folder.elsewhere():
                Path(folder.root, call.path).touch()
            return errno.EEXIST
        return None

    folder.plan = plan
    put(store, NAME, b"x")
    assert made
    assert visible(folder) == {NAME: b"x"}
    assert os.listdir(Path(folder.root, naming.RESERVED)) == []


# --- what another machine did ---


def _opened(store: LocalStore) -> int:
    with store.open(NAME) as source:
        return source.size


READERS: dict[str, Callable[[LocalStore], object]] = {
    "read": lambda store: store.read(NAME, limit=10),
    "stat": lambda store: store.stat(NAME).size,
    "open": _opened,
    "list": lambda store: list(store.list("")),
    "list_folders": lambda store: list(store.list_folders("models/churn/@/1/")),
}
FOUND = {"read": b"new", "stat": 3, "open": 3, "list": [NAME], "list_folders": ["manifest.json"]}


@pytest.mark.parametrize("depth", range(5))
@pytest.mark.parametrize("reader", READERS)
def test_what_was_created_elsewhere_is_seen_at_once_although_its_absence_was_remembered(
    folder: Folder, store: LocalStore, reader: str, depth: int
) -> None:
    if depth:
        Path(folder.root, *NAME.split("/")[:depth]).mkdir(parents=True)
    for other in reversed(READERS.values()):  # a listing, which forgets what it lists, first
        with contextlib.suppress(NotFound):
            assert not other(store)
    with folder.elsewhere():
        put(LocalStore(folder.root), NAME, b"new")
    with pytest.raises(FileNotFoundError):
        os.stat(Path(folder.root, NAME))  # the client believes its cache
    assert READERS[reader](store) == FOUND[reader]


def test_without_a_second_look_the_old_answer_would_stand(folder: Folder, store: LocalStore) -> None:
    """The folder of these tests is one where the second look matters."""
    store._mount = Mount("ext4")
    with pytest.raises(NotFound):
        get(store, NAME)
    with folder.elsewhere():
        put(LocalStore(folder.root), NAME, b"new")
    with pytest.raises(NotFound):
        get(store, NAME)


def test_who_may_not_read_a_folder_on_the_way_believes_the_first_look(
    folder: Folder, store: LocalStore
) -> None:
    folder.plan = lambda call: errno.EACCES if call.asks and call.path == "models" else None
    Path(folder.root, "models").mkdir()
    for reader in ("read", "stat", "open"):
        with pytest.raises(NotFound):
            READERS[reader](store)


def test_a_writer_finds_the_folders_that_another_machine_made(folder: Folder, store: LocalStore) -> None:
    with pytest.raises(NotFound):
        get(store, NAME)
    with folder.elsewhere():
        put(LocalStore(folder.root), NAME + "-theirs", b"1")
    put(store, NAME, b"2")
    assert visible(folder) == {NAME: b"2", NAME + "-theirs": b"1"}


def test_what_was_deleted_and_made_again_elsewhere_while_it_is_read_is_read_again_once(
    folder: Folder, store: LocalStore
) -> None:
    put(store, NAME, b"same bytes")
    buffer = bytearray(10)
    with store.open(NAME) as source:
        with folder.elsewhere():
            other = LocalStore(folder.root)
            other.delete(NAME)
            put(other, NAME, b"same bytes")
        stale = [call.index for call in folder.calls][-1] + 1
        folder.plan = at(stale, errno.ESTALE)
        assert source.read_into(0, memoryview(buffer)) == 10
        assert buffer == b"same bytes"
        folder.plan = lambda call: errno.ESTALE if call.verb == "preadv" else None
        with pytest.raises(Unavailable, match="Stale"):
            source.read_into(0, memoryview(buffer))


@pytest.mark.parametrize("left", [None, b"longer than it was", b"short"])
def test_an_open_file_that_became_another_is_unavailable(
    folder: Folder, store: LocalStore, left: bytes | None
) -> None:
    put(store, NAME, b"0123456789")
    with store.open(NAME) as source:
        with folder.elsewhere():
            LocalStore(folder.root).delete(NAME)
            if left is not None:
                put(LocalStore(folder.root), NAME, left)
        folder.plan = at(len(folder.calls), errno.ESTALE)
        with pytest.raises((Unavailable, NotFound)):
            source.read_into(0, memoryview(bytearray(10)))


def test_threads_that_read_a_stale_file_open_it_anew_once(folder: Folder, store: LocalStore) -> None:
    data = os.urandom(100_000)
    put(store, NAME, data)
    with store.open(NAME) as source:
        first = next(fd for fd, path in folder._opened.items() if path.endswith(NAME))
        stale = f"/proc/self/fd/{first}"
        real, wrong = folder._real["preadv"], []

        def preadv(descriptor: int, buffers: object, offset: int) -> int:
            if descriptor == first:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            return int(real(descriptor, buffers, offset))

        folder._real["preadv"] = preadv

        def run(offset: int) -> None:
            buffer = bytearray(1_000)
            if source.read_into(offset, memoryview(buffer)) != 1_000 or buffer != data[offset:][:1_000]:
                wrong.append(offset)

        threads = [threading.Thread(target=run, args=(number * 1_000,)) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        folder._real["preadv"] = real
        assert not wrong
        assert os.path.exists(stale), "another thread may still be reading from it"
        assert len([call for call in folder.calls if call.verb == "open" and call.path == NAME]) == 2


# --- a stale handle, and every other error, at every call ---


def scenario(store: LocalStore) -> list[object]:
    """Use every verb of a store that holds `kept`; give what was found."""
    put(store, NAME, b"new")
    with store.open(NAME) as source:
        buffer = bytearray(3)
        count = source.read_into(0, memoryview(buffer))
    found = [
        count,
        bytes(buffer),
        get(store, NAME),
        store.stat(NAME).size,
        list(store.list("")),
        list(store.list_folders("models/")),
    ]
    store.delete(NAME)
    return found


def expected() -> list[object]:
    return [3, b"new", b"new", 3, ["kept", NAME], ["churn/"]]


def count_calls(tmp_path: Path) -> int:
    with Folder(prepared(tmp_path / "count")).mounted() as folder:
        assert scenario(LocalStore(folder.root)) == expected()
        return len(folder.calls)


def prepared(root: Path) -> Path:
    root.mkdir(parents=True)
    (root / "kept").write_bytes(b"kept")
    return root


def test_a_stale_handle_at_any_call_is_looked_up_again_or_told_of(tmp_path: Path) -> None:
    count = count_calls(tmp_path)
    succeeded, failed, told = [], [], set()
    for index in range(count):
        with Folder(prepared(tmp_path / f"{index}"), plan=at(index, errno.ESTALE)).mounted() as folder:
            store = LocalStore(folder.root)
            try:
                assert scenario(store) == expected(), folder.calls[index]
                succeeded.append(folder.calls[index])
            except Unavailable as error:
                failed.append(folder.calls[index])
                told.add((error.code, bool(error.hint)))
            assert get(store, "kept") == b"kept"
            assert visible(folder) in ({"kept": b"kept"}, {"kept": b"kept", NAME: b"new"})
            store.delete(NAME)
            assert scenario(store) == expected(), "and the retry succeeds"
    assert count > 60
    assert told == {("unavailable", True)}
    # What was written and may be lost is told; everything else is looked up again.
    assert {call.verb for call in failed} <= {"write", "fsync", "close", "dup", "fstat", "open"}
    assert len(succeeded) > 3 * len(failed)
    assert {"open", "stat", "preadv", "pread", "scandir", "link", "unlink"} <= {
        call.verb for call in succeeded
    }


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EDQUOT, errno.EACCES, errno.ETIMEDOUT])
def test_an_error_from_any_call_on_is_typed_and_leaves_nothing_half_visible(
    tmp_path: Path, number: int
) -> None:
    """The server goes away at a call, for good; when it is back, all goes on."""
    codes = {errno.EDQUOT: "storage-full", errno.EACCES: "storage-denied"}
    count = count_calls(tmp_path)
    told = []
    for index in range(count):
        root = prepared(tmp_path / f"{index}")

        def gone(call: Call, index: int = index) -> int | None:
            return number if call.index >= index else None

        with Folder(root, plan=gone).mounted() as folder:
            store = LocalStore(folder.root)
            try:
                assert scenario(store) == expected()
            except Unavailable as error:
                told.append(error.code)
            folder.plan = lambda _: None
            assert visible(folder) in ({"kept": b"kept"}, {"kept": b"kept", NAME: b"new"})
            store.delete(NAME)
            assert scenario(store) == expected()
    assert set(told) == {codes.get(number, "unavailable")}
    assert len(told) > count - 20, "only what tidies up may fail unnoticed"


# --- files that were deleted while they were open ---


def test_a_file_deleted_while_it_is_open_is_readable_and_no_longer_listed(
    folder: Folder, store: LocalStore
) -> None:
    put(store, NAME, b"whole")
    put(store, "models/other", b"x")
    buffer = bytearray(5)
    with store.open(NAME) as source:
        store.delete(NAME)
        (left,) = (name for name in visible(folder) if ".nfs" in name)
        assert left.startswith("models/churn/@/1/.nfs")
        assert list(store.list("")) == ["models/other"]
        assert list(store.list_folders("models/churn/@/1/")) == []
        with pytest.raises(NotFound):
            get(store, NAME)
        assert source.read_into(0, memoryview(buffer)) == 5
    assert buffer == b"whole"
    assert visible(folder) == {"models/other": b"x"}


@pytest.mark.parametrize("name", [".nfs0123456789abcdef00000001", "a/.nfs1", ".nfs.20051234.4C4C/b"])
def test_the_names_of_deleted_files_are_nobodys(store: LocalStore, name: str) -> None:
    for verb in (store.stat, store.delete, lambda bad: put(store, bad)):
        with pytest.raises(ValueError, match="NFS"):
            verb(name)
    assert not naming.is_name(name)
    assert naming.is_name(name.replace(".nfs", ".nf"))


def test_leftovers_that_are_open_or_gone_are_not_swept(folder: Folder, store: LocalStore) -> None:
    hidden = Path(folder.root, naming.RESERVED)
    hidden.mkdir()
    for leaf in ("busy", "old", "gone"):
        (hidden / leaf).touch()
        os.utime(hidden / leaf, (1, 1))
    errors = {f"{naming.RESERVED}/busy": errno.EBUSY, f"{naming.RESERVED}/gone": errno.ESTALE}
    folder.plan = lambda call: errors.get(call.path) if call.verb == "unlink" else None
    assert store.sweep_leftovers(0, 1_000) == 1
    assert sorted(os.listdir(hidden)) == ["busy", "gone"]


def test_an_entry_that_the_server_names_twice_is_listed_once(
    folder: Folder, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a/b")
    put(store, "a/c")
    real = folder._real["scandir"]

    class Twice:
        def __init__(self, found: object) -> None:
            self._found = found

        def __enter__(self) -> "Twice":
            return self

        def __exit__(self, *_: object) -> None:
            self._found.close()  # type: ignore[attr-defined]

        def __iter__(self) -> Iterator[object]:
            for entry in self._found:  # type: ignore[attr-defined]
                yield from (entry, entry)

    monkeypatch.setitem(folder._real, "scandir", lambda path: Twice(real(path)))
    assert list(store.list("")) == ["a/b", "a/c"]
    assert list(store.list_folders("")) == ["a/"]


# --- rights, and what is mounted ---


def test_a_refusal_to_root_names_what_it_may_be(
    folder: Folder, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.plan = lambda call: errno.EACCES if call.verb in {"mkdir", "link"} else None
    for user, hint in ((0, "root_squash"), (1000, "Ask whoever owns")):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        with pytest.raises(Unavailable, match="Permission denied") as caught:
            put(store, NAME)
        assert caught.value.code == "storage-denied"
        assert hint in caught.value.hint


MOUNTS = b"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
88 27 0:52 / /srv/models rw,noatime shared:9 master:2 - nfs4 nas:/models rw,vers=4.2,soft,timeo=600
89 27 0:53 / /srv/odd rw - fuse.sshfs
nonsense
"""


@pytest.mark.parametrize(
    ("device", "kind", "cached", "options"),
    [
        ("254:0", "ext4", False, {"rw", "relatime", "discard"}),
        ("0:52", "nfs4", True, {"rw", "noatime", "vers=4.2", "soft", "timeo=600"}),
        ("0:53", "fuse.sshfs", True, {"rw"}),
        ("9:9", "", True, set()),
    ],
)
def test_what_is_mounted_is_found_by_its_device(
    device: str, kind: str, cached: bool, options: set[str]
) -> None:
    found = local_mount.find(MOUNTS, device)
    assert (found.kind, found.cached, set(found.options)) == (kind, cached, options)
    assert found.nfs == (kind == "nfs4")


def test_a_folder_that_is_not_there_yet_is_of_the_mount_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert local_mount.mount_of(str(tmp_path / "a/b")) == local_mount.mount_of(str(tmp_path))
    assert local_mount.mount_of(str(tmp_path)).kind
    assert local_mount.mount_of("/proc").kind == "proc"
    monkeypatch.setattr(local_mount, "_MOUNTS", str(tmp_path / "nothing"))
    assert local_mount.mount_of(str(tmp_path)) == local_mount.UNKNOWN


def test_many_small_objects_are_left_to_be_created_one_by_one(folder: Folder, store: LocalStore) -> None:
    """There are no unnamed files here, on which creating them together rests."""
    wanted = {f"models/churn/@/{number}/x": b"%d" % number for number in range(5)}
    assert store.create_all(wanted) == list(wanted)
    assert visible(folder) == {}
