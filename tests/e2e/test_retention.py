"""Retention beside everything else: races, rights, strangers, doubts, stores that do not let go, clocks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests import builders
from tests.builders import MAIN, PROD, Built, reference, solo
from tests.core.retention_parts import KEEPERS, removed, signed_hold, signed_removal
from tests.core.retention_parts import held as hold_of
from tests.e2e.audit_parts import audited, entries, move
from tests.e2e.retaining_parts import AT_ONCE, CHURN, DAY, LAST, files_of, gone, three
from tests.log_vaults import client
from vault.actions import (
    approving,
    checking,
    holding,
    listing,
    pending,
    promote,
    publish,
    reclaiming,
    retaining,
    taking_back,
    withdrawing,
)
from vault.actions.publish import Contents
from vault.core import envelope, layout, names
from vault.core import removal as removals
from vault.core.manifest import Parent
from vault.core.names import Model, Principal, Version
from vault.core.policy import Policy
from vault.core.removal import KEEP
from vault.errors import AccessDenied, Conflict, NotFound, Unavailable
from vault.storage.memory import MemoryStore


@pytest.fixture
def built() -> Built:
    return three()


# --- what a removed version is ---


def test_a_removed_version_is_removed_for_everybody_and_comes_back(built: Built) -> None:
    assert gone(retaining.retain(built.session(), LAST)) == ["churn:2"]
    uses: list[Callable[[], object]] = [
        lambda: built.read("churn:2"),
        lambda: built.promote("churn:2"),
        lambda: approving.approve(built.session(), reference("churn:2"), PROD),
    ]
    for use in uses:
        with pytest.raises(NotFound) as caught:
            use()
        assert caught.value.code == "removed"
        assert "mvault retain --undo churn:2" in caught.value.hint
    digest = built.manifest("churn:2")[1]
    with pytest.raises(NotFound) as caught:
        built.read(f"churn@sha256:{digest}")
    assert caught.value.code == "removed"
    assert all(wait.version != "2" for wait in pending.pending(built.session()))
    assert taking_back.undo(built.session(), reference("churn:2")).versions == ("churn:2",)
    assert built.read("churn:2")
    assert taking_back.undo(built.session(), reference("churn:2")).already


def test_the_newest_is_the_newest_that_was_not_removed(built: Built) -> None:
    retaining.retain(built.session(), retaining.Wanted(named=(reference("churn:3"),)))
    assert built.find("churn").manifest.version == "2"


def test_a_number_never_comes_back(built: Built) -> None:
    retaining.retain(built.session(), retaining.Wanted(named=(reference("churn:3"),)))
    built.now += 8 * DAY
    assert reclaiming.reclaim(built.session()).deleted == ("churn:3",)
    assert files_of(built, "churn:3") == []
    fresh = built.fork(forgetful=True)
    assert str(fresh.publish()) == "churn:4"
    with pytest.raises(Conflict):
        fresh.publish(version="3")


def test_lists_history_and_checks_tell_of_it(built: Built) -> None:
    retaining.retain(built.session(), LAST)
    release = {one.version: one for one in listing.releases(built.session(), CHURN)[0]}["2"]
    assert (release.removed, release.kept_until) == ("remove", names.time_text(built.now + 7 * DAY))
    built.now += 8 * DAY
    reclaiming.reclaim(built.session())
    release = {one.version: one for one in listing.releases(built.session(), CHURN)[0]}["2"]
    assert (release.removed, release.kept_until) == ("reclaim", None)
    told = [event.action for event in listing.history(built.session(), CHURN) if event.reference == "churn:2"]
    assert {"publish", "remove", "reclaim"} == {*told}
    shown = listing.show(built.session(), reference("churn:2"))
    assert shown.metadata is None
    assert "removed" in shown.unread
    report = checking.check(built.session(), None, data=True)
    assert report.whole
    assert any("removed" in finding.message for finding in report.findings if finding.subject == "churn:2")


def test_removals_and_holds_are_logged(built: Built) -> None:
    session = client(built)
    holding.hold(session, "churn:1", "case 7")
    (removal,) = retaining.retain(session, LAST).removed
    holds = [entry.digest for entry in holding.read(session, built.context).holds]
    for digest in (envelope.digest(removals.encode(removal)), *holds):
        assert built.store.objects[f"log/env/dev/proof/{digest}"], "each has a proof that it is in dev's log"


# --- what stays ---


def test_what_prod_used_before_stays_so_that_it_can_go_back(built: Built) -> None:
    built.promote("churn:2")
    assert gone(retaining.retain(built.session(), LAST)) == []
    promote.rollback(built.session(), CHURN, PROD, MAIN, None)
    assert built.read("churn@prod", env="prod")


def test_what_was_withdrawn_may_go(built: Built) -> None:
    built.promote("churn:2")
    withdrawing.withdraw(built.session(), reference("churn:1"), PROD)
    assert gone(retaining.retain(built.session(), LAST)) == ["churn:1"]


def test_what_somebody_approved_and_is_still_to_go_in_stays() -> None:
    built = builders.team()
    built.amend(_let_owner_delete)
    for _ in range(3):
        built.publish(who="dora")
    built.approve("churn:2", "ann")
    done = retaining.retain(built.session(), LAST)
    assert gone(done) == ["churn:1"]
    reasons = {entry.subject: entry.reasons for entry in done.plan.decisions}
    assert reasons["churn:2"] == ("ann approved it for prod, which it has not entered",)


def _let_owner_delete(before: Policy) -> Policy:
    owner = Principal("owner")
    first, *rest = before.roles[owner]
    return replace(
        before, roles={**before.roles, owner: (replace(first, actions=(*first.actions, "delete")), *rest)}
    )


def _child(built: Built, parent: str, who: str = "owner") -> str:
    found, digest = built.manifest(parent)
    files = [builders.package_file("model.json", b'{"child":1}')]
    parents = (Parent(found.model, found.version, digest, "fine-tuned-from"),)
    contents = Contents(files, {}, parents=parents)
    return str(publish.publish(built.session(who), Model("small"), None, contents))


def test_what_another_model_was_made_from_stays(built: Built) -> None:
    _child(built, "churn:2")
    done = retaining.retain(built.session(), LAST)
    assert gone(done) == []
    assert {e.subject: e.reasons for e in done.plan.decisions}["churn:2"] == ("small:1 was made from it",)


def test_what_the_version_of_a_revoked_publisher_was_made_from_stays(built: Built) -> None:
    built.add("pam", "owner")
    _child(built, "churn:2", who="pam")
    built.amend(_revoke("pam"))
    assert gone(retaining.retain(built.session(), LAST)) == [], "somebody may adopt small:1 yet"


def test_a_strangers_manifest_keeps_nothing(built: Built) -> None:
    other = solo(policy=KEEPERS, seed="another")
    other.publish()
    found, digest = built.manifest("churn:2")
    files = [builders.package_file("model.json", b'{"child":1}')]
    parents = (Parent(found.model, found.version, digest, "fine-tuned-from"),)
    publish.publish(other.session(), Model("small"), None, Contents(files, {}, parents=parents))
    name = layout.manifest(Model("small"), Version("1"))
    built.write(name, other.store.objects[name])
    assert gone(retaining.retain(built.session(), LAST)) == ["churn:2"]


def _revoke(who: str) -> Callable[[Policy], Policy]:
    def change(before: Policy) -> Policy:
        member = before.members[Principal(who)]
        keys = tuple(replace(key, revoked=True) for key in member.keys)
        return replace(before, members={**before.members, member.name: replace(member, keys=keys)})

    return change


def test_where_a_version_this_client_has_seen_is_gone_nothing_is_removed(built: Built) -> None:
    built.forgetful = False
    built.publish(model="small")
    assert built.read("small:1")
    for name in [*built.store.list("models/small/")]:
        del built.store.objects[name]
    done = retaining.retain(built.session(), LAST)
    assert done.removed == ()
    assert "small" in done.plan.decisions[0].reasons[-1]


class Unreadable(MemoryStore):
    """A store in which what contains `part` cannot be read."""

    part = ""

    def read(self, name: str, *, limit: int) -> bytes:
        """Return all bytes of `name`, unless they cannot be read."""
        if self.part and self.part in name:
            raise Unavailable(f"{name} cannot be read.", subject=name)
        return super().read(name, limit=limit)


@pytest.mark.parametrize(
    "part", ["small/@/1/manifest", "channels/prod/main/churn", "churn/@/2/removals", "holds/"]
)
def test_what_cannot_be_read_keeps_everything_that_it_may_be_about(built: Built, part: str) -> None:
    built.publish(model="small")
    holding.hold(built.session("hal"), "small:1", "case 7")
    taking = removed(built, "churn:2", state=KEEP, after=None)
    built.write(layout.removals(CHURN, Version("2")) + "000001.json", signed_removal(built, taking, "dan"))
    store = Unreadable(dict(built.store.objects))
    store.part = part
    try:
        done = retaining.retain(built.session(store=store), LAST)
    except Unavailable:
        assert part == "holds/"
        return
    assert done.removed == ()
    assert gone(retaining.retain(built.session(), LAST)) == ["churn:2"]


def test_a_channel_that_was_put_back_keeps_its_model(built: Built) -> None:
    built.promote("churn:2")
    built.promote("churn:3")
    last = layout.channel(PROD, MAIN, CHURN) + "000003.json"
    del built.store.objects[last]
    done = retaining.retain(built.session(), LAST)
    assert done.removed == ()


# --- strangers, and those who may not ---


def test_a_stranger_removes_holds_and_blocks_nothing(built: Built) -> None:
    other = solo(policy=KEEPERS, seed="another")
    folder = layout.removals(CHURN, Version("2"))
    for number in (1, 2, 3):
        built.write(
            folder + layout.numbered(number), signed_removal(other, removed(built, "churn:2"), "owner")
        )
    built.write(layout.HOLDS + "x", b"garbage")
    garbage = b"garbage"
    built.write(layout.hold(envelope.digest(garbage)), garbage)
    hold = signed_hold(other, hold_of(built, "*"), "owner")
    built.write(layout.hold(envelope.digest(hold)), hold)
    assert built.read("churn:2")
    done = retaining.retain(built.session(), LAST)
    assert gone(done) == ["churn:2"]
    assert done.removed[0].number == 4
    assert len(done.plan.skipped) == 2
    skipped = {finding.subject for finding in checking.check(built.session(), None, data=False).findings}
    assert "churn:2 removal 1" in skipped


def test_who_may_delete_in_dev_alone_removes_nothing_that_prod_has_used(built: Built) -> None:
    built.promote("churn:2")
    built.promote("churn:3")
    assert gone(retaining.retain(built.session("dan"), LAST)) == ["churn:1"]
    taking_back.undo(built.session("dan"), reference("churn:1"))
    done = retaining.retain(built.session("dev"), LAST)
    assert done.removed == ()
    assert [type(one.error) for one in done.failed] == [AccessDenied]
    by_hand = removed(built, "churn:1", 3, after=built.time)
    built.write(layout.removals(CHURN, Version("1")) + "000003.json", signed_removal(built, by_hand, "dev"))
    assert built.read("churn:1", env="prod"), "in prod nobody listens to it"
    plan = reclaiming.reclaim(built.session("dan")).plan
    assert plan.going == ()
    assert plan.blocked[0].reasons == ("dev removed it, who may not delete in prod",)


def test_who_may_not_delete_removes_nothing(built: Built) -> None:
    done = retaining.retain(built.session("hal"), LAST)
    assert done.removed == ()
    assert [type(one.error) for one in done.failed] == [AccessDenied]
    with pytest.raises(AccessDenied):
        holding.hold(built.session("dan"), "churn:2", "case 7")
    holding.hold(built.session("hal"), "churn:2", "case 7")
    with pytest.raises(AccessDenied):
        holding.release(built.session("dan"), "churn:2", "over")
    with pytest.raises(NotFound):
        holding.release(built.session("hal"), "churn:3", "over")


def test_a_removal_of_what_prod_uses_takes_it_from_nobody(built: Built) -> None:
    by_hand = removed(built, "churn:1", after=built.time)
    built.write(layout.removals(CHURN, Version("1")) + "000001.json", signed_removal(built, by_hand, "dan"))
    assert built.read("churn@prod", env="prod")
    built.now += DAY
    done = reclaiming.reclaim(built.session())
    assert done.deleted == ()
    assert done.plan.blocked[0].reasons == ("prod uses it",)


# --- holds ---


def test_holds_are_on_versions_channels_models_and_patterns(built: Built) -> None:
    session = built.session("hal")
    assert holding.hold(session, "churn@prod", "case 1").subject == "churn:1"
    digest = built.manifest("churn:2")[1]
    assert holding.hold(session, f"churn@sha256:{digest}", "case 2").subject == "churn:2"
    assert holding.hold(session, "churn", "case 3").version is None
    assert holding.hold(session, reference("churn"), "case 4").pattern == "churn"
    assert [one.subject for one in holding.standing(session).holds].count("churn") == 2
    assert len(holding.release(session, "churn", "over").holds) == 2
    (held,) = (one for one in holding.standing(session).holds if one.subject == "churn:1")
    assert holding.release(session, f"sha256:{held.digest}", "over").holds == (held,)
    assert holding.is_held(session, built.context, CHURN, digest)
    for wrong in ("a//b", "churn:", "churn@Prod"):
        with pytest.raises(ValueError, match="is not"):
            holding.hold(session, wrong, "case 5")
    with pytest.raises(ValueError, match="one line"):
        holding.hold(session, "churn", "two\nlines")
    with pytest.raises(NotFound):
        holding.hold(session, "churn:77", "case 6")


def test_a_hold_that_comes_too_late_says_so(built: Built) -> None:
    retaining.retain(built.session(), AT_ONCE)
    reclaiming.reclaim(built.session())
    with pytest.raises(NotFound) as caught:
        holding.hold(built.session("hal"), "churn:2", "case 7")
    assert caught.value.code == "removed"


# --- clocks ---


def test_nothing_is_deleted_before_its_time_by_any_clock(built: Built) -> None:
    retaining.retain(built.session(), LAST)
    assert reclaiming.reclaim(built.session()).plan.blocked[0].until == names.time_text(built.now + 7 * DAY)
    built.now -= DAY
    told = reclaiming.reclaim(built.session()).plan.blocked[0]
    assert told.until is None
    assert "by the clock here" in told.reasons[0]
    built.now += 9 * DAY

    class Timed(MemoryStore):
        def server_time(self) -> int:
            return built.now - 5 * DAY

    behind = Timed(dict(built.store.objects))
    assert reclaiming.reclaim(built.session(store=behind)).plan.going == (), "the store's clock is behind"
    assert reclaiming.reclaim(built.session()).deleted == ("churn:2",)


def test_a_dry_run_and_a_no_do_nothing(built: Built) -> None:
    before = dict(built.store.objects)
    assert retaining.retain(built.session(), LAST, dry_run=True).plan.going
    assert not retaining.retain(built.session(), LAST, confirm=lambda plan: False).agreed
    assert built.store.objects == before
    retaining.retain(built.session(), AT_ONCE, confirm=lambda plan: True)
    before = dict(built.store.objects)
    assert reclaiming.reclaim(built.session(), dry_run=True).plan.bytes > 0
    assert not reclaiming.reclaim(built.session(), confirm=lambda plan: False).agreed
    assert built.store.objects == before


def test_who_may_not_delete_what_they_reclaim_leaves_a_record_of_it_but_not_when_only_looking(
    built: Built, tmp_path: Path
) -> None:
    assert gone(retaining.retain(built.session(), AT_ONCE)) == ["churn:2"]
    vault = audited(built, tmp_path, "hal")
    assert vault.reclaim(dry_run=True).plan.blocked
    move(vault)
    assert entries(built) == []
    assert vault.reclaim().plan.blocked
    move(vault)
    (record,) = entries(built)
    assert (record.action, record.decision, record.subject) == ("delete", "deny", "churn:2")
    assert (record.actor, record.code) == ("hal", "access-denied")
