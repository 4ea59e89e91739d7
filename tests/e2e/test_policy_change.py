"""What a change of policy would stop is found by the steps of a load, and then that is what happens."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests import builders
from tests.builders import Built
from vault.actions import policy_reading
from vault.core.names import Principal, principal
from vault.core.policy import Key, Member, Policy
from vault.core.policy_diff import Stop
from vault.errors import NotFound, Refused

Change = Callable[[Policy], Policy]
PLACES = (("churn@prod", "ann"), ("churn@dev", "owner"))


@pytest.fixture
def built() -> Built:
    """A team's vault with two versions in prod, one after the other: rex promoted 1, sue promoted 2."""
    found = builders.team()
    found.add("sue", "releaser")
    for who in ("rex", "sue"):
        ref = found.publish(who="dora")
        for name in ("ann", "bob"):
            found.approve(ref, name)
        found.promote(ref, who=who)
    return found


def member(name: str, change: Callable[[Member], Member]) -> Change:
    who = principal(name)
    return lambda before: replace(before, members={**before.members, who: change(before.members[who])})


def keyless(found: Member) -> Member:
    keys: tuple[Key, ...] = tuple(replace(key, revoked=True) for key in found.keys)
    return replace(found, keys=keys)


def without_roles(found: Member) -> Member:
    return replace(found, roles=())


def gone(name: str) -> Change:
    return lambda before: replace(
        before, members={who: entry for who, entry in before.members.items() if who != name}
    )


def one_more_approval(before: Policy) -> Policy:
    prod = before.environments[builders.PROD]
    assert prod.require.approvals is not None
    asked = replace(prod.require, approvals=replace(prod.require.approvals, threshold=3))
    return replace(before, environments={**before.environments, prod.name: replace(prod, require=asked)})


def too_old(before: Policy) -> Policy:
    prod = before.environments[builders.PROD]
    asked = replace(prod.require, max_age_days=1)
    return replace(before, environments={**before.environments, prod.name: replace(prod, require=asked)})


def stopped(built: Built, change: Change) -> dict[str, Stop]:
    """Ask what a change would stop, by channel."""
    proposed = change(built.policy)
    proposed = replace(proposed, version=proposed.version + 1)
    return {str(stop.channel): stop for stop in policy_reading.stopped(built.session(), proposed)}


@pytest.mark.parametrize(
    ("change", "channels", "says"),
    [
        (lambda before: before, set(), ""),
        (gone("cat"), set(), ""),
        (member("sue", keyless), {"churn@prod"}, "go back to churn:1"),
        (gone("sue"), {"churn@prod"}, "go back to churn:1"),
        (member("dora", keyless), {"churn@dev", "churn@prod"}, ""),
        (member("dora", without_roles), {"churn@dev", "churn@prod"}, "may not publish"),
        (member("bob", keyless), {"churn@prod"}, "1 of 2 approvals count"),
        (one_more_approval, {"churn@prod"}, "2 of 3 approvals count"),
    ],
)
def test_what_would_stop_is_told_and_is_what_then_stops(
    built: Built, change: Change, channels: set[str], says: str
) -> None:
    for place, who in PLACES:
        assert built.find(place, who=who).manifest.version == "2"
    told = stopped(built, change)
    assert set(told) == channels
    assert not says or any(says in stop.reason for stop in told.values()), told
    assert all(stop.version == "2" for stop in told.values())
    built.amend(change)
    for place, who in PLACES:
        if place not in channels:
            assert built.find(place, who=who).manifest.version == "2"
        else:
            with pytest.raises((Refused, NotFound)):
                built.find(place, who=who)


def test_age_is_judged_by_the_clock(built: Built) -> None:
    assert stopped(built, too_old) == {}
    built.now += 2 * 86_400
    assert set(stopped(built, too_old)) == {"churn@prod"}
    assert "2 days old" in stopped(built, too_old)["churn@prod"].reason


def test_what_does_not_load_today_does_not_stop(built: Built) -> None:
    built.amend(gone("sue"))
    built.memories.clear()
    assert built.find("churn@prod", who="ann").manifest.version == "1"
    assert set(stopped(built, gone("rex"))) == {"churn@prod"}
    built.amend(gone("rex"))
    assert stopped(built, gone("dora")) == {
        place: stop for place, stop in stopped(built, gone("dora")).items() if place == "churn@dev"
    }


def test_asking_advances_no_memory(built: Built) -> None:
    session = built.session()
    before = session.memory.load()
    policy_reading.stopped(session, replace(gone("sue")(built.policy), version=built.policy.version + 1))
    assert session.memory.load() == before
    assert session.trust().policy.holder(built.policy.members[Principal("sue")].keys[0].key_id) is not None


def test_progress_is_told_for_every_place(built: Built) -> None:
    told: list[tuple[int, int]] = []
    session = built.session()
    session.progress = lambda done, total, what: told.append((done, total))
    policy_reading.stopped(session, replace(built.policy, version=built.policy.version + 1))
    assert told == [(number, len(told)) for number in range(1, len(told) + 1)]
    assert len(told) == 3


def test_what_publishing_alone_made_loadable_stops_for_a_reason_that_is_told(built: Built) -> None:
    """In dev there is no record whose reason could be told: it is the version's own."""

    def strict(before: Policy) -> Policy:
        dev = before.environments[builders.DEV]
        asked = replace(dev.require, max_age_days=9)
        return replace(before, environments={**before.environments, dev.name: replace(dev, require=asked)})

    assert "may not publish" in stopped(built, member("dora", without_roles))["churn@dev"].reason
    assert "no signer" not in stopped(built, member("dora", keyless))["churn@dev"].reason
    told = stopped(built, strict)["churn@dev"].reason
    assert told == "publishing would not be enough in dev, and nobody promoted it"
