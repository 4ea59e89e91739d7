"""Record what this client does: each load and pull before and after, and every refusal.

Records wait in an intake on this machine (`vault/audit/intake.py`) and go
into this identity's access log in batches and on exit (`integrating`). What
changes the vault is recorded in a log of the vault itself (`logged`).
"""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from vault.core import audit_record, names
from vault.core.audit_record import AuditRecord
from vault.core.names import Digest, Environment, Principal, Reference
from vault.core.policy import EnvironmentRule, PolicyId
from vault.core.stages import Resolved, Verified
from vault.errors import AccessDenied, Refused, Unavailable, VaultError

if TYPE_CHECKING:
    from vault.actions.session import Session

NO_RECORD: Final = "no-audit-record"
READS: Final = frozenset({"load", "pull"})  # recorded before and after


class Act:
    """One thing that somebody does; `learn` tells what was found out about it meanwhile."""

    def __init__(self, session: "Session", record: AuditRecord) -> None:
        """Begin with what was asked for."""
        self._session = session
        self._record = record
        self._demanded: Environment | None = None
        self._failure: VaultError | None = None
        self._ended = False
        self._told: BaseException | None = None
        self._stale = False

    def demand(self, resolved: Resolved) -> None:
        """Stop where an environment demands a record of the attempt, and there is none that lasts.

        Raises:
            AccessDenied, Unavailable: `no-audit-record`.
        """
        self.learn(resolved)
        if not resolved.rule.require.audit:
            return
        self._demanded = resolved.rule.name
        auditor = self._session.audit
        if auditor is None:
            raise _nothing_kept(resolved)
        if self._failure is None:
            try:
                auditor.secure(self._session)
            except VaultError as error:
                self._failure = error
        if self._failure is not None:
            raise self._unrecorded("Nothing was decrypted.")

    def learn(self, found: Resolved | Verified, **more: Any) -> None:
        """Add what was found: the policy, the environment, the version; `more` are fields of the record."""
        resolved = found if isinstance(found, Resolved) else found.authorised.resolved
        facts: dict[str, Any] = {"policy": resolved.context.policy_id, "environment": resolved.rule.name}
        if isinstance(found, Verified):
            via, heads = found.target.via, resolved.freshness
            self._stale = heads is not None and heads.holds_only_what_was_seen
            facts |= {
                "model": found.manifest.model,
                "version": found.manifest.version,
                "manifest": found.digest,
                "slot": None if via is None else via.record.slot,
                "seq": None if via is None else via.record.seq,
            }
        self._record = replace(self._record, **facts, **more)

    def begin(self) -> None:
        """Record the attempt at what only reads."""
        if self._session.audit is not None and self._record.action in READS:
            try:
                self._session.audit.take(self._session, shown(self._session, self._record))
            except VaultError as error:
                self._failure = error

    def end(self, error: BaseException | None) -> None:
        """Record what came of it; of what succeeded and changed the vault its own log tells.

        Raises:
            Unavailable: the environment demands the record, and it could not be kept.
        """
        self._ended, self._told = True, error
        auditor, reads = self._session.audit, self._record.action in READS
        if auditor is None or (not reads and (not isinstance(error, VaultError) or error.recorded)):
            return
        if isinstance(error, VaultError):
            error.recorded = True  # of an act within another, one record is enough
        outcome = audit_record.outcome_of(
            self._record,
            record_id=self._session.random(16),
            time=self._session.now(),
            error=error,
        )
        if not reads:
            outcome = replace(outcome, of=None)
        elif error is None and self._stale:
            outcome = replace(outcome, code=audit_record.STALE)
        try:
            auditor.take(self._session, shown(self._session, outcome))
            if self._demanded is not None:
                auditor.secure(self._session)
        except VaultError as failure:
            self._failure = failure
            if error is None and self._demanded is not None:
                raise self._unrecorded("Nothing was given out.") from None
        if self._failure is not None and self._demanded is None:
            warnings.warn(f"This was not recorded: {self._failure.message}", stacklevel=6)

    @contextlib.contextmanager
    def afterwards(self) -> Iterator[None]:
        """Have a refusal recorded that comes when the act itself is over, as when a file is read later."""
        try:
            yield
        except VaultError as error:
            if self._ended and error is not self._told:
                self.end(error)
            raise

    def _unrecorded(self, consequence: str) -> Unavailable:
        reason = "" if self._failure is None else self._failure.message
        return Unavailable(
            f"{self._demanded} demands an audit record, and it could not be kept: {reason} {consequence}",
            code=NO_RECORD,
            subject=str(self._demanded),
            hint="Correct that, then try again. MVAULT_AUDIT names where records go.",
        )


def demand(act: Act | None, resolved: Resolved) -> None:
    """Do step 1 for what is about to be read; where nobody records it, it must not be demanded.

    Raises:
        AccessDenied, Unavailable: `no-audit-record`.
    """
    if act is not None:
        act.demand(resolved)
    elif resolved.rule.require.audit:
        raise _nothing_kept(resolved)


def _nothing_kept(resolved: Resolved) -> AccessDenied:
    return AccessDenied(
        f"{resolved.rule.name} demands an audit record of every load, and none is kept here.",
        code=NO_RECORD,
        subject=resolved.rule.name,
        hint="Open the vault with vault.open, and let MVAULT_AUDIT name where records last.",
    )


def shown(session: "Session", record: AuditRecord) -> AuditRecord:
    """Give a record as the policy wants it kept: what is personal as keyed hashes, or not at all."""
    hashed = _hashed_fields(session, record.environment)
    key = _hash_key(session, record.environment) if hashed else None

    def kept(name: str, text: str | None) -> str | None:
        if text is None or name not in hashed:
            return text
        return None if key is None else audit_record.hashed(key, text)

    return replace(record, subject=kept("subject", record.subject), host=kept("host", record.host))


def _hashed_fields(session: "Session", environment: Environment | None) -> tuple[str, ...]:
    trust = session.last_trust
    rule: EnvironmentRule | None = None
    if trust is not None and environment is not None:
        rule = trust.policy.environments.get(environment)
    return () if rule is None else rule.hashed


def _hash_key(session: "Session", environment: Environment | None) -> bytes | None:
    """Derive the key of keyed hashes from the oldest of an environment's keys that is already open here."""
    opened = [key for (name, _), key in sorted(session.environment_keys.items()) if name == environment]
    return audit_record.hash_key(opened[0].encode()) if opened else None


@contextlib.contextmanager
def acting(
    session: "Session", action: str, subject: Reference | str, environment: Environment | None, **facts: Any
) -> Iterator[Act]:
    """Do something under the eyes of the audit: `facts` are fields of its record, as far as they are known.

    Raises:
        Unavailable: the environment demands a record, and it could not be kept.
    """
    if isinstance(subject, Reference):
        facts = {"model": subject.model, "version": subject.version, "slot": subject.slot} | facts
        environment = environment or subject.environment
    if environment is None:
        facts.pop("slot", None)
    act = Act(session, begun(session, action, str(subject), environment, **facts))
    act.begin()
    try:
        yield act
    except BaseException as error:
        act.end(error)
        raise
    act.end(None)


def begun(
    session: "Session", action: str, subject: str | None, environment: Environment | None, **facts: Any
) -> AuditRecord:
    """Make the record of an attempt, by this session's identity."""
    key = actor = policy_id = None
    known = audit_record.OS_USER
    if session.audit is not None:
        key, actor, known, policy_id = _who(session)
    return AuditRecord(
        record_id=session.random(16),
        time=session.now(),
        action=action,
        decision=audit_record.PENDING,
        known=known,
        actor=actor,
        key=key,
        environment=environment,
        policy=policy_id,
        subject=None if subject is None else audit_record.fitting(subject),
        host=None if session.audit is None else session.audit.host,
        **facts,
    )


def _who(session: "Session") -> tuple[Digest, Principal | None, str, PolicyId | None]:
    """Give who acts: whom the policy knows by this key, or what an unknown identity calls itself."""
    identity = session.identity
    key, called = Digest(identity.key_id), None
    with contextlib.suppress(Refused):  # what a key service calls itself need not be a name here
        called = names.principal(identity.name)
    with contextlib.suppress(VaultError):  # whoever asks for the policy next is told
        trust = session.last_trust or session.trust()
        holder = trust.policy.holder(key)
        if holder is not None:
            return key, holder.name, audit_record.SIGNATURE, trust.policy_id
        return key, called, audit_record.CLAIMED, trust.policy_id
    return key, called, audit_record.CLAIMED, None
