"""Identity files whose signing key is in a service, or that have no age key: their bytes."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vault.core import ed25519, identity_format, key_services, limits, names, public_identity, strict_json
from vault.core.identity_format import Argon2idCost, IdentityDocument, Protection, Secrets
from vault.core.key_services import SigningKeyId
from vault.errors import Malformed, NoUsableKey

SEED = bytes(range(32))
PUBLIC = ed25519.PublicKey.parse(Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw())
RECIPIENT = "age1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0"
AGE = "AGE-SECRET-KEY-1QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQY"
SIGNER = SigningKeyId(key_services.transit_key("https://bao.example.com:8200/team/transit/anna"), 3)
CHEAP = Protection(
    Argon2idCost(limits.ARGON2_MEMORY_KIB_MIN, limits.ARGON2_ITERATIONS_MIN, 1),
    bytes(identity_format.SALT_BYTES),
)


def sealed(
    signer: SigningKeyId | None, *, age: bool, protection: Protection | None = None
) -> IdentityDocument:
    return identity_format.seal(
        name=names.principal("anna"),
        public=PUBLIC,
        recipient=RECIPIENT if age else None,
        secrets=Secrets(SEED if signer is None else None, AGE if age else None, 1_700_000_000),
        passphrase=b"correct horse",
        protection=protection,
        nonce=bytes(12),
        signer=signer,
    )


@pytest.mark.parametrize("protection", [None, CHEAP], ids=["plain", "protected"])
@pytest.mark.parametrize("age", [True, False], ids=["age", "ageless"])
@pytest.mark.parametrize("signer", [SIGNER, None], ids=["transit", "local"])
def test_a_file_is_read_as_it_was_written(
    signer: SigningKeyId | None, age: bool, protection: Protection | None
) -> None:
    made = sealed(signer, age=age, protection=protection)
    data = identity_format.serialise(made)
    found = identity_format.parse(data, "it")
    assert found == made
    assert identity_format.serialise(found) == data
    secrets = identity_format.open_secrets(found, b"correct horse", "it")
    assert (secrets.seed is None, secrets.age_identity is None) == (signer is not None, not age)


def test_a_file_that_needs_neither_is_the_bytes_that_it_was_before() -> None:
    told = json.loads(identity_format.serialise(sealed(None, age=True)))
    assert set(told) == {"format", "name", "protection", "public", "secret"}
    assert set(json.loads(base64.b64decode(told["secret"]))) == {"age", "created", "ed25519"}


def test_who_signs_cannot_be_altered_under_a_passphrase() -> None:
    made = sealed(SIGNER, age=True, protection=CHEAP)
    other = replace(made, signer=replace(SIGNER, version=4))
    with pytest.raises(NoUsableKey):
        identity_format.open_secrets(other, b"correct horse", "it")


def altered(document: IdentityDocument, **fields: Any) -> bytes:
    return strict_json.encode({**json.loads(identity_format.serialise(document)), **fields})


URL = SIGNER.key.url


@pytest.mark.parametrize(
    "signer",
    [
        None,
        {},
        "transit",
        {"key": URL, "kind": "kms", "version": 1},
        {"key": URL, "kind": "transit", "version": 0},
        {"key": URL, "kind": "transit", "version": "1"},
        {"key": URL, "kind": "transit"},
        {"key": URL, "kind": "transit", "version": 1, "token": "x"},
        {"key": URL.replace("https", "http"), "kind": "transit", "version": 1},
        {"key": URL + "?x", "kind": "transit", "version": 1},
        {"key": 1, "kind": "transit", "version": 1},
    ],
)
def test_another_signer_is_refused(signer: object) -> None:
    with pytest.raises(Malformed) as caught:
        identity_format.parse(altered(sealed(SIGNER, age=True), signer=signer), "it")
    assert caught.value.code == "malformed-identity"


@pytest.mark.parametrize(
    "secret",
    [
        {"age": AGE, "created": "2023-11-14T22:13:20Z", "ed25519": base64.b64encode(SEED).decode()},  # both
        {"age": None, "created": "2023-11-14T22:13:20Z"},  # half an age key
        {"created": "2023-11-14T22:13:20Z"},
        {"age": AGE},
        [],
    ],
)
def test_a_secret_part_that_does_not_fit_is_refused(secret: object) -> None:
    encoded = base64.b64encode(json.dumps(secret, separators=(",", ":"), sort_keys=True).encode()).decode()
    document = identity_format.parse(altered(sealed(SIGNER, age=True), secret=encoded), "it")
    with pytest.raises(Malformed) as caught:
        identity_format.open_secrets(document, b"", "it")
    assert caught.value.code == "malformed-identity"


def test_a_file_without_a_signer_and_without_a_seed_is_refused() -> None:
    made = sealed(SIGNER, age=True)
    with pytest.raises(Malformed):
        identity_format.open_secrets(replace(made, signer=None), b"", "it")


def test_a_public_identity_may_be_without_an_age_key() -> None:
    made = public_identity.PublicIdentity(names.principal("web"), PUBLIC, None)
    assert public_identity.parse(public_identity.encode(made), "it") == made
    told = json.loads(public_identity.encode(made))
    del told["age"]
    with pytest.raises(Malformed):
        public_identity.parse(json.dumps(told).encode(), "it")
