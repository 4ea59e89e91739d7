"""Certificates for signatures beside files: an identity's own root and leaf, and chains made by others.

An identity's root is the same bytes every time: its Ed25519 key signs it without randomness, and nothing
in it depends on when it was made. Chains are checked as RFC 5280, section 6, asks, as far as signing
models needs it; what it does not need (name constraints, any other critical extension) is refused.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vault.core import limits, public_keys
from vault.core.public_keys import PublicKey
from vault.errors import Expired, Malformed, Refused, UntrustedSigner

T = TypeVar("T", bound=x509.ExtensionType)

VALID_DAYS: Final = 1_825

_FOREVER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # RFC 5280, 4.1.2.5: no known end
_CHECKED: Final = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage)  # may be critical
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_RSA_BITS: Final = 2_048
_SEARCHED: Final = 100  # signatures looked at before a chain is given up
# What the library raises for certificates that it cannot read.
_BROKEN: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class _Signing(ed25519.Ed25519PrivateKey):
    """An identity as the library's own builder of certificates wants a key; it hands nothing out."""

    def __init__(self, public: bytes, sign: Callable[[bytes], bytes]) -> None:
        self._public = ed25519.Ed25519PublicKey.from_public_bytes(public)
        self._sign = sign

    def public_key(self) -> ed25519.Ed25519PublicKey:
        return self._public

    def sign(self, data: object) -> bytes:
        return self._sign(bytes(data))  # type: ignore[call-overload]

    def private_bytes(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("An identity gives no private key away")

    def private_bytes_raw(self) -> NoReturn:
        raise TypeError("An identity gives no private key away")

    def __copy__(self) -> "_Signing":
        return self

    def __deepcopy__(self, memo: object) -> "_Signing":
        return self


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose root it is: name, Ed25519 key, when the identity was made (seconds), and what signs with it."""

    name: str
    public: bytes
    created: int
    sign: Callable[[bytes], bytes]


def make_root(holder: Holder) -> bytes:
    """Give the self-signed certificate of an identity's Ed25519 key, in DER."""
    name = _name(holder.name)
    key = _Signing(holder.public, holder.sign)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(_serial(b"mvault root", holder.public))
        .not_valid_before(datetime.fromtimestamp(holder.created, UTC))
        .not_valid_after(_FOREVER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier(hashlib.sha256(holder.public).digest()[:20]), critical=False)
        .sign(key, None)
    )
    return built.public_bytes(Encoding.DER)


def make_leaf(holder: Holder, key: PublicKey, *, now: int, days: int = VALID_DAYS) -> bytes:
    """Give the certificate of an identity's P-256 key under its root, valid for `days` from `now`, in DER."""
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.raw)
    start = datetime.fromtimestamp(max(now, holder.created), UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(_name(f"{holder.name} (models)"))
        .issuer_name(_name(holder.name))
        .public_key(point)
        .serial_number(_serial(b"mvault leaf %d %d" % (now, days), key.raw))
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier(hashlib.sha256(holder.public).digest()[:20], None, None),
            critical=False,
        )
        .sign(_Signing(holder.public, holder.sign), None)
    )
    return built.public_bytes(Encoding.DER)


def _serial(what: bytes, key: bytes) -> int:
    return int.from_bytes(hashlib.sha256(what + b" " + key).digest()[:16], "big") | 1


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def to_pem(der: bytes) -> bytes:
    """Give a certificate in PEM."""
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def parse_pem(data: bytes, subject: str) -> tuple[bytes, ...]:
    """Read the certificates of a PEM file; give each in DER.

    Raises:
        Malformed: `malformed-key`.
    """
    try:
        found = x509.load_pem_x509_certificates(data)
    except _BROKEN as error:
        raise _broken(subject) from error
    return tuple(entry.public_bytes(Encoding.DER) for entry in found)


def leaf_key(chain: Sequence[bytes], subject: str) -> PublicKey:
    """Give the ECDSA key of a chain's first certificate, of which nothing is believed yet.

    Raises:
        Malformed: `malformed-key`.
    """
    return _key(_load(chain[0], subject), subject)


def verify_chain(chain: Sequence[bytes], roots: Sequence[bytes], *, now: int, subject: str) -> str:
    """Check that a chain in DER, leaf first, leads to one of `roots` and holds now; give whose leaf it is.

    Raises:
        Expired: a certificate on the way is not valid at `now` (seconds since 1970).
        UntrustedSigner: it leads to no root, or a certificate may not do what it does here.
        Malformed: `malformed-key`: a certificate cannot be read.
    """
    leaf, *pool = [_load(entry, subject) for entry in chain]
    anchors = [_load(entry, subject) for entry in roots]
    reasons: list[Refused] = []
    try:
        _check_leaf(leaf, subject)
        for path in _paths(leaf, pool, anchors):
            try:
                _check_path(path, datetime.fromtimestamp(now, UTC), subject)
            except Refused as reason:
                reasons.append(reason)
            else:
                return leaf.subject.rfc4514_string()
    except _BROKEN as error:
        raise _broken(subject) from error
    if reasons:
        raise reasons[0]
    raise UntrustedSigner(
        f"The certificate in {subject} leads to no root that you trust.",
        subject=subject,
        hint="Give the root certificate of its issuer: --trusted root.pem",
    )


def _load(data: bytes, subject: str) -> x509.Certificate:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what the library will refuse one day, such as a negative number
            return x509.load_der_x509_certificate(data)
    except (*_BROKEN, Warning) as error:
        raise _broken(subject) from error


def _key(leaf: x509.Certificate, subject: str) -> PublicKey:
    try:
        public = leaf.public_key()
        data = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except _BROKEN as error:
        raise _broken(subject) from error
    return public_keys.parse_spki(data, f"The certificate in {subject}")


def _paths(
    leaf: x509.Certificate, pool: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate]
) -> Iterator[list[x509.Certificate]]:
    """Give the ways from the leaf up to an anchor, each signature on the way verified."""
    searched = 0
    waiting = [[leaf]]
    while waiting:
        path = waiting.pop()
        if path[-1] in anchors:
            yield path
            continue
        for issuer in (*pool, *anchors):
            if issuer in path or issuer.subject != path[-1].issuer:
                continue
            searched += 1
            if searched > _SEARCHED:
                return
            if len(path) < limits.OMS_CERTIFICATES and _issued(path[-1], issuer):
                waiting.append([*path, issuer])


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether `issuer`'s key signed it, with an algorithm that is sound."""
    key = issuer.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _RSA_BITS:
        return False
    algorithm = certificate.signature_hash_algorithm  # None for Ed25519
    if algorithm is None:
        if not isinstance(key, ed25519.Ed25519PublicKey):
            return False
    elif not isinstance(algorithm, _HASHES):
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *_BROKEN):
        return False
    return True


def _check_path(path: Sequence[x509.Certificate], now: datetime, subject: str) -> None:
    for place, entry in enumerate(path):
        who = entry.subject.rfc4514_string()[:80]
        if not entry.not_valid_before_utc <= now <= entry.not_valid_after_utc:
            raise Expired(
                f"The certificate of {who} in {subject} is valid from {entry.not_valid_before_utc:%Y-%m-%d} "
                f"to {entry.not_valid_after_utc:%Y-%m-%d}.",
                subject=subject,
                hint="Have the model signed anew.",
            )
        for extension in entry.extensions:
            unknown = extension.critical and not isinstance(extension.value, _CHECKED)
            if unknown or isinstance(extension.value, x509.NameConstraints):
                raise _may_not(
                    who, f"demands something that is not checked here ({extension.oid._name})", subject
                )
        if place:
            _check_authority(entry, place - 1, who, subject)


def _check_authority(entry: x509.Certificate, below: int, who: str, subject: str) -> None:
    """See that a certificate may issue others, with `below` more between it and the leaf."""
    basic = _extension(entry, x509.BasicConstraints)
    if basic is None or not basic.ca:
        raise _may_not(who, "may not issue certificates", subject)
    if basic.path_length is not None and basic.path_length < below:
        raise _may_not(who, "may not issue so long a chain", subject)
    usage = _extension(entry, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise _may_not(who, "may not issue certificates", subject)


def _check_leaf(leaf: x509.Certificate, subject: str) -> None:
    """See that the key may sign: for signatures by its usage, and not for something else alone."""
    who = leaf.subject.rfc4514_string()[:80]
    usage = _extension(leaf, x509.KeyUsage)
    purposes = _extension(leaf, x509.ExtendedKeyUsage)
    fit = purposes is not None and ExtendedKeyUsageOID.CODE_SIGNING in purposes
    if (
        (usage is None and not fit)
        or (usage is not None and not usage.digital_signature)
        or (purposes is not None and not fit and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in purposes)
    ):
        raise _may_not(who, "is not for signing code or models", subject)


def _extension(entry: x509.Certificate, kind: type[T]) -> T | None:
    try:
        return entry.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _may_not(who: str, what: str, subject: str) -> UntrustedSigner:
    return UntrustedSigner(f"The certificate of {who} in {subject} {what}.", subject=subject)


def _broken(subject: str) -> Malformed:
    return Malformed(
        f"A certificate in {subject} cannot be read.",
        code="malformed-key",
        subject=subject,
        hint="It is X.509; a file holds it in PEM, as -----BEGIN CERTIFICATE-----.",
    )
