"""Heads: parsed strictly, in force by the highest number that holds, a floor for every channel they name."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from tests import builders
from tests.builders import CHURN, NOW, PROD, Built
from vault.core import (
    admission,
    envelope,
    expiry,
    heads,
    layout,
    limits,
    memory_format,
    names,
    policy,
    strict_json,
)
from vault.core.heads import DAY, Freshness, Heads
from vault.core.in_force import Channel, Signed
from vault.core.memory_format import Mark, Memory
from vault.core.names import Digest, Environment, Principal, Slot
from vault.core.policy import Policy, PolicyId, Rule
from vault.core.stages import Target
from vault.core.trust import Skipped
from vault.errors import Expired, Malformed, Rollback, Unavailable

MAIN = Channel(PROD, names.MAIN, CHURN)
FIVE = Mark(0, 5, "5" * 64)


@cache
def _attested() -> Built:
    built = builders.team()

    def allow(before: Policy) -> Policy:
        roles = {
            **before.roles,
            Principal("clock"): (rule(PROD),),
            Principal("part"): (rule(PROD, ("a/*",)),),
        }
        return replace(before, roles=roles)

    built.amend(allow)
    built.add("renewer", "clock", kind=policy.SERVICE, owners=("ann",))
    built.add("partial", "part", kind=policy.SERVICE, owners=("ann",))
    built.add("narrowed", "clock", kind=policy.SERVICE, owners=("ann",), models=("a/*",))
    built.add("wide", "clock", kind=policy.SERVICE, owners=("ann",), models=("*",))
    return built


def rule(environment: Environment, models: tuple[str, ...] | None = None) -> Rule:
    return Rule((heads.ACTION,), (environment,), None, None, models, own=False)


@pytest.fixture
def built() -> Built:
    return _attested().fork()


def statement(built: Built, **change: Any) -> Heads:
    found = Heads(
        vault=built.vault,
        environment=PROD,
        number=3,
        root=(1, built.trusted.digest),
        policy=built.policy_id,
        channels={"main/churn": FIVE, "b/nepse/NABIL": Mark(0, 2, "2" * 64)},
        created=names.time_text(NOW),
        expires=names.time_text(NOW + 7 * DAY),
    )
    return replace(found, **change)


def signed(built: Built, found: Heads, *who: str) -> bytes:
    return built.sign(heads.KIND, heads.encode(found), *(who or ("renewer",)))


def judge(built: Built, data: bytes, number: int = 3) -> Signed[Heads] | Skipped:
    return heads.judge(built.context, built.trusted, PROD, number, data)


# --- the document ---


def test_what_is_written_is_read_back(built: Built) -> None:
    found = statement(built)
    assert heads.parse(heads.encode(found), "it") == found
    assert found.slots == {"main", "b"}


BREAKS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a mark is none": lambda value: value["channels"].update({"main/churn": "5"}),
    "a mark is no text": lambda value: value["channels"].update({"main/churn": 5}),
    "a slot is none": lambda value: value["channels"].update({"Main/churn": str(FIVE)}),
    "a key has no model": lambda value: value["channels"].update({"main": str(FIVE)}),
    "a log": lambda value: value.update(log={}),
    "no number": lambda value: value.update(number=0),
    "root": lambda value: value.update(root={"version": 1}),
    "unknown": lambda value: value.update(more=1),
    "missing": lambda value: value.pop("created"),
    "valid for nothing": lambda value: value.update(expires=value["created"]),
    "valid for too long": lambda value: value.update(
        expires=names.time_text(NOW + limits.HEADS_DAYS * DAY + 1)
    ),
}


@pytest.mark.parametrize("what", BREAKS)
def test_another_shape_is_malformed(built: Built, what: str) -> None:
    value: Any = strict_json.parse(heads.encode(statement(built)))
    BREAKS[what](value)
    with pytest.raises(Malformed):
        heads.parse(strict_json.encode(value), "it")


def test_heads_have_a_folder_for_each_environment() -> None:
    assert layout.heads(PROD) == "trust/heads/prod/"


def test_heads_may_be_valid_for_ninety_days(built: Built) -> None:
    longest = statement(built, expires=names.time_text(NOW + limits.HEADS_DAYS * DAY))
    assert heads.parse(heads.encode(longest), "it") == longest


# --- which are in force ---


def test_heads_count_that_somebody_signed_who_may_attest_the_whole_environment(built: Built) -> None:
    data = signed(built, statement(built), "renewer", "dora")
    found = judge(built, data)
    assert isinstance(found, Signed)
    assert (found.record, found.signers, found.digest) == (
        statement(built),
        ("renewer",),
        envelope.parse(data, kind=heads.KIND, subject="it").digest,
    )
    assert isinstance(judge(built, signed(built, statement(built), "wide")), Signed)


@pytest.mark.parametrize("who", ["dora", "owner", "rex", "partial", "narrowed"])
def test_heads_by_anybody_else_are_skipped(built: Built, who: str) -> None:
    found = judge(built, signed(built, statement(built), who))
    assert isinstance(found, Skipped)
    assert found.code == "untrusted-signer"


@pytest.mark.parametrize(
    "change",
    [{"vault": Digest("0" * 64)}, {"environment": Environment("dev")}, {"number": 4}],
)
def test_genuine_heads_of_another_place_are_skipped(built: Built, change: dict[str, Any]) -> None:
    found = judge(built, signed(built, statement(built, **change)))
    assert isinstance(found, Skipped)
    assert found.code == "misplaced"


def test_heads_of_an_earlier_era_are_skipped(built: Built) -> None:
    data = signed(built, statement(built))
    built.amend(lambda before: replace(before, era=1))
    found = judge(built, data)
    assert isinstance(found, Skipped)
    assert found.code == "heads-expired"


@pytest.mark.parametrize(
    "change",
    [
        {"policy": PolicyId(0, 10**6, Digest("0" * 64))},
        {"root": (2, Digest("0" * 64))},
        {"root": (1, Digest("0" * 64))},
    ],
)
def test_heads_that_name_a_newer_policy_or_root_say_that_it_is_withheld(
    built: Built, change: dict[str, Any]
) -> None:
    with pytest.raises(Rollback) as caught:
        judge(built, signed(built, statement(built, **change)))
    assert caught.value.code == "withheld"


def test_heads_made_under_an_older_policy_count(built: Built) -> None:
    data = signed(built, statement(built))
    built.amend(lambda before: before)
    assert isinstance(judge(built, data), Signed)


def test_the_highest_number_that_holds_is_in_force_and_what_does_not_is_skipped(built: Built) -> None:
    stored = {number: signed(built, statement(built, number=number)) for number in (1, 2, 3)}
    stored[4] = signed(built, statement(built, number=4), "dora")
    stored[5] = signed(built, statement(built, number=3))
    asked = []

    def read(number: int) -> bytes:
        asked.append(number)
        if number == 6:
            raise Malformed("it is too large", code="too-large")
        return stored[number]

    found, skipped = heads.heads_in_force(built.context, built.trusted, PROD, [*stored, 6, 6], read)
    assert found is not None
    assert found.record.number == 3
    assert [entry.code for entry in skipped] == ["too-large", "misplaced", "untrusted-signer"]
    assert asked == [6, 5, 4, 3]


def test_where_nothing_holds_there_are_none_and_what_cannot_be_read_is_not_absent(built: Built) -> None:
    def unread(number: int) -> bytes:
        raise Unavailable("the store is down")

    def junk(number: int) -> bytes:
        return b"junk"

    found, skipped = heads.heads_in_force(built.context, built.trusted, PROD, [1], junk)
    assert found is None
    assert len(skipped) == 1
    with pytest.raises(Unavailable):
        heads.heads_in_force(built.context, built.trusted, PROD, [1], unread)


# --- what a client remembers of them ---


def remembered(known: Mark | None, seen: Mark | None, *, era: int = 0, offered: bool = False) -> None:
    heads.check_remembered(known, seen, era=era, environment=PROD, offered=offered)


def test_newer_heads_or_the_same_are_no_rollback() -> None:
    remembered(None, None)
    remembered(None, FIVE)
    remembered(FIVE, FIVE)
    remembered(FIVE, Mark(0, 6, "6" * 64))
    remembered(FIVE, Mark(1, 1, "1" * 64), era=1)


def test_older_heads_than_before_none_or_others_of_one_number_are_a_rollback() -> None:
    for seen, told in ((Mark(0, 4, "4" * 64), "number 4"), (None, "none"), (Mark(0, 5, "6" * 64), "others")):
        with pytest.raises(Rollback, match=told):
            remembered(FIVE, seen)


def test_heads_whose_signer_may_not_attest_any_more_are_not_withheld() -> None:
    remembered(FIVE, None, offered=True)
    remembered(FIVE, Mark(0, 4, "4" * 64), offered=True)
    with pytest.raises(Rollback):
        remembered(FIVE, Mark(0, 5, "6" * 64), offered=True)


def test_heads_of_an_earlier_era_may_be_lost() -> None:
    remembered(FIVE, None, era=1)


def test_memory_keeps_the_later_heads_of_each_environment() -> None:
    known = Memory("0" * 64, heads={"prod": FIVE, "dev": FIVE})
    seen = Memory("0" * 64, heads={"prod": Mark(0, 6, "6" * 64), "dev": Mark(0, 1, "1" * 64)})
    merged = memory_format.merge(known, seen)
    assert merged.heads == {"prod": Mark(0, 6, "6" * 64), "dev": FIVE}
    assert memory_format.merge(merged, known) is merged
    assert memory_format.parse(memory_format.encode(merged), "0" * 64, "it") == merged
    with pytest.raises(Rollback, match="the heads of prod"):
        memory_format.merge(known, Memory("0" * 64, heads={"prod": Mark(0, 5, "0" * 64)}))


# --- what they come to ---


def in_force(built: Built, **change: Any) -> Signed[Heads]:
    found = judge(built, signed(built, statement(built, **change)))
    assert isinstance(found, Signed)
    return found


def test_heads_are_fresh_until_they_expire_to_the_second(built: Built) -> None:
    found = in_force(built)
    for now, fresh in ((NOW, True), (NOW + 7 * DAY - 1, True), (NOW + 7 * DAY, False)):
        state = heads.freshness("warn", PROD, found, now)
        assert state.fresh is fresh
        assert state.mark == Mark(0, 3, found.digest)
    assert "attested until 30 November 2026" in state.lapse


def test_heads_that_are_missing_or_dated_in_the_future_vouch_for_nothing(built: Built) -> None:
    missing = heads.freshness("warn", PROD, None, NOW)
    assert (missing.fresh, missing.mark) == (False, None)
    assert "nobody has attested" in missing.lapse
    found = in_force(built)
    assert heads.freshness("warn", PROD, found, NOW - heads.CLOCK_SKEW).fresh
    assert "which is to come" in heads.freshness("warn", PROD, found, NOW - heads.CLOCK_SKEW - 1).lapse


def state_of(built: Built, now: int = NOW) -> Freshness:
    return heads.freshness("warn", PROD, in_force(built), now)


@pytest.mark.parametrize("now", [NOW, NOW + 1_000 * DAY])
def test_a_channel_is_no_older_than_the_heads_say_even_after_they_expired(built: Built, now: int) -> None:
    state = state_of(built, now)
    heads.check_channel(state, MAIN, FIVE)
    heads.check_channel(state, MAIN, Mark(0, 6, "0" * 64))
    heads.check_channel(state, MAIN, Mark(1, 1, "0" * 64))
    heads.check_channel(state, replace(MAIN, slot=Slot("c")), None)
    for seen, told in (
        (None, "offers nothing"),
        (Mark(0, 4, "4" * 64), "offers number 4"),
        (Mark(0, 5, "0" * 64), "another record of that number"),
    ):
        with pytest.raises(Rollback, match=told):
            heads.check_channel(state, MAIN, seen)


def test_without_heads_nothing_is_compared() -> None:
    nothing = heads.freshness("warn", PROD, None, NOW)
    heads.check_channel(nothing, MAIN, None)
    assert heads.slots_of(nothing, CHURN) == ()


def test_a_models_slots_are_those_that_the_heads_name(built: Built) -> None:
    state = state_of(built)
    assert heads.slots_of(state, CHURN) == ("main",)
    assert heads.slots_of(state, names.model("nepse/NABIL")) == ("b",)
    assert heads.slots_of(state, names.model("NABIL")) == ()


# --- what a load is told ---


@pytest.mark.parametrize(
    ("mode", "held", "loads"),
    [("warn", False, True), ("stale", True, True), ("stale", False, False), ("refuse", True, False)],
)
@pytest.mark.parametrize("action", ["load", "pull"])
def test_once_heads_lapsed_the_environment_decides(
    built: Built, mode: str, held: bool, loads: bool, action: str
) -> None:
    built.publish(who="dora")
    resolved = built.session().resolve(builders.DEV)
    state = heads.freshness(mode, builders.DEV, None, NOW)
    assert state.holds_only_what_was_seen is (mode == "stale")
    owner = admission.authorise(resolved, Digest(built.owner.key_id), "load", CHURN)
    verified = admission.verify(
        replace(owner, resolved=replace(resolved, freshness=state), action=action),
        Target(names.version("1"), None, None),
        built.store.objects["models/churn/@/1/manifest.json"],
    )
    if loads:
        admission.fresh(verified, held=held)
    else:
        with pytest.raises(Expired) as caught:
            admission.fresh(verified, held=held)
        assert caught.value.code == "heads-expired"
        assert "mvault renew" in caught.value.hint
    looking = replace(verified, authorised=replace(verified.authorised, action="verify"))
    admission.fresh(looking, held=False)
    fresh = heads.freshness(mode, PROD, in_force(built), NOW)
    resolved = replace(verified.authorised.resolved, freshness=fresh)
    admission.fresh(replace(verified, authorised=replace(verified.authorised, resolved=resolved)), held=False)
    assert not fresh.holds_only_what_was_seen


# --- notices ---


def test_what_expires_is_told_thirty_days_before_and_what_never_does_is_not() -> None:
    assert expiry.documents(None, None, NOW) == ()
    soon, later = names.time_text(NOW + 30 * DAY), names.time_text(NOW + 30 * DAY + 1)
    assert [entry.subject for entry in expiry.documents(later, soon, NOW)] == ["policy"]
    (over,) = expiry.documents(names.time_text(NOW), None, NOW)
    assert (over.expired, over.message) == (True, "The root expired on 23 November 2026.")
    assert expiry.documents(soon, None, NOW)[0].message == "The root expires on 23 December 2026."
    assert expiry.documents(soon, soon, NOW, within=DAY) == ()


def test_heads_are_told_two_days_before_they_expire_and_once_they_lapsed(built: Built) -> None:
    assert expiry.heads(PROD, None, NOW) == ()
    assert expiry.heads(PROD, state_of(built), NOW) == ()
    (soon,) = expiry.heads(PROD, state_of(built), NOW + 5 * DAY)
    assert not soon.expired
    (over,) = expiry.heads(PROD, state_of(built, NOW + 7 * DAY), NOW + 7 * DAY)
    (missing,) = expiry.heads(PROD, heads.freshness("warn", PROD, None, NOW), NOW)
    assert over.expired
    assert missing.expired


def test_a_warning_about_freshness_requires_nothing_of_a_version() -> None:
    for fresh, none in ((None, True), ("warn", True), ("stale", False), ("refuse", False)):
        assert replace(policy.NO_REQUIREMENTS, fresh=fresh).none is none
