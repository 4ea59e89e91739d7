"""Log keys: derived apart from each other, certified for one log and use, under the newest policy."""

import base64
import hashlib
import hmac
from dataclasses import replace

import pytest

from tests.logs import (
    ACCESS_LOG,
    CREATED,
    DEV,
    PROD_LOG,
    TRUST_LOG,
    VAULT,
    certificate,
    identity,
    log_key,
    policy,
    seed,
)
from vault.core import envelope, limits, log_keys, log_names, note, strict_json
from vault.core.log_keys import LOG, WITNESS, Certificate, Certified
from vault.core.log_names import Log
from vault.core.names import Digest, Principal
from vault.core.policy import LogHead, Policy
from vault.errors import BadSignature, DigestMismatch, Malformed, Refused

ORIGIN = log_names.origin(VAULT, PROD_LOG)
DEV_LOG = log_names.environment_log(DEV)


def verify(data: bytes, current: Policy | None = None, log: Log = PROD_LOG, use: str = LOG) -> Certified:
    return log_keys.verify(data, current or policy(), log, use, "it")


def test_a_key_is_derived_by_hkdf_and_differs_by_use_and_log() -> None:
    info = b"mvault/v1/log-key\0log\0" + ORIGIN.encode()
    extracted = hmac.new(bytes(32), seed("ann"), hashlib.sha256).digest()  # RFC 5869, section 2.2
    expanded = hmac.new(extracted, info + b"\1", hashlib.sha256).digest()
    assert log_keys.derive(seed("ann"), LOG, ORIGIN).public == log_keys.from_seed(expanded).public
    made = {
        log_keys.derive(seed(who), use, log_names.origin(VAULT, log)).public
        for who in ("ann", "bob")
        for use in (LOG, WITNESS)
        for log in (PROD_LOG, TRUST_LOG)
    }
    assert len(made) == 8
    assert identity("ann").public not in made


def test_a_key_does_not_show_its_secret() -> None:
    assert "_private" not in repr(log_key("ann"))


def test_a_certificate_names_its_principal() -> None:
    found = verify(certificate("ann"))
    assert found == Certified(log_key("ann").public, identity("ann").key_id, Principal("ann"), True, None)


def test_revoked_retired_and_removed_identities_are_known_or_not() -> None:
    head = LogHead(ORIGIN, 5, Digest("1" * 64))
    revoked = verify(certificate("ann"), policy(revoked=["ann"]))
    assert (revoked.principal, revoked.current, revoked.until) == ("ann", False, None)
    retired = verify(certificate("ann"), policy(retired={"ann": head}))
    assert (retired.principal, retired.current, retired.until) == ("ann", False, head)
    both = verify(certificate("ann"), policy(retired={"ann": head}, revoked=["ann"]))
    assert (both.principal, both.current, both.until) == ("ann", False, None)
    removed = verify(certificate("ann"), policy(without=["ann"]))
    assert (removed.principal, removed.current) == (None, False)


def test_a_certificate_for_something_else_is_misplaced() -> None:
    document = Certificate(VAULT, ORIGIN, LOG, log_key("ann").public, CREATED)
    for changed in (
        replace(document, vault=Digest("0" * 64)),
        replace(document, origin=log_names.origin(VAULT, TRUST_LOG)),
        replace(document, use=WITNESS),
    ):
        with pytest.raises(DigestMismatch) as caught:
            verify(log_keys.certify(changed, identity("ann")))
        assert caught.value.code == "misplaced"


def sealed(payload: bytes) -> bytes:
    key = identity("ann")
    return envelope.serialise(envelope.sign(log_keys.KIND, payload, [(key.key_id, key.sign)]))


def test_a_certificate_is_parsed_strictly() -> None:
    good = {
        "created": CREATED, "key": base64.b64encode(log_key("ann").public).decode(), "origin": ORIGIN,
        "use": LOG, "vault": str(VAULT),
    }  # fmt: skip
    assert verify(sealed(strict_json.encode({**good}))).principal == "ann"
    for name, value in (
        ("created", "now"), ("key", "AAAA"), ("key", base64.b64encode(bytes(32)).decode()), ("use", "both"),
        ("vault", "x"), ("more", 1), ("origin", 1),
    ):  # fmt: skip
        with pytest.raises(Malformed):
            verify(sealed(strict_json.encode({**good, name: value})))


def test_a_certificate_has_one_signature_that_fits() -> None:
    found = envelope.parse(certificate("ann"), kind=log_keys.KIND, subject="it")
    bob = envelope.parse(certificate("bob"), kind=log_keys.KIND, subject="it").signatures[0]
    for signatures in ((), (found.signatures[0], bob), found.signatures * 2):
        with pytest.raises(Malformed, match="one key"):
            verify(envelope.serialise(replace(found, signatures=signatures)))
    with pytest.raises(BadSignature):
        verify(envelope.serialise(replace(found, signatures=(bob,))))
    false = replace(found.signatures[0], value=bytes(64))
    with pytest.raises(BadSignature):
        verify(envelope.serialise(replace(found, signatures=(false,))))


def test_a_certificate_is_bounded_and_of_its_kind() -> None:
    with pytest.raises(Malformed) as caught:
        verify(bytes(limits.LOG_CERTIFICATE_BYTES + 1))
    assert caught.value.code == "too-large"
    key = identity("ann")
    other = envelope.serialise(envelope.sign("policy", b"{}", [(key.key_id, key.sign)]))
    with pytest.raises(Malformed) as caught:
        verify(other)
    assert caught.value.code == "wrong-payload-type"


@pytest.mark.parametrize(
    ("who", "log", "may"),
    [
        ("ann", PROD_LOG, True), ("ann", TRUST_LOG, True), ("dan", DEV_LOG, True), ("dan", PROD_LOG, False),
        ("dan", TRUST_LOG, False), ("wes", PROD_LOG, False), ("eve", PROD_LOG, False),
        ("scorer", ACCESS_LOG, True), ("scorer", PROD_LOG, False), ("ann", ACCESS_LOG, False),
    ],
)  # fmt: skip
def test_who_may_write_a_log(who: str, log: Log, may: bool) -> None:
    found = verify(certificate(who, log), log=log)
    assert log_keys.may_write(policy(), log, found, 1) is may


def test_a_revoked_or_removed_identity_may_write_nothing() -> None:
    for current in (policy(revoked=["ann"]), policy(without=["ann"])):
        assert not log_keys.may_write(current, PROD_LOG, verify(certificate("ann"), current), 1)
    revoked = policy(revoked=["scorer"])
    found = verify(certificate("scorer", ACCESS_LOG), revoked, ACCESS_LOG)
    assert not log_keys.may_write(revoked, ACCESS_LOG, found, 1)


def test_a_retired_identity_may_have_written_up_to_its_head_in_the_log_of_the_head() -> None:
    head = LogHead(ORIGIN, 5, Digest("1" * 64))
    current = policy(retired={"ann": head})
    found = verify(certificate("ann"), current)
    assert log_keys.may_write(current, PROD_LOG, found, 5)
    assert not log_keys.may_write(current, PROD_LOG, found, 6)
    other = verify(certificate("ann", TRUST_LOG), current, TRUST_LOG)
    assert not log_keys.may_write(current, TRUST_LOG, other, 1)


def test_who_may_witness_a_log() -> None:
    def may(who: str, current: Policy) -> bool:
        found = verify(certificate(who, use=WITNESS), current, use=WITNESS)
        return log_keys.may_witness(current, PROD_LOG, found)

    assert may("wes", policy())
    assert not may("ann", policy())
    assert not may("wes", policy(revoked=["wes"]))
    assert not may("wes", policy(retired={"wes": LogHead(ORIGIN, 5, Digest("1" * 64))}))
    assert not may("wes", policy(without=["wes"]))


def test_certificates_travel_in_a_note() -> None:
    line = log_keys.certificate_line(ORIGIN, certificate("ann"))
    found = note.parse(note.Note(b"text\n", (line,)).encode(), "it")
    assert log_keys.certificates(found, ORIGIN) == (certificate("ann"),)
    assert log_keys.certificates(found, "other") == ()
    other = note.Line(ORIGIN, bytes(4), certificate("ann"))
    assert log_keys.certificates(note.Note(b"text\n", (other,)), ORIGIN) == ()


def test_every_flipped_bit_of_a_certificate_is_refused_or_of_nobody() -> None:
    data = certificate("ann")
    for at in range(0, len(data) * 8, 3):
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        try:
            found = verify(bytes(changed))
        except Refused:
            continue
        assert found.principal is None
