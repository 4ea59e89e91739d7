"""Gather whom to trust: files of allowed signers, public identities, keys and root certificates."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault.actions import local_files
from vault.core import limits, oms_signers, public_identity, public_keys
from vault.core.oms_signers import Trusted, TrustedKey
from vault.core.public_keys import ED25519, PublicKey
from vault.errors import Malformed, Unavailable
from vault.settings import Settings

Trust = str | os.PathLike[str] | bytes | TrustedKey  # a file, what such a file holds, or one key
ALLOWED_SIGNERS: Final = "allowed_signers"  # in the user's configuration folder


@dataclass(frozen=True, slots=True)
class TrustedParties:
    """Keys of people, and roots under which a certificate counts (DER); the latter for `oms` alone."""

    keys: Trusted
    roots: tuple[bytes, ...] = ()


def gather(given: Trust | Sequence[Trust] | None, settings: Settings, *, strict: bool) -> TrustedParties:
    """Read what a caller trusts; None means the user's own file `allowed_signers`.

    Raises:
        ValueError: nobody is trusted; or with `strict` a bare key or a root certificate, which names
            no person.
        NotFound, Unavailable: a file is not there, or cannot be read.
        Malformed: `malformed-trust`, `malformed-key`, `malformed-identity` or `too-large`.
    """
    keys: list[TrustedKey] = []
    roots: list[bytes] = []
    for entry in _entries(given, settings):
        if isinstance(entry, TrustedKey):
            keys.append(entry)
            continue
        data, subject = _read(entry)
        if b"-----BEGIN CERTIFICATE-----" in data:
            from vault.keys import certificates

            _only_oms(strict, subject, "a root certificate")
            roots += certificates.parse_pem(data, subject)
        else:
            keys += _keys(data, subject, strict)
    if not keys and not roots:
        raise ValueError(
            "Nobody is trusted to sign. Name a file of keys: --trusted FILE; see docs/signing.md."
        )
    return TrustedParties(Trusted(tuple(_sound(keys))), tuple(roots))


def _entries(given: Trust | Sequence[Trust] | None, settings: Settings) -> Iterable[Trust]:
    if given is None:
        own = None if settings.config_dir is None else settings.config_dir / ALLOWED_SIGNERS
        return [own] if own is not None and own.exists() else []
    if isinstance(given, str | os.PathLike | bytes | TrustedKey):
        return [given]
    return given


def _read(entry: str | os.PathLike[str] | bytes) -> tuple[bytes, str]:
    if isinstance(entry, bytes):
        return entry, "the trusted keys"
    with local_files.view(Path(entry)) as whole:
        if len(whole) > limits.OMS_TRUSTED_BYTES:
            raise Malformed(
                f"{entry} is larger than {limits.OMS_TRUSTED_BYTES:,} bytes.",
                code="too-large",
                subject=str(entry),
            )
        return bytes(whole), str(entry)


def _keys(data: bytes, subject: str, strict: bool) -> Sequence[TrustedKey]:
    if data.lstrip().startswith(b"{"):
        found = public_identity.parse(data, subject)
        return [TrustedKey(found.name, PublicKey(ED25519, found.public.raw))]
    if b"-----BEGIN " in data:
        _only_oms(strict, subject, "a bare key")
        key = public_keys.parse_pem(data, subject)
        return [TrustedKey(f"sha256:{key.key_id}", key)]
    return oms_signers.parse(data, subject)


def _only_oms(strict: bool, subject: str, what: str) -> None:
    if strict:
        raise ValueError(
            f"{subject} is {what}, which says of nobody that it is theirs. List the key with a name "
            "(docs/signing.md), or use --profile oms."
        )


def _sound(keys: Iterable[TrustedKey]) -> Iterable[TrustedKey]:
    for entry in keys:
        if entry.key.kind != ED25519:
            from vault.keys import ecdsa

            ecdsa.check(entry.key, f"The key of {entry.person}")
        yield entry


def verifies(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Tell whether `signature` is the key's over `message`."""
    if key.kind == ED25519:
        from vault.core import ed25519

        return ed25519.verify(key.raw, signature, message)
    from vault.keys import ecdsa

    return ecdsa.verify(key, signature, message)


def read_bundle(path: Path) -> tuple[bytes, os.stat_result]:
    """Read a bundle, and tell which file it was.

    Raises:
        NotFound: there is none.
        Malformed: it is a link, a folder or a device, or larger than a bundle may be.
        Unavailable: it cannot be read.
    """
    try:
        with local_files.descriptor(path) as (opened, size):
            if size > limits.OMS_BUNDLE_BYTES:
                raise Malformed(
                    f"{path} has {size:,} bytes; at most {limits.OMS_BUNDLE_BYTES:,} are read.",
                    code="too-large",
                    subject=str(path),
                )
            data = os.pread(opened, size + 1, 0)
            return data, os.fstat(opened)
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", subject=str(path)) from None
    except ValueError:
        raise Malformed(
            f"{path} is no regular file, and no signature.",
            code="malformed-envelope",
            subject=str(path),
            hint="Look at what was put there.",
        ) from None
