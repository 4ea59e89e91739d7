"""Keep what a witness refused, and the last that it signed: two signed histories tell who wrote both."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Final

from vault.actions.session import Session
from vault.core import limits
from vault.core.log_chain import Head
from vault.core.log_names import Log
from vault.errors import VaultError
from vault.locked_file import LockedFile, unwritable

_COMMITS: Final = 16  # kept from where memory ends, and as many from the log's end
_NAME_DIGITS: Final = 16


def note_of(session: Session, log: Log, head: Head, place: Path) -> None:
    """Keep the signed checkpoint that was cosigned, in the place of the one before.

    Raises:
        Unavailable: the store failed, or the folder cannot be written.
    """
    from vault.audit.reading import certified_note, read_commit
    from vault.core import log_commit

    commit = log_commit.parse(read_commit(session.store, log, head.number), str(log))
    _write(_folder(place, log) / "cosigned", certified_note(commit).encode())


def keep(session: Session, log: Log, known: Head | None, error: VaultError, place: Path) -> Path:
    """Keep what the store offers of a log that was refused, once; give the folder.

    That is the reason, the `checkpoint`, and the commits from the last that is
    remembered on and at the log's end, as they lie there.

    Raises:
        Unavailable: the store failed, or the folder cannot be written.
    """
    found = _offered(session, log, known)
    digest = hashlib.sha256()
    for name, data in sorted(found.items()):
        digest.update(f"{name} {hashlib.sha256(data).hexdigest()}\n".encode())
    folder = _folder(place, log) / f"refused-{digest.hexdigest()[:_NAME_DIGITS]}"
    if not (folder / "reason.txt").exists():
        for name, data in found.items():
            _write(folder / name, data)
        remembered = "nothing" if known is None else f"{known.size} entries, root {known.root.hex()}"
        text = f"{session.now()} {log}\n{error.message}\nremembered: {remembered}\n"
        _write(folder / "reason.txt", text.encode())  # last: with it, all is there
    return folder


def _offered(session: Session, log: Log, known: Head | None) -> dict[str, bytes]:
    from vault.audit import reading

    numbers = reading.numbers(session.store, log, 0)
    after = [number for number in numbers if known is None or number >= known.number]
    found = {}
    for number in sorted({*after[:_COMMITS], *numbers[-_COMMITS:]}):
        try:
            found[f"commit-{number:06d}"] = session.store.read(
                log.commit(number), limit=limits.LOG_COMMIT_BYTES
            )
        except VaultError:
            continue  # whatever it is, it is no commit
    with suppress(VaultError):
        found["checkpoint"] = session.store.read(log.checkpoint, limit=limits.NOTE_BYTES)
    return found


def _folder(place: Path, log: Log) -> Path:
    return place / str(log).replace("/", "_")


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        LockedFile(path).replace(data)
    except OSError as error:
        raise unwritable(path, error) from None
