"""What a change of policy does: who gains and loses what, and what environments ask."""

from dataclasses import replace

from tests import builders
from tests.core.policy_texts import CHURN, DEV, PROD, STRICT, TEAM, view, who
from vault.core import policy_view
from vault.core.in_force import Channel
from vault.core.names import MAIN, Digest, Environment, Version
from vault.core.policy import Policy
from vault.core.policy_analysis import Access
from vault.core.policy_diff import Difference, EnvironmentChange, Gain, PrincipalChange, Stop, diff
from vault.core.policy_patterns import Models


def changed(*changes: tuple[str, str]) -> Difference:
    return diff(view(), view(TEAM, *changes))


def test_the_same_policy_differs_in_nothing() -> None:
    assert changed().nothing
    assert not diff(view(), view(), (Stop(Channel(PROD, MAIN, CHURN), Version("1"), "why"),)).nothing
    assert changed().stopped is None
    assert changed(("bob: {roles: [manager]}", "bob: {kind: person, roles: [manager]}")).nothing


def test_a_role_more_is_access_gained_and_a_role_less_is_access_lost() -> None:
    (ann,) = changed(("ann: {roles: [scientist]}", "ann: {roles: [releaser]}")).principals
    assert (ann.name, ann.kind, ann.change) == ("ann", "person", "changed")
    assert ann.gained == (Gain(Access("promote", PROD, DEV), (Models("*"),)),)
    assert ann.lost == (Gain(Access("publish", DEV), (Models("*"),)),)


def test_narrowed_models_are_lost_but_for_what_is_left() -> None:
    (ann,) = changed(
        ("ann: {roles: [scientist]}", 'ann: {roles: [scientist], models: [churn, "a/*"]}')
    ).principals
    assert ann.gained == ()
    assert {gain.models for gain in ann.lost} == {(Models("*", ("a/*", "churn")),)}


def test_people_come_and_go() -> None:
    found = changed(("  dan: {roles: [manager]}\n", "  eve: {roles: [manager]}\n")).principals
    assert [(entry.name, entry.change, bool(entry.gained), bool(entry.lost)) for entry in found] == [
        ("dan", "removed", False, True),
        ("eve", "added", True, False),
    ]


def test_a_person_without_any_access_who_leaves_is_told_too() -> None:
    before = view(TEAM, ("  dan: {roles: [manager]}", "  dan: {}"))
    after = view(TEAM, ("  dan: {roles: [manager]}\n", ""))
    assert [entry.name for entry in diff(before, after).principals] == ["dan"]


def test_owners_and_kinds_that_change_are_told() -> None:
    (robot,) = changed(("owners: [ann]", "owners: [bob, ann]")).principals
    assert robot.owners == (("ann",), ("bob", "ann"))
    (robot,) = changed(("robot: {kind: service, owners: [ann]", "robot: {kind: person")).principals
    assert (robot.kind, robot.change) == ("person", "changed")


def test_environments_tell_what_they_ask_before_and_after() -> None:
    found = changed(
        ("threshold: 2, distinct_from: [publisher]", "threshold: 1"),
        ("dev: {formats: [onnx]}", "dev: {formats: [onnx, skops]}\n  test: {formats: [onnx]}"),
    ).environments
    assert found == (
        EnvironmentChange(DEV, "changed", (("formats", "onnx", "onnx, skops"),)),
        EnvironmentChange(
            PROD, "changed", (("approvals", "2 by manager, not the publisher", "1 by manager"),)
        ),
        EnvironmentChange(Environment("test"), "added", (("formats", "", "onnx"),)),
    )
    asked = next(line for line in TEAM.splitlines() if "require" in line)
    (prod,) = changed((asked, f"    {STRICT}")).environments
    assert {key: after for key, _, after in prod.settings} == {
        "approvals": "",
        "audit": "true",
        "fresh": "stale",
        "libraries": "true",
        "load_test": "true",
        "log": "witnessed",
        "max_age_days": "3",
        "witnesses": "1",
    }
    gone = diff(view(), view(TEAM, ("  dev: {formats: [onnx]}\n", ""))).environments
    assert [(entry.name, entry.change) for entry in gone] == [("dev", "removed")]


def test_keys_that_count_no_more_and_new_ones_are_told() -> None:
    built = builders.team()
    before = built.policy
    ann = before.members[who("ann")]
    other = builders.new_identity("ann", seed="second")

    def add(known: Policy) -> Policy:
        fresh = replace(ann.keys[0], public=other.public, key_id=Digest(other.key_id))
        keys = (replace(ann.keys[0], revoked=True), fresh)
        return replace(known, members={**known.members, ann.name: replace(ann, keys=keys)})

    found = diff(policy_view.of_policy(before), policy_view.of_policy(built.amend(add))).principals
    assert found == (
        PrincipalChange(
            ann.name,
            "person",
            "changed",
            (),
            (),
            (Digest(other.key_id),),
            (ann.keys[0].key_id,),
            None,
        ),
    )
