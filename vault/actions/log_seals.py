"""Carry logs over a change of the policy: who loses the right to write leaves no end of a log unsealed.

A commit by somebody who may not write any more is provisional until somebody
who may has gone on from it (docs/format.md, "Commits in force"). So the heads
are looked at before a policy is applied, and those logs get one more entry after.
"""

from collections.abc import Mapping

from vault.actions import log_writers, logged
from vault.actions.session import Session
from vault.core import log_commit, log_keys
from vault.core.log_chain import Head
from vault.core.log_names import Log
from vault.core.log_rights import may_log
from vault.core.names import Digest, Environment
from vault.core.policy import LogHead, Policy
from vault.errors import NotFound, VaultError


def heads(session: Session) -> Mapping[Log, Head]:
    """Give, and remember, the heads in force of the trust log and the environments' logs.

    A log that cannot be read is left out: a change of policy does not wait for it.
    """
    if session.audit is None:
        return {}
    policy = session.trust().policy
    found: dict[Log, Head] = {}
    for environment in (None, *policy.environments):
        log = log_writers.log_of(environment)
        known = log_writers.known(session, log)
        try:
            head = log_writers.verified_head(session, log, policy, known)
        except VaultError:
            continue
        if head.size:
            log_writers.remember(session, log, head)
            found[log] = head
    return found


def head_of(session: Session, environment: Environment) -> LogHead | None:
    """Verify an environment's log for whoever attests the environment; give its head, None if it is empty.

    Raises:
        LogInconsistent: it does not continue what this client has seen of it.
        Unavailable: it cannot be read.
    """
    log = log_writers.log_of(environment)
    known = log_writers.known(session, log)
    head = log_writers.verified_head(session, log, session.trust().policy, known)
    if not head.size:
        return None
    log_writers.remember(session, log, head)
    return log_writers.told(session, log, head)


def prepare(session: Session, proposed: Policy, evidence: Digest) -> None:
    """Go on, before a policy is applied, from heads whose writers it will not let write any more.

    Then what those heads cover counts under it from the beginning, if this
    identity may write those logs under both. Where it may not, `seal` tells.
    """
    me = proposed.holder(Digest(session.identity.key_id)) if session.unlock is not None else None
    for log, head in heads(session).items():
        may = me is not None and may_log(proposed, me.name, log_keys.LOG, log.environment)
        if not may or _stands(session, proposed, log, head):
            continue
        logged.change(
            session, "anchor", log.environment, evidence, subject=f"before policy {proposed.version}"
        )


def seal(session: Session, before: Mapping[Log, Head], evidence: Digest) -> tuple[Log, ...]:
    """Go on from heads whose writers may not write any more; give the logs where others have to.

    `evidence` is the digest of the policy that took effect.
    """
    return tuple(
        log
        for log, head in before.items()
        if not _stands(session, session.trust().policy, log, head)
        and not logged.change(session, "policy", log.environment, evidence)
    )


def _stands(session: Session, policy: Policy, log: Log, head: Head) -> bool:
    """Tell whether who wrote the last commit may write under a policy: then it is in force by itself."""
    from vault.audit.reading import read_commit

    subject = f"commit {head.number} of {log}"
    try:
        commit = log_commit.parse(read_commit(session.store, log, head.number), subject)
        who = log_keys.verify(commit.certificate, policy, log, log_keys.LOG, subject)
    except (NotFound, VaultError):
        return False
    return log_keys.may_write(policy, log, who, head.size)
