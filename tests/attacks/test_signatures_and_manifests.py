"""What a document says is taken only from whom the policy lets say it, and only in its one form.

Documents here are mostly signed by people with the right to sign them: even an insider gets nothing past.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.attacks.vault_forgeries import BYTES, ENVELOPES, FIELDS, Value
from tests.attacks.vault_mixing import only, outcome, resigned
from tests.builders import Built, Draws, new_identity, solo, team
from vault.core import envelope, layout, manifest, names, records, strict_json
from vault.core.names import Digest, Principal
from vault.core.policy import Key, LogHead, Policy

OURS = {"model.json": b'{"w":1}'}
NEWER = {"model.json": b'{"w":2}'}
MANIFEST = "models/churn/@/1/manifest.json"
SEALED = "models/churn/@/1/sealed/000001.json"


def vault(*, promoted: bool = True) -> Built:
    """Build a vault of one owner with churn 1 in it; a client without memory reads it."""
    built = solo(seed="signatures")
    ref = built.publish(OURS)
    if promoted:
        built.promote(ref)
    return built.fork(forgetful=True)


def promoted_by_hand(built: Built, data: bytes) -> str | dict[str, bytes]:
    """Store a manifest and a channel record for exactly it; load it in prod."""
    record = replace(built.record("churn:1", 2), manifest=Digest(base_digest(data)))
    built.write(MANIFEST, data)
    built.write_record(record)
    return outcome(built, "churn@prod")


def base_digest(data: bytes) -> str:
    """Give the SHA-256 of an envelope's payload, whatever else it is."""
    return envelope.digest(base64.b64decode(json.loads(data)["payload"]))


def payload_of(data: bytes) -> bytes:
    return base64.b64decode(json.loads(data)["payload"])


# --- the bytes of a signed manifest ---


@pytest.mark.parametrize("fault", BYTES)
def test_a_manifest_that_is_not_strict_json_is_refused_though_its_publisher_signed_it(fault: str) -> None:
    built = vault()
    raw = payload_of(built.store.objects[MANIFEST])
    changed = BYTES[fault](raw)
    assert changed != raw
    assert promoted_by_hand(built, built.sign(manifest.KIND, changed, "owner")) == "malformed-json"


@pytest.mark.parametrize("fault", FIELDS)
def test_a_manifest_that_says_what_none_may_is_refused_though_its_publisher_signed_it(fault: str) -> None:
    change, code = FIELDS[fault]
    built = vault()
    assert promoted_by_hand(built, resigned(built, MANIFEST, "manifest", change, "owner")) == code


@pytest.mark.parametrize(
    ("fault", "change", "code"),
    [
        ("fewer files", lambda doc: doc["files"].pop(), "digest-mismatch"),
        ("another size", lambda doc: doc["files"][1].update(plain_size=8), "size-mismatch"),
        ("other ciphertext", lambda doc: doc["files"][1].update(cipher_size=99), "size-mismatch"),
        ("another key", lambda doc: doc["files"][1].update(check="00" * 32), "key-mismatch"),
        ("another suite", lambda doc: doc["files"][1].update(suite="aes"), "not-found"),
        (
            "one object for two files",
            lambda doc: doc["files"][1].update(id=doc["files"][0]["id"]),
            "not-found",
        ),
        ("another manifest", lambda doc: doc.update(manifest="00" * 32), "not-found"),
        ("another number", lambda doc: doc.update(number=2), "not-found"),
        ("another vault", lambda doc: doc.update(vault="00" * 32), "not-found"),
        ("an unknown field", lambda doc: doc.update(extra=1), "not-found"),
    ],
)
def test_a_sealing_record_that_does_not_fit_is_refused_though_a_publisher_signed_it(
    fault: str, change: Callable[[Value], object], code: str
) -> None:
    built = vault()
    built.write(SEALED, resigned(built, SEALED, "sealing", change, "owner"))
    assert outcome(built, "churn@prod") == code, fault


# --- envelopes ---


def opened(data: bytes) -> Value:
    found: Value = json.loads(data)
    return found


def closed(value: Value) -> bytes:
    return strict_json.encode(value)


@pytest.mark.parametrize("fault", ENVELOPES)
def test_an_envelope_that_proves_nothing_is_refused(fault: str) -> None:
    change, code = ENVELOPES[fault]
    built = vault()
    value = opened(built.store.objects[MANIFEST])
    if fault == "base64 without padding":
        value["payload"] = base64.b64encode(b"1234").decode()
    change(value)
    built.write(MANIFEST, closed(value))
    assert outcome(built, "churn:1") == code


@pytest.mark.parametrize("kind", ["root", "policy", "sealing", "approval", "channel"])
def test_the_right_signature_under_another_document_type_is_refused(kind: str) -> None:
    built = vault()
    payload = payload_of(built.store.objects[MANIFEST])
    built.write(MANIFEST, built.sign(kind, payload, "owner"))
    assert outcome(built, "churn@prod") == "wrong-payload-type"
    # The same signature with the type written over it covers other bytes.
    value = opened(built.store.objects[MANIFEST])
    value["payloadType"] = envelope.payload_type("manifest")
    built.write(MANIFEST, closed(value))
    assert outcome(built, "churn@prod") == "bad-signature"


def test_every_signature_is_looked_at_and_a_strangers_takes_nothing_away() -> None:
    built = vault()
    stranger = new_identity("stranger")
    sealed = envelope.parse(built.store.objects[MANIFEST], kind="manifest", subject="")
    message = envelope.pae(sealed.payload_type, sealed.payload)
    theirs = envelope.Signature(Digest(stranger.key_id), stranger.sign(message))
    broken = envelope.Signature(Digest(built.owner.key_id), bytes(64))
    for extra in ((theirs, *sealed.signatures), (broken, *sealed.signatures), (*sealed.signatures, theirs)):
        built.write(MANIFEST, envelope.serialise(replace(sealed, signatures=extra)))
        assert outcome(built, "churn@prod") == OURS
    built.write(MANIFEST, envelope.serialise(replace(sealed, signatures=(theirs,))))
    assert outcome(built, "churn@prod") == "untrusted-signer"


# --- publishers ---


def two_publishers(*who: str) -> Built:
    """Make churn 1 a version of both the owner and dora, signed by `who`, with a sealing record to match."""
    built = team()
    built.publish(OURS)
    keys = sorted(built.identities[name].key_id for name in ("owner", "dora"))
    data = resigned(built, MANIFEST, "manifest", lambda doc: doc.update(publishers=keys), *who)
    built.write(MANIFEST, data)
    seal = resigned(built, SEALED, "sealing", lambda doc: doc.update(manifest=base_digest(data)), "owner")
    built.write(SEALED, seal)
    return built.fork(forgetful=True)


def test_a_version_of_two_publishers_counts_when_both_have_signed() -> None:
    assert outcome(two_publishers("owner", "dora"), "churn:1") == OURS


@pytest.mark.parametrize("who", ["owner", "dora"])
def test_a_signature_stripped_from_the_list_of_two_is_refused(who: str) -> None:
    assert outcome(two_publishers(who), "churn:1") == "untrusted-signer"


def test_the_same_signature_twice_does_not_stand_for_two_publishers() -> None:
    built = two_publishers("owner", "dora")
    sealed = envelope.parse(built.store.objects[MANIFEST], kind="manifest", subject="")
    one = next(entry for entry in sealed.signatures if entry.key_id == built.owner.key_id)
    built.write(MANIFEST, envelope.serialise(replace(sealed, signatures=(one, one))))
    assert outcome(built, "churn:1") == "untrusted-signer"


@pytest.mark.parametrize("who", ["ann", "rex", "server"])
def test_a_known_key_without_the_right_to_publish_is_refused(who: str) -> None:
    built = team()
    built.publish(OURS)
    key = built.identities[who].key_id
    data = resigned(built, MANIFEST, "manifest", lambda doc: doc.update(publishers=[key]), who)
    built.write(MANIFEST, data)
    assert outcome(built.fork(forgetful=True), "churn:1") == "untrusted-signer"


def test_a_publisher_of_other_models_is_refused_for_this_one() -> None:
    built = team()
    built.add("fred", "data-scientist", models=("fraud",))
    built.publish(OURS)
    built.write(
        MANIFEST,
        resigned(
            built,
            MANIFEST,
            "manifest",
            lambda doc: doc.update(publishers=[built.identities["fred"].key_id]),
            "fred",
        ),
    )
    assert outcome(built.fork(forgetful=True), "churn:1") == "untrusted-signer"


def with_key(built: Built, who: str, **change: Any) -> None:
    """Change every key of a principal in the next policy."""

    def amend(before: Policy) -> Policy:
        member = before.members[Principal(who)]
        keys = tuple(replace(key, **change) for key in member.keys)
        return replace(before, members={**before.members, member.name: replace(member, keys=keys)})

    built.amend(amend)


@pytest.mark.parametrize(
    "change", [{"revoked": True}, {"until": LogHead("log", 5, Digest("00" * 32))}], ids=["revoked", "retired"]
)
@pytest.mark.parametrize("ref", ["churn:1", "churn@staging"])
def test_what_a_revoked_or_retired_key_signed_no_longer_counts(change: Value, ref: str) -> None:
    built = team()
    built.promote(built.publish(OURS, who="dora"), env="staging", who="rex")
    assert outcome(built, ref) == OURS
    with_key(built, "dora", **change)
    assert outcome(built, ref) == "untrusted-signer"
    assert outcome(built, "churn:1", who="dora") == "access-denied"


def test_a_revoked_promoters_record_is_absent() -> None:
    built = team()
    built.promote(built.publish(OURS), env="staging", who="rex")
    with_key(built, "rex", revoked=True)
    assert outcome(built.fork(forgetful=True), "churn@staging") == "not-found"
    assert outcome(built.fork(), "churn@staging", who="rex") == "access-denied"


# --- weak keys ---


@pytest.mark.parametrize(
    "public",
    [
        bytes(32),
        (1).to_bytes(32, "little"),
        (2**255 - 19).to_bytes(32, "little"),
        (2**255 - 18).to_bytes(32, "little"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
        (2).to_bytes(32, "little"),
        b"\xff" * 32,
        b"short",
    ],
    ids=lambda public: public.hex()[:12],
)
def test_a_policy_with_a_weak_key_is_absent_though_the_root_signed_it(public: bytes) -> None:
    built = vault()
    change = {"public": base64.b64encode(public).decode()}
    name = "trust/policy/000001.json"
    data = resigned(
        built, name, "policy", lambda doc: doc["principals"]["owner"]["keys"][0].update(change), "owner"
    )
    built.write(name, data)
    assert outcome(built, "churn@prod") == "not-found"


def test_a_root_with_a_weak_key_is_refused_though_it_was_pinned() -> None:
    built = vault()
    name = "trust/root/000001.json"
    weak = {"name": "owner", "public": base64.b64encode((1).to_bytes(32, "little")).decode()}
    data = resigned(built, name, "root", lambda doc: doc["keys"].append(weak), "owner")
    built.write(name, data)
    built.vault = Digest(base_digest(data))
    assert outcome(built, "churn@prod") == "malformed-key"


# --- records of people who may not ---


def test_a_record_by_somebody_who_may_not_promote_is_absent() -> None:
    built = vault()
    built.publish(NEWER)
    stranger = new_identity("stranger")
    built.identities["stranger"] = stranger
    place = built.write_record(built.record("churn:2", 2), "stranger")
    assert outcome(built, "churn@prod") == OURS
    assert (
        place == layout.channel(names.environment("prod"), names.MAIN, names.model("churn")) + "000002.json"
    )


@pytest.mark.parametrize("who", ["dora", "ann", "server", "owner"])
def test_a_member_who_may_not_promote_cannot_change_prod(who: str) -> None:
    built = team()
    first = built.publish(OURS)
    for approver in ("ann", "bob"):
        built.approve(first, approver)
    built.promote(first, who="rex")
    second = built.publish(NEWER)
    for approver in ("ann", "bob"):
        built.approve(second, approver)
    built.write_record(built.record(second, 2), who)
    assert outcome(built, "churn@prod", who="server") == OURS


def test_a_bar_by_somebody_who_may_neither_promote_nor_withdraw_bars_nothing() -> None:
    built = vault()
    built.add("dora")
    built.write_record(built.record(None, 2, bars=("churn:1",)), "dora")
    assert outcome(built, "churn@prod") == OURS
    built.write_record(built.record(None, 2, bars=("churn:1",)), "owner")
    assert outcome(built, "churn@prod") == "barred"


def test_a_record_that_bars_what_it_promotes_or_does_nothing_is_absent() -> None:
    for fault in ("both", "neither"):
        built = vault()
        record = built.record("churn:1", 2)
        bars = (record.manifest,) if fault == "both" and record.manifest else ()
        version, digest = (record.version, record.manifest) if fault == "both" else (None, None)
        made = replace(record, bars=bars, version=version, manifest=digest)
        built.write_record(made)
        assert outcome(built, "churn@prod") == OURS


def test_an_approval_and_a_record_share_no_type() -> None:
    built = team()
    ref = built.publish(OURS)
    built.approve(ref, "ann")
    payload = payload_of(built.store.objects[only(built, "models/churn/@/1/approvals/prod/")])
    folder = layout.approvals(ref.model, names.version("1"), names.environment("prod"))
    built.write(f"{folder}{'0' * 64}.json", built.sign(records.CHANNEL, payload, "bob"))
    assert team_code(built, ref) == "approvals-missing"


def team_code(built: Built, ref: names.Reference) -> str:
    """Promote by hand whatever the approvals say, and load: `not-found` means that the record is absent."""
    from vault.errors import VaultError

    try:
        built.promote(ref, who="rex")
    except VaultError as error:
        return error.code
    return "promoted"


def test_keys_are_compared_by_what_they_are_not_by_what_they_are_called() -> None:
    """A key that says of itself that it is the owner's is nobody's."""
    built = vault()
    imposter = new_identity("owner", seed="imposter")
    key = Key(imposter.public, Digest(imposter.key_id), revoked=False, until=None)
    assert built.policy.key(key.key_id) is None
    built.identities["owner"] = imposter
    built.draws = Draws("imposter")
    assert outcome(built, "churn@prod") == "access-denied"
