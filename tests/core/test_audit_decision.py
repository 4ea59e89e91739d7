"""Which channel record an entry of a log tells of, and under which number."""

from dataclasses import replace

import pytest

from vault.core import audit_decision, audit_record, names
from vault.core.audit_record import AuditRecord
from vault.core.names import Digest
from vault.core.policy import PolicyId
from vault.errors import Malformed

EVIDENCE = Digest("ab" * 32)
RECORD = AuditRecord(
    record_id=bytes(16),
    time="2026-03-01T12:00:00Z",
    action="promote",
    decision=audit_record.ALLOW,
    known="signature",
    outcome=audit_record.DONE,
    environment=names.environment("prod"),
    slot=names.MAIN,
    model=names.model("churn"),
    seq=7,
    evidence=EVIDENCE,
)
NUMBER = (0, "prod", "main", "churn", 7)


@pytest.mark.parametrize("action", audit_decision.ACTIONS)
def test_an_entry_tells_of_one_record_under_one_number(action: str) -> None:
    record = replace(RECORD, action=action)
    assert audit_decision.decided(record) == (NUMBER, EVIDENCE)
    assert audit_decision.parse(audit_record.encode(record)) == (NUMBER, EVIDENCE)


def test_an_era_begins_the_numbers_anew() -> None:
    policy = PolicyId(3, 9, Digest("cd" * 32))
    assert audit_decision.decided(replace(RECORD, policy=policy)) == ((3, *NUMBER[1:]), EVIDENCE)


@pytest.mark.parametrize(
    "change",
    [
        {"action": "approve"},
        {"evidence": None},
        {"seq": None},
        {"slot": None},
        {"environment": None, "slot": None},
        {"model": None},
    ],
    ids=str,
)
def test_what_lacks_a_part_decides_nothing(change: dict[str, object]) -> None:
    record = replace(RECORD, **change)  # type: ignore[arg-type]
    assert audit_decision.decided(record) is None
    assert audit_decision.parse(audit_record.encode(record)) is None


def test_other_entries_are_not_looked_into() -> None:
    assert audit_decision.parse(b"anything at all") is None
    assert audit_decision.parse(b"") is None


@pytest.mark.parametrize("rest", [b"", b"}", b',"seq":7}', b',"action":"load"}'])
def test_nonsense_that_begins_like_a_decision_is_refused(rest: bytes) -> None:
    with pytest.raises(Malformed):
        audit_decision.parse(b'{"action":"promote"' + rest)
