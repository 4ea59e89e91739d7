"""Open the logs of a vault for writing: the identity's key for each, its certificate, what is remembered."""

from typing import TYPE_CHECKING

from vault.actions.session import Session
from vault.core import log_keys, log_names, memory_format
from vault.core.log_chain import Head
from vault.core.log_keys import Certificate
from vault.core.log_names import Log
from vault.core.log_rights import may_log
from vault.core.memory_format import Mark, Memory
from vault.core.names import Digest, Environment, Principal
from vault.core.policy import LogHead, Policy
from vault.errors import AccessDenied

if TYPE_CHECKING:
    from vault.audit.reading import Take
    from vault.audit.writing import LogWriter


def log_of(environment: Environment | None) -> Log:
    """Give the log of an environment, or the trust log."""
    return log_names.TRUST_LOG if environment is None else log_names.environment_log(environment)


def writes(session: Session, environment: Environment | None) -> bool:
    """Tell whether this session's identity may write to the log of an environment, or to the trust log."""
    policy = session.trust().policy
    key_id = Digest(session.identity.key_id)
    holder = policy.holder(key_id) if key_id in policy.counting_keys() else None
    return holder is not None and may_log(policy, holder.name, log_keys.LOG, environment)


def writer(session: Session, log: Log, *, take: "Take | None" = None) -> "LogWriter":
    """Open a log for writing by this session's identity; `take` sees what others append meanwhile.

    Raises:
        NoUsableKey: there is no identity.
        Refused, NotFound, Unavailable: the policy in force cannot be had.
    """
    from vault.audit.writing import LogWriter

    policy = session.trust().policy
    origin = log_names.origin(session.pin, log)
    key = session.identity.derive(log_keys.info(log_keys.LOG, origin))
    certificate = certificate_of(session, origin, log_keys.LOG, key.public)
    return LogWriter(session.store, log, policy, key, certificate, known=known(session, log), take=take)


def certificate_of(session: Session, origin: str, use: str, public: bytes) -> bytes:
    """Have the identity certify its key for one log and use; once in a session, so that commits repeat it."""
    made = session.certificates.get((origin, use))
    if made is None:
        claim = Certificate(session.pin, origin, use, public, session.now())
        made = session.certificates[origin, use] = log_keys.certify(claim, session.identity)
    return made


def own_log(session: Session, instance: str) -> Log:
    """Name the access log of one instance of whom the policy knows by this session's key.

    Raises:
        AccessDenied: the policy does not know this identity, so nobody could tell whose log it is.
    """
    holder = session.trust().policy.holder(Digest(session.identity.key_id))
    if holder is None:
        raise AccessDenied(
            "This identity is not in the vault's policy, so its records wait on this machine.",
            subject=session.identity.name,
            hint="Ask the vault's owner to add it.",
        )
    return log_names.access_log(Principal(holder.name), instance)


def known(session: Session, log: Log) -> Head | None:
    """Give the head of a log as this client remembers it; a new era lets what came before be lost."""
    remembered = memory_format.in_era(session.memory.load(), session.trust().policy.era)
    mark = remembered.logs.get(str(log))
    return None if mark is None else head_of(mark)


def head_of(mark: Mark) -> Head:
    """Read what memory keeps of a log: the number of its commit, size and root."""
    return Head(mark.era, mark.number, bytes.fromhex(mark.digest))


def verified_head(session: Session, log: Log, policy: Policy, start: Head | None) -> Head:
    """Verify a log from what this client remembers of it on; give its head.

    Raises:
        LogInconsistent: it does not continue what this client has seen of it.
        Unavailable: it cannot be read.
    """
    from vault.audit.reading import LogReader

    return LogReader(session.store, log, policy, known=start).read(start=start).head


def told(session: Session, log: Log, head: Head) -> LogHead:
    """Write a head as signed documents name it."""
    return LogHead(log_names.origin(session.pin, log), head.size, Digest(head.root.hex()))


def remember(session: Session, log: Log, head: Head) -> None:
    """Remember a head that was verified."""
    mark = Mark(head.number, head.size, head.root.hex())
    session.memory.advance(Memory(session.pin, logs={str(log): mark}))
