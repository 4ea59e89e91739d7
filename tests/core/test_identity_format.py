"""The identity file's bytes: what they hold, what they refuse, and that nothing in them can be altered."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vault.core import ed25519, identity_format, limits, names, strict_json
from vault.core.identity_format import Argon2idCost, IdentityDocument, Protection, Secrets
from vault.errors import Malformed, NoUsableKey

CHEAP = Argon2idCost(limits.ARGON2_MEMORY_KIB_MIN, limits.ARGON2_ITERATIONS_MIN, 1)
SEED = bytes(range(32))
RAW = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
SECRETS = Secrets(
    SEED, "AGE-SECRET-KEY-1QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQY", 1_700_000_000
)
RECIPIENT = "age1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0"


def sealed(protection: Protection | None, passphrase: bytes = b"correct horse") -> IdentityDocument:
    return identity_format.seal(
        name=names.principal("ana"),
        public=ed25519.PublicKey.parse(RAW),
        recipient=RECIPIENT,
        secrets=SECRETS,
        passphrase=passphrase,
        protection=protection,
        nonce=bytes(12),
    )


PROTECTED = sealed(Protection(CHEAP, bytes(16)))
PLAIN = sealed(None)
FILES = [identity_format.serialise(PROTECTED), identity_format.serialise(PLAIN)]


def altered(document: bytes, **fields: Any) -> bytes:
    return strict_json.encode({**json.loads(document), **fields})


def refusal_of(data: bytes) -> Malformed:
    with pytest.raises(Malformed) as refusal:
        identity_format.parse(data, "ana.json")
    assert refusal.value.code == "malformed-identity"
    assert refusal.value.subject == "ana.json"
    assert refusal.value.hint
    return refusal.value


def test_the_secrets_come_back_with_the_passphrase() -> None:
    document = identity_format.parse(FILES[0], "ana.json")
    assert document == PROTECTED
    assert identity_format.open_secrets(document, b"correct horse", "ana.json") == SECRETS


def test_an_unprotected_file_opens_without_a_passphrase() -> None:
    document = identity_format.parse(FILES[1], "ana.json")
    assert document.protection is None
    assert identity_format.open_secrets(document, b"", "ana.json") == SECRETS


def test_no_secret_stands_readable_in_a_protected_file() -> None:
    readable = FILES[0] + base64.b64decode(json.loads(FILES[0])["secret"])
    assert SECRETS.age_identity is not None
    assert SECRETS.age_identity.encode() not in readable
    assert SEED not in readable
    assert base64.b64encode(SEED) not in readable


def test_a_wrong_passphrase_is_no_usable_key() -> None:
    with pytest.raises(NoUsableKey) as refusal:
        identity_format.open_secrets(PROTECTED, b"Correct horse", "ana.json")
    assert refusal.value.code == "no-usable-key"
    assert "passphrase" in refusal.value.message


def test_nothing_in_the_clear_part_can_be_altered_without_notice() -> None:
    value = json.loads(FILES[0])
    other_key = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    protection = value["protection"]
    alterations: list[dict[str, Any]] = [
        {"name": "eve"},
        {"public": {**value["public"], "age": RECIPIENT[:-1] + "q"}},
        {"public": {**value["public"], "ed25519": base64.b64encode(other_key).decode()}},
        {"protection": {**protection, "iterations": 3}},
        {"protection": {**protection, "lanes": 2}},
        {"protection": {**protection, "memory_kib": protection["memory_kib"] + 8}},
        {"protection": {**protection, "salt": base64.b64encode(b"\1" * 16).decode()}},
    ]
    for alteration in alterations:
        document = identity_format.parse(altered(FILES[0], **alteration), "ana.json")
        with pytest.raises(NoUsableKey):
            identity_format.open_secrets(document, b"correct horse", "ana.json")


def test_a_sealed_secret_is_not_taken_for_an_unprotected_one() -> None:
    document = identity_format.parse(altered(FILES[0], protection={"kind": "none"}), "ana.json")
    with pytest.raises(Malformed) as refusal:
        identity_format.open_secrets(document, b"correct horse", "ana.json")
    assert refusal.value.code == "malformed-identity"


def test_every_flipped_bit_of_a_sealed_secret_is_noticed_or_refused() -> None:
    secret = bytearray(PROTECTED.secret)
    for bit in range(0, 8 * len(secret), 61):  # an Argon2id run each
        secret[bit // 8] ^= 1 << bit % 8
        data = altered(FILES[0], secret=base64.b64encode(secret).decode())
        with pytest.raises(NoUsableKey):
            identity_format.open_secrets(identity_format.parse(data, "a"), b"correct horse", "a")
        secret[bit // 8] ^= 1 << bit % 8


def test_a_public_key_that_is_not_the_private_keys_is_refused() -> None:
    other_key = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    public = {"age": RECIPIENT, "ed25519": base64.b64encode(other_key).decode()}
    document = identity_format.parse(altered(FILES[1], public=public), "ana.json")
    with pytest.raises(Malformed, match="private key") as refusal:
        identity_format.open_secrets(document, b"", "ana.json")
    assert refusal.value.code == "malformed-identity"


def test_a_weak_public_key_is_refused() -> None:
    for raw in (bytes(32), b"\1" + bytes(31), b"\xff" * 32, bytes(31)):
        refusal_of(altered(FILES[0], public={"age": RECIPIENT, "ed25519": base64.b64encode(raw).decode()}))


@pytest.mark.parametrize(
    "change",
    [
        {"memory_kib": limits.ARGON2_MEMORY_KIB_MAX + 1},
        {"memory_kib": limits.ARGON2_MEMORY_KIB_MIN - 1},
        {"memory_kib": 2**32},
        {"iterations": limits.ARGON2_ITERATIONS_MIN - 1},
        {"iterations": limits.ARGON2_ITERATIONS_MAX + 1},
        {"lanes": 0},
        {"lanes": limits.ARGON2_LANES_MAX + 1},
        {"lanes": True},
        {"salt": ""},
        {"salt": "AAAA"},
        {"kind": "scrypt"},
        {"extra": 1},
    ],
)
def test_a_hostile_cost_is_refused_before_it_is_paid(change: dict[str, Any]) -> None:
    protection = json.loads(FILES[0])["protection"]
    refusal_of(altered(FILES[0], protection={**protection, **change}))


@pytest.mark.parametrize("missing", ["format", "name", "protection", "public", "secret"])
def test_a_missing_field_is_refused(missing: str) -> None:
    value = json.loads(FILES[0])
    del value[missing]
    refusal_of(strict_json.encode(value))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n",
        b"[" * 60_000,
        FILES[0] + b"\n",
        b" " + FILES[0],
        FILES[0][:-1] + b',"extra":1}',
        FILES[0].replace(b'"name":"ana"', b'"name":"ana","name":"ana"'),
        FILES[0].replace(b"mvault-identity-v1", b"mvault-identity-v2"),
        FILES[0].replace(b'"name":"ana"', b'"name":"../ana"'),
        FILES[0].replace(b'"name":"ana"', b'"name":7'),
        b'{"a":"' + b"a" * limits.IDENTITY_FILE_BYTES + b'"}',
    ],
)
def test_what_is_no_identity_file_is_refused(data: bytes) -> None:
    refusal_of(data)


def test_a_secret_part_of_another_shape_is_refused() -> None:
    good = {"age": SECRETS.age_identity, "created": "2023-11-14T22:13:20Z", "ed25519": "A" * 43 + "="}
    changes: list[dict[str, Any]] = [
        {"age": "age1public"},
        {"age": "AGE-SECRET-KEY-1" + "Q" * limits.RECIPIENT_CHARS},
        {"created": "yesterday"},
        {"ed25519": "AAAA"},
        {"extra": ""},
    ]
    for change in changes:
        secret = base64.b64encode(strict_json.encode({**good, **change})).decode()
        document = identity_format.parse(altered(FILES[1], secret=secret), "ana.json")
        with pytest.raises(Malformed) as refusal:
            identity_format.open_secrets(document, b"", "ana.json")
        assert refusal.value.code == "malformed-identity"


def test_what_could_not_be_read_again_is_not_written() -> None:
    with pytest.raises(ValueError, match="read again"):
        sealed(Protection(Argon2idCost(memory_kib=1024), bytes(16)))
    with pytest.raises(ValueError, match="read again"):
        sealed(Protection(CHEAP, b"short"))


def test_printing_shows_no_secret() -> None:
    for text in (repr(SECRETS), repr(PLAIN), repr(PROTECTED)):
        assert "AGE-SECRET" not in text
        assert repr(SEED)[2:-1] not in text


def test_the_default_cost_is_the_second_recommended_choice_of_rfc_9106() -> None:
    assert Argon2idCost() == Argon2idCost(memory_kib=65_536, iterations=3, lanes=4)


@settings(deadline=None, max_examples=300)
@given(st.data())
@example(data=None)
def test_whatever_parses_serialises_to_the_same_bytes(data: st.DataObject | None) -> None:
    if data is None:
        mutants = FILES
    else:
        file = data.draw(st.sampled_from(FILES))
        start = data.draw(st.integers(0, len(file)))
        end = data.draw(st.integers(start, min(len(file), start + 8)))
        mutants = [file[:start] + data.draw(st.binary(max_size=8)) + file[end:]]
    for mutant in mutants:
        try:
            document = identity_format.parse(mutant, "a")
        except Malformed:
            continue
        assert identity_format.serialise(document) == mutant


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=400))
def test_an_unprotected_secret_opens_or_is_refused(secret: bytes) -> None:
    document = identity_format.parse(altered(FILES[1], secret=base64.b64encode(secret).decode()), "a")
    with pytest.raises(Malformed):
        identity_format.open_secrets(document, b"", "a")
