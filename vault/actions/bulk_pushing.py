"""Publish many models, files or live ones, each once, however often the run is interrupted.

A run is known by its name: the path of a table, or what its caller says. Before
a version becomes visible a line with its manifest's digest is on this machine's
disk, so the next run of that name tells what is published from what is not.
"""

import errno
import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from vault.actions import bulk, bulk_journal, bulk_results, provenance, resolving
from vault.actions.bulk_results import ALREADY, DONE, WOULD, Batch, Done, Run
from vault.actions.journal import Journal
from vault.actions.session import Session
from vault.core import names
from vault.core.names import Model, Reference
from vault.core.stages import Verified
from vault.errors import Malformed, NotFound, Refused, VaultError

_BLOCK: Final = 1 << 20

Publish = Callable[[Session], Reference]


@dataclass(frozen=True, slots=True)
class Publishing:
    """One model to publish: `publish` does it, with the session it is given.

    `token` tells this one from others of the same model, and from itself with other
    content; None where that cannot be told, so that it is published in any case.
    """

    model: Model
    token: Callable[[], str | None]
    publish: Publish
    dry: Callable[[Session], None]
    version: str | None = None  # None: the next one


@dataclass(frozen=True, slots=True)
class Many:
    """How a run is called, how many threads it has, and whether it only looks."""

    verb: str
    run: str | None
    threads: int | None = None
    dry_run: bool = False


def publish_all(
    session: Session, items: Sequence[Publishing], many: Many, *, state: Path | None
) -> Batch[Reference]:
    """Publish all of them; what an earlier run of that name published, and is still so, is left.

    Raises:
        Conflict: another run of that name is under way on this machine.
        ValueError, NoUsableKey, NotFound, Refused, Unavailable: nothing can be done at all.
        bulk_results.Interrupted.
    """
    _check_once(items)
    threads = bulk.threads_for(session, many.threads)
    known = provenance.known(Path.cwd())
    ready = replace(bulk.worker(session), one_by_one=threading.Lock(), provenance=known)
    path = None
    if many.run is not None and not many.dry_run:
        path = bulk_journal.place(state, session.pin, many.verb, many.run)
    how: Run[Publishing] = Run(
        lambda item: (item.model, item.model), threads=threads, progress=session.progress
    )
    with bulk_journal.alone(path, f"{many.verb} of {many.run}"):
        what = {"verb": many.verb, "environment": session.environment, "run": many.run}
        journal = bulk_journal.begin(path, what, now=session.clock())
        whole = False
        try:
            if many.dry_run:
                return bulk_results.gather(items, lambda item: _looked(ready, item), how)
            found = bulk_results.gather(items, lambda item: _published(ready, journal, item), how)
            whole = found.whole
            return replace(found, began=journal.began)
        finally:
            journal.end(whole=whole)


def _check_once(items: Sequence[Publishing]) -> None:
    """Demand that no model stands there twice, but with versions that are named.

    Raises:
        ValueError: which of them would come first?
    """
    seen: dict[Model, set[str | None]] = {}
    for item in items:
        versions = seen.setdefault(item.model, set())
        if versions and (item.version in versions or None in (*versions, item.version)):
            raise ValueError(f"{item.model} is there twice: leave one out, or name the version of each.")
        versions.add(item.version)


def _looked(session: Session, item: Publishing) -> Done[Reference]:
    item.dry(session)
    return Done(item.model, item.model, WOULD, None)


def _published(session: Session, journal: Journal, item: Publishing) -> Done[Reference]:
    token = item.token() if journal.kept else None
    key = "" if token is None else f"{item.model} {token}"
    there = _published_before(session, item.model, journal.done.get(key)) if key else None
    if there is not None:
        return Done(item.model, str(there), ALREADY, None)

    def signed(verified: Verified) -> None:
        manifest = verified.manifest
        if key and manifest.model == item.model:
            journal.add(key, {"version": manifest.version, "manifest": verified.digest})

    done = item.publish(replace(session, signed=signed))
    return Done(item.model, str(done), DONE, done)


def _published_before(session: Session, model: Model, found: Mapping[str, Any] | None) -> Reference | None:
    """Give the version that an earlier run was about to publish, if it is there, and is that very one."""
    if found is None:
        return None
    with suppress(Malformed, KeyError, TypeError):
        reference = Reference(model, version=names.version(found["version"]))
        digest = names.digest(found["manifest"])
        with suppress(NotFound, Refused):
            resolved = session.resolve(session.environment)
            if resolving.identify(session, resolved, reference).digest == digest:
                return reference
    return None


def token_of(fields: Mapping[str, Any], paths: Iterable[str]) -> str | None:
    """Tell what is pushed from anything else: SHA-256 of what is said of it, and of the files themselves.

    None where a file cannot be read: whoever packages it says why.
    """
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True, default=str).encode())
    try:
        for path in paths:
            for name, file in _files(path):
                digest.update(json.dumps(name).encode())
                with open(file, "rb", opener=_nofollow) as opened:
                    while block := opened.read(_BLOCK):
                        digest.update(len(block).to_bytes(4, "big") + block)
                digest.update(b"\0")
    except OSError:
        return None
    return digest.hexdigest()


def _nofollow(path: str, flags: int) -> int:
    """Open a file, and nothing that never ends.

    Raises:
        OSError: it is no file.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "It is no file")
    return descriptor


def _files(path: str) -> Iterator[tuple[str, str]]:
    """Give the files below a path, in order, by their names from there on."""
    if not os.path.isdir(path) or os.path.islink(path):
        yield "", path
        return
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            file = os.path.join(folder, name)
            yield os.path.relpath(file, path), file


def trained(name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Have a caller's function make a model; whatever goes wrong in it is about this model alone.

    Raises:
        ValueError: it raised something, which is the cause of this.
        VaultError: it raised that.
    """
    try:
        return dict(make())
    except VaultError:
        raise
    except Exception as error:
        raise ValueError(f"{name} was not made: {type(error).__name__}: {error}") from error
