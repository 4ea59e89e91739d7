"""Records for the tests of the index, the summary and the exports."""

import hashlib
from dataclasses import replace
from typing import Any

from vault.audit.index import AuditIndex, Mark
from vault.core import audit_record, names
from vault.core.audit_record import AuditRecord
from vault.core.names import Digest, Environment, Model, Principal, Version
from vault.core.policy import PolicyId

START = names.timestamp("2026-11-02T09:00:00Z")  # a Monday
ACCESS = "access/serving/0123456789abcdef"

LOADED = AuditRecord(
    record_id=bytes(16),
    time=names.time_text(START),
    action="load",
    decision="allow",
    known="signature",
    actor=Principal("serving"),
    key=Digest("a" * 64),
    outcome="done",
    environment=Environment("prod"),
    model=Model("churn"),
    version=Version("3"),
    seq=7,
    manifest=Digest("b" * 64),
    policy=PolicyId(0, 4, Digest("d" * 64)),
    subject="churn@prod",
    host="web-1",
)


def loaded(moment: int = START, **change: Any) -> AuditRecord:
    """Make a record like `LOADED`; `code` makes it a denial or a refusal."""
    code = change.get("code")
    if code is not None and "decision" not in change:
        change["decision"] = "deny" if code == "access-denied" else "refuse"
    if change.get("decision", "allow") != "allow":
        change.setdefault("outcome", None)
    made = replace(LOADED, time=names.time_text(moment), **change)
    if "record_id" not in change:
        return replace(made, record_id=hashlib.sha256(repr(made).encode()).digest()[:16])
    return made


def put(index: AuditIndex, log: str, records: list[AuditRecord], *, commit: int = 1) -> None:
    """Add records to a log's end."""
    known = index.marks().get(log)
    size = known.size if known is not None else 0
    entries = [(commit, audit_record.encode(record)) for record in records]
    assert index.extend(log, size, entries, Mark(size + len(records), b"\x07" * 32, commit)) == len(records)
