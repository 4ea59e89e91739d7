"""What interrupted publications left is swept after two looks; what anybody published never is."""

from pathlib import Path

import pytest

from tests import builders
from tests.builders import Built, solo
from tests.core.retention_parts import KEEPERS, notice, signed_notice
from tests.log_vaults import client
from vault.actions import sweeping
from vault.core import envelope, layout
from vault.core.names import Model, Version
from vault.core.retention import Duration
from vault.errors import Conflict, Refused, Unavailable
from vault.storage.local import LocalStore
from vault.storage.memory import MemoryStore

DAY = 86_400
WEEK = Duration(days=7)
NINE = layout.version(Model("churn"), Version("9"))
LEFT = ("files/" + "a" * 32, "files/" + "a" * 32 + ".units", "keys/dev-1/x", "sealed/000001.json")


@pytest.fixture(scope="module")
def littered_once() -> Built:
    built = solo(policy=KEEPERS, seed="sweeping")
    built.add("hal", "holder")
    built.publish()
    for leaf in LEFT:
        built.write(NINE + leaf, b"left")
    return built


@pytest.fixture
def built(littered_once: Built) -> Built:
    return littered_once.fork(forgetful=True)


def left(built: Built) -> list[str]:
    return [*built.store.list(NINE)]


def test_leftovers_are_noted_then_swept(built: Built) -> None:
    first = sweeping.sweep(built.session(), None, WEEK)
    assert [(entry.subject, len(entry.names)) for entry in first.noted] == [("churn:9", 4)]
    assert len(left(built)) == 4
    built.now += 6 * DAY
    second = sweeping.sweep(built.session(), None, WEEK)
    assert (len(second.waiting), second.deleted, second.noted) == (1, [], [])
    built.now += DAY
    before = dict(built.store.objects)
    assert sweeping.sweep(built.session(), None, WEEK, dry_run=True).objects == 4
    assert built.store.objects == before
    third = sweeping.sweep(built.session(), None, WEEK)
    assert third.objects == 4
    assert left(built) == []
    assert [*built.store.list(layout.LEFTOVERS)] == [], "the notice is gone too"
    assert built.read("churn:1")
    assert sweeping.sweep(built.session(), None, WEEK).deleted == []


def test_what_came_later_waits_for_itself(built: Built) -> None:
    sweeping.sweep(built.session(), None, WEEK)
    built.now += 8 * DAY
    built.write(NINE + "files/" + "b" * 32, b"new")
    done = sweeping.sweep(built.session(), None, WEEK)
    assert done.objects == 4
    assert left(built) == [NINE + "files/" + "b" * 32]
    assert [len(entry.names) for entry in done.noted] == [1]


def test_a_version_that_is_finished_meanwhile_stays(built: Built) -> None:
    sweeping.sweep(built.session(), None, WEEK)
    built.now += 8 * DAY
    built.publish(version="9")
    assert sweeping.sweep(built.session(), None, WEEK).deleted == []
    assert built.read("churn:9")


def test_what_a_log_says_was_published_is_never_swept(built: Built, tmp_path: Path) -> None:
    built.publish(version="7", session=client(built))
    seven = layout.version(Model("churn"), Version("7"))
    del built.store.objects[layout.manifest(Model("churn"), Version("7"))]
    for _ in range(2):
        done = sweeping.sweep(client(built), tmp_path, WEEK)
        assert [entry.name for entry in done.kept] == ["churn:7"]
        assert "a log says" in done.kept[0].reason
        built.now += 8 * DAY
    assert any(built.store.list(seven + "files/"))


def test_what_this_client_has_seen_is_never_swept(built: Built) -> None:
    built.forgetful = False
    built.publish(version="7")
    del built.store.objects[layout.manifest(Model("churn"), Version("7"))]
    assert "has seen it" in sweeping.sweep(built.session(), None, WEEK).kept[0].reason


def test_a_log_that_does_not_hold_stops_the_sweep(built: Built) -> None:
    built.publish(version="7", session=client(built))
    for name in [*built.store.list("log/env/dev/commit/")]:
        built.write(name, b"garbage")
    sweeping.sweep(built.session(), None, WEEK)  # a stranger's objects are no log
    built.forgetful = False
    built.publish(version="8", session=client(built))
    for name in [*built.store.list("log/env/dev/")]:
        del built.store.objects[name]
    with pytest.raises((Refused, Unavailable)):
        sweeping.sweep(client(built), None, WEEK)


def test_a_strangers_notice_sweeps_nothing(built: Built) -> None:
    other = solo(policy=KEEPERS, seed="another")
    old = notice(built, *LEFT, created="2020-01-01T00:00:00Z")
    for data in (signed_notice(other, old, "owner"), signed_notice(built, old, "hal"), b"garbage"):
        built.write(layout.leftovers(envelope.digest(data)), data)
    built.write(layout.LEFTOVERS + "x", b"garbage")
    built.write(layout.leftovers(envelope.digest(b"other")), b"misnamed")
    done = sweeping.sweep(built.session(), None, WEEK)
    assert done.deleted == []
    assert len(left(built)) == 4


def test_who_may_not_delete_sweeps_nothing(built: Built) -> None:
    done = sweeping.sweep(built.session("hal"), None, WEEK)
    assert [entry.code for entry in done.failed] == ["access-denied"]
    assert len(left(built)) == 4


class Keeping(MemoryStore):
    """A store that says that it deleted, and did not."""

    def delete(self, name: str) -> None:
        """Keep `name`."""


def test_what_a_store_does_not_let_go_is_told(built: Built) -> None:
    sweeping.sweep(built.session(), None, WEEK)
    built.now += 8 * DAY
    done = sweeping.sweep(built.session(store=Keeping(dict(built.store.objects))), None, WEEK)
    assert [entry.code for entry in done.failed] == ["storage-denied"]
    assert done.deleted == []


def test_the_store_sweeps_what_it_has_of_its_own(built: Built, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for name, data in built.store.objects.items():
        with store.create(name, size=len(data)) as sink:
            sink.write(data)
    asked: list[tuple[int, int]] = []

    class Swept(LocalStore):
        def sweep_leftovers(self, older_than_seconds: int, now: int) -> int:
            asked.append((older_than_seconds, now))
            return 3

    assert sweeping.sweep(built.session(store=Swept(tmp_path)), None, WEEK).parts == 3
    assert asked == [(7 * DAY, builders.NOW)]


def test_a_publication_over_leftovers_is_never_hurt(built: Built) -> None:
    """It takes up the number of the leftovers, under names of its own, while they are swept."""
    sweeping.sweep(built.session(), None, WEEK)
    built.now += 8 * DAY
    assert str(built.publish()) in ("churn:2", "churn:10")
    sweeping.sweep(built.session(), None, WEEK)
    for ref in ("churn:1", "churn"):
        assert built.read(ref)
    with pytest.raises(Conflict):
        built.publish(version="1")
