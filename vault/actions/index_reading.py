"""Read what the index keeps from a store, verified as a listing verifies it; none of it decides anything."""

import contextlib
from collections.abc import Callable, Collection, Iterator

from vault.actions import attesting, auditing, labelling, removing, resolving
from vault.actions.index_listing import Listed
from vault.actions.reading import Package
from vault.actions.session import Session
from vault.core import admission, attestation, limits, names, registry_record
from vault.core.in_force import Channel, Signed
from vault.core.manifest import METADATA
from vault.core.names import Digest, Environment, Model, Slot, Version
from vault.core.registry_record import (
    PROMOTE,
    WITHDRAW,
    Entry,
    Facts,
    FileRow,
    LoadTest,
    ParentRow,
    Step,
    Vote,
)
from vault.core.stages import Authorised, Target, Verified
from vault.errors import AccessDenied, NotFound, NoUsableKey, Refused, Rollback


def verify(session: Session, model: Model, version: Version) -> Verified:
    """Verify a version that is published, and was not removed, for anybody.

    Raises:
        Refused, NotFound, Unavailable.
    """
    data = resolving.read_manifest(session, model, version)
    resolved = session.resolve(session.environment)
    target = Target(version, None, None, open=False)
    verified = resolving.verify(session, resolving.anybody(resolved, model), target, data)
    removing.demand(session, verified)
    return verified


def entry(session: Session, verified: Verified, seen: str = "", listed: Listed | None = None) -> Entry:
    """Give the public half of a verified version; `listed` spares looks into folders that are not there.

    Raises:
        Refused, Unavailable.
    """
    manifest = verified.manifest
    resolved = verified.authorised.resolved

    def has(folder: str) -> bool:
        return listed is None or any(name.split("/")[0] == folder for name in listed.folders)

    tags: Collection[str] = ()
    notes: Collection[str] = ()
    if has("labels"):
        labels = labelling.labels(session, resolved, verified)
        tags, notes = sorted(labels.tags), [note.text[: limits.INDEX_NOTE_CHARS] for note in labels.notes]
    tests: list[LoadTest] = []
    if has("attestations"):
        found = attesting.attestations(session, resolved, manifest.model, manifest.version, verified.digest)
        tests = [
            LoadTest(
                "passed" if word.record.passed else "failed",
                tester,
                word.record.created,
                f"Python {word.record.python} on {word.record.platform}",
            )
            for tester, word in attestation.words(found).items()
        ]
    return Entry(
        manifest.model,
        manifest.version,
        verified.digest,
        names.timestamp(manifest.created),
        tuple(
            FileRow(file.path, file.role, file.format, file.size)
            for file in manifest.files
            if file.path != METADATA
        ),
        verified.publishers,
        tuple(_votes(session, verified, has)),
        tuple(
            ParentRow(parent.model, parent.version, parent.manifest, parent.relation)
            for parent in manifest.parents
        ),
        tuple(tags),
        tuple(notes),
        tuple(tests),
        seen,
    )


def _votes(session: Session, verified: Verified, has: Callable[[str], bool]) -> Iterator[Vote]:
    """Tell who adopted a version, and who approved it for which environment; not whether that counts."""
    manifest = verified.manifest
    resolved = verified.authorised.resolved
    what = manifest.version, verified.digest
    if has("adoptions"):
        for adoption in resolving.adoptions(session, resolved, manifest.model, *what):
            yield from (Vote("adopt", "", who, adoption.record.created) for who in adoption.signers)
    if has("approvals"):
        for environment in session.trust().policy.environments:
            where = Channel(environment, names.MAIN, manifest.model)
            for approval in resolving.approvals(session, resolved, where, *what):
                made = approval.record.created
                yield from (Vote("approve", environment, who, made) for who in approval.signers)


# --- channels ---


def steps(
    session: Session, model: Model, places: Collection[tuple[Environment, Slot]]
) -> tuple[list[Step], dict[tuple[str, str], Digest]]:
    """Give what the records of a model's channels say, and what is in force in each.

    Raises:
        Rollback: the store offers something older than was seen.
        Refused, Unavailable.
    """
    found: list[Step] = []
    current: dict[tuple[str, str], Digest] = {}
    for environment, slot in sorted(places):
        where = Channel(environment, slot, model)
        resolved = session.resolve(environment)
        for judged in resolving.judged(session, resolved, where):
            if isinstance(judged, Signed):
                record = judged.record
                about = [(WITHDRAW, barred) for barred in record.bars]
                about += [] if record.manifest is None else [(PROMOTE, record.manifest)]
                told = tuple(judged.signers), record.created
                found += [Step(environment, slot, record.seq, what, digest, *told) for what, digest in about]
        manifest = in_force(session, where)
        if manifest is not None:
            current[environment, slot] = manifest
    return found, current


def in_force(session: Session, where: Channel) -> Digest | None:
    """Give the manifest that a channel can be loaded as; None where there is none, or it does not verify.

    Raises:
        Rollback, Unavailable.
    """
    try:
        resolved = session.resolve(where.environment)
        return resolving.channel(session, resolving.anybody(resolved, where.model), where).manifest
    except Rollback:
        raise
    except (Refused, NotFound):
        return None


# --- the sealed half ---


class Readers:
    """In which environments this identity may load which models; asked once for each pair.

    Environments that demand a record of each load are left out, unless what is read is `recorded`.
    """

    def __init__(self, session: Session, *, recorded: bool) -> None:
        """Ask about the identity of a session.

        Raises:
            NoUsableKey: it has none.
        """
        self._session = session
        self._recorded = recorded
        self.key_id = Digest(session.identity.key_id)
        self.unrecorded: set[str] = set()  # what was left out
        self._known: dict[tuple[str, str], Authorised | None] = {}

    def through(self, model: Model, keys: Collection[str]) -> list[Authorised]:
        """Give the environments through which a version can be read, of those for which it has keys."""
        found = []
        for environment in sorted(keys):
            authorised = self._may(environment, model)
            if authorised is None:
                continue
            if authorised.resolved.rule.require.audit and not self._recorded:
                self.unrecorded.add(environment)
                continue
            found.append(authorised)
        return found

    def holds(self, environment: str, model: Model) -> bool:
        """Tell whether this identity may still read there what it once read."""
        return self._may(environment, model) is not None

    def _may(self, environment: str, model: Model) -> Authorised | None:
        place = environment, model
        if place not in self._known:
            self._known[place] = self._ask(environment, model)
        return self._known[place]

    def _ask(self, environment: str, model: Model) -> Authorised | None:
        try:
            resolved = self._session.resolve(names.environment(environment))
            return admission.authorise(resolved, self.key_id, "load", model)
        except (Refused, NotFound):
            return None


def facts(session: Session, verified: Verified, through: Collection[Authorised]) -> tuple[str, Facts] | None:
    """Decrypt a version's metadata through the first environment that opens it; None where none does.

    Raises:
        Unavailable: the store failed, or a demanded record could not be kept.
    """
    for authorised in through:
        reading = Verified(
            authorised, verified.target, verified.manifest, verified.digest, verified.publishers
        )
        resolved = authorised.resolved
        try:
            with _recorded(session, reading):
                metadata = Package(session, reading).opened.metadata
        except (AccessDenied, NoUsableKey, NotFound):
            continue
        except Refused:
            return None  # altered: what verifies it, and says so, is `mvault check`
        return resolved.rule.name, registry_record.facts(metadata.info, metadata.libraries)
    return None


@contextlib.contextmanager
def _recorded(session: Session, reading: Verified) -> Iterator[None]:
    """Record that the sealed half of a version is read, where the environment demands a record of that.

    Raises:
        AccessDenied, Unavailable: `no-audit-record`.
    """
    resolved = reading.authorised.resolved
    if not resolved.rule.require.audit:
        yield
        return
    with auditing.acting(session, "load", f"metadata of {reading.subject}", resolved.rule.name) as act:
        auditing.demand(act, resolved)
        act.learn(reading)
        yield
