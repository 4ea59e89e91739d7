"""Logs in a store: what is appended is there, in order, proved, and readable by other programs' rules."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults import Fault, FaultyStore, on
from tests.logs import (
    ACCESS_LOG,
    PROD_LOG,
    TRUST_LOG,
    VAULT,
    certificate,
    commit,
    everything,
    log_key,
    numbered,
    policy,
    reader,
    squat,
    state,
    tree,
    writer,
)
from vault.audit import tiles
from vault.audit.reading import CommitRead, LogReader, logs
from vault.audit.writing import LogWriter
from vault.core import limits, log_commit, log_names, log_proof, merkle, note
from vault.core.log_chain import FORK, Head
from vault.core.log_names import Log
from vault.errors import Conflict, LogInconsistent, Unavailable, UntrustedSigner
from vault.ports import Store
from vault.storage.local import LocalStore
from vault.storage.memory import MemoryStore

ORIGIN = log_names.origin(VAULT, PROD_LOG)


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else LocalStore(tmp_path / "vault")


def names(store: Store, prefix: str) -> set[str]:
    return {name.removeprefix(prefix) for name in store.list(prefix)}


# --- appending and reading ---


def test_what_is_appended_is_read_in_order_with_its_proofs(store: Store) -> None:
    ann, bob = writer(store), writer(store, "bob")
    first = ann.append(numbered(0, 3))
    second = bob.append(numbered(3, 2))
    third = ann.append(numbered(5, 1))
    assert (first.number, second.number, third.number) == (1, 2, 3)
    assert (first.first, second.first, third.first) == (0, 3, 5)
    assert everything(store) == numbered(0, 6)
    found = state(store)
    assert (found.head, found.commits, found.skipped) == (third.head, 3, ())
    assert found.newest.edge == tree(numbered(0, 6))
    for done, count in ((first, 3), (second, 2), (third, 1)):
        for place in range(count):
            proven = log_proof.check(done.proof(place), policy(), PROD_LOG)
            assert proven.entry == numbered(done.first + place, 1)[0]
            assert log_proof.parse(done.proof(place).encode(), "it") == done.proof(place)
    assert ann.head == third.head
    assert bob.read().head == third.head == bob.head


def test_an_empty_log_is_empty(store: Store) -> None:
    found = state(store)
    assert (found.head.size, found.commits, everything(store)) == (0, 0, [])
    assert not writer(store).derive()
    assert tiles.repair(reader(store)) == ()


def test_what_no_commit_may_hold_writes_nothing(store: Store) -> None:
    with pytest.raises(ValueError, match="commit holds"):
        writer(store).append([])
    assert names(store, "log/") == set()


def test_reading_goes_on_from_a_remembered_head(store: Store) -> None:
    ann = writer(store)
    ann.append(numbered(0, 4))
    head = ann.append(numbered(4, 4)).head
    ann.append(numbered(8, 4))
    seen: list[CommitRead] = []
    found = LogReader(store, PROD_LOG, policy(), known=head).read(seen.append, start=head)
    assert [entry.first for entry in seen] == [8]
    assert (found.commits, found.head) == (1, ann.head)
    assert LogReader(store, PROD_LOG, policy()).read(start=Head(0, 0, merkle.EMPTY_ROOT)).commits == 3


def test_a_commit_that_lies_under_another_number_is_found_again(store: Store) -> None:
    ann = writer(store)
    ann.append(numbered(0, 4))
    head = ann.append(numbered(4, 4)).head
    ann.append(numbered(8, 4))
    data = store.read(PROD_LOG.commit(2), limit=limits.LOG_COMMIT_BYTES)
    newest = store.read(PROD_LOG.commit(3), limit=limits.LOG_COMMIT_BYTES)
    for number in (2, 3):
        store.delete(PROD_LOG.commit(number))
    squat(store, PROD_LOG.commit(2))
    squat(store, PROD_LOG.commit(5), data)
    squat(store, PROD_LOG.commit(9), newest)
    seen: list[CommitRead] = []
    found = LogReader(store, PROD_LOG, policy()).read(seen.append, start=head)
    assert [entry.first for entry in seen] == [8]
    assert found.head == replace(ann.head or head, number=9)
    assert everything(store) == numbered(0, 12)


def test_a_head_that_cuts_a_commit_is_handed_the_rest_alone(store: Store) -> None:
    """Where the same entries were committed otherwise than when they were remembered."""
    store_before = MemoryStore()
    head = writer(store_before).append(numbered(0, 2)).head
    writer(store).append(numbered(0, 5))
    seen: list[CommitRead] = []
    LogReader(store, PROD_LOG, policy()).read(seen.append, start=replace(head, number=7))
    assert [(entry.first, entry.entries) for entry in seen] == [(2, tuple(numbered(2, 3)))]
    assert seen[0].growth.before == tree(numbered(0, 2))


def test_every_log_of_a_store_is_named(store: Store) -> None:
    for log in (PROD_LOG, TRUST_LOG):
        writer(store, log=log).append(numbered(0, 1))
    writer(store, "scorer", ACCESS_LOG).append(numbered(0, 1))
    for name in ("log/other/commit/000001", "log/env/Bad!/commit/000001", "log/env/dev/tile/0/000", "log/x"):
        squat(store, name)
    assert [str(log) for log in logs(store)] == [str(ACCESS_LOG), "env/prod", "trust"]


# --- who may write ---


def test_a_writer_without_the_right_or_with_another_key_is_told_at_once(store: Store) -> None:
    with pytest.raises(UntrustedSigner, match="eve may not write"):
        writer(store, "eve")
    with pytest.raises(UntrustedSigner):
        writer(store, "ann", current=policy(revoked=["ann"]))
    with pytest.raises(UntrustedSigner, match="This identity"):
        writer(store, "ann", current=policy(without=["ann"]))
    with pytest.raises(ValueError, match="another key"):
        LogWriter(store, PROD_LOG, policy(), log_key("bob"), certificate("ann"))


def test_the_end_of_a_revoked_writer_is_gone_on_from_with_memory_and_cut_without(store: Store) -> None:
    writer(store).append(numbered(0, 2))
    head = writer(store, "bob").append(numbered(2, 2)).head
    later = policy(revoked=["bob"])
    found = state(store, current=later)
    assert (found.head.size, [link.size for link in found.provisional]) == (2, [4])
    assert everything(store, current=later) == numbered(0, 2)

    kept: list[bytes] = []
    flags: list[bool] = []

    def take(commit: CommitRead) -> None:
        kept.extend(commit.entries)
        flags.append(commit.provisional)

    knowing = LogReader(store, PROD_LOG, later, known=head)
    assert knowing.read(take).head == head
    assert (kept, flags) == (numbered(0, 4), [False, True])

    if isinstance(store, MemoryStore):
        other = MemoryStore(dict(store.objects))
        writer(other, "ann", current=later).append(numbered(9, 1))
        assert everything(other, current=later) == [*numbered(0, 2), *numbered(9, 1)]
        with pytest.raises(LogInconsistent, match="leaves out"):
            LogReader(other, PROD_LOG, later, known=head).read()
        with pytest.raises(LogInconsistent, match="leaves out"):
            LogReader(other, PROD_LOG, later, known=head).read(start=head)

    mine = LogWriter(store, PROD_LOG, later, log_key("ann"), certificate("ann"), known=head)
    assert mine.append(numbered(4, 1)).first == 4
    assert everything(store, current=later) == numbered(0, 5)


def test_an_access_log_is_read_after_its_owner_was_revoked(store: Store) -> None:
    writer(store, "scorer", ACCESS_LOG).append(numbered(0, 2))
    current = policy(revoked=["scorer"])
    assert everything(store, ACCESS_LOG, current) == numbered(0, 2)
    assert [link.size for link in state(store, ACCESS_LOG, current).kept] == [2]


# --- what strangers do ---


def test_squatted_numbers_are_passed_over(store: Store) -> None:
    ann = writer(store)
    ann.append(numbered(0, 1))
    for number in (2, 3, 5):
        squat(store, PROD_LOG.commit(number))
    squat(store, PROD_LOG.commits + "000007/folder")  # has the name and is no object
    squat(store, PROD_LOG.commits + "readme")
    assert [ann.append(numbered(at, 1)).number for at in (1, 2, 3)] == [4, 6, 7 if is_flat(store) else 8]
    assert everything(store) == numbered(0, 4)
    assert [entry.number for entry in state(store).skipped] == [2, 3, 5]


def is_flat(store: Store) -> bool:
    return isinstance(store, MemoryStore)  # where a folder is no object in the way


def test_too_many_squatted_numbers_are_a_conflict(store: Store) -> None:
    if not is_flat(store):
        pytest.skip("a thousand synced files; the other store shows the same")
    ann = writer(store)
    ann.append(numbered(0, 1))
    for number in range(2, 2 + limits.GAP + 1):
        squat(store, PROD_LOG.commit(number))
    with pytest.raises(Conflict, match="taken by other objects"):
        ann.append(numbered(1, 1))
    store.delete(PROD_LOG.commit(2 + limits.GAP))
    assert ann.append(numbered(1, 1)).number == 2 + limits.GAP
    assert len(everything(store)) == 2


def test_an_object_beyond_the_gap_is_not_even_read(store: Store) -> None:
    writer(store).append(numbered(0, 1))
    far = commit(tree(numbered(0, 1)), numbered(1, 1))
    squat(store, PROD_LOG.commit(3 + limits.GAP), far)
    assert state(store).head.size == 1
    squat(store, PROD_LOG.commit(2 + limits.GAP), far)
    assert state(store).head.size == 2


def test_an_object_larger_than_any_commit_is_skipped(store: Store) -> None:
    writer(store).append(numbered(0, 1))
    squat(store, PROD_LOG.commit(2), bytes(limits.LOG_COMMIT_BYTES + 1))
    assert [entry.code for entry in state(store).skipped] == ["too-large"]


def test_commits_of_who_may_not_write_do_not_stop_writers(store: Store) -> None:
    ann = writer(store)
    ann.append(numbered(0, 1))
    edge = tree(numbered(0, 1))
    squat(store, PROD_LOG.commit(2), commit(edge, numbered(8, 1), "eve"))
    squat(store, PROD_LOG.commit(3), commit(tree([*numbered(0, 1), *numbered(8, 1)]), numbered(9, 1), "eve"))
    done = ann.append(numbered(1, 1))
    assert (done.number, done.first) == (4, 1)
    assert everything(store) == numbered(0, 2)


def test_provisional_commits_that_a_writer_went_on_from_are_handed_over_in_order(store: Store) -> None:
    writer(store).append(numbered(0, 1))
    edge = tree(numbered(0, 1))
    squat(store, PROD_LOG.commit(2), commit(edge, numbered(1, 2), "eve"))
    squat(store, PROD_LOG.commit(3), commit(tree(numbered(0, 3)), numbered(3, 1)))
    assert everything(store) == numbered(0, 4)
    assert state(store).commits == 3


def test_a_fork_is_reported_and_a_clients_memory_decides(store: Store) -> None:
    ann = writer(store)
    ann.append(numbered(0, 1))
    ann.append(numbered(1, 1))
    squat(store, PROD_LOG.commit(3), commit(tree(numbered(0, 1)), numbered(7, 2), "bob"))
    found = state(store)
    assert [entry.kind for entry in found.forks] == [FORK]
    assert found.head == ann.head
    assert LogReader(store, PROD_LOG, policy(), known=ann.head).read(start=ann.head).head == ann.head
    private = MemoryStore()
    writer(private).append(numbered(0, 1))
    writer(private, "bob").append(numbered(7, 2))
    for start in (None, ann.head):
        with pytest.raises(LogInconsistent):
            LogReader(private, PROD_LOG, policy(), known=ann.head).read(start=start)


def test_a_log_that_was_cut_off_is_refused_by_who_remembers(store: Store) -> None:
    ann = writer(store)
    ann.append(numbered(0, 1))
    head = ann.append(numbered(1, 1)).head
    store.delete(PROD_LOG.commit(2))
    for start in (None, head):
        with pytest.raises(LogInconsistent, match="2 entries"):
            LogReader(store, PROD_LOG, policy(), known=head).read(start=start)


def test_a_commit_that_is_missing_in_the_middle_ends_the_log(store: Store) -> None:
    ann = writer(store)
    for at in range(3):
        ann.append(numbered(at, 1))
    store.delete(PROD_LOG.commit(2))
    found = state(store)
    assert (found.head.size, [entry.kind for entry in found.skipped]) == (1, ["orphan"])


def test_heads_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(LogInconsistent):
        LogReader(MemoryStore(), PROD_LOG, policy(), known=Head(1, 5, bytes(32)), seen={5: b"\1" * 32})


def test_a_listing_that_lacks_a_commit_is_read_again(store: Store) -> None:
    ann = writer(store)
    for at in range(3):
        ann.append(numbered(at, 1))

    class Late:
        """Lists the folder once without its second commit, as a listing may that runs while others write."""

        def __init__(self) -> None:
            self.listed = 0

        def __getattr__(self, name: str) -> Callable[..., object]:
            found: Callable[..., object] = getattr(store, name)
            return found

        def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
            self.listed += 1
            lacking = {PROD_LOG.commit(2)} if self.listed == 1 else set()
            return (name for name in store.list(prefix, after=after) if name not in lacking)

    late = Late()
    found = LogReader(late, PROD_LOG, policy()).read()  # type: ignore[arg-type]
    assert (found.head.size, found.skipped, late.listed) == (3, (), 2)


def test_what_was_listed_and_is_gone_is_unavailable(store: Store) -> None:
    writer(store).append(numbered(0, 1))
    faulty = FaultyStore(store, on("read", Fault.BEFORE, name="*/commit/*"))
    with pytest.raises(Unavailable):
        reader(faulty).read()


def test_numbers_of_seven_digits_follow_those_of_six(store: Store) -> None:
    edge, entries = merkle.EMPTY, numbered(0, 3)
    chain = [999_999, 1_000_000, 1_000_001]
    start = Head(0, 0, merkle.EMPTY_ROOT)
    for at, number in enumerate(chain):
        squat(store, PROD_LOG.commit(number), commit(edge, entries[at : at + 1]))
        edge = tree(entries[: at + 1])
        if not at:
            start = Head(number, 1, edge.root)
    seen: list[int] = []
    LogReader(store, PROD_LOG, policy()).read(lambda read: seen.append(read.number), start=start)
    assert seen == [1_000_000, 1_000_001]


# --- tiles ---


def expected_tiles(log: Log, entries: list[bytes]) -> dict[str, bytes]:
    """Say what C2SP tlog-tiles asks for, from its definition."""
    found = {}
    rows = [merkle.leaf_hashes(entries)]
    while rows[-1]:
        below = rows[-1]
        rows.append(
            [
                merkle.grow(merkle.EMPTY, below[at : at + 256]).after.root
                for at in range(0, len(below) - 255, 256)
            ]
        )
    for level, row in enumerate(rows):
        for at in range(0, len(row), 256):
            part = row[at : at + 256]
            found[log.tile(level, at // 256, len(part))] = b"".join(part)
            if not level:
                bundle = log_commit.encode_entries(entries[at : at + 256])
                found[log.bundle(at // 256, len(part))] = bundle
    return found


def stored_tiles(store: Store) -> dict[str, bytes]:
    return {name: store.read(name, limit=1 << 24) for name in store.list(PROD_LOG.tiles)}


@pytest.mark.parametrize("steps", [(1,) * 5, (255, 1, 1), (256, 256), (300, 300), (100,) * 7, (4_096,)])
def test_tiles_are_those_of_the_definition_after_every_append(store: Store, steps: tuple[int, ...]) -> None:
    ann, done = writer(store), 0
    for step in steps:
        appended = ann.append(numbered(done, step))
        done += step
        assert stored_tiles(store) == expected_tiles(PROD_LOG, numbered(0, done))
        told = note.parse(store.read(PROD_LOG.checkpoint, limit=1 << 16), "it")
        signed = note.verify_checkpoint(told, ORIGIN, log_key("ann").public, "it")
        assert (signed.size, signed.root) == (done, appended.head.root)


def test_two_writers_in_turns_leave_the_same_tiles() -> None:
    store = MemoryStore()
    ann, bob = writer(store), writer(store, "bob")
    for at in range(0, 600, 20):
        (ann if at % 40 else bob).append(numbered(at, 20))
    assert stored_tiles(store) == expected_tiles(PROD_LOG, numbered(0, 600))


def test_a_tree_of_65537_entries_has_tiles_of_three_levels() -> None:
    store = MemoryStore()
    ann, entries = writer(store), numbered(0, 65_537)
    for at in range(0, 65_537, 4_096):
        ann.append(entries[at : at + 4_096], derive=False)
    assert PROD_LOG.tile(2, 0, 1) not in store.objects
    assert ann.derive()
    assert stored_tiles(store) == expected_tiles(PROD_LOG, entries)


@pytest.mark.parametrize("damage", ["missing", "garbage", "large", "other", "all"])
@pytest.mark.parametrize("by_whom", ["a writer", "a repair"])
def test_tiles_that_are_missing_or_garbage_stop_nobody_and_are_mended(damage: str, by_whom: str) -> None:
    store = MemoryStore()
    for at in range(0, 530, 53):
        writer(store).append(numbered(at, 53))
    for name in [name for name in store.objects if "/tile/" in name or name.endswith("checkpoint")]:
        data = store.objects[name]
        if (damage == "missing" and ".p/" in name) or damage == "all":
            del store.objects[name]
        elif damage == "garbage":
            store.objects[name] = b"garbage"
        elif damage == "large":
            store.objects[name] = data * 9
        elif damage == "other":
            store.objects[name] = bytes(len(data))
    done = 530
    if by_whom == "a writer":
        writer(store).append(numbered(done, 3))
        done += 3
    else:
        wrong = tiles.repair(reader(store), write=False)
        assert PROD_LOG.tile(1, 0, 2) in wrong
        assert tiles.repair(reader(store)) == wrong
    assert everything(store) == numbered(0, done)
    found = stored_tiles(store)
    for name, data in expected_tiles(PROD_LOG, numbered(0, done)).items():
        assert found[name] == data
    assert tiles.repair(reader(store), write=False) == ()


def test_a_writer_that_was_killed_between_commit_and_tiles_is_made_up_for() -> None:
    store = MemoryStore()
    writer(store).append(numbered(0, 200))
    for at in range(200, 250, 10):
        writer(store).append(numbered(at, 10), derive=False)
    assert PROD_LOG.tile(0, 0, 200) in store.objects
    assert PROD_LOG.tile(0, 0, 250) not in store.objects
    writer(store, "bob").append(numbered(250, 51))
    assert stored_tiles(store) == expected_tiles(PROD_LOG, numbered(0, 301))


def test_tiles_that_are_too_far_behind_are_left_to_a_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "_RECOVERED_COMMITS", 3)
    store = MemoryStore()
    for at in range(6):
        writer(store).append(numbered(at, 1), derive=False)
    store.objects = {name: data for name, data in store.objects.items() if "/commit/" in name}
    ann = writer(store)
    ann.append(numbered(6, 1))
    assert not ann.derive()
    tiles.repair(reader(store))
    assert stored_tiles(store) == expected_tiles(PROD_LOG, numbered(0, 7))


def test_a_store_that_refuses_tiles_takes_commits_all_the_same() -> None:
    store = MemoryStore()
    faulty = FaultyStore(store, on("create", Fault.DENIED, name="*/tile/*"))
    ann = LogWriter(faulty, PROD_LOG, policy(), log_key("ann"), certificate("ann"))
    for at in range(0, 900, 300):
        ann.append(numbered(at, 300))
    assert not ann.derive()
    assert stored_tiles(store) == {}
    assert everything(store) == numbered(0, 900)


def test_a_store_that_keeps_old_tiles_is_no_obstacle() -> None:
    store = MemoryStore()
    faulty = FaultyStore(store, on("delete", Fault.DENIED))
    ann = LogWriter(faulty, PROD_LOG, policy(), log_key("ann"), certificate("ann"))
    ann.append(numbered(0, 250))
    assert ann.append(numbered(250, 10)).first == 250
    found = stored_tiles(store)
    for name, data in expected_tiles(PROD_LOG, numbered(0, 260)).items():
        if "checkpoint" not in name:
            assert found.get(name, data) == data
    tiles.repair(reader(store))
    assert tiles.repair(reader(store), write=False) == ()


def test_entries_out_of_order_are_the_callers_mistake() -> None:
    growth = merkle.grow(tree(numbered(0, 1)), merkle.leaf_hashes(numbered(1, 1)))
    with pytest.raises(ValueError, match="in order"):
        tiles.Tiles(MemoryStore(), PROD_LOG).advance(growth, numbered(1, 1))


# --- faults ---


def test_a_commit_whose_answer_was_lost_is_in_the_log_and_may_be_there_twice(store: Store) -> None:
    faulty = FaultyStore(store, on("commit", Fault.AFTER, name="*/commit/*", nth=0))
    ann = LogWriter(faulty, PROD_LOG, policy(), log_key("ann"), certificate("ann"))
    with pytest.raises(Unavailable):
        ann.append(numbered(0, 1))
    assert everything(store) == numbered(0, 1)
    assert ann.append(numbered(0, 1)).first == 1


@pytest.mark.parametrize("verb", ["create", "write", "commit", "list", "read"])
def test_a_store_that_fails_leaves_the_log_whole(verb: str) -> None:
    for nth in range(8):
        store = MemoryStore()
        writer(store).append(numbered(0, 1))
        faulty = FaultyStore(store, on(verb, Fault.BEFORE, nth=nth))
        ann = LogWriter(faulty, PROD_LOG, policy(), log_key("ann"), certificate("ann"))
        done = 1
        for at in range(1, 4):
            try:
                ann.append(numbered(at, 1))
            except Unavailable:
                ann.append(numbered(at, 1))
            done += 1
        assert everything(store) == numbered(0, done)
        assert state(store).skipped == ()


def test_a_writer_that_is_always_slower_says_so() -> None:
    store = MemoryStore()
    bob, count = writer(store, "bob"), 0

    class Slow:
        """Lets somebody else append before each commit of ours."""

        def __getattr__(self, name: str) -> Callable[..., object]:
            found: Callable[..., object] = getattr(store, name)
            return found

        def create(self, name: str, *, size: int | None = None) -> object:
            nonlocal count
            if "/commit/" in name:
                bob.append(numbered(count, 1), derive=False)
                count += 1
            return store.create(name, size=size)

    slow = LogWriter(Slow(), PROD_LOG, policy(), log_key("ann"), certificate("ann"))  # type: ignore[arg-type]
    with pytest.raises(Conflict, match="always faster"):
        slow.append([b"mine"])
    assert b"mine" not in everything(store)
    assert len(everything(store)) == count


def test_a_store_that_refuses_the_checkpoint_file_is_tried_again() -> None:
    store = MemoryStore()
    faulty = FaultyStore(store, on("create", Fault.DENIED, name="*/checkpoint", nth=None))
    ann = LogWriter(faulty, PROD_LOG, policy(), log_key("ann"), certificate("ann"))
    ann.append(numbered(0, 3))
    assert not ann.derive()
    assert writer(store).append(numbered(3, 1)).first == 3
    assert PROD_LOG.checkpoint in store.objects


def test_a_writer_that_has_only_looked_writes_the_tiles_that_are_missing() -> None:
    store = MemoryStore()
    head = writer(store).append(numbered(0, 3), derive=False).head
    bob = LogWriter(store, PROD_LOG, policy(), log_key("bob"), certificate("bob"), known=head)
    bob.read()
    assert bob.derive()
    assert stored_tiles(store) == expected_tiles(PROD_LOG, numbered(0, 3))
    told = note.parse(store.objects[PROD_LOG.checkpoint], "it")
    assert note.verify_checkpoint(told, ORIGIN, log_key("ann").public, "it").size == 3
    store.objects[PROD_LOG.commit(1)] = b"garbage"
    assert not LogWriter(store, PROD_LOG, policy(), log_key("bob"), certificate("bob"), known=head).derive()


def test_tiles_that_are_full_by_now_serve_a_writer_who_knows_less() -> None:
    store = MemoryStore()
    writer(store).append(numbered(0, 250))
    link = state(store).newest
    writer(store).append(numbered(250, 100))
    assert PROD_LOG.tile(0, 0, 250) not in store.objects
    found = tiles.Tiles.resume(store, PROD_LOG, link)
    assert found is not None
    assert found.edge.size == 250
    del store.objects[PROD_LOG.bundle(0)]
    assert tiles.Tiles.resume(store, PROD_LOG, link) is None
    store.objects[PROD_LOG.bundle(0)] = log_commit.encode_entries([b"other"] * 256)
    assert tiles.Tiles.resume(store, PROD_LOG, link) is None


@pytest.mark.parametrize("size", [256, 512, 4_096])
def test_a_writer_goes_on_where_every_tile_is_full(size: int) -> None:
    store = MemoryStore()
    writer(store).append(numbered(0, size))
    writer(store).append(numbered(size, 1))
    assert stored_tiles(store) == expected_tiles(PROD_LOG, numbered(0, size + 1))


def test_tiles_are_not_walked_back_to_over_commits_that_do_not_fit() -> None:
    for damage in ("gone", "garbage", "another"):
        store = MemoryStore()
        for at in range(3):
            writer(store).append(numbered(at, 1), derive=False)
        link = state(store).newest
        store.objects = {name: data for name, data in store.objects.items() if "/commit/" in name}
        if damage == "gone":
            del store.objects[PROD_LOG.commit(3)]
        elif damage == "garbage":
            store.objects[PROD_LOG.commit(2)] = b"garbage"
        else:
            store.objects[PROD_LOG.commit(2)] = commit(merkle.EMPTY, [b"x", b"y"])
        assert tiles.recover(store, PROD_LOG, link) is None


def test_a_proof_is_only_of_what_was_appended() -> None:
    done = writer(MemoryStore()).append(numbered(0, 2))
    assert done.proof(-1) == done.proof(1)
    with pytest.raises(IndexError):
        done.proof(2)
    with pytest.raises(LookupError, match="not needed"):
        done._node(9, 9)


def test_listings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    writer(store).append(numbered(0, 1))
    for number in (2, 3):
        squat(store, PROD_LOG.commit(number))
    monkeypatch.setattr(limits, "LISTED_NAMES", 2)
    with pytest.raises(Unavailable, match="too many"):
        reader(store).read()


class Changing:
    """A store whose commit 2 is another object, or gone, when it is read for the second time."""

    def __init__(self, store: MemoryStore, then: bytes | None) -> None:
        self.store, self.then, self.reads = store, then, 0

    def __getattr__(self, name: str) -> Callable[..., object]:
        found: Callable[..., object] = getattr(self.store, name)
        return found

    def read(self, name: str, *, limit: int) -> bytes:
        if name == PROD_LOG.commit(2):
            self.reads += 1
            if self.reads == 2 and self.then is None:
                self.store.delete(name)
            elif self.reads == 2 and self.then is not None:
                return self.then
        return self.store.read(name, limit=limit)


@pytest.mark.parametrize("then", [None, commit(tree(numbered(0, 1)), numbered(5, 2), "eve")])
def test_commits_that_change_while_they_are_read_are_unavailable(then: bytes | None) -> None:
    store = MemoryStore()
    writer(store).append(numbered(0, 1))
    squat(store, PROD_LOG.commit(2), commit(tree(numbered(0, 1)), numbered(1, 2), "eve"))
    squat(store, PROD_LOG.commit(3), commit(tree(numbered(0, 3)), numbered(3, 1)))
    with pytest.raises(Unavailable):
        LogReader(Changing(store, then), PROD_LOG, policy()).read(lambda read: None)  # type: ignore[arg-type]
