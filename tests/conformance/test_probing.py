"""A probe finds out what a store honours, leaves nothing behind, and what it found can be read again."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance import unsafe_stores
from tests.conformance.fault_folder import Folder, every
from tests.faults import VERBS, Fault, FaultyStore, at, on, with_a_fault_at_every_operation
from vault.actions import probing as surveying
from vault.actions.probing import Recorded
from vault.core import layout, limits
from vault.errors import Malformed, Refused, Unavailable, VaultError
from vault.ports import Store
from vault.storage import probing
from vault.storage.local import LocalStore
from vault.storage.memory import MemoryStore
from vault.storage.probing import DENIED, DONE, IGNORED, Probe

SOUND = Probe(
    racers=12, winners=1, creates=True, creates_large=None, reads=True, lists=True, orders=True, ranges=True,
    deletes=DONE,
)  # fmt: skip


def test_a_sound_store_keeps_every_promise_and_nothing_is_left(tmp_path: Path) -> None:
    for store in (MemoryStore(), LocalStore(tmp_path / "store")):
        found = probing.probe(store)
        assert found == SOUND
        assert found.faults == ()
        assert list(store.list("")) == []
        assert list(store.list_folders("")) == []
        assert probing.probe(store, large=True) == replace(SOUND, creates_large=True)


def test_a_folder_on_nfs_is_sound_although_answers_are_lost(tmp_path: Path) -> None:
    with Folder(tmp_path / "store", lost=every(2)).mounted() as folder:
        store = LocalStore(folder.root)
        assert store.mount.nfs
        assert surveying.survey(store) == SOUND


CREATES = "it overwrites a name that exists"
BROKEN: dict[type[MemoryStore], set[str]] = {
    unsafe_stores.Overwriting: {CREATES, "of 12 writers of one name 12 were told that they won"},
    unsafe_stores.CheckingFirst: {CREATES},
    unsafe_stores.TellingNobody: {CREATES, "of 12 writers of one name 12 were told that they won"},
    unsafe_stores.RememberingAbsence: {"what was written is not what is read at once"},
    unsafe_stores.ListingLate: {"what was written is not listed at once"},
    unsafe_stores.ListingByFolder: {"its listings are not in the order of code points"},
    unsafe_stores.IgnoringAfter: {"its listings are not in the order of code points"},
    unsafe_stores.IgnoringRanges: {"it does not give the range that was asked for"},
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_store_that_breaks_a_promise_is_found_out_and_refused(kind: type[MemoryStore]) -> None:
    store = kind()
    found = probing.probe(store)
    assert BROKEN[kind] <= set(found.faults)
    if kind is not unsafe_stores.CheckingFirst:  # how many of them win is a matter of luck
        assert BROKEN[kind] == set(found.faults)
    assert store.objects == {}
    with pytest.raises(Refused) as caught:
        surveying.survey(store)
    assert caught.value.code == "unsafe-store"
    assert all(said in caught.value.message for said in BROKEN[kind])
    assert caught.value.hint


def test_only_a_large_object_finds_out_who_overwrites_large_ones() -> None:
    assert probing.probe(unsafe_stores.OverwritingLarge()).faults == ()
    found = probing.probe(unsafe_stores.OverwritingLarge(), large=True)
    assert found.faults == ("it overwrites a large object that exists",)
    assert probing.LARGE > 16 * limits.MIB


def test_a_store_that_lets_nobody_delete_is_fit_and_what_stays_is_named() -> None:
    for store, said in ((unsafe_stores.KeepingAll(), DENIED), (unsafe_stores.KeepingSilently(), IGNORED)):
        found = probing.probe(store)
        assert found.faults == ()
        assert found.deletes == said
        assert found.left == tuple(sorted(store.objects))
        assert len(found.left) == 4
        assert all(name.startswith(layout.PROBES) for name in found.left)
        probing.probe(store)
        assert len(store.objects) == 8, "a second probe is in nobody's way"


def test_a_race_is_one_of_as_many_writers_at_once_as_asked_for() -> None:
    inside: list[int] = []
    store = FaultyStore(
        MemoryStore(),
        on_operation=lambda operation, phase: (
            inside.append(threading.get_ident())
            if (operation.verb, phase) == ("create", "before") and operation.name.endswith("/oB")
            else None
        ),
    )
    assert probing.probe(store).winners == 1
    assert len(inside) == 12
    assert threading.get_ident() not in inside


def test_a_store_that_fails_at_any_step_is_unavailable_and_is_probed_again() -> None:
    count = 0

    def act(store: Store) -> Probe:
        return probing.probe(store, racers=1)

    for found in with_a_fault_at_every_operation(MemoryStore, act, verbs=tuple(VERBS)):
        count += 1
        if found.error is None:
            denied = (found.operation.verb, found.fault) == ("delete", Fault.DENIED)
            assert denied or found.fault is Fault.AFTER, "a loser's answer, or an absence, was lost"
            assert found.result is not None
            assert found.result.faults == ()
            assert (found.result.deletes == DENIED) == denied
            continue
        assert type(found.error) is Unavailable
        assert isinstance(found.inner, MemoryStore)
        if found.operation.verb != "delete":
            assert found.inner.objects == {}, "what was created is deleted all the same"
        assert act(found.inner).faults == ()
    assert count > 150


def test_a_failure_of_one_racer_ends_the_race() -> None:
    for fault in Fault:
        store = FaultyStore(MemoryStore(), on("commit", fault, name="*/oB", nth=None))
        with pytest.raises(Unavailable, match="Planned fault"):
            probing.probe(store)


def test_a_store_that_may_not_be_written_to_says_so() -> None:
    store = FaultyStore(MemoryStore(), on("create", Fault.DENIED))
    with pytest.raises(Unavailable) as caught:
        surveying.survey(store)
    assert caught.value.code == "storage-denied"


def test_a_probe_of_a_local_folder_takes_milliseconds(tmp_path: Path) -> None:
    """Every `init` pays for it; the smallest of several tells from a busy machine."""
    store = LocalStore(tmp_path / "store")
    times = []
    for _ in range(10):
        begun = time.perf_counter()
        found = surveying.survey(store)
        times.append(time.perf_counter() - begun)
    assert found.faults == ()
    assert min(times) < 0.05


def test_every_store_of_several_is_probed() -> None:
    class Several(MemoryStore):
        main = MemoryStore()
        apart = {"prod": unsafe_stores.Overwriting()}  # noqa: RUF012

    with pytest.raises(Refused, match="overwrites"):
        surveying.survey(Several())
    Several.apart = {"prod": MemoryStore()}  # type: ignore[dict-item]
    assert surveying.survey(Several()) == SOUND


# --- what was found, written down ---


def test_what_was_found_is_written_once_and_read_again() -> None:
    store = MemoryStore()
    assert surveying.recorded(store) is None
    found = probing.probe(store)
    surveying.record(store, found, "2026-11-23T05:00:00Z")
    assert surveying.recorded(store) == Recorded("2026-11-23T05:00:00Z", SOUND)
    surveying.record(store, replace(found, deletes=DENIED), "2027-01-01T00:00:00Z")
    assert surveying.recorded(store) == Recorded("2026-11-23T05:00:00Z", SOUND)
    assert store.objects == {
        "probe.json": b'{"at":"2026-11-23T05:00:00Z","creates":true,"creates_large":null,"deletes":"done",'
        b'"lists":true,"orders":true,"racers":12,"ranges":true,"reads":true,"winners":1}'
    }


def test_a_vault_is_none_the_worse_if_it_cannot_be_written() -> None:
    store = MemoryStore()
    surveying.record(FaultyStore(store, at(0, Fault.DENIED)), SOUND, "2026-11-23T05:00:00Z")
    assert store.objects == {}


GOOD = surveying.encode(Recorded("2026-11-23T05:00:00Z", SOUND))
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "not JSON": lambda data: data[:-1],
    "a list": lambda _: b"[]",
    "another spelling": lambda data: data + b"\n",
    "an unknown field": lambda data: data.replace(b'"at"', b'"a":1,"at"'),
    "a missing field": lambda data: data.replace(b',"lists":true', b""),
    "a truth that is a number": lambda data: data.replace(b'"reads":true', b'"reads":1'),
    "a large truth that is text": lambda data: data.replace(b":null", b':"yes"'),
    "an unknown way to delete": lambda data: data.replace(b'"done"', b'"maybe"'),
    "a time that is none": lambda data: data.replace(b"2026-11-23T05:00:00Z", b"yesterday"),
    "a negative number": lambda data: data.replace(b":12", b":-12"),
    "more than it may have": lambda data: data + b" " * limits.PROBE_BYTES,
    "nothing": lambda _: b"",
    "other bytes": lambda _: b"\xff\x00",
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_no_record_is_refused(change: str) -> None:
    assert surveying.parse(GOOD).probe == SOUND
    data = CHANGES[change](GOOD)
    assert data != GOOD
    with pytest.raises(Malformed):
        surveying.parse(data)
    with pytest.raises(VaultError):
        surveying.recorded(MemoryStore({layout.PROBE: data}))
