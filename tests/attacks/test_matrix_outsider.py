"""The attack matrix: outsiders who can read the storage, or write to it as well."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.attacks import matrix_scenes as scenes
from tests.attacks.matrix import Act, Attack, Flow, Row, attacks, run
from tests.attacks.matrix_scenes import (
    FIRST,
    IN_PROD,
    SECOND,
    after,
    approved,
    approves,
    both,
    candidate,
    copies,
    deletes,
    lets_in,
    loads,
    one,
    promotes,
    seen,
    tries,
    two,
    withdraws,
)
from tests.attacks.vault_mixing import headers, only, revoked, twin
from tests.builders import PROD, Built, Draws, age_key, new_identity, secret_age_key, solo
from tests.e2e.team_parts import ONE, TWO, as_, stewarded
from vault.actions import keyring
from vault.core import age, layout, limits
from vault.core.names import Principal
from vault.errors import (
    AccessDenied,
    DigestMismatch,
    Malformed,
    NotFound,
    NoUsableKey,
    Refused,
    Rollback,
    UntrustedSigner,
)
from vault.keys import recipients

ADDED = (".git/hooks/x", ".github/x", "files/" + "0" * 32, "sealed/x", "manifest.json.sig/x", "files/.ignore")
NUMBERED = (layout.ROOTS, layout.POLICIES, IN_PROD)
OLD, NEW = {"model.json": b'{"w":1}'}, {"model.json": b'{"w":2}'}


def opens_headers(key_of: Callable[[Built], recipients.Identity]) -> Flow:
    """Unwrap the file keys of churn:1 for prod by one private key; tell how many there are."""

    def flow(built: Built) -> int:
        found = headers(built, "churn", 1, "prod-1").values()
        for name in found:
            recipients.unwrap(age.parse_detached_header(built.store.objects[name]), [key_of(built)])
        return len(found)

    return flow


def key_at_hand(built: Built) -> recipients.Identity:
    """Give the key of prod, or what an attacker has in its stead."""
    held = built.identities.get("eve")
    return built.environment_key("prod") if held is None else recipients.parse_identity(secret_age_key(held))


def has_the_key_of_dev(built: Built) -> None:
    eve = new_identity("eve")
    built.identities["eve"] = replace(eve, age_identity=built.environment_key("dev").encode())


def approved_for_staging(built: Built) -> None:
    for who in ("ann", "bob"):
        built.approve("churn:2", who, env="staging")


def withdrawn_from_dev(built: Built) -> None:
    built.write_record(built.record(None, 1, env="dev", bars=("churn:2",)), "owner")


def withdrawn_in_main_only(built: Built) -> None:
    """Let churn:2 into slot b as well, and withdraw it; the copy of the bar in b was never written."""
    scenes.lets_in("churn:2", slot="b")(built)
    scenes.writes_record("ann", 4, None, bars=("churn:2",), prev=2)(built)


def planted_environment_key(built: Built) -> None:
    """Put a well-made copy of a key of Eve's own in the place of server's copies of prod's key."""
    deletes("keys/prod/all/1/server/")(built)
    eve = recipients.generate_identity("x25519", Draws("eve"))
    to = recipients.parse_recipient(age_key(built.identities["server"]))
    keyring.wrap_environment_key(built.store, eve, PROD, 1, Principal("server"), to, Draws("x"))


def swapped_recipient(built: Built) -> None:
    """Put Eve's public age key where prod's lies."""
    digest = built.policy.environments[PROD].epochs[-1].recipient.digest
    eve = recipients.generate_identity("x25519", Draws("eve")).recipient().encode()
    built.write(layout.recipient(digest), eve.encode())


def of_another_vault(built: Built) -> None:
    """Put a record of another vault of the same owner, who has the same keys there, above ours."""
    other = twin(built)
    other.publish(OLD)
    other.promote(other.publish(NEW))
    built.write(f"{IN_PROD}000002.json", other.store.objects[f"{IN_PROD}000001.json"])


def solo_vault() -> Built:
    built = solo(seed="matrix")
    built.promote(built.publish(OLD))
    built.publish(NEW)
    return built.fork()


def adopted() -> Built:
    """Give a vault whose churn:1 is adopted by eve, since dora was revoked."""
    built = stewarded(revoked("dora"))
    as_(built, "eve").adopt_version("churn:1")
    return built


def in_staging(built: Built) -> None:
    as_(built, "rex").promote("churn:2", env="staging")


def replaced_root(built: Built) -> None:
    built.write(layout.root(1), twin(built).store.objects[layout.root(1)])


def large(name: str) -> Act:
    return lambda built: built.write(name, bytes(limits.ENVELOPE_BYTES + 1))


READS = (
    Attack(
        "a load by an identity that no policy knows",
        Row.EAVESDROPPER, ("reading",), one,
        strike=lambda built: built.identities.update(server=new_identity("nobody")),
        flow=loads("churn@prod"), gives=ONE, refused=(AccessDenied, "access-denied"),
    ),
    Attack(
        "a key of somebody else on the headers of prod",
        Row.EAVESDROPPER, ("reading", "keys"), one,
        strike=lambda built: built.identities.update(eve=new_identity("eve")),
        flow=opens_headers(key_at_hand), gives=2, refused=(NoUsableKey, "no-usable-key"),
    ),
    Attack(
        "the key of dev on the headers of prod",
        Row.EAVESDROPPER, ("reading", "keys"), one,
        strike=has_the_key_of_dev, flow=opens_headers(key_at_hand), gives=2,
        refused=(NoUsableKey, "no-usable-key"),
    ),
    Attack(
        "the copies of prod's key of somebody else",
        Row.EAVESDROPPER, ("reading", "keys"), one,
        strike=both(
            deletes("keys/prod/all/1/server/"), copies("keys/prod/all/1/ann/", "keys/prod/all/1/server/")
        ),
        flow=loads("churn@prod"), gives=ONE, refused=(NoUsableKey, "no-usable-key"),
    ),
)  # fmt: skip

WRITES = (
    Attack(
        "a recipient's text swapped under trust/recipients",
        Row.OUTSIDER, ("keys",), approved,
        strike=swapped_recipient, flow=promotes(), gives="done", refused=(DigestMismatch, "digest-mismatch"),
    ),
    Attack(
        "a copy of prod's key replaced by a well-made one of another key",
        Row.OUTSIDER, ("keys",), one,
        strike=planted_environment_key, flow=loads("churn@prod"), gives=ONE,
        refused=(DigestMismatch, "key-mismatch"),
    ),
    Attack(
        "a genuine record under another slot",
        Row.OUTSIDER, ("another version or model served",), one,
        strike=copies(IN_PROD, "channels/prod/b/churn/@/"), honest=lets_in("churn:1", slot="b"),
        flow=loads("churn@prod/b"), gives=ONE, refused=(NotFound, "not-found"),
    ),
    Attack(
        "a record of staging in prod",
        Row.OUTSIDER, ("another version or model served",),
        after(approved, in_staging),
        strike=lambda built: built.write(
            f"{IN_PROD}000002.json", built.store.objects[only(built, "channels/staging/main/churn/")]
        ),
        honest=promotes(), flow=loads("churn@prod"), gives=TWO, stays=ONE,
    ),
    Attack(
        "approvals for staging in prod's folder",
        Row.OUTSIDER, ("a record without its approvals", "another version or model served"),
        after(candidate, approved_for_staging),
        strike=copies(f"{SECOND}approvals/staging/", f"{SECOND}approvals/prod/"),
        honest=approves("churn:2", "ann", "bob"), flow=promotes(), gives="done",
        refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "approvals of the version before, moved to the next",
        Row.OUTSIDER, ("a record without its approvals", "mixed versions"), candidate,
        strike=copies(f"{FIRST}approvals/", f"{SECOND}approvals/"),
        honest=approves("churn:2", "ann", "bob"), flow=promotes(), gives="done",
        refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "a record of another vault of the same owner with the same keys",
        Row.OUTSIDER, ("another version or model served", "a known key without authority"), solo_vault,
        strike=of_another_vault, honest=lambda built: built.promote("churn:2"),
        flow=loads("churn@prod", "owner", "dev"), gives=NEW, stays=OLD,
    ),
    Attack(
        "a withdrawal withheld from a client that has seen it, loading by another slot",
        Row.OUTSIDER, ("rollback", "bars"),
        seen(after(two, withdrawn_in_main_only), tries(loads("churn@prod"))),
        strike=deletes(f"{IN_PROD}000004.json"), honest=lets_in("churn:2", slot="b"),
        flow=loads("churn@prod/b"), gives=TWO, refused=(Rollback, "rollback"),
    ),
    Attack(
        "a withdrawal withheld from a client that has seen it, loading by version",
        Row.OUTSIDER, ("rollback", "bars"),
        seen(after(two, withdrawn_in_main_only), tries(loads("churn:2"))),
        strike=deletes(f"{IN_PROD}000004.json"), honest=lets_in("churn:2", slot="b"),
        flow=loads("churn:2"), gives=TWO, refused=(Rollback, "rollback"),
    ),
    Attack(
        "a withdrawal withheld that was met in another slot only",
        Row.OUTSIDER, ("rollback", "bars"),
        seen(after(two, withdrawn_in_main_only), tries(loads("churn@prod/b"))),
        strike=deletes(f"{IN_PROD}000004.json"), honest=lets_in("churn:2", slot="b"),
        flow=loads("churn@prod/b"), gives=TWO, refused=(Rollback, "rollback"),
    ),
    Attack(
        "a withdrawal deleted from below a newer record",
        Row.OUTSIDER, ("rollback", "bars"),
        after(seen(after(two, withdraws()), tries(loads("churn@prod"))), lets_in("churn:1")),
        strike=deletes(f"{IN_PROD}000003.json"), flow=loads("churn@prod"), gives=ONE,
        refused=(Rollback, "rollback"),
    ),
    Attack(
        "a withdrawal in dev withheld from a client that was given the version before",
        Row.OUTSIDER, ("rollback", "bars"),
        seen(after(candidate, withdrawn_from_dev), loads("churn", "dora", "dev")),
        strike=deletes("channels/dev/"), flow=loads("churn", "dora", "dev"), gives=ONE,
        refused=(Rollback, "rollback"),
    ),
    Attack(
        "the policy withheld that a record was made under",
        Row.OUTSIDER, ("a withheld policy",),
        after(approved, lambda built: built.amend(lambda p: p), promotes()),
        strike=lambda built: deletes(layout.policy(built.policy.version))(built),
        flow=loads("churn@prod"), gives=TWO, refused=(Rollback, "withheld"),
    ),
    Attack(
        "an adoption deleted",
        Row.OUTSIDER, ("a revoked key",), adopted,
        strike=deletes(f"{FIRST}adoptions/"), flow=loads("churn@prod"), gives=ONE,
        refused=(UntrustedSigner, "untrusted-signer"),
    ),
    Attack(
        "another vault's root in the place of ours",
        Row.OUTSIDER, ("another version or model served",), one,
        strike=replaced_root, flow=loads("churn@prod"), gives=ONE,
        refused=(DigestMismatch, "digest-mismatch"),
    ),
    Attack(
        "the manifest of the version before, in the place of the newest",
        Row.OUTSIDER, ("mixed versions", "another version or model served"), two,
        strike=copies(f"{FIRST}manifest.json", f"{SECOND}manifest.json"),
        flow=loads("churn@prod"), gives=TWO, refused=(DigestMismatch, "digest-mismatch"),
    ),
    Attack(
        "all of the version before, with keys and seals, under the newest one's name",
        Row.OUTSIDER, ("mixed versions",), two,
        strike=both(deletes(SECOND), copies(FIRST, SECOND)),
        flow=loads("churn:2"), gives=TWO, refused=(DigestMismatch, "misplaced"),
    ),
    Attack(
        "the sealing record of another version",
        Row.OUTSIDER, ("mixed versions",), two,
        strike=copies(f"{FIRST}sealed/", f"{SECOND}sealed/"),
        flow=loads("churn@prod"), gives=TWO, refused=(NotFound, "not-found"),
    ),
    Attack(
        "files beside what was signed, in hidden folders and where signatures belong",
        Row.OUTSIDER, ("added files and chosen ignore lists", "garbage and squatted names"), one,
        strike=lambda built: built.store.objects.update({FIRST + name: b"#!/bin/sh" for name in ADDED}),
        flow=loads("churn@prod"), gives=ONE, stays=ONE,
    ),
    Attack(
        "an endless manifest",
        Row.OUTSIDER, ("endless data",), one,
        strike=large(f"{FIRST}manifest.json"), flow=loads("churn:1", "dora", "dev"), gives=ONE,
        refused=(Malformed, "too-large"),
    ),
    Attack(
        "endless policies, roots and records under the highest numbers",
        Row.OUTSIDER, ("endless data", "garbage and squatted names", "fast-forward"),
        approved,
        strike=both(*(large(f"{folder}{limits.NUMBER_MAX}.json") for folder in NUMBERED)),
        honest=promotes(), flow=loads("churn@prod"), gives=TWO, stays=ONE,
    ),
)  # fmt: skip

ATTACKS = (*READS, *WRITES)


@attacks(ATTACKS)
def test_an_outsider_gets_nothing_past(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    run(attack, monkeypatch)
