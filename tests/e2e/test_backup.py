"""A backup holds what the vault held, verified, whatever happens while it is made."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests import builders
from tests.attacks.vault_mixing import check, outcome, revoked
from tests.builders import Built
from tests.e2e.team_parts import ONE, as_, in_prod, released, stewarded
from vault.actions import backing_up, backing_up_plan, backing_up_verify, backup_receipts
from vault.actions.backing_up_places import name_of
from vault.actions.backing_up_run import Backup, Options
from vault.core import backup_order, layout, limits
from vault.core.names import Slot
from vault.errors import Conflict, NotFound, Refused, Rollback, Unavailable
from vault.ports import Store
from vault.storage.local import LocalStore
from vault.storage.memory import MemoryStore

NIGHTLY = Slot("nightly")


def made() -> Built:
    """Build a vault with churn 1 in prod, churn 2 in dev, and another model of several units."""
    built = builders.solo(seed="backup")
    built.promote(built.publish({"model.json": b'{"w":[1]}'}))
    built.publish({"model.json": b'{"w":[2]}'})
    built.publish({"weights.bin": bytes(2 * limits.MIB + 5)}, model="nepse/NABIL")
    return built


def run(built: Built, target: Store, who: str | None = "owner", **options: object) -> Backup:
    asked = replace(Options(name=NIGHTLY), **options)  # type: ignore[arg-type]
    return backing_up.backup(built.session(who), target, asked)


def at(target: Store, built: Built) -> Built:
    """Look at a backup as a client that knows nothing yet."""
    fresh = built.fork(forgetful=True)
    fresh.store = target  # type: ignore[assignment]
    return fresh


def bad(done: Backup) -> dict[str, str]:
    return {entry.subject: entry.code for entry in done.findings if entry.level == "bad"}


# --- what is copied ---


def test_everything_is_copied_verified_and_receipted() -> None:
    built, target = made(), MemoryStore()
    done = run(built, target)
    assert done.whole
    assert (done.versions, done.receipt, done.no_receipt) == (3, 1, "")
    held = {name: data for name, data in target.objects.items() if name != backup_order.MARKER}
    assert held == dict(built.store.objects)
    last = backup_receipts.last(built.session(), NIGHTLY)
    assert last is not None
    assert (last.record.destination, last.record.versions, last.record.read) == ("memory:", 3, False)
    assert backup_receipts.covered(built.session()) == {entry.manifest for entry in last.covered}
    assert in_prod_of(at(target, built)) == {"model.json": b'{"w":[1]}'}
    assert check(at(target, built)).whole


def in_prod_of(built: Built) -> object:
    return outcome(built, "churn@prod")


def test_what_is_up_to_date_is_only_listed() -> None:
    built, target = made(), MemoryStore()
    run(built, target)
    objects = dict(built.store.objects)
    watched = Counting(built.store)
    session = built.session(store=watched)  # type: ignore[arg-type]
    again = backing_up.backup(session, target, Options(name=NIGHTLY, receipt=False))
    assert (again.copied, again.verified_bytes, again.versions) == (0, 0, 3)
    assert not any(name.startswith("models/") for name in watched.read_names)
    assert dict(built.store.objects) == objects


class Counting:
    """A store that notes which names are read."""

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.read_names: list[str] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def read(self, name: str, *, limit: int) -> bytes:
        self.read_names.append(name)
        return self.inner.read(name, limit=limit)

    def open(self, name: str) -> object:
        self.read_names.append(name)
        return self.inner.open(name)


def test_only_what_is_new_is_copied_and_verified() -> None:
    built, target = made(), MemoryStore()
    run(built, target)
    built.promote(built.publish({"model.json": b'{"w":[3]}'}))
    done = run(built, target)
    assert 0 < done.copied < 20
    assert done.versions == 4
    assert 0 < done.verified_bytes < 1_000
    assert in_prod_of(at(target, built)) == {"model.json": b'{"w":[3]}'}


def test_without_an_identity_it_works_and_says_that_no_receipt_was_signed() -> None:
    built, target = made(), MemoryStore()
    done = run(built, target, who=None)
    assert done.whole
    assert done.receipt is None
    assert "no identity" in done.no_receipt
    assert backup_receipts.covered(built.session()) == frozenset()


def test_who_may_neither_archive_nor_delete_signs_no_receipt() -> None:
    built, target = released(ONE), MemoryStore()
    done = run(built, target, who="dora")
    assert done.whole
    assert "neither archive nor delete" in done.no_receipt


def test_a_dry_run_changes_nothing() -> None:
    built, target = made(), MemoryStore()
    objects = dict(built.store.objects)
    done = run(built, target, dry_run=True)
    assert done.copied == done.objects > 20
    assert target.objects == {}
    assert dict(built.store.objects) == objects


def test_what_the_vault_lost_stays_in_the_backup_unless_it_is_pruned() -> None:
    built, target = made(), MemoryStore()
    run(built, target)
    lost = [name for name in built.store.objects if name.startswith("models/nepse/")]
    for name in lost:
        del built.store.objects[name]
    built.memories.clear()
    assert run(built, target).whole
    assert all(name in target.objects for name in lost)
    assert run(built, target, prune=True, dry_run=True).pruned == len(lost)
    assert run(built, target, prune=True).pruned == len(lost)
    assert not any(name in target.objects for name in lost)
    assert backup_order.MARKER in target.objects


def test_stores_that_do_not_list_sizes_are_asked_for_each() -> None:
    built = made()
    plain = Plain(built.store)
    assert list(backing_up_plan.sizes(plain, "trust/")) == list(built.store.list_sizes("trust/"))  # type: ignore[arg-type]


class Plain:
    """A store that lists names alone."""

    def __init__(self, inner: MemoryStore) -> None:
        self.list = inner.list
        self.stat = inner.stat


# --- where it may go ---


def test_it_goes_into_no_place_where_something_else_lies(tmp_path: Path) -> None:
    built = made()
    for objects in (
        {"notes.txt": b"mine"},
        {"backup.json": b"{}"},
        {"backup.json": b'{"format":"x","vault":"y"}'},
    ):
        with pytest.raises(Conflict):
            run(built, MemoryStore(objects))
    other = builders.solo(seed="another")
    with pytest.raises(Conflict, match="another vault"):
        run(built, MemoryStore(dict(other.store.objects)))
    theirs = MemoryStore()
    run(other, theirs)
    del theirs.objects[layout.root(1)]
    with pytest.raises(Conflict, match="another vault"):
        run(built, theirs)


def test_it_goes_neither_into_the_vault_nor_around_it(tmp_path: Path) -> None:
    built = made()
    source = LocalStore(tmp_path / "models")
    for name, data in built.store.objects.items():
        with source.create(name) as sink:
            sink.write(data)
    built.store = source  # type: ignore[assignment]
    (tmp_path / "link").symlink_to(tmp_path / "models")
    for place in ("models", "models/backup", ".", "link", "link/inside"):
        with pytest.raises(ValueError, match="lie in one another"):
            run(built, LocalStore(tmp_path / place))
    assert run(built, LocalStore(tmp_path / "models-backup")).whole


def test_a_copy_that_another_tool_made_is_taken_over_and_verified() -> None:
    built = made()
    target = MemoryStore(dict(built.store.objects))
    done = run(built, target)
    assert (done.copied, done.versions) == (0, 3)
    assert done.verified_bytes > 2 * limits.MIB


def test_backups_are_named_after_their_place(tmp_path: Path) -> None:
    found = name_of(LocalStore(tmp_path / "My Backups!"))
    assert found.startswith("my-backups-")
    assert found != name_of(LocalStore(tmp_path / "elsewhere" / "My Backups!"))
    assert name_of(LocalStore(tmp_path / "2026")).startswith("backup-")


def test_a_read_only_or_full_destination_says_so(tmp_path: Path) -> None:
    built = made()
    target = Refusing(MemoryStore(), "storage-denied")
    with pytest.raises(Unavailable) as caught:
        run(built, target)  # type: ignore[arg-type]
    assert caught.value.code == "storage-denied"
    full = Refusing(MemoryStore(), "storage-full", after=5)
    with pytest.raises(Unavailable) as caught:
        run(built, full)  # type: ignore[arg-type]
    assert caught.value.code == "storage-full"
    full.after = 1 << 30
    assert run(built, full).whole  # type: ignore[arg-type]


class Refusing:
    """A store that refuses to create after so many objects."""

    def __init__(self, inner: MemoryStore, code: str, after: int = 0) -> None:
        self.inner = inner
        self.code = code
        self.after = after

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def create(self, name: str, *, size: int | None = None) -> object:
        self.after -= 1
        if self.after < 0:
            raise Unavailable("No.", code=self.code, subject=name)
        return self.inner.create(name, size=size)


# --- what is damaged, or changes meanwhile ---


def test_a_payload_that_is_damaged_in_the_vault_never_reaches_the_backup() -> None:
    built, target = made(), MemoryStore()
    name = next(name for name in built.store.objects if name.startswith("models/churn/@/1/files/"))
    built.store.objects[name] = bytes(len(built.store.objects[name]))
    done = run(built, target)
    assert bad(done) == {name: "digest-mismatch"}
    assert name not in target.objects
    assert "models/churn/@/1/manifest.json" not in target.objects
    assert not any(other.startswith("channels/prod/main/churn") for other in target.objects)
    assert done.versions == 2
    assert check(at(target, built)).whole, "what is there is whole without it"


def test_a_large_payload_that_is_damaged_is_not_committed() -> None:
    built, target = made(), MemoryStore()
    name = max(built.store.objects, key=lambda name: len(built.store.objects[name]))
    data = built.store.objects[name]
    built.store.objects[name] = data[:-1] + bytes([data[-1] ^ 1])
    assert bad(run(built, target)) == {name: "digest-mismatch"}
    assert name not in target.objects


def test_what_the_backup_has_is_not_replaced_by_what_was_damaged_since() -> None:
    built, target = made(), MemoryStore()
    run(built, target)
    name = next(name for name in built.store.objects if name.startswith("models/churn/@/1/files/"))
    good = target.objects[name]
    built.store.objects[name] = b"shorter"
    done = run(built, target)
    assert bad(done) == {name: "digest-mismatch"}
    assert target.objects[name] == good


def test_a_backup_that_was_damaged_is_told_by_verify_and_covers_no_more() -> None:
    built, target = made(), MemoryStore()
    run(built, target)
    whole = backing_up_verify.verify(built.session(), target, Options(name=NIGHTLY))
    assert (whole.whole, whole.receipt, whole.versions) == (True, 2, 3)
    name = next(name for name in target.objects if name.startswith("models/churn/@/1/files/"))
    target.objects[name] = bytes(len(target.objects[name]))
    done = backing_up_verify.verify(built.session(), target, Options(name=NIGHTLY))
    assert bad(done) == {"churn:1": "digest-mismatch"}
    assert done.versions == 2
    assert len(backup_receipts.covered(built.session())) == 2
    part = backing_up_verify.verify(built.session(), target, Options(name=NIGHTLY), percent=1.0)
    assert part.receipt is None
    assert "part" in part.no_receipt


def test_a_payload_that_the_backup_lost_is_copied_again_and_verified() -> None:
    built, target = made(), MemoryStore()
    run(built, target)
    name = next(name for name in target.objects if name.startswith("models/churn/@/1/files/"))
    del target.objects[name]
    done = run(built, target)
    assert (done.copied, done.versions, done.whole) == (1, 3, True)


def test_verify_says_where_there_is_no_backup() -> None:
    with pytest.raises(NotFound):
        backing_up_verify.verify(made().session(), MemoryStore(), Options())


@pytest.mark.parametrize(
    "what",
    [
        "trust/root/000001.json",
        "trust/policy/000001.json",
        "models/churn/@/1/manifest.json",
        "channels/prod/main/churn/@/000001.json",
    ],
)
def test_a_poisoned_backup_is_refused(what: str) -> None:
    built, target = made(), MemoryStore()
    run(built, target)
    twin = builders.solo(seed="twin")
    twin.promote(twin.publish({"model.json": b'{"w":[1]}'}))
    target.objects[what] = twin.store.objects[what]
    try:
        done = backing_up_verify.verify(built.session(), target, Options(name=NIGHTLY))
    except (Refused, Conflict, NotFound):
        return
    assert not done.whole or done.versions < 3


def test_a_vault_older_than_this_machine_has_seen_is_not_backed_up() -> None:
    built, target = made(), MemoryStore()
    run(built, target)
    before = dict(built.store.objects)
    built.amend(lambda policy: policy)
    built.read("churn@prod")
    built.store.objects.clear()
    built.store.objects.update(before)
    with pytest.raises(Rollback):
        run(built, target, prune=True)


def test_what_is_published_while_it_runs_is_no_trouble() -> None:
    built, target = made(), MemoryStore()
    session = built.session()
    busy = built.fork()
    busy.store = built.store
    count = 0

    def meanwhile(done: int, total: int, what: str) -> None:
        nonlocal count
        count += 1
        if count in (1, 3):
            busy.promote(busy.publish({"model.json": b'{"w":[%d]}' % count}))

    session.progress = meanwhile
    assert backing_up.backup(session, target, Options(name=NIGHTLY)).whole
    assert count > 3
    assert check(at(target, built)).whole
    assert run(built, target).whole
    assert in_prod_of(at(target, built)) == {"model.json": b'{"w":[3]}'}


def test_two_backups_at_once_to_one_place_make_one_whole_backup() -> None:
    from concurrent.futures import ThreadPoolExecutor

    built, target = made(), MemoryStore()
    sessions = [built.session() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        done = [*pool.map(lambda one: backing_up.backup(one, target, Options(name=NIGHTLY)), sessions)]
    assert all(entry.whole for entry in done)
    assert sorted(entry.receipt or 0 for entry in done) == [1, 2, 3]
    assert check(at(target, built)).whole


def test_a_change_of_policy_comes_between_what_was_made_before_and_after_it() -> None:
    built = stewarded()
    target = MemoryStore()
    assert run(built, target).whole
    as_(built, "eve").adopt_version("churn:1")
    built.amend(revoked("dora"))
    as_(built, "eve").adopt_version("churn:1")
    assert in_prod(built) == ONE
    stages = []
    for stage in backing_up_plan.stages(
        backing_up_plan.compare(built.store, target), built.store, founded=True
    ):
        for group in stage:
            for item in group:
                target.objects[item.name] = built.store.objects[item.name]
                stages.append(item.name)
                assert in_prod(at(target, built)) in (ONE, "untrusted-signer", "bad-signature"), item.name
    assert any(name.startswith("trust/policy/") for name in stages)
    assert in_prod(at(target, built)) == ONE
