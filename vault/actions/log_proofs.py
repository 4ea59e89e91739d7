"""Check that a log has what has to be in it: by the proofs that lie with it, else by the log itself.

Whatever is read here is untrusted until it leads to a head that somebody who
may write the log has signed, or that the root threshold wrote into the policy.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vault.actions import anchoring, log_writers
from vault.core import audit_record, limits, log_names, log_proof
from vault.core.in_force import Proofs, Signed
from vault.core.log_chain import Head
from vault.core.log_names import Log
from vault.core.log_proof import Proof, Proven
from vault.core.names import Digest
from vault.core.policy import LogHead
from vault.core.records import ChannelRecord
from vault.errors import LogInconsistent, NotFound, Refused, Rollback

if TYPE_CHECKING:
    from vault.actions.session import Session

INCONSISTENT: Final = "log-inconsistent"


def of_session(session: "Session") -> Proofs:
    """Give the proofs that a session can have: what it found out is kept, since a log only grows."""
    found = _LogProofs(session)
    return Proofs(found.had, found.unlogged)


@dataclass(frozen=True, slots=True)
class _Told:
    """What a log had told by some head: digests of documents, and the newest heads that it anchored."""

    evidence: frozenset[Digest]
    anchored: tuple[LogHead, ...]


class _LogProofs:
    def __init__(self, session: "Session") -> None:
        self._session = session
        self._had: dict[tuple[Digest, LogHead], bool] = {}
        self._at: dict[LogHead, _Told] = {}
        self._logged: dict[tuple[Digest, int], str | None] = {}

    # --- retired keys ---

    def had(self, digest: Digest, head: LogHead) -> bool:
        """Tell whether a log had a document at a head that the root threshold has signed.

        Where that log had anchored the head of another by then, what that one had counts too.

        Raises:
            Unavailable: the store failed.
        """
        key = digest, head
        if key not in self._had:
            self._had[key] = self._proved(digest, head) or any(
                self._proved(digest, anchored) for anchored in self._told(head).anchored
            )
        return self._had[key]

    def _proved(self, digest: Digest, head: LogHead) -> bool:
        return self._proof_before(digest, head) or digest in self._told(head).evidence

    def _proof_before(self, digest: Digest, head: LogHead) -> bool:
        """Look for the proof that lies with the log; it has to reach exactly the head's root."""
        from vault.audit import proving

        session = self._session
        try:
            log = self._log_of(head)
            proof = self._read(log, digest)
            prover = proving.Prover(session.store, log, session.trust().policy)
            root = bytes.fromhex(head.root)
            data = log_proof.check_before(
                prover.inclusion(proof.index, proof.entry, size=head.size, root=root), head
            )
            return audit_record.parse(data).evidence == digest
        except (Refused, NotFound):
            return False

    def _told(self, head: LogHead) -> "_Told":
        """Replay a log up to a head, once: what its entries are evidence of, and which heads they anchor."""
        if head not in self._at:
            self._at[head] = self._replay(head)
        return self._at[head]

    def _replay(self, head: LogHead) -> "_Told":
        from vault.audit.reading import CommitRead, LogReader

        found: set[Digest] = set()
        anchored: dict[Log, LogHead] = {}

        def take(commit: CommitRead) -> None:
            before = commit.entries[: max(0, head.size - commit.first)]
            for anchor in anchoring.anchors_in(before, self._session.pin):
                root = Digest(anchor.head.root.hex())
                origin = log_names.origin(self._session.pin, anchor.log)
                anchored[anchor.log] = LogHead(origin, anchor.head.size, root)
            for entry in before:
                with suppress(Refused):  # some other program's entry
                    evidence = audit_record.parse(entry).evidence
                    found.update(() if evidence is None else (evidence,))

        try:
            log = self._log_of(head)
            seen = {head.size: bytes.fromhex(head.root)}
            LogReader(self._session.store, log, self._session.trust().policy, seen=seen).read(take)
        except Refused:
            return _Told(frozenset(), ())  # what lies there does not lead to that head, so it proves nothing
        return _Told(frozenset(found), tuple(anchored.values()))

    def _log_of(self, head: LogHead) -> Log:
        vault, log = log_names.parse_origin(head.origin)
        if vault != self._session.pin:
            raise LogInconsistent(f"{head.origin} is another vault's log.", subject=head.origin)
        return log

    # --- what an environment wants in its log ---

    def unlogged(self, entry: Signed[ChannelRecord], witnesses: int) -> str | None:
        """Say why a channel record is not in its log, as so many witnesses saw that; None if it is.

        Raises:
            LogInconsistent, Rollback: the log's history is not the one that this client remembers.
            Unavailable: the store failed.
        """
        key = entry.digest, witnesses
        if self._logged.get(key, "") is not None:
            self._logged[key] = self._check(entry, witnesses)
        return self._logged[key]

    def _check(self, entry: Signed[ChannelRecord], witnesses: int) -> str | None:
        log = log_writers.log_of(entry.record.environment)
        try:
            proof = self._read(log, entry.digest)
            _check_entry(proof.entry, entry)
            proven = self._proven(log, proof, entry, witnesses)
        except NotFound:
            return f"it is not in the log of {entry.record.environment}"
        except Refused as refusal:
            if refusal.code == INCONSISTENT:
                raise  # not what this client has seen: no older record is tried
            return refusal.message.rstrip(".")
        head = Head(0, proven.checkpoint.size, proven.checkpoint.root)
        self._check_history(log, head)
        return None

    def _proven(self, log: Log, proof: Proof, entry: Signed[ChannelRecord], witnesses: int) -> Proven:
        """Check a proof as it lies there, else one that leads to what was signed or cosigned since.

        Raises:
            Refused: none holds.
        """
        from vault.audit import proving

        session = self._session
        policy = session.trust().policy
        try:
            return log_proof.check(proof, policy, log, witnesses=witnesses, apart_from=entry.signers)
        except Refused as refusal:
            first = refusal
        known = log_writers.known(session, log)
        prover = proving.Prover(session.store, log, policy, known=known)
        try:
            if witnesses:
                later = prover.witnessed(proof.index, proof.entry, witnesses, entry.signers)
            else:
                later = prover.inclusion(proof.index, proof.entry)
            return log_proof.check(later, policy, log, witnesses=witnesses, apart_from=entry.signers)
        except Refused as refusal:
            if refusal.code == INCONSISTENT:
                raise
        raise first

    def _check_history(self, log: Log, head: Head) -> None:
        """Compare a head with the one that this client remembers of the log, and the one that was attested.

        What holds is remembered; a proof does not tell the number of its commit, so that is 0 at first.

        Raises:
            Rollback: `rollback`: one does not continue the other.
        """
        from vault.audit import proving

        session = self._session
        known, attested = log_writers.known(session, log), self._attested(log)
        wanted = [each for each in (known, attested) if each is not None and _tree(each) != _tree(head)]
        if not wanted:
            if known is None:
                log_writers.remember(session, log, head)
            return
        seen = {} if attested is None else {attested.size: attested.root}
        prover = proving.Prover(session.store, log, session.trust().policy, known=known, seen=seen)
        try:
            for each in wanted:
                prover.check_consistent(each, head)
        except Refused as refusal:
            raise Rollback(
                f"The log of {log.environment} is not the one that this client has seen: {refusal.message}",
                subject=str(log),
                hint="Somebody who may write it keeps two histories, or an old copy was put back. "
                "Ask the vault's owner: mvault audit verify",
            ) from None
        log_writers.remember(session, log, prover.newest.head)

    def _attested(self, log: Log) -> Head | None:
        """Give the head of the log that the heads of its environment name, where the client reads them."""
        found = None if log.environment is None else self._session.attested(log.environment)
        told = None if found is None else found.log
        return None if told is None else Head(0, told.size, bytes.fromhex(told.root))

    def _read(self, log: Log, digest: Digest) -> Proof:
        from vault.actions.logged import proof_name

        name = proof_name(log, digest)
        return log_proof.parse(self._session.store.read(name, limit=limits.PROOF_BYTES), name)


def _tree(head: Head) -> tuple[int, bytes]:
    return head.size, head.root


def _check_entry(data: bytes, entry: Signed[ChannelRecord]) -> None:
    """Demand that an entry of a log tells of this very record.

    Raises:
        LogInconsistent: `not-logged`.
        Malformed: it is no audit record.
    """
    told, record = audit_record.parse(data), entry.record
    said = (told.evidence, told.environment, told.slot, told.model, told.seq, told.manifest, told.decision)
    wanted = (
        *(entry.digest, record.environment, record.slot, record.model, record.seq, record.manifest),
        audit_record.ALLOW,
    )
    if said != wanted or told.action not in ("promote", "withdraw"):
        raise LogInconsistent(
            "The log tells of another record at that place.", code="not-logged", subject=record.model
        )
