"""Record what changed the vault in the log that belongs to it, with a proof that anybody can check.

The log of an environment is written by who may `log` there. What others do
goes into access logs of their own (`auditing`).
"""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from vault.actions import auditing, log_decisions, log_writers, objects
from vault.actions.session import Session
from vault.actions.together import Answer, Together
from vault.core import audit_record, limits, log_commit
from vault.core.audit_record import AuditRecord
from vault.core.channels import InForce
from vault.core.in_force import Channel
from vault.core.log_names import Log
from vault.core.names import Digest, Environment
from vault.core.policy import EnvironmentRule
from vault.core.stages import Verified
from vault.errors import AccessDenied, Conflict, LogInconsistent, Refused, Unavailable, VaultError
from vault.ports import Store

if TYPE_CHECKING:
    from vault.audit.writing import Appended


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


def demand_counted(where: Channel, found: InForce) -> None:
    """Say of an empty channel whose records would count, were they logged and witnessed, why they do not.

    Raises:
        LogInconsistent: `not-logged`.
    """
    waiting = next((entry for entry in found.skipped if entry.code == "not-logged"), None)
    if found.head is None and waiting is not None:
        raise LogInconsistent(
            f"{waiting.name} does not count: {waiting.reason}.",
            code="not-logged",
            subject=str(where),
            hint="Where witnesses are missing, one has to run: mvault audit witness. "
            "What was never logged has to be promoted again, by somebody who may log.",
        )


def change(
    session: Session,
    action: str,
    environment: Environment | None,
    evidence: Digest,
    *,
    also: Mapping[Digest, str] | None = None,
    required: bool = False,
    **facts: Any,
) -> bool:
    """Record a change that was made; `evidence` is the digest of the document that was signed for it.

    `also` are further documents of the same change, by their digests: what each is. They get records as well.

    The change is made already. So where it need not be logged, what goes wrong is a warning.
    Tells whether it is in the log that belongs to it.

    Raises:
        Conflict, Refused, Unavailable: it is `required`, and was not recorded.
    """
    if session.changed is not None and "model" in facts:
        session.changed(facts["model"])
    auditor = session.audit
    if auditor is None:
        return False
    subject = facts.pop("subject", None)
    records = [
        replace(
            auditing.begun(session, action, what, environment, **facts),
            decision=audit_record.ALLOW,
            outcome=audit_record.DONE,
            evidence=digest,
        )
        for digest, what in {**(also or {}), evidence: subject}.items()
    ]
    try:
        if log_writers.writes(session, environment):
            write(session, log_writers.log_of(environment), *records)
            return True
        auditor.take(session, *records)
    except VaultError as error:
        if required:
            raise
        try:
            auditor.take(session, *records)
        except VaultError:
            warnings.warn(f"It was done ({action}), and could not be recorded: {error.message}", stacklevel=4)
    return False


def founded(session: Session) -> None:
    """Begin the trust log of a new vault: with its first root and policy."""
    trust = session.trust()
    change(session, "root", None, trust.root.digest, seq=trust.root.root.version)
    change(session, "policy", None, trust.policy_id.digest, seq=trust.policy_id.version)


def intent(session: Session, rule: EnvironmentRule, source: Verified) -> bytes | None:
    """Log what is about to enter an environment that counts only what is in its log; give the record's id.

    Raises:
        Conflict, Refused, Unavailable: it was not recorded, and nothing was promoted.
    """
    if rule.require.log is None or session.audit is None:
        return None
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
    return record.record_id


def write(session: Session, log: Log, *records: AuditRecord) -> None:
    """Append records to a log in one commit, and store the proofs that they are there.

    What several threads of a session append at the same time goes into one commit (`_append`).

    Raises:
        LogInconsistent: the log has another record under a number that one of them tells of.
        Conflict, Refused, Unavailable.
    """
    group = session.log_groups.setdefault((os.getpid(), session.identity.key_id, log), Together())
    done, first = group.ask(records, partial(_append_all, session, log))
    for place, record in enumerate(records, start=first):
        if record.evidence is not None:
            put(session.store, proof_name(log, record.evidence), done.proof(place).encode())


Records = tuple[AuditRecord, ...]
Placed = tuple["Appended", int]  # a commit, and where in it somebody's records begin


def _append_all(session: Session, log: Log, asked: Sequence[Records]) -> list[Answer[Placed]]:
    """Append what several threads ask for, in as few commits as it fits; where that is refused, one by one.

    One of them may have lost its number to somebody, which is no reason to refuse the others.

    Raises:
        Conflict, Unavailable: as `LogWriter.append`; what was asked for may be in the log all the same.
    """
    answers: list[Answer[Placed]] = []
    for some in _fitting(session, asked):
        try:
            answers += _append(session, log, some)
        except Refused as refusal:
            answers += [refusal] if len(some) == 1 else [_alone(session, log, records) for records in some]
    return answers


def _alone(session: Session, log: Log, records: Records) -> Answer[Placed]:
    try:
        return _append(session, log, [records])[0]
    except VaultError as error:
        return error


def _fitting(session: Session, asked: Sequence[Records]) -> Iterator[list[Records]]:
    """Split what is asked for into parts that a commit can hold."""
    part: list[Records] = []
    count = size = 0
    for records in asked:
        entries = _entries(session, records)
        more = log_commit.entries_bytes(entries)
        full = count + len(entries) > limits.LOG_COMMIT_ENTRIES or size + more > limits.LOG_ENTRIES_BYTES
        if part and full:
            yield part
            part, count, size = [], 0, 0
        part.append(records)
        count, size = count + len(entries), size + more
    if part:
        yield part


def _append(session: Session, log: Log, asked: Sequence[Records]) -> list[Placed]:
    """Append in one commit; see that none tells of a number of which the log, or another of them, tells.

    Raises:
        LogInconsistent, Conflict, Refused, Unavailable.
    """
    records = [record for each in asked for record in each]
    guard = log_decisions.guard(session, log, records)
    done = log_writers.writer(session, log, take=guard).append(_entries(session, records))
    log_writers.remember(session, log, done.head)
    starts = accumulate((len(each) for each in asked[:-1]), initial=0)
    return [(done, start) for start in starts]


def _entries(session: Session, records: Sequence[AuditRecord]) -> list[bytes]:
    return [audit_record.encode(auditing.shown(session, record)) for record in records]


def proof_name(log: Log, digest: Digest) -> str:
    """Name the proof that a document was logged, by the document's digest."""
    return f"{log.folder}proof/{digest}"


def put(store: Store, name: str, data: bytes) -> None:
    """Store what is derived from the log, in place of whatever lies there.

    Where nobody may delete, what lies there stays: readers find the entry in the log itself.

    Raises:
        Unavailable.
    """
    try:
        objects.create(store, name, data)
    except Conflict:
        try:
            store.delete(name)
        except Unavailable as error:
            if error.code != "storage-denied":
                raise
            return
        objects.create(store, name, data)
