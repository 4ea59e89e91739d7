"""The policy document: read as written, refused when it contradicts itself, in force by (era, version)."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests import builders
from tests.builders import Built
from vault.core import envelope, limits, policy, policy_document, policy_succession
from vault.core.names import Digest, Environment, Principal
from vault.core.policy import ApprovalRule, Key, LogHead, Policy, Requirements
from vault.errors import DigestMismatch, Malformed, NotFound, Refused, Unavailable

WEAK = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


@pytest.fixture(scope="module")
def built() -> Built:
    return builders.team()


def changed(built: Built, change: Callable[[dict[str, Any]], object]) -> bytes:
    value = json.loads(policy_document.encode(built.policy))
    change(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_a_policy_is_read_as_it_was_written(built: Built) -> None:
    found = built.policy
    payload = policy_document.encode(found)
    assert policy_document.parse(payload, "it") == found
    assert policy_document.encode(policy_document.parse(payload, "it")) == payload


def test_every_field_that_a_policy_may_have_is_kept(built: Built) -> None:
    head = LogHead("log.example", 7, Digest("1" * 64))
    before = built.policy
    ann = before.members[Principal("ann")]
    retired = replace(ann, keys=(replace(ann.keys[0], until=head),))
    prod = before.environments[Environment("prod")]
    require = Requirements(
        ApprovalRule(Principal("releaser"), 3, ("publisher", "promoter")),
        audit=True,
        fresh="stale",
        libraries=True,
        load_test=True,
        log="witnessed",
        max_age_days=30,
        witnesses=2,
    )
    full = replace(
        before,
        era=3,
        expires=built.time,
        members={**before.members, ann.name: retired},
        environments={**before.environments, prod.name: replace(prod, require=require, hashed=("host",))},
    )
    assert policy_document.parse(policy_document.encode(full), "it") == full


def environment(value: dict[str, Any], name: str = "prod") -> dict[str, Any]:
    found: dict[str, Any] = value["environments"][name]
    return found


def key(value: dict[str, Any], name: str = "ann") -> dict[str, Any]:
    found: dict[str, Any] = value["principals"][name]["keys"][0]
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(extra=1),
        lambda value: value.pop("era"),
        lambda value: value.update(version=0),
        lambda value: value.update(era=-1),
        lambda value: value.update(vault="x"),
        lambda value: value.update(created="now"),
        lambda value: value["root"].update(version=0),
        lambda value: value["root"].update(extra=0),
        lambda value: value["principals"].update({"a b": value["principals"]["ann"]}),
        lambda value: value["principals"].update({"recovery": value["principals"].pop("rex")}),
        lambda value: value["principals"].update(zoe=1),
        lambda value: value["principals"]["ann"].update(extra=1),
        lambda value: value["principals"]["ann"].update(kind="robot"),
        lambda value: value["principals"]["ann"].update(roles=["nobody-defined-it"]),
        lambda value: value["principals"]["ann"].update(owners=["owner"]),
        lambda value: value["principals"]["ann"].update(models=["**"]),
        lambda value: value["principals"]["ann"].update(models="churn"),
        lambda value: value["principals"]["robot"].update(owners=[]),
        lambda value: value["principals"]["robot"].update(owners=["nobody"]),
        lambda value: value["principals"]["robot"].update(owners=["server"]),
        lambda value: value["principals"]["ann"].update(keys=value["principals"]["ann"]["keys"] * 2),
        lambda value: value["principals"]["ann"].update(keys=value["principals"]["bob"]["keys"]),
        lambda value: key(value).update(public=WEAK),
        lambda value: key(value).update(public=WEAK[:-4]),
        lambda value: key(value).update(revoked=0),
        lambda value: key(value).update(until={"origin": "x", "size": -1, "root": "0" * 64}),
        lambda value: key(value).update(extra=0),
        lambda value: value["principals"]["ann"]["recipients"][0].update(kind="rsa"),
        lambda value: value["roles"].update(empty=None),
        lambda value: value["roles"]["loader"][0].update(actions=["steal"]),
        lambda value: value["roles"]["loader"][0].update(actions=["load", "load"]),
        lambda value: value["roles"]["loader"][0].update(env=["nowhere"]),
        lambda value: value["roles"]["loader"][0].update(to="prod"),
        lambda value: value["roles"]["loader"][0].update({"from": "dev"}),
        lambda value: value["roles"]["loader"][0].update(actions=["promote"]),
        lambda value: value["roles"]["loader"][0].update(models=["a/../b"]),
        lambda value: value["roles"]["loader"][0].update(own=None),
        lambda value: value["roles"]["releaser"][1].update(to="nowhere"),
        lambda value: value["roles"]["releaser"][1].update({"from": "nowhere"}),
        lambda value: environment(value).update(extra=1),
        lambda value: environment(value).update(epochs=environment(value)["epochs"] * 2),
        lambda value: environment(value)["epochs"][0].update(number=0),
        lambda value: environment(value).update(formats=["onnx", "onnx"]),
        lambda value: environment(value)["require"].update(fresh="maybe"),
        lambda value: environment(value)["require"].update(log="yes"),
        lambda value: environment(value)["require"].update(max_age_days=0),
        lambda value: environment(value)["require"].update(max_age_days=36_501),
        lambda value: environment(value)["require"].update(audit=None),
        lambda value: environment(value)["require"].update(scan=True),
        lambda value: environment(value)["require"]["approvals"].update(threshold=0),
        lambda value: environment(value)["require"]["approvals"].update(role="nobody-defined-it"),
        lambda value: environment(value)["require"]["approvals"].update(distinct_from=["anybody"]),
        lambda value: value["environments"].update(Prod=environment(value)),
        lambda value: value.update(recovery=[{"kind": "x25519"}]),
        lambda value: value.update(log_writers=[]),
        lambda value: environment(value)["require"].update(witnesses=1),
        lambda value: environment(value)["require"].update(log="witnessed"),
        lambda value: environment(value)["require"].update(log="witnessed", witnesses=0),
        lambda value: environment(value).update(hashed=["actor"]),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(
    built: Built, change: Callable[[dict[str, Any]], object]
) -> None:
    with pytest.raises(Malformed) as caught:
        policy_document.parse(changed(built, change), "it")
    assert caught.value.code in ("malformed-document", "malformed-name", "malformed-key")


def write(built: Built, number: int, *who: str, **change: Any) -> bytes:
    """Sign a policy whose version is `number`, unless `change` says otherwise."""
    found = replace(built.policy, **{"version": number, **change})
    return built.sign(policy.KIND, policy_document.encode(found), *(who or ("owner",)))


def test_a_policy_is_signed_by_the_root_threshold_of_its_vault_under_its_own_number(built: Built) -> None:
    found, found_id = policy_document.verify(built.trusted, 9, write(built, 9))
    assert (found.version, found_id.version, found_id.era) == (9, 9, 0)
    with pytest.raises(Refused) as caught:
        policy_document.verify(built.trusted, 9, write(built, 9, "ann"))
    assert caught.value.code == "untrusted-signer"
    for data in (write(built, 8), write(built, 9, vault=Digest("0" * 64))):
        with pytest.raises(DigestMismatch) as caught:
            policy_document.verify(built.trusted, 9, data)
        assert caught.value.code == "misplaced"


def test_a_manifest_or_a_root_is_no_policy(built: Built) -> None:
    payload = policy_document.encode(replace(built.policy, version=9))
    for kind in ("manifest", "root"):
        with pytest.raises(Malformed) as caught:
            policy_document.verify(built.trusted, 9, built.sign(kind, payload, "owner"))
        assert caught.value.code == "wrong-payload-type"


def in_force(built: Built, objects: dict[int, bytes]) -> tuple[Policy, list[int | str]]:
    found, _, skipped = policy_succession.in_force(built.trusted, objects, objects.__getitem__)
    return found, [entry.name for entry in skipped]


def test_the_highest_version_that_verifies_is_in_force(built: Built) -> None:
    prev = envelope.parse(write(built, 1), kind=policy.KIND, subject="it").digest
    objects = {1: write(built, 1), 2: write(built, 2, prev=prev), 3: write(built, 3, "ann"), 9: b"garbage"}
    found, skipped = in_force(built, objects)
    assert (found.version, skipped) == (2, ["policy 9", "policy 3"])


def test_a_higher_era_goes_before_a_higher_version(built: Built) -> None:
    objects = {
        2: write(built, 2, era=1),
        8: write(built, 8),
        limits.NUMBER_MAX: write(built, limits.NUMBER_MAX),
    }
    found, _ = in_force(built, objects)
    assert (found.era, found.version) == (1, 2)


def test_a_vault_without_a_signed_policy_has_none(built: Built) -> None:
    for objects in ({}, {1: b""}, {1: write(built, 1, "ann")}):
        with pytest.raises(NotFound, match="no policy that its root holders signed"):
            in_force(built, objects)


def test_an_object_too_large_for_a_policy_is_skipped_and_one_that_cannot_be_read_is_not(built: Built) -> None:
    def read(error: Exception) -> Callable[[int], bytes]:
        def give(number: int) -> bytes:
            if number == 2:
                raise error
            return write(built, number)

        return give

    too_large = Malformed("too large", code="too-large")
    _, found, skipped = policy_succession.in_force(built.trusted, [1, 2], read(too_large))
    assert (found.version, skipped[0].code) == (1, "too-large")
    with pytest.raises(Unavailable):
        policy_succession.in_force(built.trusted, [1, 2], read(Unavailable("gone")))


def test_keys_are_named_by_their_digests(built: Built) -> None:
    ann = built.policy.members[Principal("ann")]
    expected = Key(built.identities["ann"].public, Digest(built.identities["ann"].key_id), False, None)
    assert ann.keys == (expected,)
