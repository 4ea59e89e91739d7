"""The root of trust: its document, its chain, and which root is in force (docs/format.md, "Root").

Numbered checks follow The Update Framework's client workflow, section 5.3,
where this document has a counterpart.
"""

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from vault.core import ed25519, envelope, limits, names, strict_json
from vault.core.fields import Fields, base64_bytes, hexadecimal, malformed, time
from vault.errors import DigestMismatch, Refused, UntrustedSigner

KIND = "root"


@dataclass(frozen=True, slots=True)
class RootKey:
    """One key that votes on roots and policies, and whose it is."""

    name: names.Principal
    public: bytes  # 32 raw bytes

    @property
    def key_id(self) -> names.Digest:
        """The SHA-256 of the key."""
        return names.Digest(ed25519.key_id(self.public))


@dataclass(frozen=True, slots=True)
class Root:
    """Who votes on policies and on the next root, and how many of them it takes."""

    version: int
    vault: names.Digest | None  # None in version 1, whose digest is the vault's id
    prev: names.Digest | None
    created: str
    expires: str | None
    threshold: int
    keys: tuple[RootKey, ...]
    nonce: bytes  # 16 bytes: two vaults of one owner never share an id


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """A root that is in force, with its digest and the vault that it founds."""

    root: Root
    digest: names.Digest
    vault: names.Digest


@dataclass(frozen=True, slots=True)
class Skipped:
    """An object that was looked at and is treated as absent, and why; `check` reports it."""

    name: str
    reason: str
    code: str


def encode(root: Root) -> bytes:
    """Write the payload of a root."""
    return strict_json.encode(
        {
            "created": root.created,
            "expires": root.expires,
            "keys": [
                {"name": key.name, "public": base64.b64encode(key.public).decode("ascii")}
                for key in root.keys
            ],
            "nonce": root.nonce.hex(),
            "prev": root.prev,
            "threshold": root.threshold,
            "vault": root.vault,
            "version": root.version,
        }
    )


def parse(payload: bytes, subject: str) -> Root:
    """Parse the payload of a root, after its signatures were checked.

    Raises:
        Malformed: a field is missing, unknown, of another shape, or a key is weak.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    root = Root(
        created=fields.text("created", time),
        expires=fields.optional("expires", time),
        keys=fields.objects("keys", _key, limits.ROOT_KEYS),
        nonce=fields.text("nonce", hexadecimal(16)),
        prev=fields.optional("prev", names.digest),
        threshold=fields.integer("threshold", 1, limits.ROOT_KEYS),
        vault=fields.optional("vault", names.digest),
        version=fields.integer("version", 1),
    )
    fields.done()
    if len({key.key_id for key in root.keys}) != len(root.keys):
        raise malformed(subject, "a key is listed twice")
    if len({key.name for key in root.keys}) < root.threshold:
        raise malformed(subject, "its threshold is higher than the number of its people")
    if (root.version == 1) != (root.vault is None) or (root.version == 1) != (root.prev is None):
        raise malformed(subject, "only version 1 has no vault and no predecessor")
    return root


def _key(fields: Fields) -> RootKey:
    public = fields.text("public", base64_bytes)
    ed25519.PublicKey.parse(public)
    return RootKey(fields.text("name", names.principal), public)


def keys_by_id(root: Root) -> Mapping[names.Digest, bytes]:
    """Give the root's keys by their ids."""
    return {key.key_id: key.public for key in root.keys}


def voters(root: Root, sealed: envelope.Envelope) -> frozenset[names.Principal]:
    """Give the people of a root who have signed, each once however many keys they hold."""
    found = envelope.signers(sealed, keys_by_id(root))
    return frozenset(key.name for key in root.keys if key.key_id in found)


def require_threshold(root: Root, sealed: envelope.Envelope, subject: str) -> None:
    """Demand signatures by the root's threshold of different people.

    Each person counts once, however many keys the root lists for them.

    Raises:
        Unsigned, UntrustedSigner, BadSignature: nobody whom the root lists has signed.
        UntrustedSigner: too few have (`threshold-not-met`).
    """
    found = envelope.require_signer(sealed, keys_by_id(root), subject)
    people = {key.name for key in root.keys if key.key_id in found}
    if len(people) < root.threshold:
        raise UntrustedSigner(
            f"{subject} is signed by {len(people)} of the {root.threshold} root holders that it takes.",
            code="threshold-not-met",
            subject=subject,
            hint="Ask the other root holders to sign it.",
        )


def verify_first(data: bytes, pin: names.Digest) -> TrustedRoot:
    """Verify root 1 against the pinned digest, which alone makes it trusted.

    Raises:
        DigestMismatch: it is another vault's root.
        Refused: it is not signed by its own threshold, or malformed.
    """
    subject = "root 1"
    sealed = envelope.parse(data, kind=KIND, subject=subject)
    if not envelope.same_digest(sealed.digest, pin):
        raise DigestMismatch(
            f"This is not the vault that was pinned: its root is sha256:{sealed.digest}, "
            f"the pin is sha256:{pin}.",
            subject=subject,
            hint="Ask the vault's owner for the fingerprint before you trust it again.",
        )
    root = parse(sealed.payload, subject)
    if root.version != 1:
        raise malformed(subject, "the first root has version 1")
    require_threshold(root, sealed, subject)
    return TrustedRoot(root, pin, pin)


def verify_next(current: TrustedRoot, number: int, data: bytes) -> TrustedRoot:
    """Verify a successor: it is signed by a threshold of the old root and of itself (TUF 5.3.4).

    Raises:
        Refused: it is not the successor of `current`, or too few have signed.
    """
    subject = f"root {number}"
    sealed = envelope.parse(data, kind=KIND, subject=subject)
    require_threshold(current.root, sealed, subject)
    root = parse(sealed.payload, subject)
    require_threshold(root, sealed, subject)
    if root.version != number or root.vault != current.vault or root.prev != current.digest:  # TUF 5.3.5
        raise DigestMismatch(
            f"{subject} does not follow root {current.root.version} of this vault.",
            code="misplaced",
            subject=subject,
        )
    return TrustedRoot(root, sealed.digest, current.vault)


def root_in_force(
    pin: names.Digest, numbers: Iterable[int], read: Callable[[int], bytes]
) -> tuple[TrustedRoot, tuple[Skipped, ...]]:
    """Walk from the pinned root 1 to the newest successor; what is no successor is skipped.

    `numbers` are the numbers that the store lists, `read` gives the object of one.

    Raises:
        Refused: root 1 is not the pinned one.
        Unavailable: from `read`: a listed object that cannot be read is never taken for absent.
    """
    current = verify_first(read(1), pin)
    skipped = []
    for number in sorted(set(numbers)):
        if number <= 1:
            continue
        try:
            current = verify_next(current, number, read(number))
        except Refused as refusal:
            skipped.append(Skipped(f"root {number}", refusal.message, refusal.code))
    return current, tuple(skipped)
