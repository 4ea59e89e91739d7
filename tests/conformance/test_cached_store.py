"""A store with answers ahead and a cache keeps the promises of a store; the cache keeps its own."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.store_suite import StoreSuite
from tests.trips import FarStore
from vault.core import limits
from vault.errors import Refused, Unavailable
from vault.ports import Source, Stat, Store
from vault.storage import ahead_traces, cached_names
from vault.storage.ahead import AheadStore
from vault.storage.ahead_answers import Ask
from vault.storage.cached import HEADER, FolderCache
from vault.storage.cached_room import Room
from vault.storage.memory import MemoryStore

VAULT = "ab" * 32
PAYLOAD = "models/a/@/1/files/" + "0f" * 16
MANIFEST = "models/a/@/1/manifest.json"


class LookingStore:
    """A store of which every call is a look of its own, with everything it finds vouched for."""

    def __init__(self, inner: AheadStore) -> None:
        self.inner = inner
        self.location = inner.location
        self.create, self.delete = inner.create, inner.delete

    @contextmanager
    def _looking(self) -> Iterator[None]:
        with self.inner.look("any") as look:
            yield
            assert look.keep(lambda name: True) == ()

    @contextmanager
    def open(self, name: str) -> Iterator[Source]:
        with self._looking(), self.inner.open(name) as source:
            yield source

    def read(self, name: str, *, limit: int) -> bytes:
        with self._looking():
            return self.inner.read(name, limit=limit)

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        with self._looking():
            return iter([*self.inner.list(prefix, after=after)])

    def list_folders(self, prefix: str) -> Iterator[str]:
        with self._looking():
            return iter([*self.inner.list_folders(prefix)])

    def stat(self, name: str) -> Stat:
        return self.inner.stat(name)


class TestAheadStore(StoreSuite):
    in_memory = True

    @pytest.fixture
    def store(self) -> Store:
        return AheadStore(MemoryStore())


class TestAheadStoreWithACacheInALook(StoreSuite):
    in_memory = True

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        inner = FarStore(MemoryStore())
        return LookingStore(AheadStore(inner, FolderCache(tmp_path, VAULT, inner.location)))


@pytest.fixture
def kept(tmp_path: Path) -> FolderCache:
    return FolderCache(tmp_path / "cache", VAULT, "s3://bucket/vault")


def entries(kept: FolderCache) -> list[Path]:
    return sorted(path for path in kept.folder.glob("*/??/*") if path.is_file())


def payload(kept: FolderCache, name: str, data: bytes, pieces: int = 3) -> None:
    draft = kept.draft(name, len(data))
    assert draft is not None
    step = -(-len(data) // pieces)
    for start in reversed(range(0, len(data), step)):
        draft.write(start, data[start : start + step])
    draft.keep()
    kept.settle()


def opened(kept: FolderCache, name: str) -> bytes | None:
    with kept.open(name) as source:
        if source is None:
            return None
        buffer = bytearray(source.size)
        assert source.read_into(0, memoryview(buffer)) == source.size
        return bytes(buffer)


# --- what may be kept ---


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("trust/root/000001.json", "numbered"),
        ("trust/policy/1000000.json", "numbered"),
        ("trust/heads/prod/000003.json", "numbered"),
        ("channels/prod/main/nepse/NABIL/@/000009.json", "numbered"),
        ("models/nepse/NABIL/@/1.4.0/sealed/000001.json", "numbered"),
        ("trust/recipients/" + "0f" * 32, "content"),
        ("keys/prod/all/1/ann/" + "0" * 16 + "-" + "1f" * 16 + ".age", "content"),
        ("keys/prod/all/1/@/" + "0" * 16 + "-" + "1f" * 16 + ".json", "content"),
        ("models/a/@/1/keys/prod-1/" + "0f" * 16 + "-" + "1f" * 16, "content"),
        ("models/a/@/1/approvals/prod/" + "0f" * 32 + ".json", "content"),
        ("models/a/@/1/adoptions/" + "0f" * 32 + ".json", "content"),
        (MANIFEST, "version"),
        (PAYLOAD, "version"),
        (PAYLOAD + ".units", "version"),
        ("vault.json", ""),
        ("README.txt", ""),
        ("log/env/prod/commit/000001", ""),
        ("log/env/prod/tile/0/000", ""),
        ("log/env/prod/tile/0/000.p/3", ""),
        ("log/env/prod/proof/" + "0f" * 32, ""),
        ("channels/prod/main/a/@/000001.proof", ""),
        ("models/a/manifest.json", ""),
        ("models/a/@/1/files/other", ""),
        ("trust/policy/1.json", ""),
        ("trust/policy/000001.json.bak", ""),
        ("trust/policy/000001.json\n", ""),
    ],
)
def test_only_what_never_changes_once_it_is_in_force_may_be_kept(name: str, kind: str) -> None:
    assert cached_names.may_be_kept(name) == bool(kind)
    assert (cached_names.series(name) is not None) == (kind == "numbered")
    assert cached_names.is_named_after_content(name) == (kind == "content")


def test_an_object_that_is_named_after_its_content_fits_that_alone() -> None:
    name = "trust/recipients/" + "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert cached_names.fits_content(name, b"abc")
    assert not cached_names.fits_content(name, b"abd")
    assert not cached_names.fits_content(MANIFEST, b"abc")


# --- the folder ---


def test_what_was_put_is_got_by_every_process_and_nobody_else(kept: FolderCache) -> None:
    assert kept.get(MANIFEST, 10) is None
    kept.put(MANIFEST, b"abc")
    payload(kept, PAYLOAD, b"0123456789")
    other = FolderCache(kept.folder, VAULT, "s3://bucket/vault")
    assert (other.get(MANIFEST, 3), other.has(MANIFEST)) == (b"abc", True)
    assert other.get(MANIFEST, 2) is None, "over its limit"
    assert opened(other, PAYLOAD) == b"0123456789"
    for stranger in (
        FolderCache(kept.folder, "cd" * 32, "s3://bucket/vault"),
        FolderCache(kept.folder, VAULT, "s3://bucket/other"),
    ):
        assert stranger.get(MANIFEST, 3) is None
        assert opened(stranger, PAYLOAD) is None
    modes = {
        path.stat().st_mode & 0o077
        for path in (kept.folder, *kept.folder.rglob("*"))
        if "TAG" not in path.name
    }
    assert modes == {0}
    assert (
        (kept.folder / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55")
    )


def test_a_cached_payload_is_read_by_ranges(kept: FolderCache) -> None:
    payload(kept, PAYLOAD, b"0123456789")
    with kept.open(PAYLOAD) as source:
        assert source is not None
        buffer = bytearray(b"......")
        assert source.read_into(7, memoryview(buffer)) == 3
        assert buffer == b"789..."
        assert source.read_into(10, memoryview(buffer)) == 0
        with pytest.raises(ValueError, match="negative"):
            source.read_into(-1, memoryview(buffer))


@pytest.mark.parametrize("written", [[(0, 4)], [(0, 4), (6, 4)], [(0, 12)], []])
def test_a_payload_that_was_not_read_as_a_whole_is_not_kept(
    kept: FolderCache, written: list[tuple[int, int]]
) -> None:
    draft = kept.draft(PAYLOAD, 10)
    assert draft is not None
    for start, length in written:
        draft.write(start, bytes(length))
    draft.keep()
    kept.settle()
    assert opened(kept, PAYLOAD) is None
    assert [*(kept.folder / "new").iterdir()] == []


def test_ranges_join_in_whatever_order_they_are_read(kept: FolderCache) -> None:
    draft = kept.draft(PAYLOAD, 8)
    assert draft is not None
    for start in (6, 0, 2, 2, 4):
        assert not draft.whole
        draft.write(start, b"%d%d" % (start, start))
    assert draft.whole
    draft.rest()
    draft.keep()
    kept.settle()
    assert opened(kept, PAYLOAD) == b"00224466"


def _damages() -> dict[str, Any]:
    def cut(path: Path, to: int) -> None:
        os.truncate(path, to)

    def flip(path: Path, at: int) -> None:
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)

    def instead(path: Path, make: Any) -> None:
        path.unlink()
        make(path)

    return {
        "empty": lambda path: cut(path, 0),
        "half a header": lambda path: cut(path, 30),
        "no content": lambda path: cut(path, HEADER.size),
        "cut": lambda path: cut(path, HEADER.size + 2),
        "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
        "magic": lambda path: flip(path, 0),
        "size": lambda path: flip(path, 23),
        "digest": lambda path: flip(path, 24),
        "end of the header": lambda path: flip(path, HEADER.size - 1),
        "content": lambda path: flip(path, HEADER.size),
        "folder": lambda path: instead(path, Path.mkdir),
        "link": lambda path: instead(path, lambda place: place.symlink_to("/etc/hostname")),
        "pipe": lambda path: instead(path, os.mkfifo),
    }


@pytest.mark.parametrize("damage", _damages())
def test_a_damaged_entry_is_as_if_it_were_not_there(kept: FolderCache, damage: str) -> None:
    kept.put(MANIFEST, b"abcde")
    (path,) = entries(kept)
    _damages()[damage](path)
    assert opened(kept, MANIFEST) is None
    assert kept.get(MANIFEST, 100) is None


def test_an_entry_at_another_name_is_as_if_it_were_not_there(kept: FolderCache) -> None:
    kept.put(MANIFEST, b"abc")
    (path,) = entries(kept)
    other = kept._path("models/a/@/2/manifest.json")
    other.parent.mkdir(exist_ok=True)
    path.rename(other)
    assert kept.get("models/a/@/2/manifest.json", 3) is None


def test_a_folder_that_others_could_write_to_is_refused(tmp_path: Path) -> None:
    for mode in (0o770, 0o707, 0o777):
        place = tmp_path / oct(mode)
        place.mkdir()
        place.chmod(mode)
        with pytest.raises(Refused, match="other users") as caught:
            FolderCache(place, VAULT, "x")
        assert caught.value.code == "not-trusted"
        assert "chmod 700" in caught.value.hint
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(Refused, match="link"):
        FolderCache(tmp_path / "link", VAULT, "x")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Refused, match="no folder"):
        FolderCache(tmp_path / "file", VAULT, "x")


def test_somebody_elses_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(Refused, match="another user"):
        FolderCache(tmp_path / "cache", VAULT, "x")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match="cannot be made"):
        FolderCache(tmp_path / "file" / "cache", VAULT, "x")


@pytest.mark.parametrize("call", ["open", "pwrite", "replace"])
def test_a_full_or_read_only_disk_keeps_nothing_and_stops_nothing(
    kept: FolderCache, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    kept.put(MANIFEST, b"abc")

    def fail(*arguments: Any, **_: Any) -> Any:
        if call == "open" and not arguments[1] & os.O_CREAT:
            return real(*arguments, **_)
        raise OSError(errno.ENOSPC, "No space left on device")

    real = os.open
    monkeypatch.setattr(os, call, fail)
    kept.put("models/a/@/2/manifest.json", b"abc")
    draft = kept.draft(PAYLOAD, 4)
    assert (draft is None) == (call == "open")
    if draft is not None:
        draft.write(0, b"abcd")
        draft.keep()
        kept.settle()
    monkeypatch.undo()
    assert kept.get(MANIFEST, 3) == b"abc"
    assert kept.get("models/a/@/2/manifest.json", 3) is None
    assert opened(kept, PAYLOAD) is None
    assert [*(kept.folder / "new").iterdir()] == []


# --- its room ---


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    kept = FolderCache(tmp_path, VAULT, "x", room=10 * (1000 + HEADER.size))
    names = [f"models/a/@/{number}/manifest.json" for number in range(20)]
    for age, name in enumerate(names):
        kept.put(name, bytes(1000))
        when = time.time() - 100_000 + age
        os.utime(kept._path(name), (when, when))
        if age == 5:
            assert kept.get(names[0], 1000), "used again"
    kept._room.make()
    left = [name for name in names if kept.has(name)]
    assert sum(path.stat().st_size for path in entries(kept)) <= 10 * (1000 + HEADER.size)
    assert names[0] in left
    assert names[1] not in left
    assert left[1:] == names[-len(left) + 1 :]


def test_what_would_push_everything_else_out_is_not_kept(tmp_path: Path) -> None:
    kept = FolderCache(tmp_path, VAULT, "x", room=1000)
    kept.put(MANIFEST, bytes(600))
    assert not kept.has(MANIFEST)
    assert kept.draft(PAYLOAD, 600) is None


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    kept = FolderCache(tmp_path, VAULT, "x", room=1000)
    kept.put(MANIFEST, b"abc")
    for name, age in (("1-old", 100_000), ("1-new", 10)):
        (tmp_path / "new" / name).write_bytes(b"x")
        os.utime(tmp_path / "new" / name, (time.time() - age,) * 2)
    kept._room.make()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["1-new"]


def test_while_one_process_makes_room_another_does_not(tmp_path: Path) -> None:
    room = Room(tmp_path, 10)
    (tmp_path / "x" / "00").mkdir(parents=True)
    (tmp_path / "x" / "00" / "entry").write_bytes(bytes(100))
    with room._alone() as alone:
        assert alone
        Room(tmp_path, 10).make()
        assert (tmp_path / "x" / "00" / "entry").exists()
    Room(tmp_path, 10).make()
    assert not (tmp_path / "x" / "00" / "entry").exists()


_PROCESS = """
import sys
from pathlib import Path
from vault.storage import cached_room
from vault.storage.cached import FolderCache
kept = FolderCache(Path(sys.argv[1]), "ab" * 32, "x", room=60_000)
for turn in range(3):
    for number in range(100):
        name = f"models/a/@/{number}/manifest.json"
        data = b"%06d" % number * 100
        found = kept.get(name, 600)
        if found is None:
            kept.put(name, data)
        elif found != data:
            sys.exit("mixed up")
"""


def test_processes_share_a_folder_that_is_too_small_for_them(tmp_path: Path) -> None:
    running = [subprocess.Popen([sys.executable, "-c", _PROCESS, str(tmp_path)]) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    kept = FolderCache(tmp_path, VAULT, "x", room=60_000)
    kept._room.make()
    found = entries(kept)
    assert len(found) > 20
    assert sum(path.stat().st_size for path in found) <= 60_000
    assert [*(tmp_path / "new").iterdir()] == []


def test_threads_use_one_cache(kept: FolderCache) -> None:
    wrong: list[str] = []

    def use(seed: int) -> None:
        for number in range(60):
            name = f"models/a/@/{(number * 7 + seed) % 20}/manifest.json"
            kept.put(name, name.encode() * 50)
            if kept.get(name, limits.MIB) not in (None, name.encode() * 50):
                wrong.append(name)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- traces ---


def test_a_trace_is_noted_for_the_next_process(kept: FolderCache) -> None:
    asked = [Ask("read", "trust/policy/000001.json", 5), Ask("read", "trust/policy/000002.json", 5),
             Ask("list", "a/b-", 0), Ask("list", "a/", 0, after="a/x"), Ask("list_folders", "", 0),
             Ask("list_folders", "a/", 0), Ask("open", PAYLOAD, 77)]  # fmt: skip
    ahead_traces.Traces(kept).put("x", asked[:4] + asked[5:])
    found = ahead_traces.Traces(kept).get("x")
    assert [(ask.verb, ask.name, ask.limit, ask.after) for ask in found] == [
        (ask.verb, ask.name, ask.limit, ask.after) for ask in asked[:4] + asked[5:]
    ]
    assert [ask.name for ask in found if ask.fresh] == ["trust/policy/000002.json"]
    assert ahead_traces.Traces(kept).get("y") == ()


@pytest.mark.parametrize(
    "line",
    ["", "read", "read 5", "read x a", "read 5 ../a", "read 5 a//b", "read -5 a", "write 5 a", "read 5 a b c",
     "list_folders 0 a", "list 0 a//", "open 5 .mvault-tmp/a", "read 99999999999999999 a", "read 5 \xe4",
     "read 5 " + "a" * 901, "delete 0 a", "READ 5 a"],
)  # fmt: skip
def test_a_trace_that_somebody_else_wrote_asks_for_nothing_that_a_store_would_not_take(
    kept: FolderCache, line: str
) -> None:
    kept.note("x", f"{line}\nread 5 good".encode("latin-1"))
    assert [ask.name for ask in ahead_traces.Traces(kept).get("x")] == ["good"]


def test_a_trace_asks_for_no_more_than_a_few_hundred_things(kept: FolderCache) -> None:
    kept.note("x", b"\n".join(b"read 5 a/%d" % number for number in range(10_000)))
    assert len(ahead_traces.Traces(kept).get("x")) == 512


def test_without_a_cache_the_newest_traces_are_remembered() -> None:
    traces = ahead_traces.Traces(None)
    for number in range(600):
        traces.put(f"{number}", [Ask("read", "a")])
    assert [bool(traces.get(f"{number}")) for number in (0, 300, 599)] == [False, False, True]
