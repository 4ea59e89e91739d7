"""Chains of certificates: only what leads to a trusted root, holds now and may do what it does here."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from tests.oms_parts import compatibility, person, refused
from vault.errors import Refused
from vault.keys import certificates
from vault.keys.certificates import Holder, leaf_key, make_leaf, make_root, to_pem, verify_chain

NOW = 1_800_000_000
DAY = 86_400
ANNA, BEN = person("anna"), person("ben")
Extension = tuple[x509.ExtensionType, bool]
CA: tuple[Extension, ...] = ((x509.BasicConstraints(ca=True, path_length=None), True),)


def usage(**given: bool) -> x509.KeyUsage:
    names = (
        *(
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
        ),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{**dict.fromkeys(names, False), **given})


SIGNS: tuple[Extension, ...] = ((usage(digital_signature=True), True),)


class Named:
    """A name with a key, who issues certificates."""

    def __init__(self, name: str, key: Any = None) -> None:
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = key or ec.generate_private_key(ec.SECP256R1())

    def issue(
        self,
        other: "Named",
        extensions: Sequence[Extension] = CA,
        days: tuple[int, int] = (-10, 10),
        algorithm: Any = hashes.SHA256(),  # noqa: B008
    ) -> bytes:
        """Certify somebody's key; give the certificate in DER."""
        built = (
            x509.CertificateBuilder()
            .subject_name(other.name)
            .issuer_name(self.name)
            .public_key(other.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.fromtimestamp(NOW, UTC) + timedelta(days=days[0]))
            .not_valid_after(datetime.fromtimestamp(NOW, UTC) + timedelta(days=days[1]))
        )
        for extension, critical in extensions:
            built = built.add_extension(extension, critical)
        return built.sign(self.key, algorithm).public_bytes(Encoding.DER)


ROOT, MIDDLE, LEAF = Named("root"), Named("middle"), Named("leaf")
ROOT_CERTIFICATE = ROOT.issue(ROOT)


def chain(
    leaf: Sequence[Extension] = SIGNS, middle: Sequence[Extension] = CA, **more: Any
) -> tuple[bytes, bytes]:
    return MIDDLE.issue(LEAF, leaf, **more), ROOT.issue(MIDDLE, middle)


def answer(found: Sequence[bytes], roots: Sequence[bytes] = (ROOT_CERTIFICATE,), now: int = NOW) -> str:
    """Give whose leaf it is, or the code of the refusal."""
    try:
        return verify_chain(found, roots, now=now, subject="it")
    except Refused as refusal:
        return refusal.code


def test_a_chain_that_leads_to_the_root_is_its_leafs() -> None:
    assert answer(chain()) == "CN=leaf"
    leaf, middle = chain()
    assert answer((leaf,), (ROOT_CERTIFICATE, middle)) == "CN=leaf"
    assert answer((leaf, ROOT_CERTIFICATE, middle)) == "CN=leaf"
    assert answer((leaf, middle), (ROOT.issue(Named("other")), ROOT_CERTIFICATE)) == "CN=leaf"


def test_a_leaf_may_be_trusted_itself() -> None:
    alone = LEAF.issue(LEAF, SIGNS)
    assert answer((alone,), (alone,)) == "CN=leaf"
    assert answer((LEAF.issue(LEAF, SIGNS),), (alone,)) == "untrusted-signer"


CODE_SIGNING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
CONSTRAINED = x509.NameConstraints([x509.DNSName("example.com")], None)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
BAD: dict[str, tuple[Sequence[bytes], str]] = {
    "a leaf that may do nothing": (chain(((usage(key_encipherment=True), True),)), "untrusted-signer"),
    "a leaf that says nothing": (chain(()), "untrusted-signer"),
    "a leaf for servers": (chain((*SIGNS, (SERVER, False))), "untrusted-signer"),
    "a leaf with a critical unknown": (chain((*SIGNS, (UNKNOWN, True))), "untrusted-signer"),
    "an issuer with a critical unknown": (chain(middle=(*CA, (UNKNOWN, True))), "untrusted-signer"),
    "an issuer that is none": (
        chain(middle=((x509.BasicConstraints(ca=False, path_length=None), True),)),
        "untrusted-signer",
    ),
    "an issuer that says nothing": (chain(middle=()), "untrusted-signer"),
    "an issuer that may not issue": (chain(middle=(*CA, *SIGNS)), "untrusted-signer"),
    "an issuer of some names": (chain(middle=(*CA, (CONSTRAINED, True))), "untrusted-signer"),
    "an expired leaf": (chain(days=(-10, -1)), "expired"),
    "a leaf of tomorrow": (chain(days=(1, 10)), "expired"),
    "an expired issuer": ((MIDDLE.issue(LEAF, SIGNS), ROOT.issue(MIDDLE, CA, (-10, -1))), "expired"),
    "no issuer": ((MIDDLE.issue(LEAF, SIGNS),), "untrusted-signer"),
    "another of the issuer's name": (
        (MIDDLE.issue(LEAF, SIGNS), ROOT.issue(Named("middle"))),
        "untrusted-signer",
    ),
    "another of the root's name": ((Named("root").issue(LEAF, SIGNS),), "untrusted-signer"),
    "nothing": ((b"",), "malformed-key"),
    "no certificate": ((b"\x30\x03\x02\x01\x01",), "malformed-key"),
    "bytes after it": ((chain()[0] + b"x", chain()[1]), "malformed-key"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_chain_is_refused(kind: str) -> None:
    found, code = BAD[kind]
    assert answer(found) == code


def test_what_else_makes_a_leaf_fit_to_sign() -> None:
    assert answer(chain(((CODE_SIGNING, False),))) == "CN=leaf"
    assert answer(chain((*SIGNS, (CODE_SIGNING, True)))) == "CN=leaf"


def test_an_expired_root_is_no_root() -> None:
    expired = ROOT.issue(ROOT, CA, (-10, -1))
    assert answer(chain(), (expired,)) == "expired"
    assert answer(chain(), (expired, ROOT_CERTIFICATE)) == "CN=leaf"


def test_a_chain_is_as_long_as_its_issuers_allow() -> None:
    short = ROOT.issue(ROOT, ((x509.BasicConstraints(ca=True, path_length=0), True),))
    assert answer(chain(), (short,)) == "untrusted-signer"
    people = [Named(f"n{number}") for number in range(9)]
    links = [people[at + 1].issue(people[at], CA if at else SIGNS) for at in range(8)]
    top = people[8].issue(people[8])
    assert answer(links, (top,)) == "untrusted-signer"
    assert answer(links[:7], (people[7].issue(people[7]),)) == "CN=n0"


def test_many_who_certify_each_other_cost_little() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    crowd = [Named("middle", key).issue(Named("middle", key)) for _ in range(7)]
    assert answer((Named("middle", key).issue(LEAF, SIGNS), *crowd)) == "untrusted-signer"


def test_weak_algorithms_certify_nothing() -> None:
    small = Named("root", rsa.generate_private_key(65_537, 1_024))
    assert answer((small.issue(LEAF, SIGNS),), (small.issue(small),)) == "untrusted-signer"
    sound = Named("root", rsa.generate_private_key(65_537, 2_048))
    assert answer((sound.issue(LEAF, SIGNS),), (sound.issue(sound),)) == "CN=leaf"


def test_ed25519_may_certify() -> None:
    root = Named("root", ed25519.Ed25519PrivateKey.generate())
    leaf = root.issue(LEAF, SIGNS, algorithm=None)
    assert answer((leaf,), (root.issue(root, algorithm=None),)) == "CN=leaf"


# --- an identity's own ---


def holder(who: Any) -> Holder:
    return Holder(who.name, who.public, who.created, who.sign)


def test_the_root_of_an_identity_is_the_same_bytes_every_time() -> None:
    root = make_root(holder(ANNA))
    assert root == make_root(holder(ANNA)) != make_root(holder(BEN))
    assert certificates.parse_pem(to_pem(root), "it") == (root,)


def test_the_leaf_of_an_identity_is_valid_for_its_days_under_its_root() -> None:
    key = compatibility(ANNA).public
    leaf = make_leaf(holder(ANNA), key, now=NOW, days=30)
    assert leaf_key((leaf,), "it") == key
    root = make_root(holder(ANNA))
    assert answer((leaf, root), (root,)) == "CN=anna (models)"
    assert answer((leaf, root), (root,), NOW + 31 * DAY) == "expired"
    assert answer((leaf, root), (root,), NOW - DAY) == "expired"
    assert answer((leaf, root), (make_root(holder(BEN)),)) == "untrusted-signer"


def test_an_identity_hands_no_private_key_to_the_library() -> None:
    key = certificates._Signing(ANNA.public, ANNA.sign)
    for take in (key.private_bytes_raw, key.private_bytes):
        with pytest.raises(TypeError):
            take()


@given(st.binary(max_size=400))
def test_any_bytes_are_certificates_or_refused(data: bytes) -> None:
    assert refused(lambda: leaf_key((data,), "it")) == "malformed-key"
    assert (
        refused(lambda: verify_chain((data,), (ROOT_CERTIFICATE,), now=NOW, subject="it")) == "malformed-key"
    )
    assert refused(lambda: certificates.parse_pem(data, "it")) == "malformed-key"


def test_a_leaf_with_any_byte_changed_is_refused() -> None:
    leaf, middle = chain()
    # Nobody signs how many bits of the signature's last byte are unused, and the library does not mind.
    unused = len(leaf) - len(x509.load_der_x509_certificate(leaf).signature) - 1
    for at in set(range(len(leaf))) - {unused}:
        for change in (1, 2, 1 << at % 8, 255):
            spoiled = bytearray(leaf)
            spoiled[at] ^= change
            assert answer((bytes(spoiled), middle)) in {"untrusted-signer", "malformed-key"}, (at, change)
