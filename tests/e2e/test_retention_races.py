"""Retention meets stores that do not let go, and everybody who needs a version at the same moment."""

from collections.abc import Callable

import pytest

from tests import builders
from tests.builders import MAIN, PROD, Built, reference
from tests.e2e.retaining_parts import AT_ONCE, CHURN, DAY, LAST, gone, three
from vault.actions import (
    access_rotate,
    checking,
    holding,
    promote,
    publish,
    reclaiming,
    removing,
    retaining,
    retaining_facts,
    taking_back,
)
from vault.actions.publish import Contents
from vault.actions.removing import Step
from vault.core.in_force import Channel
from vault.core.manifest import Parent
from vault.core.names import Model
from vault.core.removal import KEEP, RECLAIM
from vault.errors import Conflict, NotFound, Refused, Unavailable
from vault.storage.memory import MemoryStore


@pytest.fixture
def built() -> Built:
    return three()


def _child(built: Built, parent: str, who: str = "owner") -> str:
    found, digest = built.manifest(parent)
    files = [builders.package_file("model.json", b'{"child":1}')]
    parents = (Parent(found.model, found.version, digest, "fine-tuned-from"),)
    contents = Contents(files, {}, parents=parents)
    return str(publish.publish(built.session(who), Model("small"), None, contents))


# --- stores that do not let go ---


class Keeping(MemoryStore):
    """A store that refuses to delete, or says that it did and did not."""

    silent = False

    def delete(self, name: str) -> None:
        """Keep `name`."""
        if not self.silent:
            raise Unavailable(f"{name} is locked.", code="storage-denied", subject=name)


@pytest.mark.parametrize("silent", [False, True])
def test_what_a_store_does_not_let_go_is_told_and_never_claimed(built: Built, silent: bool) -> None:
    _child(built, "churn:2")
    built.publish(model="small")
    assert gone(retaining.retain(built.session(), AT_ONCE)) == ["churn:2", "small:1"]
    store = Keeping(dict(built.store.objects))
    store.silent = silent
    done = reclaiming.reclaim(built.session(store=store))
    assert done.deleted == ()
    assert [one.subject for one in done.failed] == ["small:1", "churn:2"]
    assert done.failed[0].error.code == "storage-denied"
    assert "made from it" in done.failed[1].error.message
    built.store = MemoryStore(dict(store.objects))
    assert reclaiming.reclaim(built.session()).deleted == ("small:1", "churn:2"), "the next run goes on"


def test_what_a_store_did_not_let_go_can_be_had_back_once_nobody_is_at_it(built: Built) -> None:
    retaining.retain(built.session(), AT_ONCE)
    store = Keeping(dict(built.store.objects))
    reclaiming.reclaim(built.session(store=store))
    built.store = MemoryStore(dict(store.objects))
    with pytest.raises(Conflict):
        taking_back.undo(built.session(), reference("churn:2"))
    built.now += 2 * DAY
    taking_back.undo(built.session(), reference("churn:2"))
    assert built.read("churn:2")


def test_what_is_taken_back_brings_back_what_it_was_made_from(built: Built) -> None:
    _child(built, "churn:2")
    built.publish(model="small")
    assert gone(retaining.retain(built.session(), LAST)) == ["churn:2", "small:1"]
    done = taking_back.undo(built.session(), reference("small:1"))
    assert done.versions == ("small:1", "churn:2")
    assert built.read("churn:2")


# --- races ---


def test_of_an_undo_and_a_reclaim_one_wins(built: Built) -> None:
    retaining.retain(built.session(), AT_ONCE)
    facts = retaining_facts.gather(built.session())
    digest = built.manifest("churn:2")[1]
    entry, verified = facts.removals[digest], facts.verified[digest]
    resolved = built.session().resolve(builders.DEV)
    removing.write(built.session(), resolved, verified, entry, Step(KEEP, None, None, "wanted"))
    with pytest.raises(Conflict):
        removing.write(built.session(), resolved, verified, entry, Step(RECLAIM, None, None, "due"))


@pytest.mark.parametrize("moment", ["begin", "look_again", "delete", "report"])
def test_of_a_promotion_and_a_reclaim_one_wins(
    built: Built, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The promotion was admitted before the version was removed, and is written at the worst moment."""
    late = built.session()
    into = promote.authorise(late, CHURN, PROD)
    source = promote.admit(late, into, reference("churn:2"))
    retaining.retain(built.session(), AT_ONCE)
    outcome: list[str] = []

    def promoting() -> None:
        try:
            promote.enter(late, into, source, Channel(PROD, MAIN, CHURN))
            outcome.append("promoted")
        except (NotFound, Refused) as error:
            outcome.append(error.code)

    step = getattr(reclaiming._Run, moment)

    def first(run: object, *given: object, **more: object) -> object:
        if not outcome:
            promoting()
        return step(run, *given, **more)

    monkeypatch.setattr(reclaiming._Run, moment, first)
    done = reclaiming.reclaim(built.session())
    fresh = built.fork(forgetful=True)
    used = fresh.find("churn@prod", env="prod").manifest.version
    assert fresh.read("churn@prod", env="prod"), "whoever wins, prod loads"
    assert checking.check(fresh.session(), None, data=False).whole
    assert len(outcome) == 1
    if outcome == ["promoted"]:
        assert used == "2"
        assert [one.subject for one in done.kept] == ["churn:2"]
        assert fresh.read("churn:2"), "its removal was taken back"
    else:
        assert used == "1"
        assert outcome in (["removed"], ["not-found"])


def test_a_hold_that_a_reclaim_meets_is_heeded(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    retaining.retain(built.session(), AT_ONCE)
    step = reclaiming._Run.begin

    def first(run: reclaiming._Run, facts: retaining_facts.Facts) -> None:
        holding.hold(built.session("hal"), "churn:2", "case 7")
        step(run, facts)

    monkeypatch.setattr(reclaiming._Run, "begin", first)
    done = reclaiming.reclaim(built.session())
    assert done.deleted == ()
    assert done.kept[0].reasons == ("held by hal: case 7",)
    assert built.read("churn:2")


def test_an_undo_that_a_reclaim_meets_is_heeded(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    retaining.retain(built.session(), AT_ONCE)
    for moment in ("begin", "look_again"):
        fork = built.fork()
        step = getattr(reclaiming._Run, moment)

        def first(
            run: object,
            *given: object,
            fork: Built = fork,
            step: Callable[..., object] = step,
            **more: object,
        ) -> object:
            resolved = fork.session().resolve(builders.DEV)
            facts = retaining_facts.gather(fork.session())
            digest = fork.manifest("churn:2")[1]
            back = Step(KEEP, None, None, "wanted")
            removing.write(fork.session(), resolved, facts.verified[digest], facts.removals[digest], back)
            return step(run, *given, **more)

        with monkeypatch.context() as patch:
            patch.setattr(reclaiming._Run, moment, first)
            done = reclaiming.reclaim(fork.session())
        assert done.deleted == ()
        assert [type(one.error) for one in done.failed] == [Conflict]
        assert fork.read("churn:2")


def test_keys_are_rotated_around_what_was_deleted(built: Built) -> None:
    retaining.retain(built.session(), AT_ONCE)
    reclaiming.reclaim(built.session())
    assert access_rotate.rotate(built.session(), builders.DEV).problems == ()
