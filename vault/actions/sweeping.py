"""Delete what interrupted publications left behind: two looks, a grace period apart.

What lies in the folder of a version that has no manifest, in no log and in no memory,
is noted in a signed notice; what was noted long enough ago, and is still of no
version, is deleted. The store sweeps what it has of its own: parts of objects that
never got a name.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from vault.actions import auditing, checking, logged, objects, removing, resolving, reviewing_indexing
from vault.actions.reviewing_indexing import Indexed
from vault.actions.session import Session
from vault.core import envelope, layout, leftovers, limits, memory_format, names, removal
from vault.core.in_force import Context, Signed
from vault.core.leftovers import Notice
from vault.core.names import Digest, Model, Reference, Version
from vault.core.retention import Duration
from vault.core.stages import Resolved
from vault.core.trust import Skipped
from vault.errors import NotFound, Refused, Unavailable, VaultError
from vault.ports import Store, SweepsLeftovers
from vault.storage.apart import ApartStore

_LOGGED = (
    "SELECT DISTINCT model.name, version.name FROM entries "
    "JOIN words AS model ON model.number = entries.model "
    "JOIN words AS version ON version.number = entries.version "
    "JOIN words AS action ON action.number = entries.action WHERE action.name IN ('publish', 'promote')"
)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A version that was never finished: what lies in its folder, and since when that is known."""

    model: Model
    version: Version
    names: tuple[str, ...]
    since: str | None  # None: it was not noted before

    @property
    def subject(self) -> str:
        """The version as `name:version`."""
        return f"{self.model}:{self.version}"


@dataclass(slots=True)
class Swept:
    """What was found and done; `parts` counts what the store itself swept, `kept` says what must stay."""

    noted: list[Unfinished] = field(default_factory=list)
    waiting: list[Unfinished] = field(default_factory=list)
    deleted: list[Unfinished] = field(default_factory=list)
    kept: list[Skipped] = field(default_factory=list)
    failed: list[Skipped] = field(default_factory=list)
    objects: int = 0
    parts: int = 0


def sweep(session: Session, state: Path | None, grace: Duration, *, dry_run: bool = False) -> Swept:
    """Note what interrupted publications left, and delete what was noted a grace period ago.

    Raises:
        Refused, NotFound, Unavailable, NoUsableKey: the vault, or its logs, cannot be read.
    """
    with auditing.acting(session, removal.ACTION, "leftovers", session.environment):
        resolved = session.resolve(session.environment)
        if not dry_run:
            logged.demand(session, resolved.rule)
        done = Swept()
        known = _published(session, state)
        notices = _notices(session, resolved.context)
        now = session.clock()
        for model, version in _folders(session, resolved, known, done):
            try:
                subject = Reference(model, version=version)
                with auditing.acting(session, removal.ACTION, subject, session.environment):
                    found = _noted(session, model, version, notices)
                    _settle(session, resolved, found, grace, now, done, dry_run=dry_run)
            except VaultError as error:
                done.failed.append(Skipped(f"{model}:{version}", error.message, error.code))
        if not dry_run:
            _forget(session, notices, done)
            older = now - _start(grace, now)
            for store in _stores(session.store):
                try:
                    done.parts += _sweep_store(store, older, now)
                except VaultError as error:  # as where whoever may delete may not list unfinished uploads
                    done.failed.append(Skipped(store.location, error.message, error.code))
        return done


def _start(grace: Duration, now: int) -> int:
    """Give the moment a grace period ago."""
    found = grace.before(now)
    return 0 if found is None else max(found, 0)


def _published(session: Session, state: Path | None) -> frozenset[tuple[str, str]]:
    """Give every version that a log says was published or promoted.

    Raises:
        Unavailable, LogInconsistent: a log cannot be read, so nobody knows.
    """
    place = None if session.audit is None else session.audit.state or state
    indexed = Indexed(session, reviewing_indexing.folder(session, place))
    with closing(indexed.index) as index:
        indexed.refresh()
        for error in indexed.troubles.values():
            raise error
        return frozenset((model, version) for model, version in index.rows(_LOGGED))


def _folders(
    session: Session, resolved: Resolved, published: frozenset[tuple[str, str]], done: Swept
) -> Iterator[tuple[Model, Version]]:
    """List the folders of versions that have no manifest, and of which nobody knows that they had one."""
    for model in checking.models(session):
        for version in resolving.version_names(session, model):
            subject = f"{model}:{version}"
            if _exists(session.store, layout.manifest(model, version)):
                continue
            if (model, version) in published:
                reason = "it was published, as a log says, and its manifest is gone: restore it"
            elif memory_format.version_key(model, version) in resolved.remembered.versions:
                reason = "this client has seen it, and its manifest is gone: restore it"
            else:
                yield model, version
                continue
            done.kept.append(Skipped(subject, reason, "not-found"))


def _exists(store: Store, name: str) -> bool:
    try:
        store.stat(name)
    except NotFound:
        return False
    return True


def _notices(session: Session, context: Context) -> list[tuple[str, Signed[Notice]]]:
    """Read the notices that count, with their names; what is not named after its content is a stranger's."""
    found = []
    for name in islice(session.store.list(layout.LEFTOVERS), limits.APPROVAL_NAMES):
        if not layout.is_hold(name.removeprefix(layout.LEFTOVERS)):
            continue
        try:
            data = objects.read_listed(session.store, name, limit=limits.ENVELOPE_BYTES)
        except Refused:
            continue
        if layout.fits_content(name, envelope.digest(data)):
            judged = leftovers.judge(context, name, data)
            if isinstance(judged, Signed):
                found.append((name, judged))
    return found


def _noted(
    session: Session, model: Model, version: Version, notices: list[tuple[str, Signed[Notice]]]
) -> dict[str, str | None]:
    """Give everything in a version's folder that may be swept, each with the first time that it was noted."""
    listed = session.store.list(layout.version(model, version))
    since: dict[str, str | None] = {
        name: None for name in listed if leftovers.may_be_swept(name, model, version)
    }
    for _, notice in notices:
        if (notice.record.model, notice.record.version) == (model, version):
            for name in notice.record.names:
                known = since.get(name)
                if name in since and (known is None or notice.record.created < known):
                    since[name] = notice.record.created
    return since


def _settle(
    session: Session,
    resolved: Resolved,
    found: dict[str, str | None],
    grace: Duration,
    now: int,
    done: Swept,
    *,
    dry_run: bool,
) -> None:
    """Delete what was noted long enough ago, wait for what was noted since, and note the rest."""
    if not found:
        return
    model, version = _of(next(iter(found)))
    due, waits, new = [], [], []
    for name, since in sorted(found.items()):
        if since is None:
            new.append(name)
        elif names.timestamp(since) <= _start(grace, now):
            due.append(name)
        else:
            waits.append(name)
    if not dry_run:
        removing.authorise(session, resolved, removal.ACTION, model)
    if due:
        gone = _delete(session, model, version, due) if not dry_run else due
        done.objects += len(gone)
        done.deleted.append(Unfinished(model, version, tuple(gone), min(str(found[name]) for name in due)))
    if waits:
        since_then = min(str(found[name]) for name in waits)
        done.waiting.append(Unfinished(model, version, tuple(waits), since_then))
    if new:
        if not dry_run:
            for start in range(0, len(new), limits.LEFTOVER_NAMES):
                _note(session, resolved, model, version, new[start : start + limits.LEFTOVER_NAMES])
        done.noted.append(Unfinished(model, version, tuple(new), None))


def _of(name: str) -> tuple[Model, Version]:
    """Give the version in whose folder an object lies."""
    model, _, rest = name.removeprefix(layout.MODELS).partition(f"/{layout.MARK}/")
    return names.model(model), names.version(rest.split("/", 1)[0])


def _delete(session: Session, model: Model, version: Version, due: list[str]) -> list[str]:
    """Delete leftovers, unless the version was finished meanwhile.

    Raises:
        Unavailable: the store let something not go.
    """
    gone = []
    for name in due:
        if _exists(session.store, layout.manifest(model, version)):
            break
        session.store.delete(name)
        gone.append(name)
    left = {*session.store.list(layout.version(model, version))}
    kept = [name for name in gone if name in left]
    if kept:
        raise Unavailable(
            f"The store keeps {len(kept)} of {len(gone)} leftovers, though it was asked to delete them: "
            f"{kept[0]}.",
            code="storage-denied",
            subject=f"{model}:{version}",
            hint="A lock or a retention rule of the store holds them. Sweep again once it has ended.",
        )
    return gone


def _note(session: Session, resolved: Resolved, model: Model, version: Version, seen: list[str]) -> None:
    record = Notice(
        vault=resolved.context.vault,
        policy=resolved.context.policy_id,
        model=model,
        version=version,
        names=tuple(seen),
        created=session.now(),
    )
    identity = session.identity
    signer = [(Digest(identity.key_id), identity.sign)]
    data = envelope.serialise(envelope.sign(leftovers.KIND, leftovers.encode(record), signer))
    objects.create(session.store, layout.leftovers(envelope.digest(data)), data)


def _forget(session: Session, notices: list[tuple[str, Signed[Notice]]], done: Swept) -> None:
    """Delete the notices of which nothing is left; where nobody may delete, they do no harm."""
    waiting = {name for entry in (*done.waiting, *done.noted) for name in entry.names}
    failed = {entry.name for entry in done.failed}
    for name, notice in notices:
        subject = f"{notice.record.model}:{notice.record.version}"
        if subject not in failed and waiting.isdisjoint(notice.record.names):
            try:
                session.store.delete(name)
            except Unavailable as error:
                done.failed.append(Skipped(name, error.message, error.code))


def _stores(store: Store) -> tuple[Store, ...]:
    """Give the stores that a vault lies in."""
    inner: Store = getattr(store, "inner", store)  # behind what asks ahead
    return (inner.main, *inner.apart.values()) if isinstance(inner, ApartStore) else (inner,)


def _sweep_store(store: Store, older_than_seconds: int, now: int) -> int:
    return store.sweep_leftovers(older_than_seconds, now) if isinstance(store, SweepsLeftovers) else 0
