"""Record what changed the vault in the log that belongs to it, with a proof that anybody can check.

The log of an environment is written by who may `log` there. What others do
goes into access logs of their own (`auditing`).
"""

import warnings
from dataclasses import replace
from typing import Any

from vault.actions import auditing, log_writers, objects
from vault.actions.session import Session
from vault.core import audit_record
from vault.core.audit_record import AuditRecord
from vault.core.log_names import Log
from vault.core.names import Digest, Environment
from vault.core.policy import EnvironmentRule
from vault.core.stages import Verified
from vault.errors import AccessDenied, Conflict, VaultError
from vault.ports import Store


def demand(session: Session, rule: EnvironmentRule) -> None:
    """Stop before something is done that an environment wants in its log, where this identity may not log.

    Raises:
        AccessDenied: `no-audit-record`.
    """
    if rule.require.log is None:
        return
    if session.audit is None or not log_writers.writes(session, rule.name):
        raise AccessDenied(
            f"{rule.name} counts only what is in its log, and this identity may not write there.",
            code="no-audit-record",
            subject=rule.name,
            hint=f"A role with {{actions: [log], env: [{rule.name}]}} allows it.",
        )


def change(
    session: Session,
    action: str,
    environment: Environment | None,
    evidence: Digest,
    *,
    required: bool = False,
    **facts: Any,
) -> None:
    """Record a change that was made; `evidence` is the digest of the document that was signed for it.

    The change is made already. So where it need not be logged, what goes wrong is a warning.

    Raises:
        Conflict, Refused, Unavailable: it is `required`, and was not recorded.
    """
    auditor = session.audit
    if auditor is None:
        return
    record = replace(
        auditing.begun(session, action, None, environment, **facts),
        decision=audit_record.ALLOW,
        outcome=audit_record.DONE,
        evidence=evidence,
    )
    try:
        if log_writers.writes(session, environment):
            write(session, log_writers.log_of(environment), record)
        else:
            auditor.take(session, record)
    except VaultError as error:
        if required:
            raise
        try:
            auditor.take(session, record)
        except VaultError:
            warnings.warn(f"It was done ({action}), and could not be recorded: {error.message}", stacklevel=4)


def intent(session: Session, rule: EnvironmentRule, source: Verified) -> None:
    """Log what is about to enter an environment that counts only what is in its log, before it does.

    Raises:
        Conflict, Refused, Unavailable: it was not recorded, and nothing was promoted.
    """
    if rule.require.log is None or session.audit is None:
        return
    record = auditing.begun(
        session,
        "promote",
        None,
        rule.name,
        model=source.manifest.model,
        version=source.manifest.version,
        manifest=source.digest,
    )
    write(session, log_writers.log_of(rule.name), replace(record, evidence=source.digest))


def write(session: Session, log: Log, record: AuditRecord) -> None:
    """Append one record to a log, and store the proof that it is there.

    Raises:
        Conflict, Refused, Unavailable.
    """
    data = audit_record.encode(auditing.shown(session, record))
    done = log_writers.writer(session, log).append([data])
    log_writers.remember(session, log, done.head)
    if record.evidence is not None:
        put(session.store, proof_name(log, record.evidence), done.proof(0).encode())


def proof_name(log: Log, digest: Digest) -> str:
    """Name the proof that a document was logged, by the document's digest."""
    return f"{log.folder}proof/{digest}"


def put(store: Store, name: str, data: bytes) -> None:
    """Store what is derived from the log, in place of whatever lies there.

    Raises:
        Unavailable.
    """
    try:
        objects.create(store, name, data)
    except Conflict:
        store.delete(name)
        objects.create(store, name, data)
