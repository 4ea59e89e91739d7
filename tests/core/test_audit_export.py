"""Exports: other programs read back what a record says, and hostile text stays text."""

import csv
import io
import json
import re
from dataclasses import dataclass, replace
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from vault.core import audit_export, audit_record, limits, names
from vault.core.audit_record import AuditRecord
from vault.core.names import Digest, Environment, Model, Principal, Slot, Version
from vault.core.policy import PolicyId
from vault.errors import CODES


@dataclass(frozen=True)
class Found:
    """An entry, as the index gives it."""

    record: AuditRecord | None
    log: str = "access/serving/0123456789abcdef"
    commit: int = 12
    position: int = 345
    time: int = 1_795_410_000


FULL = AuditRecord(
    record_id=bytes(range(16)), time="2026-11-23T05:00:00Z", action="load", decision="allow", outcome="done",
    known="signature", actor=Principal("serving"), key=Digest("a" * 64), of=b"o" * 16,
    environment=Environment("prod"), slot=Slot("b"), model=Model("nepse/NABIL"), version=Version("3"), seq=7,
    manifest=Digest("b" * 64), policy=PolicyId(1, 4, Digest("d" * 64)), evidence=Digest("c" * 64),
    subject="nepse/NABIL@prod/b", host="web-1",
)  # fmt: skip
BARE = AuditRecord(
    record_id=bytes(16), time="2026-11-23T05:00:00Z", action="root", decision="allow", outcome="done",
    known="claimed",
)  # fmt: skip
REFUSED = replace(FULL, decision="refuse", code="pickle-refused", outcome=None)
DENIED = replace(FULL, decision="deny", code="access-denied", outcome=None)
FAILED = replace(FULL, code="unavailable", outcome="failed")
PENDING = replace(FULL, decision="pending", outcome=None, of=None)
KINDS = [FULL, BARE, REFUSED, DENIED, FAILED, PENDING, None]

HOSTILE = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "'=1", "\uff1d1+1", "\uff20x", "'", "''",
    '"', '","=1+1","', '";=1+1;"', ";=cmd|' /C calc'!A0", "a;b", "a,b", "a\tb", "a\nb", "a\r\nb", "a\x00b",
    "a|b", "a=b", "a\\b", "\\", "a\\", "\\u003b", "\\n", "x\u2028=1\u2029", "\x85x", "\x1b[31mred",
    "\ufeff=1", "CEF:0|x|y|z|1|fake|10|", "msg=fake act=none", "\U0001f600", "", "a" * 512, "{}",
    '{"a":1}', "</script>",
]  # fmt: skip


def hostile(text: str) -> AuditRecord:
    return replace(FULL, subject=text, host=text[: limits.AUDIT_HOST_CHARS])


# --- JSON Lines ---


@pytest.mark.parametrize("record", [*KINDS, *(hostile(text) for text in HOSTILE)])
def test_json_lines_are_one_line_each_and_hold_the_whole_record(record: AuditRecord | None) -> None:
    line = audit_export.json_line(Found(record))
    assert line.endswith(b"\n")
    assert line.isascii()
    assert len(line.decode().splitlines()) == 1
    value = json.loads(line)
    assert (value["log"], value["commit"], value["position"]) == (Found(None).log, 12, 345)
    if record is None:
        assert value["record"] is None
    else:
        again = json.dumps(value["record"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert audit_record.parse(again.encode()) == record


# --- CSV ---


def read_csv(data: bytes, **dialect: Any) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True, **dialect))


def test_a_csv_line_has_the_columns_of_the_header() -> None:
    data = audit_export.csv_header() + b"".join(audit_export.csv_line(Found(record)) for record in KINDS)
    header, *rows = read_csv(data)
    assert data.count(b"\r\n") == len(KINDS) + 1
    assert all(len(row) == len(header) == len(set(header)) for row in rows)
    first = dict(zip(header, rows[0], strict=True))
    assert first["actor"] == "serving"
    assert (first["policy_era"], first["policy_version"], first["policy_digest"]) == ("1", "4", "d" * 64)
    assert (first["id"], first["of"], first["position"]) == (bytes(range(16)).hex(), (b"o" * 16).hex(), "345")
    assert dict(zip(header, rows[-1], strict=True))["subject"] == audit_export.UNREADABLE
    record_fields = set(audit_record.fields_of(FULL)) - {"v", "policy"}
    assert record_fields <= set(header), "nothing that a record says is left out"


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_is_a_formula_and_every_text_can_be_had_back(text: str) -> None:
    data = audit_export.csv_line(Found(hostile(text)))
    header = read_csv(audit_export.csv_header())[0]
    (row,) = read_csv(data)
    cells = dict(zip(header, row, strict=True))
    assert audit_export.csv_text(cells["subject"]) == text
    assert audit_export.csv_text(cells["host"]) == text[:255]
    for cell in row:
        assert not cell or cell[0] not in "=+-@\t\r\n\x00\uff1d\uff0b\uff0d\uff20"


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_no_other_separator_lets_a_text_begin_a_cell(text: str, delimiter: str) -> None:
    data = audit_export.csv_line(Found(hostile(text)))
    assert delimiter not in data.decode(), "in a spreadsheet that splits there, the line is one cell"
    assert len(data.decode().splitlines()) == 1
    assert data.startswith(b'"2026-')


# --- OCSF ---


def schema(version: str) -> dict[str, Any]:
    ocsf = pytest.importorskip("ocsf_json_schema", reason="ocsf-json-schema, which has OCSF's schema")
    embedded = ocsf.OcsfJsonSchemaEmbedded(ocsf.get_ocsf_schema(version))
    found: dict[str, Any] = embedded.get_class_schema("api_activity")
    return found


@pytest.mark.parametrize("version", ["1.1.0", "1.3.0", "1.5.0", audit_export.OCSF_VERSION])
def test_every_kind_of_record_is_a_valid_event_of_the_schema(version: str) -> None:
    validator = jsonschema.Draft202012Validator(schema(version))
    for record in [*KINDS, *(hostile(text) for text in HOSTILE)]:
        event = json.loads(audit_export.ocsf_line(Found(record), vault="5" * 64, version="0.1.0"))
        assert [error.message for error in validator.iter_errors(event)] == []
        assert event["metadata"]["version"] == "1.8.0"
        assert event["type_uid"] == 600_300 + event["activity_id"]


def test_the_schema_would_notice() -> None:
    """A check of the check: what lacks a part, or has one of another type, is not valid."""
    validator = jsonschema.Draft202012Validator(schema(audit_export.OCSF_VERSION))
    event = audit_export.ocsf(Found(FULL), vault="5" * 64, version="0.1.0")
    assert validator.is_valid(event)
    for wrong in ({**event, "time": "now"}, {**event, "api": {}}, {**event, "severity_id": 42}):
        assert not validator.is_valid(wrong)
    del event["actor"]
    assert not validator.is_valid(event)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (FULL, ("Read", "Informational", "Success", None)),
        (PENDING, ("Read", "Informational", "Unknown", None)),
        (FAILED, ("Read", "Low", "Failure", "unavailable")),
        (DENIED, ("Read", "Medium", "Failure", "access-denied")),
        (REFUSED, ("Read", "High", "Failure", "pickle-refused")),
        (replace(REFUSED, code="expired"), ("Read", "Medium", "Failure", "expired")),
        (BARE, ("Update", "Informational", "Success", None)),
        (replace(BARE, action="publish"), ("Create", "Informational", "Success", None)),
        (replace(BARE, action="delete"), ("Delete", "Informational", "Success", None)),
        (None, ("Unknown", "High", "Failure", None)),
    ],
)
def test_what_happened_is_told_in_the_terms_of_ocsf(
    record: AuditRecord | None, expected: tuple[Any, ...]
) -> None:
    event = audit_export.ocsf(Found(record), vault="5" * 64, version="0.1.0")
    names_of = ("activity_name", "severity", "status", "status_code")
    assert tuple(event.get(name) for name in names_of) == expected
    assert event["time"] == 1_000 * names.timestamp("2026-11-23T05:00:00Z")


def test_an_event_says_who_and_which_model_and_where_the_evidence_is() -> None:
    event: Any = audit_export.ocsf(Found(FULL), vault="5" * 64, version="0.1.0")
    assert event["actor"]["user"] == {"name": "serving", "uid": "a" * 64, "credential_uid": "a" * 64}
    assert event["resources"] == [{"type": "model", "name": "nepse/NABIL", "version": "3", "uid": "b" * 64}]
    assert event["metadata"]["log_name"] == Found(None).log
    assert event["metadata"]["correlation_uid"] == (b"o" * 16).hex()
    assert event["unmapped"]["evidence"] == "c" * 64
    only_a_key: Any = audit_export.ocsf(
        Found(replace(BARE, key=Digest("e" * 64), model=Model("m"))), vault="5" * 64, version="1"
    )
    assert only_a_key["actor"]["user"]["uid"] == "e" * 64
    assert only_a_key["resources"] == [{"type": "model", "name": "m"}]


def test_what_counts_as_tampering_is_a_code() -> None:
    assert set(CODES) >= audit_export.ALARMING


# --- CEF ---


def read_cef(line: bytes) -> tuple[list[str], dict[str, str]]:
    """Read a CEF event as its specification says, independently of how it was written."""
    text = line.decode()
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1
    header: list[str] = []
    rest = text[:-1]
    while len(header) < 7:
        field = ""
        while rest[0] != "|":
            if rest[0] == "\\":
                assert rest[1] in "\\|", "only these are escaped in a header"
                field, rest = field + rest[1], rest[2:]
            else:
                field, rest = field + rest[0], rest[1:]
        header.append(field)
        rest = rest[1:]
    found = {}
    starts = list(re.finditer(r"(?:^| )([A-Za-z0-9]+)=", _without_escaped(rest)))
    for number, start in enumerate(starts):
        end = starts[number + 1].start() if number + 1 < len(starts) else len(rest)
        assert start[1] not in found, "no key occurs twice"
        found[start[1]] = _unescaped(rest[start.end() : end])
    return header, found


def _without_escaped(text: str) -> str:
    return re.sub(r"\\.", "__", text)


def _unescaped(text: str) -> str:
    assert not set(re.findall(r"\\(.)", text)) - set("\\=nr")
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r"}.get(found[1], found[1]), text)


@pytest.mark.parametrize("record", KINDS)
def test_a_cef_event_can_be_read_back(record: AuditRecord | None) -> None:
    header, found = read_cef(audit_export.cef_line(Found(record), vault="5" * 64, version="0.1.0"))
    assert header[:4] == ["CEF:0", "model artifact vault", "mvault", "0.1.0"]
    assert (found["rt"], found["cat"]) == ("1795410000000", Found(None).log)
    assert (found["cn1Label"], found["cn1"], found["cn2Label"], found["cn2"]) == (
        "position", "345", "commit", "12",
    )  # fmt: skip
    assert (found.get("suser"), found.get("shost")) == (
        (record.actor, record.host) if record is not None else (None, None)
    )
    assert all((f"cs{number}" in found) == (f"cs{number}Label" in found) for number in range(1, 7))


def test_a_cef_event_says_what_happened() -> None:
    header, found = read_cef(audit_export.cef_line(Found(REFUSED), vault="5" * 64, version="0.1.0"))
    assert header[4:] == ["pickle-refused", "load refuse", "8"]
    assert (found["act"], found["outcome"], found["reason"]) == ("load", "failure", "pickle-refused")
    assert (found["cs1Label"], found["cs1"]) == ("model", "nepse/NABIL:3")
    assert (found["cs2Label"], found["cs2"]) == ("environment", "prod/b")
    assert found["msg"] == "serving: load nepse/NABIL:3 in prod: refuse (pickle-refused)"
    header, found = read_cef(audit_export.cef_line(Found(BARE), vault="5" * 64, version="0.1.0"))
    assert header[4:] == ["root-allow", "root done", "2"]
    assert found["msg"] == "somebody: root: done"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_adds_no_field_and_no_line_to_cef(text: str) -> None:
    header, found = read_cef(audit_export.cef_line(Found(hostile(text)), vault="5" * 64, version=text))
    plain_header, plain = read_cef(
        audit_export.cef_line(Found(hostile("plain")), vault="5" * 64, version="1")
    )
    assert set(found) == set(plain)
    assert len(header) == len(plain_header) == 7
    spelled = re.sub(
        r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]", lambda hit: f"\\u{ord(hit[0]):04x}", text
    )
    assert found["flexString1"] == spelled
    assert header[3] == spelled.replace("\n", "\\u000a")
    assert {name: value for name, value in found.items() if name not in {"flexString1", "shost"}} == {
        name: value for name, value in plain.items() if name not in {"flexString1", "shost"}
    }


def test_a_summary_is_a_sentence_for_people() -> None:
    assert audit_export.summary(FULL) == "serving: load nepse/NABIL:3 in prod: done"
    assert (
        audit_export.summary(replace(PENDING, version=None))
        == "serving: load nepse/NABIL@prod/b in prod: pending"
    )
    assert audit_export.summary(replace(PENDING, version=None, model=None, subject=None)) == (
        "serving: load in prod: pending"
    )
    assert audit_export.summary(None) == audit_export.UNREADABLE
