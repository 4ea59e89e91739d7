"""Check that a log has what has to be in it: by the proofs that lie with it, else by the log itself.

Whatever is read here is untrusted until it leads to a head that somebody who
may write the log has signed.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING, Final

from vault.actions import log_retired, log_writers
from vault.core import audit_record, limits, log_proof, memory_format
from vault.core.in_force import Proofs, Signed
from vault.core.log_chain import Head, Link
from vault.core.log_names import Log
from vault.core.log_proof import Proof, Proven
from vault.core.names import Digest
from vault.core.policy import Policy
from vault.core.records import ChannelRecord
from vault.errors import LogInconsistent, NotFound, Refused, Rollback

if TYPE_CHECKING:
    from vault.actions.session import Session

INCONSISTENT: Final = "log-inconsistent"
_UNWITNESSED: Final = "not-witnessed"


def of_session(session: "Session", policy: Policy) -> Proofs:
    """Give the proofs that a session can have under a policy; what was found is kept: a log only grows."""
    return Proofs(log_retired.RetiredKeys(session, policy).had, _LoggedRecords(session, policy).unlogged)


class _LoggedRecords:
    """What an environment wants in its log; used by every thread of a session."""

    def __init__(self, session: "Session", policy: Policy) -> None:
        self._session = session
        self._policy = policy
        self._logged: set[tuple[Digest, int, Head | None]] = set()
        self._searched: dict[Digest, Link] = {}  # how far a log has been searched for what is not in it

    def unlogged(self, entry: Signed[ChannelRecord], witnesses: int) -> str | None:
        """Say why a channel record is not in its log, as so many witnesses saw that; None if it is.

        Raises:
            LogInconsistent, Rollback: the log's history is not the one that this client remembers.
            Unavailable: the store failed.
        """
        log = log_writers.log_of(entry.record.environment)
        key = entry.digest, witnesses, self._attested(log)
        if key in self._logged:
            return None
        reason = self._check(log, entry, witnesses)
        if reason is None:
            self._logged.add(key)
        return reason

    def _check(self, log: Log, entry: Signed[ChannelRecord], witnesses: int) -> str | None:
        first: Refused | None = None
        for proof in self._proofs(log, entry):
            try:
                proven = self._proven(log, proof, entry, witnesses)
            except Refused as refusal:
                if refusal.code == INCONSISTENT:
                    raise  # not what this client has seen: no older record is tried
                first = first or refusal
                if refusal.code == _UNWITNESSED:
                    break  # it is in the log, wherever that was found
                continue
            self._check_history(log, Head(0, proven.checkpoint.size, proven.checkpoint.root))
            return None
        return f"it is not in the log of {log.environment}" if first is None else first.message.rstrip(".")

    def _proofs(self, log: Log, entry: Signed[ChannelRecord]) -> Iterator[Proof]:
        """Give the proof that lies with the log, if it is of this record; then one made from the log."""
        from vault.actions.logged import proof_name

        name = proof_name(log, entry.digest)
        try:
            proof = log_proof.parse(self._session.store.read(name, limit=limits.PROOF_BYTES), name)
            _check_entry(proof.entry, entry)
        except (NotFound, Refused):
            pass  # it was never stored, or is a stranger's: it can be made again
        else:
            yield proof
        found = self._search(log, entry)
        if found is not None:
            yield found

    def _search(self, log: Log, entry: Signed[ChannelRecord]) -> Proof | None:
        """Look for a record in the log itself, from where it was last looked for."""
        from vault.audit.proving import Prover
        from vault.audit.reading import CommitRead, LogReader

        store, known = self._session.store, self._known(log)
        evidence = f'"evidence":"{entry.digest}"'.encode()
        found: list[tuple[int, bytes]] = []

        def take(commit: CommitRead) -> None:
            for place, data in enumerate(commit.entries):
                if evidence in data and not found and _tells_of(data, entry):
                    found.append((commit.first + place, data))

        reader = LogReader(store, log, self._policy, known=known)
        state = reader.read(take, start=self._searched.get(entry.digest))
        if found:
            return Prover(store, log, self._policy, known=state.head).inclusion(*found[0])
        self._searched[entry.digest] = state.newest
        return None

    def _proven(self, log: Log, proof: Proof, entry: Signed[ChannelRecord], witnesses: int) -> Proven:
        """Check a proof as it lies there, else one that leads to what was signed or cosigned since.

        Raises:
            Refused: none holds.
        """
        from vault.audit import proving

        policy = self._policy
        try:
            return log_proof.check(proof, policy, log, witnesses=witnesses, apart_from=entry.signers)
        except Refused as refusal:
            first = refusal
        prover = proving.Prover(self._session.store, log, policy, known=self._known(log))
        try:
            if witnesses:
                later = prover.witnessed(proof.index, proof.entry, witnesses, entry.signers)
            else:
                later = prover.inclusion(proof.index, proof.entry)
            return log_proof.check(later, policy, log, witnesses=witnesses, apart_from=entry.signers)
        except NotFound:
            pass  # the log is empty
        except Refused as refusal:
            if refusal.code == INCONSISTENT:
                raise
        raise first

    def _check_history(self, log: Log, head: Head) -> None:
        """Compare a head with the one that this client remembers of the log, and the one that was attested.

        The longest is remembered; a proof does not tell the number of its commit, so that is 0.

        Raises:
            Rollback: `rollback`: one does not continue the other.
        """
        from vault.audit.proving import Prover
        from vault.audit.stored_tree import StoredTree

        known, attested = self._known(log), self._attested(log)
        heads = {(each.size, each.root): each for each in (head, attested, known) if each is not None}
        store = self._session.store
        tree = StoredTree(store, log)
        if not all(tree.consistent(*pair) for pair in combinations(heads.values(), 2)):
            try:
                seen = {} if attested is None else {attested.size: attested.root}
                prover = Prover(store, log, self._policy, known=known, seen=seen)
                for each in heads.values():
                    prover.check_consistent(each, head)
            except Refused as refusal:
                raise Rollback(
                    f"The log of {log.environment} is not the one that this client has seen: "
                    f"{refusal.message}",
                    subject=str(log),
                    hint="Somebody who may write it keeps two histories, or an old copy was put back. "
                    "Ask the vault's owner: mvault audit verify",
                ) from None
        log_writers.remember(self._session, log, max(heads.values(), key=lambda each: each.size))

    def _known(self, log: Log) -> Head | None:
        """Give the head of a log as this client remembers it; a new era lets what came before be lost."""
        mark = memory_format.in_era(self._session.memory.load(), self._policy.era).logs.get(str(log))
        return None if mark is None else log_writers.head_of(mark)

    def _attested(self, log: Log) -> Head | None:
        """Give the head of the log that the heads of its environment name, where the client reads them."""
        found = None if log.environment is None else self._session.attested(log.environment)
        told = None if found is None else found.log
        return None if told is None else Head(0, told.size, bytes.fromhex(told.root))


def _tells_of(data: bytes, entry: Signed[ChannelRecord]) -> bool:
    try:
        _check_entry(data, entry)
    except Refused:
        return False
    return True


def _check_entry(data: bytes, entry: Signed[ChannelRecord]) -> None:
    """Demand that an entry of a log tells of this very record.

    Raises:
        LogInconsistent: `not-logged`.
        Malformed: it is no audit record.
    """
    told, record = audit_record.parse(data), entry.record
    said = (
        *(told.evidence, told.environment, told.slot, told.model, told.seq, told.manifest),
        *(told.decision, told.outcome),
    )
    wanted = (
        *(entry.digest, record.environment, record.slot, record.model, record.seq, record.manifest),
        *(audit_record.ALLOW, audit_record.DONE),
    )
    if said != wanted or told.action not in ("promote", "withdraw"):
        raise LogInconsistent(
            "The log tells of another record at that place.", code="not-logged", subject=record.model
        )
