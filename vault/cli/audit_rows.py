"""Records of the audit as a terminal, a pipe and a program get them."""

import json
from typing import TYPE_CHECKING, Any

from vault.cli.tables import Cell, Column
from vault.cli.text import when

if TYPE_CHECKING:
    from vault.audit.query import Row
    from vault.core.audit_record import AuditRecord

ID_DIGITS = 8  # of an id, on a terminal; `show` takes as many
COLUMNS = (
    Column("TIME"),
    Column("WHO", shrinks=True),
    Column("DID"),
    Column("WHAT", shrinks=True),
    Column("RESULT", shrinks=True),
    Column("ID"),
)
_UNREADABLE = "no audit record"


def value(row: "Row") -> dict[str, Any]:
    """Give a record in its JSON shape (docs/cli.md)."""
    from vault.core import audit_export

    found: dict[str, Any] = json.loads(audit_export.json_line(row))
    return found


def cells(row: "Row") -> tuple[Cell, ...]:
    """Give a record as a row of the table for people."""
    record = row.record
    if record is None:
        return (Cell(""), Cell(""), Cell(_UNREADABLE), Cell(f"{row.log} {row.position}"), Cell(""), Cell(""))
    return (
        Cell(when(record.time)),
        Cell(who(record)),
        Cell(record.action),
        Cell(what(record)),
        Cell(result(record)),
        Cell(record.record_id.hex()[:ID_DIGITS]),
    )


def piped(row: "Row") -> tuple[Cell, ...]:
    """Give a record as scripts get it: the columns that `mvault audit log --help` lists."""
    record = row.record
    texts: list[str | None]
    if record is None:
        texts = ["", "", _UNREADABLE, *("",) * 9, row.log, str(row.position), ""]
    else:
        texts = [
            *(record.time, record.actor, record.action, record.decision, record.outcome, record.code),
            *(record.model, record.version, record.environment, record.slot, record.subject, record.host),
            *(row.log, str(row.position), record.record_id.hex()),
        ]
    return tuple(Cell(text or "") for text in texts)


def who(record: "AuditRecord") -> str:
    """Name the actor; with a question mark where nothing but a claim says so."""
    name = record.actor or "nobody known"
    return name if record.known == "signature" else f"{name}?"


def what(record: "AuditRecord") -> str:
    """Name what something was done to, as a reference where it is a model."""
    if record.model is None:
        return record.subject or record.environment or ""
    version = f":{record.version}" if record.version else ""
    slot = f"/{record.slot}" if record.slot not in (None, "main") else ""
    place = f"@{record.environment}{slot}" if record.environment else ""
    # One act may sign several documents, which have a record each: the subject says which.
    document = f", {record.subject}" if record.evidence is not None and record.subject is not None else ""
    return f"{record.model}{version}{place}{document}"


def result(record: "AuditRecord") -> str:
    """Say what came of it in a word, and why not."""
    words = {
        "pending": "no outcome",
        "deny": f"denied: {record.code}",
        "refuse": f"refused: {record.code}",
    }
    if record.decision in words:
        return words[record.decision]
    return "done" if record.outcome == "done" else f"failed: {record.code}"
