"""Back up the keys themselves: sheets to print, keys out of typed sheets, and the word that it was done."""

import os
from dataclasses import dataclass
from pathlib import Path

from vault import memory
from vault.actions import opening, recovery_notes, restoring_recovery
from vault.actions.session import Session
from vault.core import key_sheet, limits, names
from vault.core.key_sheet import IDENTITY, RECOVERY, Sheet
from vault.core.names import Digest
from vault.errors import Conflict, Malformed, NotFound, NoUsableKey, Refused, Unavailable
from vault.keys import identity_file, recipients
from vault.settings import Settings
from vault.storage.opening import open_store

_WIDTH = 78


@dataclass(frozen=True, slots=True)
class Printed:
    """A sheet, ready to be printed: its lines, what it holds, and of which vault."""

    lines: tuple[str, ...]
    kind: str
    vault: Digest


def recovery_files(found: Settings) -> list[Path]:
    """List the recovery identities that still lie where `init` wrote them."""
    if found.config_dir is None or not found.config_dir.is_dir():
        return []
    return sorted(found.config_dir.glob("recovery-*.txt"))


def vault_of(found: Settings) -> Digest:
    """Give the id of the vault that the settings name, by this machine's pin of it; nothing is read.

    Raises:
        ValueError: none is named.
        Refused: it is not trusted here.
    """
    if found.vault is None:
        raise ValueError("No vault is named. Give --vault LOCATION, or set MVAULT_VAULT.")
    if found.trust is not None:
        return opening.read_trust_file(found.trust).vault
    store = open_store(found.vault)
    pin = memory.Pins(found.config_dir).get(store.location)
    if pin is None:
        raise Refused(
            f"{store.location} is not trusted on this machine.",
            code="not-trusted",
            subject=store.location,
            hint="Ask its owner for the fingerprint, then: mvault trust LOCATION --root sha256:…",
        )
    return Digest(pin.root)


def recovery_sheet(found: Settings, path: Path | None) -> Printed:
    """Make the sheet of a recovery identity: the one at `path`, or the one that lies where `init` wrote it.

    Raises:
        NotFound, NoUsableKey: there is none, or several, so that `path` must say which.
        Conflict: its file says that it is of another vault.
        Refused, Unavailable, ValueError.
    """
    vault = vault_of(found)
    if path is None:
        path = _only(found, vault)
    key = restoring_recovery.read(path)
    if key.vault is not None and key.vault != vault:
        raise Conflict(
            f"{path} is the recovery key of another vault, sha256:{key.vault}.",
            subject=str(path),
            hint="Name that vault: --vault LOCATION",
        )
    sheet = Sheet(RECOVERY, vault, key.identity.encode().encode("ascii"))
    return _printed(sheet, "Whoever holds this sheet can read every model of this vault, and sign nothing.")


def _only(found: Settings, vault: Digest) -> Path:
    listed = recovery_files(found)
    mine = [path for path in listed if restoring_recovery.read(path).vault == vault] or listed
    if len(mine) != 1:
        raise NotFound(
            "There is no recovery key where init writes it."
            if not mine
            else f"There are {len(mine)} recovery keys here.",
            subject=str(found.config_dir),
            hint="Say which file it is: mvault recovery print FILE",
        )
    return mine[0]


def identity_sheet(found: Settings) -> Printed:
    """Make the sheet of this user's identity file, encrypted as it is.

    Raises:
        NoUsableKey: there is none, or it is not protected by a passphrase.
        Refused, Unavailable, ValueError.
    """
    vault = vault_of(found)
    path = found.identity
    if path is None or not path.exists():
        raise NoUsableKey("There is no identity file here.", hint="Say where it is: --identity FILE")
    public = identity_file.read_public(path)
    try:
        with path.open("rb") as file:
            data = file.read(limits.IDENTITY_FILE_BYTES + 1)
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", subject=str(path)) from None
    note = f"The identity of {public.name}. Its passphrase is not on this sheet, and is needed with it."
    if b'"protection":{"kind":"none"}' in data:
        note = f"The identity of {public.name}, WITHOUT a passphrase: whoever holds this sheet has it."
    return _printed(Sheet(IDENTITY, vault, data), note)


def _printed(sheet: Sheet, note: str) -> Printed:
    body = key_sheet.encode(sheet)
    back = "mvault recovery read SHEET.txt --output FILE"
    around = [
        note,
        "Keep it where paper is safe, in two places. To use it, type it into a text file: the",
        f"lines from Holds to Check. Then: {back}",
        "Spaces and the case of letters do not matter; every line has a check at its end.",
    ]
    if sheet.kind == RECOVERY:
        around.append(
            "Without mvault: the numbered lines, without numbers, spaces and the last three characters of"
        )
        around.append("each, are one age identity; README.txt in the vault says how to use it.")
    return Printed((body[0], "", *around, "", *body[1:]), sheet.kind, sheet.vault)


def read_sheet(path: Path, output: Path) -> Sheet:
    """Make a key file out of a typed sheet; nothing is overwritten, and only this user may read it.

    Raises:
        NotFound, Unavailable: `path` cannot be read, or `output` not written.
        Malformed: the sheet has a mistake; the message says in which line.
        Conflict: there is a file at `output`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(4 * limits.IDENTITY_FILE_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"There is no file {path}.", subject=str(path)) from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", subject=str(path)) from None
    sheet = key_sheet.parse(data.decode("utf-8", "replace"), str(path))
    content = sheet.data
    if sheet.kind == RECOVERY:
        line = recipients.parse_identity(sheet.data.decode("ascii")).encode()
        content = f"# Recovery identity, typed from a sheet.\n# Vault: sha256:{sheet.vault}\n{line}\n".encode(
            "ascii"
        )
    elif not content.startswith(b"{"):
        raise Malformed(f"{path} holds no identity file.", code="malformed-identity", subject=str(path))
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            target.write(content)
            target.flush()
            os.fsync(target.fileno())
    except FileExistsError:
        raise Conflict(f"{output} exists and was left as it is.", subject=str(output)) from None
    except OSError as error:
        raise Unavailable(f"{output} cannot be written: {error.strerror}.", subject=str(output)) from None
    return sheet


# --- the word that it was done ---


def confirm(found: Settings, now: int) -> str:
    """Note that the keys of the vault are kept elsewhere; give the day.

    Raises:
        Refused, Unavailable, ValueError.
    """
    day = names.time_text(now)
    recovery_notes.note(found, vault_of(found), keys=day)
    return day


def missing(session: Session, found: Settings) -> str:
    """Say what is at stake while no key backup is noted, to who holds a key of the root; else nothing.

    Raises:
        Refused, NotFound, Unavailable: the trust documents cannot be had.
    """
    if session.unlock is None or recovery_notes.of(found, session.pin).keys is not None:
        return ""
    held = found.identity
    if held is None or not held.exists():
        return ""
    key_id = identity_file.read_public(held).key_id
    if key_id not in {names.Digest(key.key_id) for key in session.trust().root.root.keys}:
        return ""
    return (
        "Nobody has said that this vault's keys are kept anywhere but here. If this disk dies, so do they, "
        "and every model with them. Print them: mvault recovery print; mvault identity backup. "
        "Then say so: mvault recovery confirm"
    )


def remind(session: Session, found: Settings) -> str:
    """Give what `missing` says, once for each vault on this machine; nothing that goes wrong matters."""
    try:
        if recovery_notes.of(found, session.pin).told is not None:
            return ""
        told = missing(session, found)
        if told:
            recovery_notes.note(found, session.pin, told=session.now())
    except (Refused, NotFound, Unavailable):
        return ""
    return told
