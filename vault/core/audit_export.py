"""Write audit records for other programs: JSON Lines, CSV, OCSF and CEF.

Nothing in a record can start another line, another field or, in a spreadsheet,
a formula. What is written is a copy: each line says where its evidence is.

- JSON Lines: one ASCII JSON object a line (jsonlines.org).
- CSV: RFC 4180, every cell quoted; formulas as CWE-1236 and OWASP "CSV
  Injection" advise. `csv_text` undoes what `csv_line` does to a text.
- OCSF: Open Cybersecurity Schema Framework 1.8.0, class API Activity (6003),
  no profiles (schema.ocsf.io).
- CEF: ArcSight Common Event Format, version 0 ("Implementing ArcSight Common
  Event Format", version 23, sections "Header Information" and "Character
  Encoding").
"""

import json
import re
from typing import Final, Protocol

from vault.core.audit_record import ALLOW, DENY, DONE, PENDING, REFUSE, AuditRecord, fields_of
from vault.core.strict_json import JSONValue

OCSF_VERSION: Final = "1.8.0"
OCSF_CLASS: Final = 6003
CEF_VERSION: Final = 0
PRODUCT: Final = "mvault"
VENDOR: Final = "model artifact vault"
UNREADABLE: Final = "an entry that is no audit record"

# What somebody may have tampered with, rather than what was only not allowed.
ALARMING: Final = frozenset(
    {
        *("bad-signature", "decrypt-failed", "digest-mismatch", "format-content", "key-mismatch"),
        *("log-inconsistent", "misplaced", "pickle-refused", "pins-mismatch", "rollback", "size-mismatch"),
        *("unsigned", "untrusted-signer", "withheld", "wrong-payload-type"),
    }
)

_COLUMNS: Final = (
    *("time", "actor", "action", "model", "version", "environment", "slot", "decision", "outcome", "code"),
    *("subject", "host", "known", "key", "manifest", "evidence", "seq", "policy_era", "policy_version"),
    *("policy_digest", "id", "of", "log", "commit", "position"),
)
_FORMULA: Final = frozenset("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")  # also their full-width forms
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_CSV_SPELLED: Final = re.compile(r"[\\;\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_CSV_SPELLING: Final = re.compile(r"\\(\\|u[0-9a-f]{4})")

_ACTIVITIES: Final = {"load": 2, "pull": 2, "publish": 1, "delete": 4}  # every other action is an update
_ACTIVITY_NAMES: Final = ("Unknown", "Create", "Read", "Update", "Delete")
_UNMAPPED: Final = ("environment", "slot", "seq", "known", "evidence", "policy", "subject", "outcome")
_SEVERITIES: Final = {1: "Informational", 2: "Low", 3: "Medium", 4: "High"}
_STATUSES: Final = ("Unknown", "Success", "Failure")
_CEF_SEVERITIES: Final = {1: 2, 2: 4, 3: 6, 4: 8}


class Entry(Protocol):
    """One entry of a log: where it is, and what it says."""

    @property
    def log(self) -> str:
        """The log's name."""

    @property
    def commit(self) -> int:
        """The number of the commit that holds it."""

    @property
    def position(self) -> int:
        """Its place in the log's tree."""

    @property
    def time(self) -> int:
        """Seconds since 1970; of an unreadable entry, that of the one before it."""

    @property
    def record(self) -> AuditRecord | None:
        """The record; None: its bytes are none."""


def json_line(entry: Entry) -> bytes:
    """Write an entry as a line of JSON: log, commit, position, and the record's own fields or null."""
    record = entry.record
    return _json_line(
        {
            "log": entry.log,
            "commit": entry.commit,
            "position": entry.position,
            "record": None if record is None else fields_of(record),
        }
    )


def csv_header() -> bytes:
    """Write the first line of a CSV file."""
    return _csv(_COLUMNS)


def csv_line(entry: Entry) -> bytes:
    """Write an entry as a line of CSV."""
    cells: dict[str, object] = {"log": entry.log, "commit": entry.commit, "position": entry.position}
    if entry.record is None:
        cells["subject"] = UNREADABLE
    else:
        fields = fields_of(entry.record)
        cells |= fields
        policy = fields["policy"]
        if isinstance(policy, dict):
            cells |= {f"policy_{name}": value for name, value in policy.items()}
    found = (cells.get(name) for name in _COLUMNS)
    return _csv(["" if value is None else str(value) for value in found])


def csv_text(cell: str) -> str:
    """Give the text that `csv_line` wrote as this cell, once a CSV reader has taken off the quotes."""
    spelled = cell.removeprefix("'")
    return _CSV_SPELLING.sub(lambda found: "\\" if found[1] == "\\" else chr(int(found[1][1:], 16)), spelled)


def ocsf(entry: Entry, *, vault: str, version: str) -> dict[str, JSONValue]:
    """Give an entry as an OCSF event of the class API Activity; `version` is this program's."""
    record = entry.record
    activity = 0 if record is None else _ACTIVITIES.get(record.action, 3)
    severity, status = severity_of(record), _status(record)
    api: dict[str, JSONValue] = {"operation": "unknown", "service": {"name": PRODUCT, "uid": vault}}
    metadata: dict[str, JSONValue] = {
        "log_name": entry.log,
        "product": {"name": PRODUCT, "vendor_name": VENDOR, "version": version},
        "sequence": entry.position,
        "version": OCSF_VERSION,
    }
    unmapped: dict[str, JSONValue] = {"commit": entry.commit}
    event: dict[str, JSONValue] = {
        "activity_id": activity,
        "activity_name": _ACTIVITY_NAMES[activity],
        "actor": _ocsf_actor(record),
        "api": api,
        "category_name": "Application Activity",
        "category_uid": OCSF_CLASS // 1_000,
        "class_name": "API Activity",
        "class_uid": OCSF_CLASS,
        "message": summary(record),
        "metadata": metadata,
        "severity": _SEVERITIES[severity],
        "severity_id": severity,
        "src_endpoint": {"name": (record.host if record is not None else None) or "unknown"},
        "status": _STATUSES[status],
        "status_id": status,
        "time": 1_000 * entry.time,
        "type_name": f"API Activity: {_ACTIVITY_NAMES[activity]}",
        "type_uid": 100 * OCSF_CLASS + activity,
        "unmapped": unmapped,
    }
    if record is not None:
        attempt = (record.of or record.record_id).hex()
        api |= {"operation": record.action, "request": {"uid": attempt}}
        metadata |= {
            "uid": record.record_id.hex(), "correlation_uid": attempt, "original_time": record.time
        }  # fmt: skip
        event["status_detail"] = record.decision
        if record.code is not None:
            event["status_code"] = record.code
        if record.model is not None:
            event["resources"] = [_ocsf_model(record)]
        fields = fields_of(record)
        unmapped |= {name: fields[name] for name in _UNMAPPED if fields[name] is not None}
    return event


def ocsf_line(entry: Entry, *, vault: str, version: str) -> bytes:
    """Write an entry as a line of JSON, an OCSF event."""
    return _json_line(ocsf(entry, vault=vault, version=version))


def cef_line(entry: Entry, *, vault: str, version: str) -> bytes:
    """Write an entry as a CEF event, one line; `version` is this program's.

    Control characters and other ends of lines are spelled out, as `\\u001b`.
    """
    record = entry.record
    kind = "unreadable" if record is None else record.code or f"{record.action}-{record.decision}"
    name = UNREADABLE if record is None else f"{record.action} {record.outcome or record.decision}"
    header = (VENDOR, PRODUCT, version, kind, name, str(_CEF_SEVERITIES[severity_of(record)]))
    extension: dict[str, object] = {
        "rt": 1_000 * entry.time,
        "cat": entry.log,
        "cn1": entry.position,
        "cn1Label": "position",
        "cn2": entry.commit,
        "cn2Label": "commit",
        "deviceExternalId": vault,
        "msg": summary(record),
    }
    if record is not None:
        where = record.environment and f"{record.environment}/{record.slot or 'main'}"
        named = (
            ("model", record.model and f"{record.model}:{record.version or ''}".removesuffix(":")),
            ("environment", where),
            ("manifest", record.manifest),
            ("evidence", record.evidence),
            ("key", record.key),
            ("attempt", (record.of or record.record_id).hex()),
        )
        extension |= {
            "externalId": record.record_id.hex(),
            "suser": record.actor,
            "shost": record.host,
            "act": record.action,
            "outcome": ("unknown", "success", "failure")[_status(record)],
            "reason": record.code,
            "flexString1": record.subject,
            "flexString1Label": None if record.subject is None else "subject",
        }
        for number, (label, value) in enumerate(named, 1):
            if value:
                extension |= {f"cs{number}": value, f"cs{number}Label": label}
    pairs = (f"{key}={_cef_value(str(value))}" for key, value in extension.items() if value is not None)
    fields = "|".join(_cef_header(text) for text in header)
    return f"CEF:{CEF_VERSION}|{fields}|{' '.join(pairs)}\n".encode()


def severity_of(record: AuditRecord | None) -> int:
    """Give OCSF's severity: 1 informational, 2 low (failed), 3 medium (denied, refused), 4 high."""
    if record is None or record.code in ALARMING:
        return 4
    if record.decision in {DENY, REFUSE}:
        return 3
    return 2 if record.code is not None else 1


def summary(record: AuditRecord | None) -> str:
    """Say in one line who did what, and what came of it."""
    if record is None:
        return UNREADABLE
    what = record.subject or record.model or ""
    if record.model is not None and record.version is not None:
        what = f"{record.model}:{record.version}"
    where = f" in {record.environment}" if record.environment is not None else ""
    ended = record.outcome if record.decision == ALLOW else record.decision
    why = f" ({record.code})" if record.code is not None else ""
    return f"{record.actor or 'somebody'}: {f'{record.action} {what}'.rstrip()}{where}: {ended}{why}"


def _ocsf_actor(record: AuditRecord | None) -> JSONValue:
    user: dict[str, JSONValue] = {}
    if record is not None and record.actor is not None:
        user["name"] = record.actor
    if record is not None and record.key is not None:
        user |= {"uid": record.key, "credential_uid": record.key}
    return {"user": user or {"name": "unknown", "type_id": 0}}


def _ocsf_model(record: AuditRecord) -> JSONValue:
    model: dict[str, JSONValue] = {"type": "model", "name": record.model}
    if record.version is not None:
        model["version"] = record.version
    if record.manifest is not None:
        model["uid"] = record.manifest
    return model


def _status(record: AuditRecord | None) -> int:
    if record is None:
        return 2
    return 0 if record.decision == PENDING else 1 if record.outcome == DONE else 2


def _json_line(value: dict[str, JSONValue]) -> bytes:
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"


def _csv(cells: tuple[str, ...] | list[str]) -> bytes:
    return (",".join(_csv_cell(cell) for cell in cells) + "\r\n").encode()


def _csv_cell(text: str) -> str:
    """Quote a cell so that no reader takes it for a formula, or sees another cell begin in it.

    Quotes are not enough: a spreadsheet that separates by `;` or tabs splits them.
    """
    spelled = _CSV_SPELLED.sub(lambda found: "\\\\" if found[0] == "\\" else f"\\u{ord(found[0]):04x}", text)
    if text[:1] in _FORMULA:
        spelled = f"'{spelled}"
    return '"' + spelled.replace('"', '""') + '"'


def _cef_header(text: str) -> str:
    return _spelled(text).replace("\\", "\\\\").replace("|", "\\|")


def _cef_value(text: str) -> str:
    kept = "\n".join(_spelled(line) for line in text.split("\n"))
    return kept.replace("\\", "\\\\").replace("=", "\\=").replace("\n", "\\n")


def _spelled(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
