"""Pull many models, each into a folder of its own below one; each appears whole, or not at all."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from vault.actions import bulk_channels, bulk_journal, pulling, resolving
from vault.actions.bulk_channels import Many
from vault.actions.bulk_references import Item
from vault.actions.bulk_results import ALREADY, DONE, Batch, Done
from vault.actions.journal import Journal
from vault.actions.session import Session
from vault.core.names import Reference
from vault.errors import Conflict, NotFound, Unavailable

_TAKEN: Final = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}


def pull_all(
    session: Session, many: Many, destination: Path, *, zipped: bool, state: Path | None
) -> Batch[Path]:
    """Pull each model into MODEL, or MODEL.zip, below `destination`; what an earlier run pulled is left.

    Raises:
        Conflict: another run pulls into the same folder.
        ValueError, NotFound, NoUsableKey, Refused, Unavailable: nothing can be done at all.
        bulk_results.Interrupted.
    """
    place = Path(os.path.abspath(destination))
    what = {"verb": "pull", "place": str(place), "zip": zipped}
    path = bulk_journal.place(state, session.pin, "pull", f"{place}\n{zipped}")
    with _alone(place):
        journal = bulk_journal.begin(path, what, now=session.clock())
        whole = False
        try:

            def work(ready: Session, item: Item) -> Done[Path]:
                return _pulled(ready, journal, item, place, zipped=zipped)

            found = bulk_channels.over(session, many, work)
            whole = found.whole
            return replace(found, began=journal.began)
        finally:
            journal.end(whole=whole)


def _pulled(session: Session, journal: Journal, item: Item, place: Path, *, zipped: bool) -> Done[Path]:
    target = place / (f"{item.model}.zip" if zipped else item.model)
    earlier = journal.done.get(item.model)
    if earlier is not None and _is_there(session, item.reference, target, earlier):
        return Done(item.model, str(item), ALREADY, target)
    _check_free(target)
    manifest = _manifest(session, item.reference)
    draft = target.with_name(f".{target.name}.part")
    _remove(draft)  # of a run that was killed
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        pulling.pull(session, item.reference, draft, zipped=zipped)
        # Before it has its name, so that a kill leaves nothing there that nobody knows of.
        journal.add(item.model, {"manifest": manifest, "files": _files(draft)})
        (os.link if zipped else os.rename)(draft, target)
    except OSError as error:
        if error.errno in _TAKEN:
            raise _taken(target) from None
        raise Unavailable(f"{target} cannot be made: {error.strerror}.", subject=str(target)) from None
    finally:
        _remove(draft)
    return Done(item.model, str(item), DONE, target)


def _remove(draft: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        if draft.is_symlink() or not draft.is_dir():
            draft.unlink()
        else:
            shutil.rmtree(draft, ignore_errors=True)


def _check_free(target: Path) -> None:
    """Look before anything is decrypted; what comes meanwhile is not overwritten either.

    Raises:
        Conflict: there is something.
    """
    if target.is_dir() and not target.is_symlink() and not any(target.iterdir()):
        return
    if os.path.lexists(target):
        raise _taken(target)


def _taken(target: Path) -> Conflict:
    return Conflict(
        f"{target} exists and was left as it is.",
        subject=str(target),
        hint="Pull into another folder, or move that one away first.",
    )


def _manifest(session: Session, reference: Reference) -> str:
    resolved = session.resolve(resolving.environment_of(session, reference))
    return resolving.identify(session, resolved, reference).digest


def _is_there(session: Session, reference: Reference, target: Path, found: Mapping[str, Any]) -> bool:
    """Tell whether what an earlier run pulled is what is meant now, and lies there as it left it.

    Raises:
        Refused, Unavailable: what is meant now cannot be told.
    """
    try:
        return found.get("manifest") == _manifest(session, reference) and found.get("files") == _files(target)
    except (NotFound, OSError):
        return False


def _files(target: Path) -> dict[str, list[int]]:
    """List the files of a folder, or one file, with size and time of the last change."""
    listed = [target] if target.is_file() else sorted(path for path in target.rglob("*") if path.is_file())
    found = {}
    for path in listed:
        status = path.lstat()
        found["" if path == target else path.relative_to(target).as_posix()] = [
            status.st_size,
            status.st_mtime_ns,
        ]
    return found


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Have the folder to oneself while the run lasts; where it cannot be locked, nothing is promised.

    Raises:
        Conflict: another run is at it.
        Unavailable: the folder cannot be made.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileExistsError:
        raise _taken(place) from None
    except OSError as error:
        raise Unavailable(f"{place} cannot be made: {error.strerror}.", subject=str(place)) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"Another run pulls into {place}.",
                subject=str(place),
                hint="Wait until it has ended; then run the same command again: it pulls what is left.",
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)
