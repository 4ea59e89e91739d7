"""A hold keeps until somebody who may hold releases it; a stranger holds, and releases, nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests import builders
from tests.builders import Built
from tests.core.retention_parts import (
    KEEPERS,
    held,
    released,
    removed,
    signed_hold,
    signed_release,
    signed_removal,
)
from vault.core import envelope, holds, strict_json
from vault.core.holds import Holds
from vault.core.names import Digest, Model, Principal, Version
from vault.core.policy import LogHead, Policy
from vault.errors import Malformed, Rollback

CHURN = Model("churn")


@pytest.fixture(scope="module")
def keepers() -> Built:
    """Build a vault with two holders, a deleter, and churn:1 and 2 in dev."""
    built = builders.solo(policy=KEEPERS, seed="holds")
    for name, role in (("hal", "holder"), ("una", "nepse-holder"), ("dan", "deleter")):
        built.add(name, role)
    built.publish()
    built.publish()
    return built


@pytest.fixture
def built(keepers: Built) -> Built:
    return keepers.fork(forgetful=True)


def judge(built: Built, *documents: bytes) -> Holds:
    return holds.judge(built.context, [(f"holds/{number}", data) for number, data in enumerate(documents)])


def on(built: Built, found: Holds, ref: str = "churn:1") -> bool:
    return bool(found.on(built.context, CHURN, built.manifest(ref)[1]))


def digest_of(hold: bytes) -> Digest:
    return envelope.parse(hold, kind=holds.HOLD, subject="it").digest


def keys_of(who: str, **change: object) -> Callable[[Policy], Policy]:
    def amend(before: Policy) -> Policy:
        member = before.members[Principal(who)]
        keys = tuple(replace(key, **change) for key in member.keys)  # type: ignore[arg-type]
        return replace(before, members={**before.members, member.name: replace(member, keys=keys)})

    return amend


def test_documents_are_read_as_they_are_written(built: Built) -> None:
    for hold in (held(built, "*"), held(built, "nepse/*"), held(built, ref="churn:1")):
        assert holds.parse_hold(holds.encode_hold(hold), "it") == hold
    release = released(built, Digest("0" * 64))
    assert holds.parse_release(holds.encode_release(release), "it") == release


@pytest.mark.parametrize(
    "change",
    [
        {"version": Version("1")},
        {"pattern": "nepse/*", "version": Version("1"), "manifest": Digest("0" * 64)},
        {"pattern": "a//b"},
        {"reason": ""},
        {"created": "yesterday"},
    ],
)
def test_a_hold_of_another_shape_is_refused(built: Built, change: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        holds.parse_hold(holds.encode_hold(held(built, **change)), "it")  # type: ignore[arg-type]


@pytest.mark.parametrize("parse", ["hold", "release"])
def test_unknown_fields_are_refused(built: Built, parse: str) -> None:
    if parse == "hold":
        data, read = holds.encode_hold(held(built)), holds.parse_hold
    else:
        data, read = holds.encode_release(released(built, Digest("0" * 64))), holds.parse_release  # type: ignore[assignment]
    value = strict_json.parse(data, subject="it")
    assert isinstance(value, dict)
    with pytest.raises(Malformed):
        read(strict_json.encode({**value, "more": 1}), "it")


def test_a_version_is_held_by_its_manifest(built: Built) -> None:
    hold = held(built, ref="churn:1")
    found = judge(built, signed_hold(built, hold, "hal"))
    assert on(built, found)
    assert not on(built, found, "churn:2")
    assert not found.on(built.context, Model("other"), built.manifest("churn:1")[1])
    assert found.holds[0].record.subject == "churn:1"


@pytest.mark.parametrize("pattern", ["churn", "*"])
def test_a_pattern_holds_every_version_it_means(built: Built, pattern: str) -> None:
    found = judge(built, signed_hold(built, held(built, pattern), "hal"))
    assert on(built, found)
    assert on(built, found, "churn:2")
    assert found.holds[0].record.subject == pattern


def test_a_pattern_holds_no_other_model(built: Built) -> None:
    assert not on(built, judge(built, signed_hold(built, held(built, "nepse/*"), "hal")))


def test_who_may_only_delete_neither_holds_nor_releases(built: Built) -> None:
    assert not on(built, judge(built, signed_hold(built, held(built), "dan")))
    hold = signed_hold(built, held(built), "hal")
    release = signed_release(built, released(built, digest_of(hold)), "dan")
    found = judge(built, hold, release)
    assert on(built, found)
    assert len(found.standing(built.context)) == 1


@pytest.mark.parametrize("who", ["hal", "owner"])
def test_whoever_may_hold_releases(built: Built, who: str) -> None:
    hold = signed_hold(built, held(built), "hal")
    release = signed_release(built, released(built, digest_of(hold)), who)
    for documents in ((hold, release), (release, hold)):
        found = judge(built, *documents)
        assert not on(built, found)
        assert found.standing(built.context) == ()


def test_a_release_ends_one_hold_and_no_other(built: Built) -> None:
    one = signed_hold(built, held(built), "hal")
    other = signed_hold(built, held(built, reason="another case"), "hal")
    found = judge(built, one, other, signed_release(built, released(built, digest_of(one)), "hal"))
    assert [entry.record.reason for entry in found.standing(built.context)] == ["another case"]
    assert on(built, found)


def test_who_may_hold_a_part_neither_holds_nor_releases_the_whole(built: Built) -> None:
    assert not on(built, judge(built, signed_hold(built, held(built, "*"), "una")))
    hold = signed_hold(built, held(built, "*"), "hal")
    found = judge(built, hold, signed_release(built, released(built, digest_of(hold)), "una"))
    assert on(built, found)
    assert len(found.standing(built.context)) == 1
    nabil = Model("nepse/NABIL")
    assert not found.on(built.context, nabil, Digest("0" * 64)), "una may release what is hers"


def test_a_hold_by_a_key_that_was_retired_since_still_holds(built: Built) -> None:
    hold = signed_hold(built, held(built), "hal")
    built.amend(keys_of("hal", until=LogHead("origin", 1, Digest("0" * 64))))
    assert on(built, judge(built, hold))


def test_a_retired_key_releases_nothing(built: Built) -> None:
    hold = signed_hold(built, held(built), "owner")
    release = signed_release(built, released(built, digest_of(hold)), "hal")
    assert not on(built, judge(built, hold, release))
    built.amend(keys_of("hal", until=LogHead("origin", 1, Digest("0" * 64))))
    found = judge(built, hold, release)
    assert on(built, found), "what was released holds again: it errs on the side of keeping"
    assert [entry.code for entry in found.skipped] == ["untrusted-signer"]


def test_a_hold_by_a_revoked_key_is_none_and_is_told(built: Built) -> None:
    hold = signed_hold(built, held(built), "hal")
    built.amend(keys_of("hal", revoked=True))
    found = judge(built, hold)
    assert not on(built, found)
    assert [entry.code for entry in found.skipped] == ["untrusted-signer"]


def test_strangers_and_garbage_hold_nothing_and_are_told(built: Built) -> None:
    other = builders.solo(policy=KEEPERS, seed="another")
    found = judge(
        built,
        signed_hold(other, held(built), "owner"),
        b"garbage",
        b"",
        signed_removal(built, removed(built), "owner"),
        signed_hold(built, held(built, vault=Digest("0" * 64)), "hal"),
        signed_release(built, released(built, Digest("0" * 64), vault=Digest("0" * 64)), "hal"),
    )
    assert found.holds == ()
    assert found.releases == {}
    assert len(found.skipped) == 6


def test_a_hold_under_a_newer_policy_says_that_the_policy_is_withheld(built: Built) -> None:
    newer = replace(built.policy_id, version=99)
    with pytest.raises(Rollback, match="does not offer"):
        judge(built, signed_hold(built, held(built, policy=newer), "hal"))


def test_holds_are_told_oldest_first(built: Built) -> None:
    late = signed_hold(built, held(built, created="2027-01-01T00:00:00Z"), "hal")
    early = signed_hold(built, held(built, created="2026-01-01T00:00:00Z"), "hal")
    assert [entry.record.created[:4] for entry in judge(built, late, early).holds] == ["2026", "2027"]
