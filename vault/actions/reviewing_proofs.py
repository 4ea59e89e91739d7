"""Check a proof that an entry is in a log: under a vault's policy, or against a key and nothing else."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vault.actions.session import Session
from vault.core import audit_record, log_keys, log_names, log_proof, log_witness, merkle, note
from vault.core.audit_record import AuditRecord
from vault.core.log_proof import Proof
from vault.core.names import Principal
from vault.core.note import Note
from vault.core.policy import Policy
from vault.errors import DigestMismatch, LogInconsistent, Malformed, Refused

POLICY: Final = "the policy of the vault"
GIVEN_KEY: Final = "the key that was given"

_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Checked:
    """A proof that holds: what it proves, and what that rests on.

    `record` is None where the entry is no audit record of this release.
    `log` is None where the origin is no log of a vault.
    """

    origin: str
    log: str | None
    index: int
    size: int
    root: bytes
    entry: bytes
    record: AuditRecord | None
    writer: Principal | None  # known by a policy alone
    witnesses: tuple[str, ...]
    rests_on: str
    key: str  # the verifier key of the log, by which other programs check the proof


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A key as other programs are given it: `name+hash+base64` (C2SP signed-note)."""

    name: str
    algorithm: int
    public: bytes


def parse_verifier_key(text: str) -> VerifierKey:
    """Parse a verifier key.

    Raises:
        ValueError: it is none.
    """
    name, _, rest = text.strip().partition("+")
    short, _, blob = rest.partition("+")
    try:
        data = base64.b64decode(blob, validate=True)
        note.check_name(name, "A verifier key")
    except (binascii.Error, ValueError, Malformed):
        data = b""
    if len(data) != 1 + _KEY_BYTES or data[0] not in (note.ED25519, note.COSIGNATURE):
        raise ValueError(f"{text[:80]!r} is no verifier key: it is NAME+HASH+BASE64, of an Ed25519 key.")
    if note.key_hash(name, data[0], data[1:]).hex() != short:
        raise ValueError(f"The verifier key of {name} was mistyped: its hash does not fit.")
    return VerifierKey(name, data[0], data[1:])


def check(session: Session, proof: Proof, *, witnesses: int = 0) -> Checked:
    """Check a proof under the policy of a vault that is trusted here; only its trust documents are read.

    Raises:
        DigestMismatch: it is of another vault (`misplaced`).
        LogInconsistent, UntrustedSigner, BadSignature, Malformed: it does not hold.
        NotFound, Unavailable, Rollback: the policy cannot be had.
    """
    checkpoint = note.parse_checkpoint(proof.note.text, "The proof")
    vault, log = log_names.parse_origin(checkpoint.origin)
    if vault != session.pin:
        raise DigestMismatch(
            f"The proof is of the vault sha256:{vault}, and this one is sha256:{session.pin}.",
            code="misplaced",
            subject=checkpoint.origin,
            hint="Name the vault that it is from with --vault, or a key with --key.",
        )
    policy = session.trust().policy
    proven = log_proof.check(proof, policy, log, witnesses=witnesses)
    counted = log_witness.cosigners(proof.note, policy, log, (proven.writer,))
    return Checked(
        origin=checkpoint.origin,
        log=str(log),
        index=proven.index,
        size=checkpoint.size,
        root=checkpoint.root,
        entry=proof.entry,
        record=_record(proof.entry),
        writer=proven.writer,
        witnesses=tuple(entry.witness for entry in counted),
        rests_on=POLICY,
        key=verifier_key(proof.note, policy, log) or "",
    )


def verifier_key(found: Note, policy: Policy, log: log_names.Log) -> str | None:
    """Give the key that signed a checkpoint, as other programs take it; None if the policy knows none."""
    name = log_names.origin(policy.vault, log)
    for certificate in log_keys.certificates(found, name):
        try:
            who = log_keys.verify(certificate, policy, log, log_keys.LOG, name)
            note.verify_checkpoint(found, name, who.key, name)
        except Refused:
            continue
        if who.principal is not None:
            return note.verifier_key(name, note.ED25519, who.key)
    return None


def check_with_keys(proof: Proof, keys: Sequence[VerifierKey], *, witnesses: int = 0) -> Checked:
    """Check a proof against keys that somebody vouches for, without any vault or policy.

    One key is the log's; others may be of witnesses, of whom so many must have cosigned.

    Raises:
        Unsigned, BadSignature, LogInconsistent, Malformed: it does not hold.
        ValueError: no key is the log's.
    """
    subject = "The proof"
    of_log = [key for key in keys if key.algorithm == note.ED25519]
    if len(of_log) != 1:
        raise ValueError("Give the key of the log once: --key NAME+HASH+BASE64.")
    checkpoint = note.verify_checkpoint(proof.note, of_log[0].name, of_log[0].public, subject)
    leaf = merkle.leaf_hash(proof.entry)
    merkle.verify_inclusion(
        proof.index, checkpoint.size, leaf, proof.hashes, checkpoint.root, checkpoint.origin
    )
    cosigned = [
        key.name
        for key in keys
        if key.algorithm == note.COSIGNATURE and note.cosignature(proof.note, key.name, key.public)
    ]
    if len(cosigned) < witnesses:
        raise LogInconsistent(
            f"{len(cosigned)} of the {witnesses} witnesses asked for have cosigned the proof.",
            code="not-witnessed",
            subject=checkpoint.origin,
            hint="Give their keys as well, or ask for another proof: mvault audit prove --witnesses N",
        )
    return Checked(
        origin=checkpoint.origin,
        log=_log_of(checkpoint.origin),
        index=proof.index,
        size=checkpoint.size,
        root=checkpoint.root,
        entry=proof.entry,
        record=_record(proof.entry),
        writer=None,
        witnesses=tuple(cosigned),
        rests_on=GIVEN_KEY,
        key=note.verifier_key(of_log[0].name, note.ED25519, of_log[0].public),
    )


def _record(entry: bytes) -> AuditRecord | None:
    try:
        return audit_record.parse(entry)
    except Refused:
        return None


def _log_of(origin: str) -> str | None:
    try:
        return str(log_names.parse_origin(origin)[1])
    except Refused:
        return None
