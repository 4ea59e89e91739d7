"""Give the public keys of an identity in the forms of other tools."""

from pathlib import Path
from typing import Final

from vault.actions import identities
from vault.actions.signing import unlocked
from vault.core import public_keys
from vault.core.oms_signers import NAMESPACE
from vault.core.public_keys import ED25519, PublicKey
from vault.keys import ecdsa
from vault.settings import Settings

FORMS: Final = ("identity", "pem", "openssh", "minisign", "signers", "certificate")


def export(path: Path, form: str, *, compatibility: bool, settings: Settings) -> bytes:
    """Write the public half of the identity in a file, as one of `FORMS`.

    `signers` is a line for a file of trusted keys, `certificate` its root certificate. With
    `compatibility` it is the ECDSA P-256 key. That one and the certificate are computed from the private
    key, so the identity is unlocked; otherwise no passphrase is needed.

    Raises:
        NoUsableKey: there is no such file, it cannot be read, or not be unlocked.
        Malformed: `malformed-identity`.
        ValueError: the identity has no such form of that key.
    """
    if form not in FORMS or (compatibility and form not in ("pem", "openssh", "signers")):
        raise ValueError(
            f"The P-256 key has the forms pem, openssh and signers; {form!r} is none of its forms."
        )
    found = identities.public_half(path)
    if form == "certificate":
        from vault.keys import certificates

        held = unlocked(path, settings)
        root = certificates.Holder(held.name, held.public, held.created, held.sign)
        return certificates.to_pem(certificates.make_root(root))
    key = PublicKey(ED25519, found.public.raw)
    if compatibility:
        held = unlocked(path, settings)
        key = ecdsa.from_secret(held.expand(ecdsa.DERIVATION, ecdsa.DERIVED_BYTES)).public
    if form == "pem":
        return public_keys.pem(key)
    if form == "minisign":
        return public_keys.minisign(key).encode("ascii")
    if form == "openssh":
        return f"{public_keys.openssh(key)} {found.name}\n".encode()
    return f'{found.name} namespaces="{NAMESPACE}" {public_keys.openssh(key)}\n'.encode()
