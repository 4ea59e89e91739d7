"""A writer who failed, lost, or finds the remains of another goes on, and takes nobody's place unseen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.attacks.vault_mixing import check, outcome
from tests.builders import TEAM, Built, solo
from tests.faults import Fault, FaultyStore, on
from vault.core import envelope, limits, records
from vault.errors import Conflict, Rollback, Unavailable
from vault.ports import Sink
from vault.storage.memory import MemoryStore

FIRST = {"model.json": b'{"w":1}'}
SECOND = {"model.json": b'{"w":2}'}
THIRD = {"model.json": b'{"w":3}'}
IN_PROD = "channels/prod/main/churn/@/"


def vault() -> Built:
    built = solo(seed="recovery")
    built.promote(built.publish(FIRST))
    return built


def failing(built: Built, verb: str, name: str) -> Built:
    """Give a client for whom the first step like this fails."""
    fork = built.fork()
    fork.draws.seed += " failing"
    fork.store = FaultyStore(built.store, on(verb, Fault.BEFORE, name=name, nth=None))  # type: ignore[assignment]
    return fork


# --- remains ---


def test_what_a_push_left_that_never_ended_costs_nobody_a_number() -> None:
    built = vault()
    with pytest.raises(Unavailable):
        failing(built, "commit", "models/churn/@/2/manifest.json").publish(THIRD)
    remains = [name for name in built.store.objects if name.startswith("models/churn/@/2/")]
    assert "models/churn/@/2/sealed/000001.json" in remains
    report = check(built)
    assert report.whole
    assert "churn:2" in {entry.subject for entry in report.findings if entry.level == "skipped"}
    assert str(built.publish(SECOND)) == "churn:2"
    assert outcome(built, "churn") == SECOND
    assert "models/churn/@/2/sealed/000002.json" in built.store.objects
    assert check(built).whole


def test_seventy_promotions_that_failed_do_not_hide_the_key_that_opens() -> None:
    built = vault()
    ref = built.publish(SECOND)
    for turn in range(limits.KEY_CANDIDATES + 6):
        attempt = failing(built, "commit", f"{IN_PROD}*")
        attempt.draws.seed += f" {turn}"
        with pytest.raises(Unavailable):
            attempt.promote(ref)
    assert outcome(built, "churn@prod") == FIRST
    built.promote(ref)
    assert outcome(built.fork(forgetful=True), "churn@prod") == SECOND


def test_a_promotion_repeated_changes_nothing() -> None:
    built = vault()
    before = dict(built.store.objects)
    for _ in range(3):
        assert built.promote("churn:1").already
    assert built.store.objects == before


@pytest.mark.parametrize("ref", ["churn", "churn:1"])
def test_where_a_version_comes_from_does_not_hang_on_the_order_of_the_rules(ref: str) -> None:
    first, second = (
        "{actions: [promote], from: dev, to: prod}",
        "{actions: [promote], from: staging, to: prod}",
    )
    swapped = TEAM.replace(first, "?").replace(second, first).replace("?", second)
    assert swapped != TEAM
    built = solo(seed="order", policy=swapped)
    for who, role in (("ann", "release-manager"), ("bob", "release-manager"), ("rex", "releaser")):
        built.add(who, role)
    built.publish(FIRST)
    for who in ("ann", "bob"):
        built.approve("churn:1", who)
    built.promote(ref, who="rex")
    assert outcome(built, "churn@prod") == FIRST


# --- numbers ---


def test_the_number_of_a_deleted_version_does_not_come_back_to_who_remembers_it() -> None:
    built = vault()
    built.publish(SECOND)
    for name in [name for name in built.store.objects if name.startswith("models/churn/@/2/")]:
        del built.store.objects[name]
    assert str(built.publish(THIRD)) == "churn:3"
    with pytest.raises(Conflict):
        built.publish(THIRD, version="2")


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_version_that_exists_is_not_published_again(version: str) -> None:
    built = vault()
    built.publish(SECOND)
    for client in (built, built.fork(forgetful=True)):
        before = dict(client.store.objects)
        with pytest.raises(Conflict):
            client.publish(THIRD, version=version)
        assert client.store.objects == before


# --- somebody comes between ---


class Between(MemoryStore):
    """A store in which somebody acts once, at the moment in which another begins to write an object."""

    name = ""
    act: Callable[[], object] | None = None

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[Sink]:  # type: ignore[override]
        """Create, after somebody acted."""
        if name.startswith(self.name) and self.act is not None:
            act, self.act = self.act, None
            act()
        with super().create(name, size=size) as sink:
            yield sink


def interrupted(built: Built, name: str, act: Callable[[Built], object]) -> Built:
    """Give a client in whose way somebody else comes when it writes an object whose name begins so."""
    other, mine = built.fork(), built.fork()
    other.draws.seed += " other"
    mine.draws.seed += " mine"
    store = Between(built.store.objects)
    store.name = name
    other.store = built.store
    store.act = lambda: act(other)
    mine.store = store
    return mine


def chain(built: Built) -> list[tuple[int, str | None, str]]:
    """Give the records of the channel: number, the digest that they follow, their own."""
    found: list[tuple[int, str | None, str]] = []
    for name in sorted(name for name in built.store.objects if name.startswith(IN_PROD)):
        sealed = envelope.parse(built.store.objects[name], kind="channel", subject=name)
        record = records.parse_channel(sealed.payload, name)
        found.append((record.seq, record.prev, sealed.digest))
    return found


# Where somebody else is fast: while the keys are wrapped, or just before the record is written.
@pytest.mark.parametrize("moment", ["models/churn/@/3/keys/prod-1/", IN_PROD])
def test_a_promoter_does_not_pass_over_a_record_that_they_have_not_seen(moment: str) -> None:
    built = vault()
    built.publish(SECOND)
    built.publish(THIRD)
    mine = interrupted(built, moment, lambda other: other.promote("churn:2"))
    with pytest.raises(Conflict):
        mine.promote("churn:3")
    assert outcome(built, "churn@prod") == SECOND
    mine.promote("churn:3")
    assert outcome(built, "churn@prod") == THIRD
    steps = chain(built)
    assert [seq for seq, _, _ in steps] == [1, 2, 3]
    assert [prev for _, prev, _ in steps] == [None, *(digest for _, _, digest in steps[:-1])]


@pytest.mark.parametrize("data", [b"garbage", b""])
def test_a_promoter_passes_over_a_number_that_a_stranger_takes_at_the_last_moment(data: bytes) -> None:
    built = vault()
    built.publish(SECOND)
    mine = interrupted(built, IN_PROD, lambda other: other.write(f"{IN_PROD}000002.json", data))
    assert mine.promote("churn:2").seq == 3
    assert outcome(built, "churn@prod") == SECOND


def test_who_loses_a_version_is_told_and_gets_the_next_by_the_same_command() -> None:
    built = vault()
    mine = interrupted(built, "models/churn/@/2/files/", lambda other: other.publish(SECOND))
    with pytest.raises(Conflict) as caught:
        mine.publish(THIRD)
    assert caught.value.subject == "churn:2"
    assert outcome(built, "churn") == SECOND
    assert str(mine.publish(THIRD)) == "churn:3"
    assert outcome(built, "churn") == THIRD
    assert outcome(built, "churn:2") == SECOND
    assert check(built).whole


# --- an older state ---


def test_nobody_who_remembers_writes_on_top_of_an_older_state() -> None:
    built = vault()
    older = dict(built.store.objects)
    built.promote(built.publish(SECOND))
    built.store.objects.clear()
    built.store.objects.update(older)
    with pytest.raises(Rollback):
        built.promote("churn:1")
    assert built.store.objects == older
    assert str(built.publish(THIRD)) == "churn:3"  # the number of what was lost is not used again
