"""Lock channels to the versions that they name now, load by a lock, and compare a lock with the vault."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vault.actions import checking, resolving
from vault.actions.session import Session
from vault.core import limits, lockfile, names, policy
from vault.core.lockfile import Lock, Locked
from vault.core.names import Model, Reference
from vault.errors import Malformed, NotFound, Refused, Rollback, Unavailable

CURRENT = "current"
BEHIND = "behind"  # it can be loaded, and the channel names another version now
REFUSED = "refused"

Source = str | os.PathLike[str] | bytes


@dataclass(frozen=True, slots=True)
class Compared:
    """How one line of a lock stands: `now` is what the channel names, `reason` why it is refused."""

    reference: str
    version: str
    state: str
    now: str = ""
    reason: str = ""
    code: str = ""


def lock(session: Session, channels: Sequence[str]) -> list[Locked]:
    """Resolve channels (`churn@prod`), or those of all models that a pattern means (`nepse/*@prod/b`).

    Models of a pattern for which nothing is in force there are left out.

    Raises:
        ValueError: something is no channel.
        NotFound: nothing is in force in a channel, or in none of a pattern's.
        Refused, Unavailable.
    """
    found: dict[str, Locked] = {}
    for text in channels:
        entries = [*_resolved(session, text)]
        if not entries:
            raise NotFound(
                f"Nothing is in force in {text}.", subject=text, hint="See what there is: mvault ls"
            )
        found |= {str(entry.reference): entry for entry in entries}
    return [found[name] for name in sorted(found)]


def _resolved(session: Session, text: str) -> Iterator[Locked]:
    pattern, _, where = text.partition("@")
    place, slash, slot = where.partition("/")
    try:
        policy.pattern(pattern)
        environment = names.environment(place)
        chosen = names.slot(slot) if slash else None
    except Malformed as error:
        raise ValueError(
            f"{text!r} is no channel, such as churn@prod or nepse/*@prod. {error.message}"
        ) from None
    slot_or_main = None if chosen == names.MAIN else chosen
    exact = "*" not in pattern
    listed = [Model(pattern)] if exact else checking.models(session)
    resolved = session.resolve(environment)
    for model in listed:
        if not policy.covers(frozenset([pattern]), model):
            continue
        reference = Reference(model, environment=environment, slot=slot_or_main)
        try:
            verified = resolving.identify(session, resolved, reference)
        except NotFound:
            if exact:
                raise
            continue
        yield Locked(reference, verified.manifest.version, verified.digest)


def pinned(session: Session, reference: Reference, source: Source) -> tuple[Session, Reference]:
    """Give what a lock holds a channel to, as the version and manifest to load in that environment.

    It is loaded by all the rules for a version that is named: the environment must allow it still.

    Raises:
        Refused: `lock-mismatch`: the lock is another vault's, or does not name the channel.
        Malformed, NotFound, Unavailable: of the file.
        ValueError: the reference is no channel.
    """
    subject = _name(source)
    entry = read(source).find(reference, session.pin, subject)
    environment = reference.environment or session.environment
    wanted = Reference(reference.model, version=entry.version, digest=entry.manifest)
    return replace(session, environment=environment), wanted


def compare(session: Session, source: Source) -> list[Compared]:
    """Tell of each line of a lock whether it can be loaded still, and whether the channel has moved on.

    Raises:
        Refused: `lock-mismatch`: it is another vault's.
        Malformed, NotFound, Unavailable.
    """
    found = read(source)
    found.check_vault(session.pin, _name(source))
    return [_compare(session, entry) for entry in found.entries.values()]


def _compare(session: Session, entry: Locked) -> Compared:
    reference = entry.reference
    model, environment = reference.model, reference.environment
    try:
        resolved = session.resolve(environment or session.environment)
        wanted = Reference(model, version=entry.version, digest=entry.manifest)
        resolving.identify(session, resolved, wanted)
    except Rollback:
        raise
    except (Refused, NotFound) as error:
        return Compared(str(reference), entry.version, REFUSED, "", error.message, error.code)
    try:
        now = resolving.identify(session, resolved, reference)
    except Rollback:
        raise
    except (Refused, NotFound):
        return Compared(str(reference), entry.version, BEHIND)
    state = CURRENT if now.digest == entry.manifest else BEHIND
    return Compared(str(reference), entry.version, state, now.manifest.version)


def read(source: Source) -> Lock:
    """Read a lock file from its path, or take its bytes.

    Raises:
        NotFound: there is no such file.
        Unavailable: it cannot be read.
        Malformed: it is no lock.
    """
    subject = _name(source)
    if isinstance(source, bytes):
        return lockfile.parse(source, subject)
    try:
        with Path(source).open("rb") as file:
            data = file.read(limits.LOCK_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(
            f"There is no lock {subject}.", subject=subject, hint=f"Write one: mvault lock … > {subject}"
        ) from None
    except OSError as error:
        raise Unavailable(f"{subject} cannot be read: {error.strerror}.", subject=subject) from None
    return lockfile.parse(data, subject)


def _name(source: Source) -> str:
    return "The lock" if isinstance(source, bytes) else os.fspath(source)
