"""Tell what logs had of somebody whose key is retired: that counts still, and nothing later.

The root threshold writes a head of a log into the policy, as the key's `until`.
What it has signed is that head, and no log key is trusted for it. Where the log
had anchored heads of others by then, what those had counts too; but an anchor is
only what some writer of the one log said of the other. So it counts where the
other log has that head in force, today, without the help of the anchor.

A log tells of what belongs into it: an environment's of its own documents, an
access log of what its own principal did, the trust log of no document at all.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vault.actions import anchoring, log_writers
from vault.core import audit_record, limits, log_keys, log_names, log_proof, memory_format, merkle
from vault.core.log_chain import Head
from vault.core.log_names import ACCESS, ENVIRONMENT, Log
from vault.core.log_proof import Proof
from vault.core.log_rights import may_log
from vault.core.names import Digest, Environment, Principal
from vault.core.policy import Key, LogHead, Policy
from vault.errors import NotFound, Refused

if TYPE_CHECKING:
    from vault.actions.session import Session
    from vault.audit.reading import LogReader, LogState

_AGAIN: Final = 60  # seconds after which a log that did not hold is read once more


@dataclass(frozen=True, slots=True)
class _Told:
    """A log as it was read: its commits' trees, and what its entries are evidence of, by their index."""

    trees: dict[int, bytes]
    evidence: dict[Digest, list[tuple[int, Environment | None]]]

    def had(self, digest: Digest, environment: Environment | None, size: int) -> bool:
        """Tell whether a document of an environment, or of any, is among the first `size` entries."""
        found = self.evidence.get(digest, ())
        return any(index < size and environment in (None, place) for index, place in found)


class RetiredKeys:
    """What logs had of the holders of retired keys; what was found is kept, and used by every thread."""

    def __init__(self, session: "Session", policy: Policy) -> None:
        """Read nothing yet."""
        self._session = session
        self._policy = policy
        self._had: set[tuple[Digest, Key, Environment | None]] = set()
        self._read: dict[tuple[Log, LogHead | None], _Told] = {}
        self._anchors: dict[LogHead, dict[Log, list[Head]]] = {}
        self._failed: dict[tuple[Log, LogHead | None], int] = {}  # and when

    def had(self, digest: Digest, key: Key, environment: Environment | None) -> bool:
        """Tell whether a log had a document when it had the head at which a key was retired.

        `environment` is that of the document, None where it is of none.

        Raises:
            Unavailable: the store failed.
        """
        asked = digest, key, environment
        holder = self._policy.holder(key.key_id)
        if asked in self._had:
            return True
        if key.until is None or holder is None or not self._proved(*asked, holder.name):
            return False
        self._had.add(asked)
        return True

    def _proved(self, digest: Digest, key: Key, environment: Environment | None, who: Principal) -> bool:
        until = key.until
        log = None if until is None else self._log_of(until)
        if until is None or log is None:
            return False
        if _tells(log, environment, who) and self._had_by(log, until, digest, environment):
            return True
        anchored = self._anchored(log, until)
        return any(
            self._had_anchored(other, heads, digest, environment)
            for other, heads in anchored.items()
            if _tells(other, environment, who)
        )

    def _log_of(self, head: LogHead) -> Log | None:
        try:
            vault, log = log_names.parse_origin(head.origin)
        except Refused:
            return None
        return log if vault == self._session.pin else None

    # --- the log of the head itself ---

    def _had_by(self, log: Log, until: LogHead, digest: Digest, environment: Environment | None) -> bool:
        proof = self._proof(log, digest, environment)
        if proof is not None:
            leaf, root = merkle.leaf_hash(proof.entry), bytes.fromhex(until.root)
            if self._leads_to(log, proof.index, leaf, until.size, root):
                return True
        told = self._told(log, until)
        return told is not None and told.had(digest, environment, until.size)

    def _proof(self, log: Log, digest: Digest, environment: Environment | None) -> Proof | None:
        """Give the proof that lies with a log, if its entry is of this document: a claim."""
        from vault.actions.logged import proof_name

        name = proof_name(log, digest)
        try:
            proof = log_proof.parse(self._session.store.read(name, limit=limits.PROOF_BYTES), name)
            told = audit_record.parse(proof.entry)
        except (NotFound, Refused):
            return None
        fits = told.evidence == digest and environment in (None, told.environment)
        return proof if fits else None

    def _leads_to(self, log: Log, index: int, leaf: bytes, size: int, root: bytes) -> bool:
        from vault.audit.stored_tree import StoredTree

        return StoredTree(self._session.store, log).inclusion(index, leaf, size, root) is not None

    # --- logs that it had anchored ---

    def _anchored(self, log: Log, until: LogHead) -> dict[Log, list[Head]]:
        """Give the heads of other logs that a log had anchored by then, oldest first."""
        if until not in self._anchors:
            found: dict[Log, list[Head]] = {}
            told = self._told(log, until, found)
            if told is None:
                return {}
            self._anchors[until] = found
        return self._anchors[until]

    def _had_anchored(
        self, log: Log, heads: list[Head], digest: Digest, environment: Environment | None
    ) -> bool:
        newest = heads[-1]
        if self._had_quickly(log, newest, digest, environment):
            return True
        told = self._told(log, None)
        if told is None:
            return False
        size = max((head.size for head in heads if told.trees.get(head.size) == head.root), default=0)
        if not size:  # its end may be sealed later
            self._read.pop((log, None), None)
            self._failed[log, None] = self._session.clock()
        return told.had(digest, environment, size)

    def _had_quickly(self, log: Log, head: Head, digest: Digest, environment: Environment | None) -> bool:
        """Tell whether the proof that lies with a log shows a document below a head, and that head in force.

        In force by its own checkpoint, which somebody signed who may write the log today.
        """
        from vault.audit.stored_tree import StoredTree

        proof = self._proof(log, digest, environment)
        if proof is None or not proof.index < head.size:
            return False
        try:
            checkpoint = log_proof.check(proof, self._policy, log).checkpoint
        except Refused:
            return False
        signed = Head(0, checkpoint.size, checkpoint.root)
        tree, known = StoredTree(self._session.store, log), self._known(log)
        return tree.consistent(head, signed) and (known is None or tree.consistent(known, signed))

    # --- reading ---

    def _told(
        self, log: Log, until: LogHead | None, anchored: dict[Log, list[Head]] | None = None
    ) -> _Told | None:
        """Replay a log, once: up to a head that the root threshold signed, or what is in force today.

        None where what lies there is not what that head, or this client's memory, says.
        """
        key, now = (log, until), self._session.clock()
        if key in self._read and anchored is None:
            return self._read[key]
        if now - self._failed.get(key, now - _AGAIN) < _AGAIN:
            return None
        try:
            told = self._replay(log, until, {} if anchored is None else anchored)
        except Refused:
            self._failed[key] = now
            return None
        self._read[key] = told
        return told

    def _replay(self, log: Log, until: LogHead | None, anchored: dict[Log, list[Head]]) -> _Told:
        from vault.audit.reading import CommitRead

        told = _Told({}, {})

        def take(commit: CommitRead) -> None:
            entries = commit.entries
            if until is not None:
                entries = entries[: max(0, until.size - commit.first)]
            told.trees[commit.growth.after.size] = commit.growth.after.root
            for anchor in anchoring.anchors_in(entries, self._session.pin):
                anchored.setdefault(anchor.log, []).append(anchor.head)
            if log.kind not in (ENVIRONMENT, ACCESS):
                return
            for index, entry in enumerate(entries, commit.first):
                with suppress(Refused):  # some other program's entry
                    record = audit_record.parse(entry)
                    if record.evidence is not None:
                        told.evidence.setdefault(record.evidence, []).append((index, record.environment))

        if until is not None:
            self._reader(log, {until.size: bytes.fromhex(until.root)}).read(take)
        else:
            self._reader(log, self._by_retired(log)).read(take)
        return told

    def _reader(self, log: Log, seen: dict[int, bytes]) -> "LogReader":
        from vault.audit.reading import LogReader

        return LogReader(self._session.store, log, self._policy, known=self._known(log), seen=seen)

    def _by_retired(self, log: Log) -> dict[int, bytes]:
        """Give the head that retired writers of a log left at its end, where nobody has gone on from it yet.

        Their roles let them write it still; who merely could write to the store, or was revoked, is none.
        """
        if log.kind != ENVIRONMENT:
            return {}
        state: LogState = self._reader(log, {}).read()
        held: dict[int, bytes] = {}
        for link in state.provisional:
            key = None if link.key_id is None else self._policy.key(link.key_id)
            if key is None or key.revoked or key.until is None or link.writer is None:
                break
            if not may_log(self._policy, link.writer, log_keys.LOG, log.environment):
                break
            held = {link.size: link.root}
        return held

    def _known(self, log: Log) -> Head | None:
        mark = memory_format.in_era(self._session.memory.load(), self._policy.era).logs.get(str(log))
        return None if mark is None else log_writers.head_of(mark)


def _tells(log: Log, environment: Environment | None, who: Principal) -> bool:
    """Tell whether a document of an environment, or of none, by somebody belongs into a log."""
    if log.kind == ENVIRONMENT:
        return environment in (None, log.environment)
    return log.kind == ACCESS and log.principal == who
