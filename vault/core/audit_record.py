"""One audit record: who did what to which model, and what came of it (docs/format.md, "Audit records").

A record is an entry of a log, so its bytes are what a Merkle leaf covers. It
never holds a key, a plaintext or a list of arguments.
"""

import hmac
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vault.core import limits, names, strict_json
from vault.core.fields import Fields, hexadecimal, malformed, one_of, time
from vault.core.manifest import policy_value, read_policy
from vault.core.names import Digest, Environment, Model, Principal, Slot, Version
from vault.core.policy import PolicyId
from vault.errors import AccessDenied, Refused, VaultError

ACTIONS: Final = (
    *("publish", "approve", "promote", "withdraw", "adopt", "attest", "policy", "root", "access"),
    *("load", "pull", "anchor", "delete", "archive", "restore", "backup", "hold", "tag", "test"),
)
PENDING: Final = "pending"  # an attempt, written before any key is used
ALLOW: Final = "allow"
DENY: Final = "deny"  # the policy does not allow it
REFUSE: Final = "refuse"  # something was checked and did not hold
DECISIONS: Final = (PENDING, ALLOW, DENY, REFUSE)
DONE: Final = "done"
FAILED: Final = "failed"
SIGNATURE: Final = "signature"
OS_USER: Final = "os_user"
CLAIMED: Final = "claimed"
KNOWN: Final = (SIGNATURE, OS_USER, CLAIMED)  # how the actor was known, best first
HASHED: Final = "hmac:"
STALE: Final = "stale"  # a remark on what was done: allowed while heads had lapsed, as it was seen before
UNEXPECTED: Final = "unexpected"  # the code of what failed otherwise than by a `VaultError`

_ID_BYTES: Final = 16
_CODE: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z", re.ASCII)
_CODE_CHARS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """What happened, once. A field that says nothing here is None."""

    record_id: bytes  # 16 bytes, random, one for each record
    time: str
    action: str  # one of `ACTIONS`
    decision: str  # one of `DECISIONS`
    known: str  # one of `KNOWN`
    actor: Principal | None = None
    key: Digest | None = None  # of the actor's identity
    code: str | None = None  # why it was denied or refused, or failed; or `STALE`
    outcome: str | None = None  # `DONE` or `FAILED`; None while pending, and where nothing was done
    of: bytes | None = None  # the attempt that this is the outcome of
    environment: Environment | None = None
    slot: Slot | None = None
    model: Model | None = None
    version: Version | None = None
    seq: int | None = None  # of the channel record
    manifest: Digest | None = None
    policy: PolicyId | None = None
    evidence: Digest | None = None  # SHA-256 of the payload of the document that was signed
    subject: str | None = None  # what was asked for, as it was written
    host: str | None = None


def encode(record: AuditRecord) -> bytes:
    """Write a record as the bytes of an entry.

    Raises:
        ValueError: the record breaks a rule of its format: the caller's mistake.
    """
    try:
        data = _spelled(record)
        parse(data)
    except (Refused, UnicodeEncodeError) as error:
        raise ValueError(f"This is no audit record: {error}") from None
    return data


def parse(data: bytes | memoryview, subject: str = "An audit record") -> AuditRecord:
    """Parse the bytes of an entry.

    Raises:
        Malformed: `too-large`, `malformed-json`; a field is missing, unknown or
            of another shape; the decision, the code and the outcome contradict
            each other; a part is named without the whole that it belongs to.
    """
    held = bytes(data[: limits.AUDIT_RECORD_BYTES + 1])
    if len(held) <= limits.AUDIT_RECORD_BYTES:
        # The quick way, for logs of millions: what is spelled as it would be written is strict JSON.
        with suppress(ValueError, RecursionError):
            record = _read(json.loads(held.decode("utf-8")), subject)
            if _spelled(record) == held:
                return record
    return _read(strict_json.parse(data, limit=limits.AUDIT_RECORD_BYTES, subject=subject), subject)


def fields_of(record: AuditRecord) -> dict[str, strict_json.JSONValue]:
    """Give the fields of a record as its format names them."""
    return {
        "action": record.action,
        "actor": record.actor,
        "code": record.code,
        "decision": record.decision,
        "environment": record.environment,
        "evidence": record.evidence,
        "host": record.host,
        "id": record.record_id.hex(),
        "key": record.key,
        "known": record.known,
        "manifest": record.manifest,
        "model": record.model,
        "of": None if record.of is None else record.of.hex(),
        "outcome": record.outcome,
        "policy": None if record.policy is None else policy_value(record.policy),
        "seq": record.seq,
        "slot": record.slot,
        "subject": record.subject,
        "time": record.time,
        "v": 1,
        "version": record.version,
    }


def _spelled(record: AuditRecord) -> bytes:
    return strict_json.encode(fields_of(record))


def _read(value: strict_json.JSONValue, subject: str) -> AuditRecord:
    fields = Fields(value, subject)
    fields.integer("v", 1, 1)
    record = AuditRecord(
        record_id=fields.text("id", hexadecimal(_ID_BYTES)),
        time=fields.text("time", _time),
        action=fields.text("action", one_of(*ACTIONS)),
        decision=fields.text("decision", one_of(*DECISIONS)),
        known=fields.text("known", one_of(*KNOWN)),
        actor=fields.optional("actor", _principal),
        key=fields.optional("key", names.digest),
        code=fields.optional("code", _code),
        outcome=fields.optional("outcome", one_of(DONE, FAILED)),
        of=fields.optional("of", hexadecimal(_ID_BYTES)),
        environment=fields.optional("environment", names.environment),
        slot=fields.optional("slot", names.slot),
        model=fields.optional("model", _model),
        version=fields.optional("version", _version),
        seq=_seq(fields),
        manifest=fields.optional("manifest", names.digest),
        policy=fields.optional_object("policy", read_policy),
        evidence=fields.optional("evidence", names.digest),
        subject=fields.optional("subject", _bounded(limits.AUDIT_SUBJECT_CHARS)),
        host=fields.optional("host", _bounded(limits.AUDIT_HOST_CHARS)),
    )
    fields.done()
    _check(record, subject)
    return record


def outcome_of(
    attempt: AuditRecord, *, record_id: bytes, time: str, error: BaseException | None
) -> AuditRecord:
    """Write what became of an attempt: `error` is what ended it, None if it was done.

    What was learned meanwhile (the version, its manifest, the policy) is put in by `dataclasses.replace`.
    """
    decision, code, outcome = judgement(error)
    return replace(
        attempt,
        record_id=record_id,
        time=time,
        decision=decision,
        code=code,
        outcome=outcome,
        of=attempt.record_id,
    )


def judgement(error: BaseException | None) -> tuple[str, str | None, str | None]:
    """Give the decision, the code and the outcome that an end comes to."""
    if error is None:
        return ALLOW, None, DONE
    if isinstance(error, Refused):
        return DENY if isinstance(error, AccessDenied) else REFUSE, error.code, None
    return ALLOW, error.code if isinstance(error, VaultError) else UNEXPECTED, FAILED


def fitting(text: str, most: int = limits.AUDIT_SUBJECT_CHARS) -> str:
    """Make any text fit a free field: half characters are spelled out, what is too long ends in `…`."""
    whole = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return whole if len(whole) <= most else f"{whole[: most - 1]}…"


def hash_key(identity: str) -> bytes:
    """Derive the key, 32 bytes, under which an environment hides hosts and subjects.

    `identity` is the environment key's age identity text, so who may read there
    can look a value up and nobody else can guess one. HKDF-SHA256 (RFC 5869).
    """
    return HKDF(SHA256(), 32, None, b"mvault/v1/audit-hash").derive(identity.encode("ascii"))


def hashed(key: bytes, text: str) -> str:
    """Hide a host or a subject: `hmac:` and the hexadecimal HMAC-SHA256 of its UTF-8."""
    return f"{HASHED}{hmac.digest(key, text.encode('utf-8'), 'sha256').hex()}"


def _check(record: AuditRecord, subject: str) -> None:
    """Refuse a record that says two things at once."""
    ends = (record.code is not None, record.outcome)
    legal = {
        PENDING: ((False, None),),
        ALLOW: ((False, DONE), (True, FAILED)),
        DENY: ((True, None),),
        REFUSE: ((True, None),),
    }
    remarked = (record.decision, record.outcome, record.code) == (ALLOW, DONE, STALE)
    if ends not in legal[record.decision] and not remarked:
        raise malformed(subject, "its decision, code and outcome contradict each other")
    if record.of is not None and (record.decision == PENDING or record.of == record.record_id):
        raise malformed(subject, "an outcome belongs to an attempt before it")
    if record.model is None and record.version is not None:
        raise malformed(subject, "a version is named with its model")
    if record.environment is None and record.slot is not None:
        raise malformed(subject, "a slot is named with its environment")


def _seq(fields: Fields) -> int | None:
    value = fields.raw("seq")
    return None if value is None else Fields({"seq": value}, fields.what).integer("seq")


def _code(text: str) -> str:
    if len(text) > _CODE_CHARS or not _CODE.match(text):
        raise malformed("A field", f"a code is at most {_CODE_CHARS} of a-z 0-9 and inner hyphens")
    return text


def _bounded(most: int) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if len(text) > most:
            raise malformed("A text field", f"it is longer than {most} characters")
        return text

    return parse


# A log names few models and actors, and few seconds, over and over.
_time: Final = lru_cache(4_096)(time)
_principal: Final = lru_cache(4_096)(names.principal)
_model: Final = lru_cache(4_096)(names.model)
_version: Final = lru_cache(4_096)(names.version)
