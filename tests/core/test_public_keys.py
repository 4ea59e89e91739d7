"""Public keys in other people's forms: as OpenSSL and OpenSSH write them, and nothing else is read."""

import base64
import hashlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vault.core import public_keys
from vault.core.public_keys import ED25519, P256, P384, P521, PublicKey
from vault.errors import Malformed

CURVES: dict[str, ec.EllipticCurve] = {P256: ec.SECP256R1(), P384: ec.SECP384R1(), P521: ec.SECP521R1()}
MADE: dict[str, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey] = {
    ED25519: ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key(),
    **{kind: ec.derive_private_key(7, curve).public_key() for kind, curve in CURVES.items()},
}
OWN = PublicKey(ED25519, MADE[ED25519].public_bytes(Encoding.Raw, PublicFormat.Raw))
SPKI = MADE[P256].public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
POINT = PublicKey(P256, SPKI[-65:])
WEAK = bytes(32)  # y = 0, a point of order 4
BLOB = public_keys.openssh(OWN).split()[1]


def require_refused(work: Callable[[], object], reason: str) -> None:
    """See that something is refused as `it`, for this reason and with advice."""
    with pytest.raises(Malformed, match=reason) as found:
        work()
    assert (found.value.code, found.value.subject) == ("malformed-key", "it")
    assert found.value.hint


@pytest.mark.parametrize("kind", MADE)
def test_each_kind_of_key_is_written_as_openssl_and_openssh_write_it(kind: str) -> None:
    made = MADE[kind]
    der = made.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    key = public_keys.parse_spki(der, "it")
    assert key.kind == kind
    assert public_keys.spki(key) == der
    assert public_keys.pem(key) == made.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert public_keys.openssh(key).encode() == made.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    _, blob = public_keys.openssh(key).split()
    assert public_keys.parse_openssh(kind, blob, "it") == key
    assert public_keys.parse_pem(public_keys.pem(key), "it") == key


def test_the_id_of_a_key_is_the_vaults_for_ed25519_and_the_hint_of_oms_for_others() -> None:
    pem = MADE[P256].public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert OWN.key_id == hashlib.sha256(OWN.raw).hexdigest()
    assert POINT.key_id == hashlib.sha256(pem).hexdigest()


@pytest.mark.parametrize("kind", MADE)
def test_a_key_of_a_known_kind_is_taken_from_its_bytes(kind: str) -> None:
    key = public_keys.parse_spki(
        MADE[kind].public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), "it"
    )
    assert public_keys.of(kind, key.raw, "it") == key


BAD_BYTES = {
    "a kind that is not known": ("ssh-rsa", bytes(32), "neither Ed25519 nor ECDSA"),
    "no kind": ("", OWN.raw, "neither Ed25519 nor ECDSA"),
    "no bytes": (ED25519, b"", "not the length of its kind"),
    "an Ed25519 key cut off": (ED25519, OWN.raw[:-1], "not the length of its kind"),
    "no point": (P256, b"", "not the length of its kind"),
    "a point of another curve": (P384, POINT.raw, "not the length of its kind"),
    "a compressed point": (P256, b"\x02" + POINT.raw[1:33], "is compressed"),
    "a hybrid point": (P256, b"\x06" + POINT.raw[1:], "is compressed"),
}


@pytest.mark.parametrize("case", BAD_BYTES)
def test_bytes_that_are_no_key_of_their_kind_are_refused(case: str) -> None:
    kind, raw, reason = BAD_BYTES[case]
    require_refused(lambda: public_keys.of(kind, raw, "it"), reason)


def test_a_weak_ed25519_key_is_refused_in_every_form() -> None:
    weak = PublicKey(ED25519, WEAK)
    forms: list[Callable[[], object]] = [
        lambda: public_keys.of(ED25519, WEAK, "it"),
        lambda: public_keys.parse_spki(public_keys.spki(weak), "it"),
        lambda: public_keys.parse_pem(public_keys.pem(weak), "it"),
        lambda: public_keys.parse_openssh(ED25519, public_keys.openssh(weak).split()[1], "it"),
    ]
    for form in forms:
        with pytest.raises(Malformed, match="small order") as found:
            form()
        assert found.value.code == "malformed-key"


BAD_SPKI = {
    "nothing": (b"", "neither Ed25519 nor ECDSA"),
    "cut off": (SPKI[:-1], "neither Ed25519 nor ECDSA"),
    "a byte more": (SPKI + b"\0", "neither Ed25519 nor ECDSA"),
    "a prefix alone": (SPKI[:-65], "neither Ed25519 nor ECDSA"),
    "another curve": (
        ec.derive_private_key(7, ec.SECP256K1())
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "neither Ed25519 nor ECDSA",
    ),
    "a hybrid point": (SPKI[:-65] + b"\x07" + SPKI[-64:], "is compressed"),
}


@pytest.mark.parametrize("case", BAD_SPKI)
def test_der_that_is_no_known_key_is_refused(case: str) -> None:
    data, reason = BAD_SPKI[case]
    require_refused(lambda: public_keys.parse_spki(data, "it"), reason)


BAD_PEM = {
    "no block": (b"hello", "not one PEM block"),
    "too large": (public_keys.pem(OWN) + b" " * public_keys.PEM_BYTES, "not one PEM block"),
    "base64 without its padding": (
        b"-----BEGIN PUBLIC KEY-----\nAAA\n-----END PUBLIC KEY-----\n",
        "canonical spelling",
    ),
    "base64 in another spelling": (
        b"-----BEGIN PUBLIC KEY-----\nAAB=\n-----END PUBLIC KEY-----\n",
        "canonical spelling",
    ),
    "no key in it": (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "neither Ed25519"),
}


@pytest.mark.parametrize("case", BAD_PEM)
def test_pem_that_is_no_known_key_is_refused(case: str) -> None:
    data, reason = BAD_PEM[case]
    require_refused(lambda: public_keys.parse_pem(data, "it"), reason)


BAD_OPENSSH = {
    "a kind that is not known": ("ssh-rsa", BLOB, "'ssh-rsa' is neither Ed25519 nor ECDSA"),
    "a key of a security token": ("sk-ssh-ed25519@openssh.com", BLOB, "neither Ed25519 nor ECDSA"),
    "no blob": (ED25519, "", "canonical spelling"),
    "characters that are not base64": (ED25519, "*" + BLOB[1:], "canonical spelling"),
    "characters that are not ASCII": (ED25519, "é" + BLOB[1:], "canonical spelling"),
    "a blob without its padding": (ED25519, BLOB[:-1], "canonical spelling"),
    "a blob cut off": (ED25519, BLOB[:-4], "not that of its kind"),
    "a blob with more behind it": (ED25519, BLOB + "AAAA", "not that of its kind"),
    "a blob shorter than a key": (ED25519, "AAAA", "not that of its kind"),
    "a blob of another kind": (P256, BLOB, "not that of its kind"),
    "a hybrid point": (
        P256,
        public_keys.openssh(PublicKey(P256, b"\x06" + POINT.raw[1:])).split()[1],
        "is compressed",
    ),
}


@pytest.mark.parametrize("case", BAD_OPENSSH)
def test_fields_that_are_no_openssh_key_are_refused(case: str) -> None:
    kind, text, reason = BAD_OPENSSH[case]
    require_refused(lambda: public_keys.parse_openssh(kind, text, "it"), reason)


def test_an_ed25519_key_is_written_as_a_minisign_key_file() -> None:
    comment, line, rest = public_keys.minisign(OWN).split("\n")
    decoded = base64.b64decode(line, validate=True)
    number = int.from_bytes(decoded[2:10], "little")
    assert (decoded[:2], decoded[10:], rest) == (b"Ed", OWN.raw, "")
    assert decoded[2:10].hex() == OWN.key_id[:16]
    assert comment == f"untrusted comment: minisign public key {number:016X}"


def test_a_key_that_minisign_has_no_form_for_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="Ed25519 keys only"):
        public_keys.minisign(POINT)
