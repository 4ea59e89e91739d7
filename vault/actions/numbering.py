"""Choose the version that is published next, and see that none is ever used twice, not even after deletion.

What is known of a model's versions: those that the store lists and that are
genuine, those that this client has seen, and those that a log tells of.
"""

from contextlib import closing
from itertools import islice
from typing import Final

from vault.actions import log_writers, resolving, reviewing_indexing
from vault.actions.reviewing_indexing import Indexed
from vault.actions.session import Session
from vault.core import admission, audit_record, layout, limits, version_bumps
from vault.core.names import Environment, Model, Version
from vault.core.stages import Authorised, Target
from vault.errors import Conflict, NotFound, Refused, Rollback, Unavailable, VaultError


def choose(session: Session, authorised: Authorised, wanted: Version | None, bump: str | None) -> Version:
    """Take the wanted version if it was never there, else the next after everything known.

    `bump` says how to go on, as `version_bumps.candidates` takes it.

    Raises:
        Conflict: the version exists, or existed; or a thousand names after the last are taken.
        ValueError: both a version and a bump are given, or the versions do not go on so.
        Refused, Unavailable: an environment that counts only what is in its log has one that cannot be read.
    """
    model = authorised.model
    seen = _remembered(session, model) | _logged(session, authorised)
    if wanted is not None:
        if bump is not None:
            raise ValueError("Give a version or a bump, not both.")
        if wanted in seen or _is_published(session, model, wanted):
            raise _reused(model, wanted)
        return wanted
    listed = resolving.version_names(session, model)
    highest = next((entry for entry in listed if _verifies(session, authorised, entry)), None)
    known = seen if highest is None else seen | {highest}
    there = set(listed)
    squatted = _squatted(session, model)
    for version in islice(version_bumps.candidates(known, bump, session.clock()), limits.GAP + 1):
        if version not in squatted and not (version in there and _is_published(session, model, version)):
            return version
    raise Conflict(
        f"The next {limits.GAP:,} versions of {model} are taken by objects that are none.",
        subject=model,
        hint="Somebody with write access fills the store. Remove what mvault check reports.",
    )


def _reused(model: Model, version: Version) -> Conflict:
    subject = f"{model}:{version}"
    return Conflict(
        f"{subject} exists already, or existed; versions are never reused.",
        subject=subject,
        hint="Leave out the version to take the next one.",
    )


def _squatted(session: Session, model: Model) -> set[str]:
    """List the names under which something lies that is no folder, so that no version fits there."""
    return {name for name in session.store.list_folders(layout.versions(model)) if not name.endswith("/")}


def _remembered(session: Session, model: Model) -> set[Version]:
    prefix = f"{model}:"
    return {
        Version(key.removeprefix(prefix)) for key in session.memory.load().versions if key.startswith(prefix)
    }


def _is_published(session: Session, model: Model, version: Version) -> bool:
    """Tell whether anything lies where this version's manifest goes, genuine or not."""
    try:
        session.store.stat(layout.manifest(model, version))
    except NotFound:
        # In a folder, a folder of that name would be in the way.
        return "manifest.json/" in session.store.list_folders(layout.version(model, version))
    except Unavailable:
        return True  # something that is no object, or a store that fails: either way not ours to take
    return True


def _verifies(session: Session, authorised: Authorised, version: Version) -> bool:
    """Tell whether a listed version is genuine; a stranger's does not decide what comes next."""
    try:
        data = resolving.read_manifest(session, authorised.model, version)
        admission.verify(authorised, Target(version, None, None, open=False), data)
    except Rollback:
        raise
    except (Refused, NotFound):
        return False
    return True


# --- what the logs tell ---


def _logged(session: Session, authorised: Authorised) -> set[Version]:
    """Give the versions of a model that the logs tell of, of environments in which anybody may publish.

    Who may not write a log is not asked, as with the numbers of channels.

    Raises:
        Refused, Unavailable: the environment published to demands a log, and it cannot be read.
    """
    found: set[Version] = set()
    if session.audit is None:
        return found
    here, current = authorised.resolved.rule, authorised.resolved.context.policy
    rules = [rule for rules in current.roles.values() for rule in rules if "publish" in rule.actions]
    for environment in {environment for rule in rules for environment in rule.environments}:
        if log_writers.writes(session, environment):
            try:
                found |= _versions(session, environment, authorised.model)
            except VaultError:
                if environment == here.name and here.require.log is not None:
                    raise
    return found


def _versions(session: Session, environment: Environment, model: Model) -> set[Version]:
    """Look up in the index, brought up to the log, which versions of a model something was done to."""
    log = log_writers.log_of(environment)
    state = None if session.audit is None else session.audit.state
    indexed = Indexed(session, reviewing_indexing.folder(session, state))
    with closing(indexed.index) as index:
        head = log_writers.known(session, log)
        if str(log) not in index.marks() and head is not None and head.number > limits.LOG_REREAD:
            return set()  # a client that begins with so late a head was given what it is to remember
        indexed.extend(log)
        rows = index.rows(_VERSIONS, (str(log), model, audit_record.ALLOW, audit_record.DONE))
    return {Version(version) for (version,) in rows}


_VERSIONS: Final = """
SELECT DISTINCT version.name FROM entries
JOIN logs ON logs.number = entries.log JOIN words AS version ON version.number = entries.version
WHERE logs.name = ?
AND model = (SELECT number FROM words WHERE name = ?)
AND decision = (SELECT number FROM words WHERE name = ?)
AND outcome = (SELECT number FROM words WHERE name = ?)
"""
