"""The policy in force, found without parsing them all, is the one that parsing them all finds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import builders
from tests.builders import Built
from vault.core import envelope, policy, policy_document, policy_succession
from vault.core.names import Digest, Environment, Principal
from vault.core.policy import EnvironmentRule, Member, Policy, PolicyId
from vault.errors import NotFound, Refused

GONE = Digest("e" * 64)  # a policy that other people signed


@cache
def built() -> Built:
    made = builders.solo()
    made.identities["stranger"] = builders.new_identity("stranger")
    return made


@dataclass(frozen=True)
class Drawn:
    """One stored policy; it follows None, GONE or one that was drawn before it, whatever their numbers."""

    number: int
    era: int
    after: int
    fault: str


drawn = st.builds(
    Drawn,
    number=st.integers(1, 12),
    era=st.sampled_from([0, 0, 0, 0, 1]),
    after=st.integers(-2, 8),
    fault=st.sampled_from(["", "", "", "", "malformed", "malformed", "unsigned", "misplaced"]),
)


def stored(wanted: list[Drawn]) -> dict[int, bytes]:
    """Write them; faulty ones are followed all the same."""
    found: dict[int, bytes] = {}
    digests: list[Digest | None] = [None, GONE]
    for entry in wanted:
        prev = digests[(entry.after + 2) % len(digests)]
        change: dict[str, Any] = {"era": entry.era, "continues": {} if entry.era else None, "prev": prev}
        document = replace(built().policy, version=entry.number + (entry.fault == "misplaced"), **change)
        payload = policy_document.encode(document)
        if entry.fault == "malformed":
            payload = payload.replace(b'"kind":"person"', b'"kind":"alien"')
        signed = built().sign(policy.KIND, payload, "stranger" if entry.fault == "unsigned" else "owner")
        found[entry.number] = signed
        digests.append(envelope.digest(payload))
    return found


def slowly(objects: Mapping[int, bytes]) -> tuple[Policy, PolicyId, list[str]] | None:
    """Parse every policy, then take them in order: as the document says it."""
    verified, skipped = [], []
    for number, data in objects.items():
        try:
            verified.append(policy_document.verify(built().trusted, number, data))
        except Refused as refusal:
            skipped.append(f"policy {number}: {refusal.code}")
    best: tuple[Policy, PolicyId] | None = None
    followed: set[Digest | None] = set()
    for found, found_id in sorted(verified, key=lambda entry: (entry[1].era, entry[1].version)):
        if best is None or found_id.era > best[1].era:
            followed = {found.prev}
            best = found, found_id
        elif found.prev == best[1].digest or found.prev not in followed:
            followed |= {best[1].digest, found.prev}
            best = found, found_id
        else:
            skipped.append(f"policy {found_id.version}: misplaced")
            followed.add(found_id.digest)
    return None if best is None else (*best, sorted(skipped))


def quickly(objects: Mapping[int, bytes], *, whole: bool) -> tuple[Policy, PolicyId, list[str]] | None:
    try:
        found, found_id, skipped = policy_succession.in_force(
            built().trusted, objects, objects.__getitem__, whole=whole
        )
    except NotFound:
        return None
    return found, found_id, sorted(f"{entry.name}: {entry.code}" for entry in skipped)


def agree(objects: Mapping[int, bytes]) -> None:
    expected = slowly(objects)
    assert quickly(objects, whole=True) == expected
    found = quickly(objects, whole=False)
    assert (found and found[:2]) == (expected and expected[:2])


@settings(max_examples=150, deadline=None)
@given(st.lists(drawn, max_size=9, unique_by=lambda entry: entry.number))
def test_the_same_policy_is_in_force_whatever_was_stored(wanted: list[Drawn]) -> None:
    agree(stored(wanted))


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None)
@given(st.lists(drawn, max_size=9, unique_by=lambda entry: entry.number))
def test_the_same_policy_is_in_force_whatever_was_stored_many_times(wanted: list[Drawn]) -> None:
    agree(stored(wanted))


@pytest.mark.parametrize("race", [False, True], ids=["chain", "race"])
def test_of_many_policies_only_the_newest_and_those_of_a_race_are_parsed(
    race: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = [Drawn(number, 0, number - 2, "") for number in range(1, 9)]
    objects = stored([*chain, *([Drawn(20, 0, 3, "")] * race)])
    trusted = built().trusted
    parsed: list[str] = []
    whole = policy_document.parse

    def parse(payload: bytes, subject: str) -> Policy:
        parsed.append(subject)
        return whole(payload, subject)

    monkeypatch.setattr(policy_document, "parse", parse)
    found, _, _ = policy_succession.in_force(trusted, objects, objects.__getitem__)
    assert found.version == 8
    assert len(parsed) <= (4 if race else 1), parsed


def test_names_and_texts_that_look_like_a_place_do_not_mislead() -> None:
    text = ',"era":7,"expires":null,"prev":null,"principals":{'
    before = built().policy
    era = Environment("era")
    tricky = replace(
        before,
        version=5,
        prev=GONE,
        environments={**before.environments, era: EnvironmentRule(era, (), (text,), policy.NO_REQUIREMENTS)},
        members={
            **before.members,
            Principal("era"): Member(Principal("era"), policy.PERSON, (), (), None, (), ()),
        },
        roles={**before.roles, Principal("era"): (), Principal("expires"): ()},
    )
    objects = {5: built().sign(policy.KIND, policy_document.encode(tricky), "owner")}
    agree(objects)
    found = quickly(objects, whole=False)
    assert found is not None
    assert (found[0].era, found[0].prev, found[0].version) == (0, GONE, 5)
