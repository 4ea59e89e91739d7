"""Make, save, read and unlock identity files: an Ed25519 signing key and an age identity.

What the bytes are: `vault/core/identity_format.py`. A file is written once,
readable by its owner alone, and never over another; only a new passphrase
replaces it, by one that was read back before.
"""

import errno
import os
import secrets
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vault.core import ed25519, identity_format, limits
from vault.core.identity_format import Argon2idCost, IdentityDocument, Protection, Secrets
from vault.core.key_services import SigningKeyId
from vault.errors import Conflict, NoUsableKey, Unavailable
from vault.keys.identity_file.held import DerivedKey as DerivedKey
from vault.keys.identity_file.held import Identity as Identity
from vault.keys.identity_file.held import PublicIdentity as PublicIdentity
from vault.keys.identity_file.held import Remote as Remote
from vault.keys.identity_file.held import new as new
from vault.ports import Random, SigningService

PassphraseSource = Callable[[str], bytes]  # what is to be unlocked -> its passphrase
SignerSource = Callable[[SigningKeyId, ed25519.PublicKey], SigningService]  # a key in a service -> who signs

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK})


def save(
    identity: Identity,
    path: Path,
    passphrase: bytes | None,
    *,
    cost: Argon2idCost | None = None,
    random: Random = secrets.token_bytes,
) -> None:
    """Write `identity` to a new file, mode 0600 from its first byte; folders above it are made.

    An empty passphrase or None leaves the file unprotected, as ssh-keygen does.
    `cost` is for tests and slow machines; the default is RFC 9106's.

    Raises:
        Conflict: `path` exists; it is left as it was.
        Unavailable: the folder cannot be written to, or is full.
        ValueError: the age keys are not bech32 text, or `cost` is out of bounds.
    """
    try:
        _create(path, _sealed(identity, passphrase, cost, random))
    except FileExistsError:
        raise Conflict(
            f"{path} exists and was left as it is.",
            subject=str(path),
            hint="Choose another name, or move that file away first.",
        ) from None
    except OSError as error:
        raise _unwritable(path, error) from None


def protect(
    path: Path,
    old: PassphraseSource,
    new: Callable[[Identity], bytes | None],
    *,
    cost: Argon2idCost | None = None,
    random: Random = secrets.token_bytes,
) -> Identity:
    """Give an identity file another passphrase, or none; the keys in it stay the same.

    `old` is asked as in `unlock`, then `new`, which gives an empty passphrase or None for none. The old
    file is there, whole, until the new one is on disk and was opened. The owner stays, and the mode, unless
    the passphrase is taken away: then nobody else may read the file.

    Raises:
        Conflict: the file was changed meanwhile; it is left as it is.
        NoUsableKey: there is no such file, it cannot be read, or the old passphrase is wrong.
        Malformed: `malformed-identity`.
        Unavailable: its folder cannot be written to, or is full; the file is left as it was.
    """
    place = Path(os.path.realpath(path))  # a link to it stays a link
    before, status = _read(place)
    identity = _open(identity_format.parse(before, str(path)), path, status, old, _unused)
    passphrase = new(identity)
    data = _sealed(identity, passphrase, cost, random)
    draft = place.with_name(f".mvault-{secrets.token_hex(8)}.tmp")
    try:
        _write_new(draft, data)
        try:
            _take_over(draft, status, protected=bool(passphrase))
            document = identity_format.parse(_read(draft)[0], str(path))
            identity_format.open_secrets(document, passphrase or b"", str(path))
            if _read(place)[0] != before:
                raise Conflict(
                    f"{path} was changed by somebody else meanwhile, and was left as it is.",
                    subject=str(path),
                )
            os.replace(draft, place)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(place.parent)
    except OSError as error:
        raise _unwritable(path, error) from None
    return identity


def _take_over(draft: Path, status: os.stat_result, *, protected: bool) -> None:
    """Give a new file the owner of the one that it replaces, and its mode if the content is protected."""
    made = os.stat(draft)
    if (made.st_uid, made.st_gid) != (status.st_uid, status.st_gid):
        os.chown(draft, status.st_uid, status.st_gid)
    os.chmod(draft, stat.S_IMODE(status.st_mode) if protected else 0o600)


def _sealed(identity: Identity, passphrase: bytes | None, cost: Argon2idCost | None, random: Random) -> bytes:
    protection = None
    if passphrase:
        protection = Protection(cost or Argon2idCost(), random(identity_format.SALT_BYTES))
    private = identity._private
    seed = None if isinstance(private, Remote) else private.private_bytes_raw()
    document = identity_format.seal(
        name=identity.name,
        public=identity.public_key,
        recipient=identity.recipient,
        secrets=Secrets(seed, identity.age_identity, identity.created),
        passphrase=passphrase or b"",
        protection=protection,
        nonce=random(identity_format.NONCE_BYTES),
        signer=private.key if isinstance(private, Remote) else None,
    )
    return identity_format.serialise(document)


def read_public(path: Path) -> PublicIdentity:
    """Read the public half of an identity file; no passphrase is needed, and nothing is verified by it.

    Raises:
        NoUsableKey: there is no such file, or it cannot be read.
        Malformed: `malformed-identity`.
    """
    document = identity_format.parse(_read(path)[0], str(path))
    return PublicIdentity(
        name=document.name,
        public=document.public.raw,
        key_id=document.public.key_id,
        recipient=document.recipient,
        protected=document.protection is not None,
        signer=document.signer,
    )


class _Unused:
    """Stands for a signing key in a service where nothing is signed."""

    def sign(self, message: bytes) -> bytes:
        raise NoUsableKey(f"The signing key of this identity is not used here, for {len(message)} bytes.")


def _unused(key: SigningKeyId, public: ed25519.PublicKey) -> SigningService:
    del key, public
    return _Unused()


def unlock(path: Path, passphrase: PassphraseSource, signer: SignerSource = _unused) -> Identity:
    """Open an identity file; once per process and file, so that Argon2id and the prompt run once.

    `passphrase` is called with the name to ask for, and only if the file is protected; `signer` gives
    what signs with a key in a service, and is called only where the file names one.

    Raises:
        NoUsableKey: there is no such file, it cannot be read, or the passphrase is wrong.
        Malformed: `malformed-identity`.
    """
    with _unlocking:
        data, status = _read(path)
        place = (str(path.resolve()), status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        found = _unlocked.get(place)
        if found is None:
            document = identity_format.parse(data, str(path))
            found = _open(document, path, status, passphrase, signer)
            while len(_unlocked) >= _UNLOCKED_MOST:
                del _unlocked[next(iter(_unlocked))]
            _unlocked[place] = found
        return found


_UNLOCKED_MOST = 16
_unlocking = threading.Lock()
_unlocked: dict[tuple[str, int, int, int, int], Identity] = {}


def _open(
    document: IdentityDocument,
    path: Path,
    status: os.stat_result,
    passphrase: PassphraseSource,
    signer: SignerSource,
) -> Identity:
    phrase = b""
    warnings: tuple[str, ...] = ()
    if document.protection is not None:
        phrase = passphrase(f"{document.name} ({path})")
    elif status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) and _holds_secrets(document):
        # A warning and no refusal: containers mount secrets with modes and owners of their own.
        warnings = (f"{path} has no passphrase and others may read it. Close it: chmod 600 {path}",)
    opened = identity_format.open_secrets(document, phrase, str(path))
    return Identity(
        name=document.name,
        public_key=document.public,
        recipient=document.recipient,
        created=opened.created,
        age_identity=opened.age_identity,
        _private=_signing_key(document, opened, signer),
        warnings=warnings,
    )


def _holds_secrets(document: IdentityDocument) -> bool:
    return document.signer is None or document.recipient is not None


def _signing_key(
    document: IdentityDocument, opened: Secrets, signer: SignerSource
) -> Ed25519PrivateKey | Remote:
    if document.signer is not None:
        return Remote(document.signer, signer(document.signer, document.public))
    if opened.seed is None:
        raise identity_format.damaged(document.name, "It has no signing key.")
    return Ed25519PrivateKey.from_private_bytes(opened.seed)


def _read(path: Path) -> tuple[bytes, os.stat_result]:
    try:
        # O_NONBLOCK: a pipe put where the file belongs must not hang the reader.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise identity_format.damaged(str(path), "It is not a regular file.")
            if status.st_size > limits.IDENTITY_FILE_BYTES:
                most = f"{limits.IDENTITY_FILE_BYTES:,}"
                raise identity_format.damaged(str(path), f"It is larger than {most} bytes.")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(limits.IDENTITY_FILE_BYTES + 1), status
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        reason, hint = "There is no identity at", "Make one: mvault identity new, or set MVAULT_IDENTITY."
    except OSError as error:
        reason, hint = f"The identity cannot be read ({error.strerror}):", "Check who owns it, and its mode."
    raise NoUsableKey(f"{reason} {path}.", subject=str(path), hint=hint)


def _create(path: Path, data: bytes) -> None:
    """Write a new file whole or not at all.

    Raises:
        FileExistsError: `path` exists.
        OSError: the file system refused; nothing was left behind.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:  # something above the file is no folder
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from error
    draft = path.with_name(f".mvault-{secrets.token_hex(8)}.tmp")
    _write_new(draft, data)
    try:
        os.link(draft, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _write_new(path, data)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write_new(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise


def _unwritable(path: Path, error: OSError) -> Unavailable:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        code, hint = "storage-full", "Make room there, then try again."
    else:
        code, hint = "storage-denied", "Name another place for the identity, one that you may write to."
    return Unavailable(
        f"The identity was not written to {path}: {error.strerror}.", code=code, subject=str(path), hint=hint
    )
