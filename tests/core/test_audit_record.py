"""Audit records: one spelling, bounded, and nothing in them that contradicts itself."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vault.core import audit_record, limits, names, strict_json
from vault.core.audit_record import AuditRecord
from vault.core.names import Digest, Environment, Model, Principal, Slot, Version
from vault.core.policy import PolicyId
from vault.errors import CODES, AccessDenied, FormatRefused, Malformed, Unavailable

ATTEMPT = AuditRecord(
    record_id=bytes(range(16)),
    time="2026-11-23T05:00:00Z",
    action="load",
    decision="pending",
    known="signature",
    actor=Principal("serving"),
    key=Digest("a" * 64),
    environment=Environment("prod"),
    subject="churn@prod",
    host="web-1",
)
DONE = replace(
    ATTEMPT,
    record_id=b"o" * 16,
    decision="allow",
    outcome="done",
    of=ATTEMPT.record_id,
    model=Model("nepse/NABIL"),
    version=Version("3"),
    slot=Slot("main"),
    seq=7,
    manifest=Digest("b" * 64),
    evidence=Digest("c" * 64),
    policy=PolicyId(0, 4, Digest("d" * 64)),
)
BARE = AuditRecord(
    record_id=bytes(16), time="2026-11-23T05:00:00Z", action="root", decision="allow", known="claimed",
    outcome="done",
)  # fmt: skip


@pytest.mark.parametrize("record", [ATTEMPT, DONE, BARE])
def test_what_is_written_is_read_back(record: AuditRecord) -> None:
    assert audit_record.parse(audit_record.encode(record)) == record


def test_the_bytes_are_those_of_the_specification() -> None:
    assert audit_record.encode(BARE) == (
        b'{"action":"root","actor":null,"code":null,"decision":"allow","environment":null,"evidence":null,'
        b'"host":null,"id":"00000000000000000000000000000000","key":null,"known":"claimed","manifest":null,'
        b'"model":null,"of":null,"outcome":"done","policy":null,"seq":null,"slot":null,"subject":null,'
        b'"time":"2026-11-23T05:00:00Z","v":1,"version":null}'
    )


def value_of(record: AuditRecord) -> dict[str, Any]:
    value = strict_json.parse(audit_record.encode(record))
    assert isinstance(value, dict)
    return value


BREAKS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another version of the format": lambda value: value.update(v=2),
    "a field too many": lambda value: value.update(arguments=[]),
    "a field too few": lambda value: value.pop("host"),
    "an unknown action": lambda value: value.update(action="exec"),
    "an unknown decision": lambda value: value.update(decision="maybe"),
    "an unknown way to know": lambda value: value.update(known="guessed"),
    "an unknown outcome": lambda value: value.update(outcome="perhaps"),
    "no id": lambda value: value.update(id=None),
    "an id in capitals": lambda value: value.update(id="A" * 32),
    "an id that is short": lambda value: value.update(id="ab"),
    "an actor that is none": lambda value: value.update(actor="../x"),
    "a model that is none": lambda value: value.update(model="=1+1"),
    "a version that is none": lambda value: value.update(version="03"),
    "an environment that is none": lambda value: value.update(environment="Prod"),
    "a slot that is none": lambda value: value.update(slot="A"),
    "a time that is none": lambda value: value.update(time="2026-02-30T00:00:00Z"),
    "a number below zero": lambda value: value.update(seq=-1),
    "a number as text": lambda value: value.update(seq="7"),
    "a digest that is none": lambda value: value.update(manifest="sha256:" + "b" * 64),
    "a policy without a digest": lambda value: value.update(policy={"era": 0, "version": 1}),
    "a long subject": lambda value: value.update(subject="x" * (limits.AUDIT_SUBJECT_CHARS + 1)),
    "a long host": lambda value: value.update(host="x" * (limits.AUDIT_HOST_CHARS + 1)),
    "a code that is none": lambda value: value.update(code="No way", outcome="failed"),
    "a long code": lambda value: value.update(code="a" * 65, outcome="failed"),
    "done for a reason": lambda value: value.update(code="expired"),
    "allowed without an outcome": lambda value: value.update(outcome=None),
    "failed for no reason": lambda value: value.update(outcome="failed"),
    "refused for no reason": lambda value: value.update(decision="refuse", outcome=None),
    "denied and done": lambda value: value.update(decision="deny", code="access-denied"),
    "pending and done": lambda value: value.update(decision="pending", of=None),
    "pending, of another attempt": lambda value: value.update(decision="pending", outcome=None),
    "its own outcome": lambda value: value.update(of=value["id"]),
    "a version of no model": lambda value: value.update(model=None),
    "a slot of no environment": lambda value: value.update(environment=None),
}


@pytest.mark.parametrize("what", BREAKS)
def test_another_shape_is_malformed(what: str) -> None:
    value = value_of(DONE)
    BREAKS[what](value)
    with pytest.raises(Malformed):
        audit_record.parse(strict_json.encode(value))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{}",
        b"\xff",
        audit_record.encode(BARE) + b"\n",
        b" " * 16_384,
        b"[" * 9_999,
    ],
)
def test_bytes_that_are_no_record_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        audit_record.parse(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"v":1', b'"v":1.0'),
        (b'"v":1', b'"v":01'),
        (b'"v":1', b'"v": 1'),
        (b'"v":1', b'"v":1,"v":1'),
        (b'"seq":null', b'"seq":NaN'),
        (b'"seq":null', b'"seq":1e3'),
        (b'"seq":null', b'"seq":' + b"9" * 5_000),
        (b'"subject":null', b'"subject":"\\u0041"'),
        (b'"subject":null', b'"subject":"\\ud800"'),
        (b'"subject":null', b'"subject":' + b"[" * 9_000 + b"]" * 6_000),
        (b'"root"', b'"\\u0072oot"'),
        (b"{", b"\xef\xbb\xbf{"),
    ],
)
def test_there_is_one_spelling(old: bytes, new: bytes) -> None:
    data = audit_record.encode(BARE)
    assert data.count(old) == 1
    with pytest.raises(Malformed):
        audit_record.parse(data.replace(old, new))


def test_a_record_is_measured_before_it_is_parsed() -> None:
    with pytest.raises(Malformed) as caught:
        audit_record.parse(b"[" * (limits.AUDIT_RECORD_BYTES + 1), "log/trust, entry 7")
    assert caught.value.code == "too-large"
    assert caught.value.subject == "log/trust, entry 7"


def test_the_longest_free_text_of_the_costliest_characters_fits() -> None:
    for character in ("\x01", "\U0001f600"):
        full = replace(
            DONE,
            subject=character * limits.AUDIT_SUBJECT_CHARS,
            host=character * limits.AUDIT_HOST_CHARS,
            model=Model("/".join(["m" * 24] * 8)),
        )
        assert audit_record.parse(audit_record.encode(full)) == full


@pytest.mark.parametrize(
    "change",
    [{"subject": "\ud800"}, {"action": "exec"}, {"record_id": b"short"}, {"decision": "deny"}, {"seq": -1}],
)
def test_writing_what_no_reader_takes_is_the_callers_mistake(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no audit record"):
        audit_record.encode(replace(DONE, **change))


# --- outcomes ---


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, ("allow", None, "done")),
        (AccessDenied("no"), ("deny", "access-denied", None)),
        (AccessDenied("no", code="not-promoted"), ("deny", "not-promoted", None)),
        (FormatRefused("no"), ("refuse", "format-refused", None)),
        (Unavailable("down"), ("allow", "unavailable", "failed")),
        (RuntimeError("a defect"), ("allow", "unexpected", "failed")),
        (KeyboardInterrupt(), ("allow", "unexpected", "failed")),
    ],
)
def test_every_end_of_an_attempt_comes_to_one_record(
    error: BaseException | None, expected: tuple[str, str | None, str | None]
) -> None:
    found = audit_record.outcome_of(ATTEMPT, record_id=b"p" * 16, time="2026-11-23T05:00:01Z", error=error)
    assert (found.decision, found.code, found.outcome) == expected
    assert (found.of, found.record_id, found.time) == (ATTEMPT.record_id, b"p" * 16, "2026-11-23T05:00:01Z")
    assert (found.actor, found.subject, found.environment) == ("serving", "churn@prod", "prod")
    assert audit_record.parse(audit_record.encode(found)) == found


def test_every_code_of_the_product_can_be_recorded() -> None:
    for code in CODES:
        audit_record.encode(replace(DONE, decision="refuse", code=code, outcome=None))
    assert audit_record.UNEXPECTED not in CODES


# --- free text ---


def test_any_text_can_be_made_to_fit() -> None:
    for text in ("churn@prod", "\ud800half", "x" * 10_000, "\x1b[31m\n", ""):
        fitted = audit_record.fitting(text)
        assert len(fitted) <= limits.AUDIT_SUBJECT_CHARS
        assert audit_record.parse(audit_record.encode(replace(ATTEMPT, subject=fitted))).subject == fitted
    assert audit_record.fitting("churn@prod") == "churn@prod"
    assert audit_record.fitting("\udcff") == "\\udcff"
    assert audit_record.fitting("abcdef", 4) == "abc…"


def test_a_hidden_text_is_its_hmac_under_a_key_of_its_environment() -> None:
    # RFC 5869: PRK = HMAC(zeros, ikm); OKM = HMAC(PRK, info ‖ 01). Computed with openssl.
    key = audit_record.hash_key("AGE-SECRET-KEY-1TEST")
    assert key.hex() == "9a6ac10100bea8869119eab4b3c3281b5c1deab5061bd513d7e76ddef839d0e6"
    assert (
        audit_record.hashed(key, "web-1")
        == "hmac:ad49105dc07e1bad8cb0477fe380c5700c170731c3d685aae6c54c93f95d7307"
    )
    assert audit_record.hashed(key, "web-1") != audit_record.hashed(audit_record.hash_key("OTHER"), "web-1")
    hidden = replace(ATTEMPT, host=audit_record.hashed(key, "web-1"))
    assert audit_record.parse(audit_record.encode(hidden)) == hidden


def test_a_time_in_a_record_is_the_one_of_every_document() -> None:
    assert names.timestamp(ATTEMPT.time) == 1_795_410_000
