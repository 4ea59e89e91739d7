"""Gather what retention is decided by: versions, what needs them, and what is not known of them.

Whatever cannot be read, or does not verify, is a reason to keep: it is told as a
doubt, and nothing is removed for lack of an answer.
"""

import threading
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

from vault.actions import bulk, checking, holding, promote, recording, removing, resolving
from vault.actions.check_memory import GatheringMemory
from vault.actions.session import Session
from vault.core import channels, envelope, layout, manifest, memory_format, names, removal
from vault.core.channels import Entry, Slots
from vault.core.in_force import Channel, Signed
from vault.core.memory_format import Memory
from vault.core.names import Digest, Environment, Model, Version
from vault.core.removal import Removal
from vault.core.retention import Candidate
from vault.core.retention_plan import Ancestor, Known, Situation
from vault.core.stages import Resolved, Target, Verified
from vault.core.trust import Skipped
from vault.errors import NotFound, Refused, Rollback, Unavailable, VaultError


@dataclass(frozen=True, slots=True)
class Facts:
    """A vault as retention sees it: the situation, removals in force by manifest, and sizes in bytes.

    `skipped` is what does not count and that people ought to know of; `verified`
    are the versions by manifest.
    """

    situation: Situation
    removals: dict[Digest, Signed[Removal]]
    sizes: dict[Digest, int]
    verified: dict[Digest, Verified]
    newest: dict[tuple[Model, Environment], Version]  # what `main` of an environment uses
    skipped: tuple[Skipped, ...] = ()

    def known(self, digest: Digest) -> Known:
        """Give a version by its manifest, which is one of them."""
        return next(entry for entry in self.situation.versions if entry.manifest == digest)


@dataclass(slots=True)
class _OfModel:
    """What was found of one model."""

    listed: list[Version] = field(default_factory=list)
    versions: list[Known] = field(default_factory=list)
    removals: dict[Digest, Signed[Removal]] = field(default_factory=dict)
    sizes: dict[Digest, int] = field(default_factory=dict)
    verified: dict[Digest, Verified] = field(default_factory=dict)
    needed: dict[Digest, list[str]] = field(default_factory=dict)
    environments: dict[Digest, set[Environment]] = field(default_factory=dict)
    newest: dict[tuple[Model, Environment], Version] = field(default_factory=dict)
    orphans: dict[str, tuple[Ancestor, ...]] = field(default_factory=dict)
    unread: str = ""
    doubt: str = ""


class _SharedMemory:
    """A client's memory that several threads look at and add to; what was seen is kept until `flush`."""

    def __init__(self, inner: GatheringMemory) -> None:
        """Share `inner`."""
        self._inner = inner
        self._lock = threading.Lock()

    def load(self) -> Memory:
        """Give what is remembered."""
        with self._lock:
            return self._inner.load()

    def advance(self, seen: Memory) -> None:
        """Keep what was seen.

        Raises:
            Rollback: something was seen with other content under the same number.
            Refused, Unavailable: as `session.Remembering`.
        """
        with self._lock:
            self._inner.advance(seen)


def gather(
    session: Session, *, tags: bool = False, backups: Collection[str] = (), threads: int | None = None
) -> Facts:
    """Read the whole vault: every manifest, channel, removal and hold; with `tags`, those of each version.

    A version may be made from one of any other model, so all are read whatever is asked about.
    `backups` are those whose receipts are to be read.

    Raises:
        Rollback: `withheld`: the policy itself is.
        Refused, NotFound: the trust documents, or the holds, do not verify.
        Unavailable: the store does not answer.
    """
    gathered = GatheringMemory(session.memory, session.pin)
    shared = replace(bulk.worker(session), memory=_SharedMemory(gathered))
    listed = [*checking.models(session)]
    found: dict[Model, _OfModel] = {}
    try:
        for outcome in bulk.run(
            listed,
            lambda model: _of_model(shared, model, tags=tags),
            threads=bulk.threads_for(session, threads),
            progress=session.progress,
            total=len(listed),
            what="models",
        ):
            error = outcome.error
            if outcome.result is not None:
                found[outcome.item] = outcome.result
            elif bulk.is_end(error) or not isinstance(error, VaultError) or error.code == "withheld":
                raise error or Unavailable("The store does not answer.")
            else:
                found[outcome.item] = _OfModel(doubt=error.message, unread=f"{outcome.item} cannot be read")
        if len(found) < len(listed):
            raise Unavailable(
                f"Only {len(found)} of {len(listed)} models could be read, so nothing is removed.",
                subject=session.store.location,
                hint="Try again. What is wrong with each: mvault check --all",
            )
    finally:
        gathered.flush()
    return _together(session, found, _missing(session, found), backups)


def _missing(session: Session, found: dict[Model, _OfModel]) -> str:
    """Say which version this client has seen that is not listed any more: who knows what it came from."""
    listed = {f"{model}:{version}" for model, entry in found.items() for version in entry.listed}
    gone = sorted(session.memory.load().versions.keys() - listed)
    return f"{gone[0]} was here before and is gone: mvault check --all" if gone else ""


def _together(
    session: Session, found: dict[Model, _OfModel], missing: str, backups: Collection[str]
) -> Facts:
    context = session.trust().context
    held = holding.read(session, context)
    removals: dict[Digest, Signed[Removal]] = {}
    sizes: dict[Digest, int] = {}
    verified: dict[Digest, Verified] = {}
    needed: dict[Digest, list[str]] = {}
    newest: dict[tuple[Model, Environment], Version] = {}
    orphans: dict[str, tuple[Ancestor, ...]] = {}
    versions: list[Known] = []
    for entry in found.values():
        versions += entry.versions
        removals |= entry.removals
        sizes |= entry.sizes
        verified |= entry.verified
        newest |= entry.newest
        orphans |= entry.orphans
        for digest, reasons in entry.needed.items():
            needed.setdefault(digest, []).extend(reasons)
    for known in versions:
        for hold in held.on(context, known.model, known.manifest):
            reason = f"held by {', '.join(hold.signers)}: {hold.record.reason}"
            needed.setdefault(known.manifest, []).append(reason)
    unread = next((entry.unread for entry in found.values() if entry.unread), missing)
    situation = Situation(
        versions=tuple(versions),
        needed={digest: tuple(dict.fromkeys(reasons)) for digest, reasons in needed.items()},
        doubts={model: entry.doubt for model, entry in found.items() if entry.doubt},
        unread=unread and f"something may be made from it: {unread}",
        orphans=orphans,
        covered=covered(session, backups),
    )
    return Facts(situation, removals, sizes, verified, newest, held.skipped)


def covered(session: Session, backups: Collection[str]) -> dict[str, frozenset[Digest]]:
    """Read which manifests verified backups hold, by their names.

    Raises:
        Refused, NotFound, Unavailable.
    """
    if not backups:
        return {}
    from vault.actions import backup_receipts

    return {
        name: backup_receipts.covered(session, destination=None if name == removal.ANY_BACKUP else name)
        for name in backups
    }


# --- one model ---


def _of_model(session: Session, model: Model, *, tags: bool) -> _OfModel:
    found = _OfModel()
    resolved = session.resolve(session.environment)
    _channels(session, model, found)
    found.listed = resolving.version_names(session, model)
    for version in found.listed:
        _version(session, resolved, model, version, found, tags=tags)
    return found


def _version(
    session: Session, resolved: Resolved, model: Model, version: Version, found: _OfModel, *, tags: bool
) -> None:
    subject = f"{model}:{version}"
    seen = resolved.remembered.versions.get(memory_format.version_key(model, version))
    try:
        data = resolving.read_manifest(session, model, version)
    except NotFound:
        if seen is not None:
            found.unread = f"{subject} was here before and is gone"
        return  # it was never finished
    except Refused:
        return  # too large for a manifest, so it is a stranger's
    except Unavailable:
        found.unread = f"{subject} cannot be read"
        return
    try:
        target = Target(version, None, None, open=False)
        verified = resolving.verify(session, resolving.anybody(resolved, model), target, data)
        session.remember(resolved, verified)
    except Rollback as refusal:
        if refusal.code == "withheld":
            raise
        found.doubt = refusal.message
        return
    except Refused:
        found.orphans |= _orphan(resolved, data, subject)
        return
    _known(session, verified, found, tags=tags)


def _known(session: Session, verified: Verified, found: _OfModel, *, tags: bool) -> None:
    resolved = verified.authorised.resolved
    document, digest = verified.manifest, verified.digest
    latest = removing.latest(session, resolved.context, document.model, document.version, digest)
    gone = latest is not None and latest.record.removes
    empty = False
    if latest is not None:
        found.removals[digest] = latest
        empty = latest.record.state == removal.RECLAIM and not has_payloads(session, verified)
    found.versions.append(
        Known(
            Candidate(
                document.model,
                document.version,
                names.timestamp(document.created),
                _tags(session, resolved, verified) if tags and not gone else frozenset(),
                frozenset(found.environments.get(digest, ())),
            ),
            digest,
            _ancestors(document),
            gone,
            empty,
        )
    )
    found.sizes[digest] = sum(entry.size for entry in document.files)
    found.verified[digest] = verified


def _tags(session: Session, resolved: Resolved, verified: Verified) -> frozenset[str]:
    from vault.actions import labelling

    return labelling.labels(session, resolved, verified).tags


def _ancestors(document: manifest.Manifest) -> tuple[Ancestor, ...]:
    return tuple(Ancestor(entry.model, entry.version, entry.manifest) for entry in document.parents)


def _orphan(resolved: Resolved, data: bytes, subject: str) -> dict[str, tuple[Ancestor, ...]]:
    """Give the parents of a version that does not count, if somebody whom the policy knows signed it.

    Its publisher's key may have been revoked, and the version may be adopted yet. What a
    stranger wrote keeps nothing.
    """
    try:
        sealed = envelope.parse(data, kind=manifest.KIND, subject=subject)
        document = manifest.parse(sealed.payload, subject)
    except Refused:
        return {}
    members = resolved.context.policy.members.values()
    known = {key.key_id: key.public for member in members for key in member.keys}
    return {subject: _ancestors(document)} if envelope.signers(sealed, known) else {}


def has_payloads(session: Session, verified: Verified) -> bool:
    """Tell whether anything is left of a version's payloads.

    Raises:
        Unavailable.
    """
    return next(payload_names(session, verified.manifest.model, verified.manifest.version), None) is not None


def payload_names(session: Session, model: Model, version: Version) -> Iterator[str]:
    """List what is reclaimed of a version: key headers first, then payloads with their unit digests.

    Raises:
        Unavailable.
    """
    yield from session.store.list(layout.version_keys(model, version))
    yield from session.store.list(layout.files(model, version))


# --- what needs them ---


def _channels(session: Session, model: Model, found: _OfModel) -> None:
    """Note what every channel uses, waits for, and would go back to, and what was ever named where."""
    for environment in session.trust().policy.environments:
        try:
            resolved = session.resolve(environment)
            among = resolving.slots(session, resolved, model)
            for place in among.places.values():
                if place.numbers:
                    _channel(session, resolved, place.where, among, found)
        except Unavailable:
            raise
        except VaultError as error:
            if error.code == "withheld":
                raise
            found.doubt = f"{environment} cannot be judged: {error.message}"


def _channel(session: Session, resolved: Resolved, where: Channel, among: Slots, found: _OfModel) -> None:
    authorised = resolving.anybody(resolved, where.model)
    seen = recording.look_past(session, authorised, where, among)
    recording.remember(session, resolved, seen)
    naming = seen.found.naming
    waiting = True
    for entry in among.places[where.slot]:
        if not isinstance(entry, Signed):
            continue
        waiting = waiting and (naming is None or entry.digest != naming.digest)
        digest = entry.record.manifest
        if digest is None:
            continue
        found.environments.setdefault(digest, set()).add(where.environment)
        if waiting and among.bar(digest, since=channels.order_of(among.context, entry)) is None:
            found.needed.setdefault(digest, []).append(f"{_place(where)} was told to use it")
    _need(found, where, naming if seen.found.manifest is not None or seen.guessed else None, "uses it")
    earlier = promote.earlier_of(session, authorised, where, among, None)
    _need(found, where, earlier, "would go back to it")
    if naming is not None and naming.record.version is not None and where.slot == names.MAIN:
        found.newest[where.model, where.environment] = naming.record.version


def _need(found: _OfModel, where: Channel, entry: Entry | None, why: str) -> None:
    if entry is not None and entry.record.manifest is not None:
        found.needed.setdefault(entry.record.manifest, []).append(f"{_place(where)} {why}")


def _place(where: Channel) -> str:
    return where.environment if where.slot == names.MAIN else f"{where.environment}/{where.slot}"


def approved(session: Session, facts: Facts, candidates: Iterable[Known]) -> Situation:
    """Add to a situation which of some versions somebody approved for where they are still to go.

    Raises:
        Refused, Unavailable.
    """
    needed = {**facts.situation.needed}
    for known in candidates:
        for environment, rule in session.trust().policy.environments.items():
            if rule.require.approvals is None or environment in known.candidate.environments:
                continue
            current = facts.newest.get((known.model, environment))
            version = known.candidate.version
            if current is not None and names.version_order(version) <= names.version_order(current):
                continue
            resolved = session.resolve(environment)
            where = Channel(environment, names.MAIN, known.model)
            votes = resolving.approvals(session, resolved, where, version, known.manifest)
            who = sorted({signer for vote in votes for signer in vote.signers})
            if (
                who
                and resolving.slots(session, resolved, known.model).bar(known.manifest, since=(0, 0)) is None
            ):
                reason = f"{', '.join(who)} approved it for {environment}, which it has not entered"
                needed[known.manifest] = (*needed.get(known.manifest, ()), reason)
    return replace(facts.situation, needed=needed)
