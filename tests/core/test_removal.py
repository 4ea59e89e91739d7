"""A removal counts by who may delete, where they may; an undo and a reclaim of it exclude each other."""

from dataclasses import replace
from typing import Any

import pytest

from tests import builders
from tests.builders import DEV, PROD, Built
from tests.core.retention_parts import KEEPERS, removed, signed_removal
from vault.core import limits, names, removal, strict_json
from vault.core.in_force import Signed
from vault.core.names import Model, Version
from vault.core.removal import KEEP, RECLAIM, REMOVE, Removal
from vault.core.trust import Skipped
from vault.errors import Malformed, Rollback


@pytest.fixture(scope="module")
def keepers() -> Built:
    """Build a vault with deleters, and churn:1 and 2 in dev."""
    built = builders.solo(policy=KEEPERS, seed="removal")
    for name, role in (("dan", "deleter"), ("dev", "dev-deleter"), ("hal", "holder")):
        built.add(name, role)
    built.publish()
    built.publish()
    return built


@pytest.fixture
def built(keepers: Built) -> Built:
    return keepers.fork(forgetful=True)


def judge(built: Built, record: Removal, *who: str, number: int = 1) -> Signed[Removal] | Skipped:
    data = signed_removal(built, record, *who)
    _, manifest = built.manifest("churn:1")
    return removal.judge(built.context, Model("churn"), Version("1"), number, data, manifest)


def test_a_removal_is_read_as_it_is_written(built: Built) -> None:
    for change in ({}, {"backup": "nas"}, {"backup": "*"}, {"state": KEEP, "after": None}):
        record = removed(built, **change)
        assert removal.parse(removal.encode(record), "it") == record
    record = removed(built, state=RECLAIM, after=None, backup="nas")
    assert removal.parse(removal.encode(record), "it") == record


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"after": None}, "only that, has a time"),
        ({"state": KEEP}, "only that, has a time"),
        ({"state": RECLAIM}, "only that, has a time"),
        ({"after": "2020-01-01T00:00:00Z"}, "may go before it was removed"),
        ({"state": KEEP, "after": None, "backup": "nas"}, "asks for no backup"),
        ({"reason": ""}, "one line"),
        ({"reason": "a\nb"}, "one line"),
        ({"reason": "x" * (limits.REASON_CHARS + 1)}, "one line"),
        ({"state": "gone"}, "one of"),
        ({"number": 0}, "integer"),
        ({"backup": "Not A Name"}, "not an environment|not a slot"),
    ],
)
def test_a_removal_of_another_shape_is_refused(built: Built, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        removal.parse(removal.encode(removed(built, **change)), "it")


def test_unknown_fields_are_refused(built: Built) -> None:
    value = strict_json.parse(removal.encode(removed(built)), subject="it")
    assert isinstance(value, dict)
    with pytest.raises(Malformed):
        removal.parse(strict_json.encode({**value, "more": 1}), "it")


def test_a_removal_counts_by_who_may_delete_somewhere(built: Built) -> None:
    for who in ("owner", "dan", "dev"):
        found = judge(built, removed(built), who)
        assert isinstance(found, Signed)
        assert found.signers == (who,)
        assert found.record.removes
    assert isinstance(judge(built, removed(built), "hal"), Skipped)
    assert isinstance(judge(built, removed(built), "hal", "dan"), Signed)


def test_a_stranger_removes_nothing(built: Built) -> None:
    other = builders.solo(policy=KEEPERS, seed="another")
    data = signed_removal(other, removed(built), "owner")
    found = removal.judge(built.context, Model("churn"), Version("1"), 1, data)
    assert isinstance(found, Skipped)
    assert found.code == "untrusted-signer"


@pytest.mark.parametrize(
    "change",
    [{"vault": names.Digest("0" * 64)}, {"model": Model("other")}, {"version": Version("2")}, {"number": 2}],
    ids=lambda change: next(iter(change)),
)
def test_a_removal_counts_in_its_own_place_alone(built: Built, change: dict[str, Any]) -> None:
    found = judge(built, removed(built, **change), "owner")
    assert isinstance(found, Skipped)
    assert found.code == "misplaced"


def test_a_removal_is_of_one_manifest(built: Built) -> None:
    _, other = built.manifest("churn:2")
    assert isinstance(judge(built, removed(built, manifest=other), "owner"), Skipped)
    data = signed_removal(built, removed(built, manifest=other), "owner")
    assert isinstance(removal.judge(built.context, Model("churn"), Version("1"), 1, data), Signed)


def test_a_removal_under_a_newer_policy_says_that_the_policy_is_withheld(built: Built) -> None:
    newer = replace(built.policy_id, version=99)
    with pytest.raises(Rollback, match="does not offer"):
        judge(built, removed(built, policy=newer), "owner")


def test_who_may_delete_in_dev_takes_nothing_away_from_prod(built: Built) -> None:
    by_dev, by_dan = (judge(built, removed(built), who) for who in ("dev", "dan"))
    assert isinstance(by_dev, Signed)
    assert isinstance(by_dan, Signed)
    assert removal.counts_in(built.context, by_dev, DEV)
    assert not removal.counts_in(built.context, by_dev, PROD)
    assert removal.counts_in(built.context, by_dan, PROD)


def entries(built: Built, *steps: tuple[int, str, str]) -> list[Signed[Removal] | Skipped]:
    found: list[Signed[Removal] | Skipped] = []
    for number, state, who in steps:
        after = built.time if state == REMOVE else None
        found.append(
            judge(built, removed(built, number=number, state=state, after=after), who, number=number)
        )
    return found


def test_the_highest_number_is_in_force(built: Built) -> None:
    judged = entries(built, (3, REMOVE, "dan"), (2, KEEP, "dan"), (1, REMOVE, "dan"))
    found = removal.latest(built.context, judged)
    assert found is not None
    assert found.record.number == 3
    assert removal.latest(built.context, []) is None


def test_what_does_not_count_is_absent(built: Built) -> None:
    judged = entries(built, (3, KEEP, "hal"), (2, REMOVE, "dan"))
    found = removal.latest(built.context, judged)
    assert found is not None
    assert found.record.number == 2


def test_in_an_environment_only_its_deleters_are_heard(built: Built) -> None:
    judged = entries(built, (2, KEEP, "dev"), (1, REMOVE, "dan"))
    in_prod = removal.latest(built.context, judged, PROD)
    in_dev = removal.latest(built.context, judged, DEV)
    assert in_prod is not None
    assert in_dev is not None
    assert in_prod.record.removes
    assert not in_dev.record.removes


def test_a_removal_of_an_earlier_era_comes_before_all_of_this_one(built: Built) -> None:
    before = entries(built, (7, REMOVE, "dan"), (3, REMOVE, "dan"))
    built.amend(lambda policy: replace(policy, era=1, continues={}))
    now = entries(built, (2, KEEP, "dan"))
    found = removal.latest(built.context, [*before, *now])
    assert found is not None
    assert found.record.number == 2
    earlier = removal.latest(built.context, before)
    assert earlier is not None
    assert earlier.record.number == 7
    late = entries(built, (1, REMOVE, "dan"))
    assert removal.latest(built.context, [*before, *late, *before]) == late[0]


def test_what_was_removed_is_refused_with_the_way_back(built: Built) -> None:
    in_grace = removal.refuse(removed(built))
    assert (in_grace.code, in_grace.exit_status, in_grace.subject) == ("removed", 6, "churn:1")
    assert "mvault retain --undo churn:1" in in_grace.hint
    gone = removal.refuse(removed(built, state=RECLAIM, after=None))
    assert "mvault restore churn:1" in gone.hint
    assert "deleted" in gone.message
