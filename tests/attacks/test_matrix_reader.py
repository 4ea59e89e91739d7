"""The attack matrix: insiders who may load, and no more."""

from dataclasses import replace

import pytest

from tests.attacks import matrix_scenes as scenes
from tests.attacks.matrix import Act, Attack, Row, attacks, nothing, run
from tests.attacks.matrix_scenes import (
    FIRST,
    after,
    approved,
    approves,
    candidate,
    loads,
    manifest_by,
    one,
    promotes,
    publishes,
    with_keys_of,
    writes_record,
)
from tests.attacks.test_freshness import forge, renew, statement
from tests.attacks.test_freshness import made as attested
from tests.attacks.vault_mixing import headers, resigned, revoked
from tests.builders import PROD, Built
from tests.e2e.team_parts import ONE, TWO
from vault.actions import access_rotate
from vault.core import age
from vault.core.names import Principal
from vault.core.policy import Policy
from vault.errors import (
    AccessDenied,
    Expired,
    NoUsableKey,
    Refused,
    UntrustedSigner,
)
from vault.keys import recipients

OLD = {"model.json": b'{"w":1}'}
NEWEST = loads("churn", "dora", "dev")


def approval_by(who: str) -> Act:
    return lambda built: built.approve("churn:2", who)


def heads_by(who: str) -> Act:
    return lambda built: forge(built, statement(built, number=1), who)


def names_newer_policy(who: str) -> Act:
    """Sign a manifest as if a policy had been signed since, which would say that this is being withheld."""

    def act(built: Built) -> None:
        manifest_by(who, "2", policy=scenes.newer_policy(built))(built)

    return act


def seals_anew(who: str) -> Act:
    """Sign a sealing record of churn:1 under the next number, with other keys in it."""

    def act(built: Built) -> None:
        def change(doc: dict[str, object]) -> None:
            doc["number"] = 2
            for file in doc["files"]:  # type: ignore[attr-defined]
                file["check"] = "00" * 32

        name = f"{FIRST}sealed/000001.json"
        built.write(f"{FIRST}sealed/000002.json", resigned(built, name, "sealing", change, who))

    return act


def server_loses_its_key(built: Built) -> None:
    """Revoke server, and let prod go on with another key."""
    built.amend(revoked("server"))
    access_rotate.rotate(built.session(), PROD)


def rotated(built: Built) -> None:
    access_rotate.rotate(built.session(), PROD)


def opens_newest(built: Built) -> int:
    """Unwrap churn:1's file keys by the newest epoch's headers, with the key of prod that one holds."""
    epoch = built.policy.environments[PROD].epochs[-1].number
    private = built.environment_key("prod")  # the first epoch's
    found = headers(built, "churn", 1, f"prod-{epoch}").values()
    for name in found:
        recipients.unwrap(age.parse_detached_header(built.store.objects[name]), [private])
    return len(found)


def fraud_in_prod(built: Built) -> None:
    built.publish(ONE, model="fraud", who="dora")
    scenes.lets_in("fraud:1")(built)


def server_may_load(model: str) -> Act:
    def change(before: Policy) -> Policy:
        server = before.members[Principal("server")]
        more = replace(server, models=(*(server.models or ()), model))
        return replace(before, members={**before.members, server.name: more})

    return lambda built: built.amend(change)


ATTACKS = (
    Attack(
        "a manifest signed by a service that may only load",
        Row.READER, ("a known key without authority",), one,
        strike=manifest_by("server", "2"), honest=publishes(TWO), flow=NEWEST, gives=TWO, stays=ONE,
    ),
    Attack(
        "a manifest of a service that names a policy to come, against loads",
        Row.READER, ("a known key without authority", "a withheld policy"), one,
        strike=names_newer_policy("server"), honest=publishes(TWO), flow=NEWEST, gives=TWO, stays=ONE,
    ),
    Attack(
        "a manifest of a service that names a policy to come, by its version",
        Row.READER, ("a known key without authority", "a withheld policy"), one,
        strike=names_newer_policy("server"), honest=publishes(TWO),
        flow=loads("churn:2", "dora", "dev"), gives=TWO, refused=(UntrustedSigner, "untrusted-signer"),
    ),
    Attack(
        "a channel record signed by a service",
        Row.READER, ("a known key without authority",), after(approved, with_keys_of("churn:2")),
        strike=writes_record("server", 2), honest=promotes(),
        flow=loads("churn@prod"), gives=TWO, stays=ONE,
    ),
    Attack(
        "an approval signed by a service",
        Row.READER, ("a known key without authority",), after(candidate, approves("churn:2", "bob")),
        strike=approval_by("server"), honest=approval_by("cat"), flow=promotes(), gives="done",
        refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "heads signed by who may not attest",
        Row.READER, ("stale heads", "a known key without authority"), attested,
        strike=heads_by("stranger"), honest=renew, flow=loads("churn@prod", "owner"), gives=OLD,
        refused=(Expired, "heads-expired"),
    ),
    Attack(
        "a sealing record signed by a service",
        Row.READER, ("a known key without authority", "keys"), one,
        strike=seals_anew("server"), flow=loads("churn@prod"), gives=ONE, stays=ONE,
    ),
    Attack(
        "a model that is not its own, with a key that opens it",
        Row.READER, ("reading",), after(one, fraud_in_prod),
        strike=nothing, honest=server_may_load("fraud"), flow=loads("fraud@prod"), gives=ONE,
        refused=(AccessDenied, "access-denied"),
    ),
    Attack(
        "a load by a service after it was revoked",
        Row.READER, ("a revoked key",), one,
        strike=server_loses_its_key, honest=rotated, flow=loads("churn@prod"), gives=ONE,
        refused=(AccessDenied, "access-denied"),
    ),
    Attack(
        "the old key of prod on what was wrapped after a rotation",
        Row.READER, ("a revoked key", "keys"), one,
        strike=server_loses_its_key, flow=opens_newest, gives=2, refused=(NoUsableKey, "no-usable-key"),
    ),
)  # fmt: skip


@attacks(ATTACKS)
def test_who_may_load_signs_nothing_that_counts(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    run(attack, monkeypatch)
