"""Proofs that an entry is in a log, as they lie beside a document (docs/format.md, "Log proofs").

Source of the text: C2SP tlog-proof. `extra` is the entry itself; the checkpoint
carries the certificates of those who signed it, so that a proof is checked with
a policy and nothing else.
"""

import base64
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from vault.core import limits, log_keys, log_witness, merkle, note
from vault.core.fields import base64_bytes
from vault.core.log_names import Log, origin
from vault.core.log_witness import Cosigned
from vault.core.merkle import HASH_BYTES
from vault.core.names import Digest, Principal
from vault.core.note import Checkpoint, Line, Note, malformed_log
from vault.core.policy import LogHead, Policy
from vault.errors import LogInconsistent, Malformed, Refused, UntrustedSigner

HEADER: Final = "c2sp.org/tlog-proof@v1"

_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,15})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Proof:
    """An entry, its index, the hashes from its sibling up to the root's child, and a checkpoint: claims."""

    entry: bytes
    index: int
    hashes: tuple[bytes, ...]
    note: Note

    def encode(self) -> bytes:
        """Write the proof; `parse` reads exactly these bytes."""
        lines = [HEADER, f"extra {_base64(self.entry)}", f"index {self.index}", *map(_base64, self.hashes)]
        return "".join(f"{line}\n" for line in lines).encode() + b"\n" + self.note.encode()

    def added(self, lines: Collection[Line]) -> "Proof":
        """Give the proof with further signature lines: a witness's, and its certificate."""
        return replace(self, note=self.note.added(lines))


@dataclass(frozen=True, slots=True)
class Proven:
    """An entry that is in a log, by the signature of who may write it and of the witnesses."""

    entry: bytes
    index: int
    checkpoint: Checkpoint
    writer: Principal
    key_id: Digest  # of the writer's identity
    witnesses: tuple[Cosigned, ...]


def parse(data: bytes, subject: str) -> Proof:
    """Parse a proof of at most `limits.PROOF_BYTES`.

    Raises:
        Malformed: `malformed-log`, `too-large`.
    """
    if len(data) > limits.PROOF_BYTES:
        raise Malformed(f"{subject} has {len(data):,} bytes.", code="too-large", subject=subject)
    head, separator, rest = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        lines = []
    if not separator or lines[:1] != [HEADER] or len(lines) < 3:
        raise malformed_log(subject, f"a proof begins with {HEADER}, an entry and an index")
    if not lines[1].startswith("extra "):
        raise malformed_log(subject, "it does not hold the entry that it is about")
    index = _INDEX.match(lines[2])
    if index is None:
        raise malformed_log(subject, "its index is a number without leading zeros")
    if len(lines) - 3 > limits.LOG_EDGE_HASHES:
        raise malformed_log(subject, "it has more hashes than a tree has levels")
    entry = _bytes(lines[1].removeprefix("extra "), subject)
    hashes = tuple(_bytes(line, subject) for line in lines[3:])
    if not 0 < len(entry) <= limits.LOG_ENTRY_BYTES or any(len(found) != HASH_BYTES for found in hashes):
        raise malformed_log(subject, "its entry or one of its hashes has a wrong size")
    return Proof(entry, int(index[1]), hashes, note.parse(rest, subject))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str, subject: str) -> bytes:
    try:
        return base64_bytes(text)
    except Malformed:
        raise malformed_log(subject, "an entry or hash is not in canonical base64") from None


def check(
    proof: Proof, current: Policy, log: Log, *, witnesses: int = 0, apart_from: Collection[Principal] = ()
) -> Proven:
    """Demand that a proof holds under the newest policy, and give what it proves.

    `witnesses` of them must have cosigned the checkpoint, apart from its writer
    and from `apart_from`. What the entry says is the caller's to compare.

    Raises:
        LogInconsistent: `not-logged`, `not-witnessed`.
        UntrustedSigner: nobody who may write the log has signed the checkpoint.
        Refused: the checkpoint is of another log, malformed, or altered.
    """
    subject = f"the proof of entry {proof.index} of {log}"
    signed = signed_by(proof.note, current, log, subject)
    head = signed.checkpoint
    leaf = merkle.leaf_hash(proof.entry)
    merkle.verify_inclusion(proof.index, head.size, leaf, proof.hashes, head.root, str(log))
    counted = log_witness.require(proof.note, current, log, witnesses, (signed.writer, *apart_from))
    return Proven(proof.entry, proof.index, head, signed.writer, signed.key_id, counted)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint that who may write the log has signed: who, and the lines that show it."""

    checkpoint: Checkpoint
    writer: Principal
    key_id: Digest  # of the writer's identity
    lines: tuple[Line, ...]  # the signature and the certificate


def signed_by(found: Note, current: Policy, log: Log, subject: str) -> SignedCheckpoint:
    """Verify a note that carries its writer's certificate: its checkpoint, and who may write and signed it.

    Raises:
        UntrustedSigner: no certificate in it is of somebody who may write the log.
        Refused: the last one's signature, or the checkpoint, does not hold.
    """
    name = origin(current.vault, log)
    refused: Refused = UntrustedSigner(
        f"{subject} is not signed by anybody who may write {log}.",
        subject=subject,
        hint="If its writer may not any more, make the proof again: mvault audit prove",
    )
    for certificate in log_keys.certificates(found, name):
        try:
            who = log_keys.verify(certificate, current, log, log_keys.LOG, subject)
            checkpoint = note.verify_checkpoint(found, name, who.key, subject)
        except Refused as refusal:
            refused = refusal
            continue
        if who.principal is not None and log_keys.may_write(current, log, who, checkpoint.size):
            own = note.key_hash(name, note.ED25519, who.key)
            lines = [line for line in found.lines if (line.name, line.key_hash) == (name, own)]
            lines.append(log_keys.certificate_line(name, certificate))
            return SignedCheckpoint(checkpoint, who.principal, who.key_id, tuple(lines))
    raise refused


def check_before(proof: Proof, head: LogHead) -> bytes:
    """Demand that an entry was in a log at a head that the root threshold has signed; give the entry.

    The head alone is trusted: no signature of the checkpoint counts.

    Raises:
        LogInconsistent: `not-logged`.
    """
    if proof.index >= head.size:
        raise LogInconsistent(
            f"Entry {proof.index} of {head.origin} is later than size {head.size}.",
            code="not-logged",
            subject=head.origin,
        )
    leaf = merkle.leaf_hash(proof.entry)
    root = bytes.fromhex(head.root)
    merkle.verify_inclusion(proof.index, head.size, leaf, proof.hashes, root, head.origin)
    return proof.entry
