"""Look at the identity files of a user, take one in, change a passphrase, pass a public half on."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vault.actions import local_files
from vault.actions.init import Joining
from vault.actions.opening import passphrases
from vault.core import ed25519, identity_format, limits, public_identity
from vault.core.key_services import SigningKeyId
from vault.core.names import Principal
from vault.core.public_identity import PublicIdentity
from vault.errors import Conflict, Malformed, NoUsableKey, Unavailable
from vault.keys import identity_file, passphrase, recipients
from vault.settings import IDENTITY_FILE, Settings


@dataclass(frozen=True, slots=True)
class IdentityRow:
    """What anybody who reads an identity file learns; nothing secret.

    `key_id` is the SHA-256 of the Ed25519 key in hexadecimal, `kind` that of
    the age key, None where there is none, `protected` whether the file has a
    passphrase. `signer` is the key that signs, where that is in a service.
    """

    path: Path
    name: str
    key_id: str
    recipient: str | None
    kind: str | None
    protected: bool
    signer: SigningKeyId | None = None


def describe(path: Path) -> IdentityRow:
    """Read what is public in an identity file; no passphrase is needed.

    Raises:
        NoUsableKey: there is no such file, or it cannot be read.
        Malformed: it is no identity file (`malformed-identity`), or its age key is none (`malformed-key`).
    """
    found = identity_file.read_public(path)
    kind = None if found.recipient is None else recipients.parse_recipient(found.recipient).kind
    return IdentityRow(path, found.name, found.key_id, found.recipient, kind, found.protected, found.signer)


def listed(found: Settings) -> Sequence[IdentityRow]:
    """List the identity files of the user's configuration folder, and the one that the settings name.

    Files that are no identity are left out: the folder holds others too.

    Raises:
        Unavailable: the folder cannot be read.
    """
    candidates = []
    if found.config_dir is not None:
        try:
            candidates = sorted(entry for entry in found.config_dir.iterdir() if entry.suffix == ".json")
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise Unavailable(
                f"{found.config_dir} cannot be read: {error.strerror}.", subject=str(found.config_dir)
            ) from None
    if found.identity is not None and found.identity not in candidates:
        candidates.append(found.identity)
    rows = []
    for path in candidates:
        try:
            rows.append(describe(path))
        except (Malformed, NoUsableKey):
            continue
    return rows


def public_half(path: Path) -> PublicIdentity:
    """Give what may be passed on of an identity file; no passphrase is needed.

    Raises:
        NoUsableKey: there is no such file, or it cannot be read.
        Malformed: `malformed-identity`.
    """
    found = identity_file.read_public(path)
    return PublicIdentity(found.name, ed25519.PublicKey.parse(found.public), found.recipient)


def joining(path: Path, name: Principal) -> Joining:
    """Read a public identity that somebody passed on, as a principal called `name`.

    Raises:
        NotFound, Unavailable: it is not there, or cannot be read.
        Malformed: `malformed-identity`.
        ValueError: it is no regular file.
    """
    with local_files.view(path) as whole:
        found = public_identity.parse(bytes(whole[: limits.IDENTITY_FILE_BYTES + 1]), str(path))
    return Joining(name, found.public.raw, found.recipient)


def change_passphrase(path: Path, found: Settings, *, new_file: Path | None, protect: bool) -> IdentityRow:
    """Give an identity file another passphrase; the old one is asked for as the settings say.

    The new one is read from `new_file`, else asked for twice, empty for none; without `protect` there is
    none. Copies of the file keep the passphrase that they have.

    Raises:
        Conflict: the file was changed meanwhile.
        NoUsableKey: there is no such file, the old passphrase is wrong, or no new one is to be had.
        Malformed: it is no identity file (`malformed-identity`).
        Unavailable: it cannot be replaced; it is as it was.
    """
    source = passphrase.source(file=new_file)

    def new(identity: identity_file.Identity) -> bytes | None:
        if not protect:
            return None
        try:
            return source.create(f"the identity {identity.name}")
        except NoUsableKey as error:
            raise NoUsableKey(
                f"There is no new passphrase: {error.message[0].lower()}{error.message[1:]}",
                subject=error.subject,
                hint="Type it at a terminal, or use --new-passphrase-file or --no-passphrase.",
            ) from None

    identity_file.protect(path, passphrases(found), new)
    return describe(path)


def take_in(source: Path, found: Settings) -> Path:
    """Copy an identity file into the user's configuration folder; give where it is now.

    It becomes the user's own identity where there is none yet, else
    `identity-NAME.json`.

    Raises:
        Conflict: an identity of that name is there already; nothing was changed.
        NotFound, Unavailable: the file is not there or cannot be read, or the copy not written.
        NoUsableKey: there is no configuration folder.
        Malformed: `malformed-identity`.
        ValueError: it is no regular file.
    """
    if found.config_dir is None:
        raise NoUsableKey(
            "There is no configuration folder to keep an identity in.",
            hint="Set MVAULT_CONFIG_DIR, or use the file where it is: MVAULT_IDENTITY, --identity.",
        )
    with local_files.view(source) as whole:
        data = bytes(whole[: limits.IDENTITY_FILE_BYTES + 1])
    document = identity_format.parse(data, str(source))
    own = found.config_dir / IDENTITY_FILE
    place = own if not own.exists() else found.config_dir / f"identity-{document.name}.json"
    create_file(place, data)
    return place


def create_file(place: Path, data: bytes) -> None:
    """Write a new file that its owner alone may read, durably; never over another.

    Raises:
        Conflict: there is one; it is left as it was.
        Unavailable: it cannot be written.
    """
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except FileExistsError:
        raise Conflict(
            f"{place} exists and was left as it is.",
            subject=str(place),
            hint="Choose another name, or move that file away first.",
        ) from None
    except OSError as error:
        raise Unavailable(
            f"{place} cannot be written: {error.strerror}.",
            code="storage-denied",
            subject=str(place),
            hint="Name another place, one that you may write to.",
        ) from None
