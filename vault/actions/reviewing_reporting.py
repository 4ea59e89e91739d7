"""Write a report of what the logs tell: for people in Markdown, for programs in JSON, signed where possible.

The JSON is the payload of a DSSE envelope of the kind `report`, byte for byte,
and names the SHA-256 of the Markdown. What a reader can check again later are
the checkpoints: `reviewing_report_check` does it.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vault._version import __version__
from vault.actions import identities, reviewing_verifying
from vault.actions.reviewing_indexing import Indexed
from vault.actions.reviewing_replaying import LogFound
from vault.actions.reviewing_verifying import Verification
from vault.actions.session import Session
from vault.core import audit_record, envelope, names
from vault.core.names import Digest
from vault.errors import NoUsableKey

if TYPE_CHECKING:
    from vault.audit.query import Row

KIND: Final = "report"
FORMAT: Final = "mvault-report-v1"
LISTED: Final = 200  # refusals, and changes, that are listed one by one

_CHANGES: Final = tuple(action for action in audit_record.ACTIONS if action not in ("load", "pull"))


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a report; `signed` is None where there was no identity to sign it."""

    whole: str
    because: str
    markdown: Path
    payload: Path
    signed: Path | None
    status: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What a report is about: from `since` on, before `until`, in seconds since 1970; None is no bound."""

    since: int | None = None
    until: int | None = None

    @property
    def all(self) -> bool:
        """Tell whether everything is asked for."""
        return self.since is None and self.until is None


def write(session: Session, indexed: Indexed, asked: Asked, folder: Path, *, memory: str) -> Written:
    """Verify every log, and write the report into a folder; nothing there is overwritten.

    Raises:
        Conflict: there is a report of this second already.
        Unavailable: it cannot be written, or the store failed.
        NoUsableKey: there is an identity, and it cannot be unlocked.
        Refused: the trust documents do not verify.
    """
    indexed.refresh(remember=False)
    verified = reviewing_verifying.verify(session, memory=memory)
    created = session.now()
    value = _value(session, indexed, asked, verified, created)
    markdown = "\n".join(_markdown(value)).encode()
    value["markdown"] = f"sha256:{hashlib.sha256(markdown).hexdigest()}"
    payload = json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"
    stem = f"audit-report-{created.replace('-', '').replace(':', '')}"
    files = [(folder / f"{stem}.md", markdown), (folder / f"{stem}.json", payload)]
    signed = None
    if value["author"] is not None:
        who = session.identity
        sealed = envelope.sign(KIND, payload, [(Digest(who.key_id), who.sign)])
        signed = folder / f"{stem}.dsse"
        files.append((signed, envelope.serialise(sealed)))
    for place, data in files:
        identities.create_file(place, data)
    return Written(verified.whole, verified.because, files[0][0], files[1][0], signed, verified.status)


def _value(
    session: Session, indexed: Indexed, asked: Asked, verified: Verification, created: str
) -> dict[str, Any]:
    """Gather a report; its first key is the answer to the first question."""
    policy = session.trust().policy_id
    refused = [*_records(indexed, asked, decision=(audit_record.DENY, audit_record.REFUSE))]
    changes = [*_records(indexed, asked, action=_CHANGES, decision=(audit_record.ALLOW,))]
    return {
        "record_whole": verified.whole,
        "because": verified.because,
        "format": FORMAT,
        "vault": f"sha256:{session.pin}",
        "created": created,
        "since": None if asked.since is None else names.time_text(asked.since),
        "until": None if asked.until is None else names.time_text(asked.until),
        "author": _author(session),
        "program": f"mvault {__version__}",
        "policy": {"era": policy.era, "version": policy.version, "digest": policy.digest},
        "logs": [_log(indexed, asked, entry) for entry in verified.logs],
        "counts": [*_counts(indexed, asked)],
        "refused": refused[:LISTED],
        "refused_left_out": _left_out(
            indexed, asked, refused, decision=(audit_record.DENY, audit_record.REFUSE)
        ),
        "changes": changes[:LISTED],
        "changes_left_out": _left_out(
            indexed, asked, changes, action=_CHANGES, decision=(audit_record.ALLOW,)
        ),
        "not_checked": [*verified.limits],
    }


def _author(session: Session) -> dict[str, str | None] | None:
    """Say who signs; None where there is no identity on this machine.

    Raises:
        NoUsableKey: there is one, and it cannot be unlocked.
    """
    try:
        who = session.identity
    except NoUsableKey:
        if session.unlock is not None:
            raise
        return None
    holder = session.trust().policy.holder(Digest(who.key_id))
    return {"name": None if holder is None else holder.name, "key": f"sha256:{who.key_id}"}


def _log(indexed: Indexed, asked: Asked, found: LogFound) -> dict[str, Any]:
    head = found.head
    return {
        "log": str(found.log),
        "origin": found.origin,
        "holds": found.holds,
        "size": None if head is None else head.size,
        "root": None if head is None else head.root.hex(),
        "commit": None if head is None else head.number,
        "range": _range(indexed, asked, found),
        "findings": [
            {"level": entry.level, "check": entry.check, "message": entry.message} for entry in found.findings
        ],
    }


def _range(indexed: Indexed, asked: Asked, found: LogFound) -> dict[str, int] | None:
    """Give the first and the last entry of the time that was asked for, and how many there are."""
    if found.head is None or not found.head.size:
        return None
    if asked.all:
        return {"first": 0, "last": found.head.size - 1, "records": found.head.size}
    query = (
        "SELECT min(position), max(position), count(*) FROM entries"
        " WHERE log = (SELECT number FROM logs WHERE name = ?) AND time >= ? AND time < ? AND position < ?"
    )
    bounds = (asked.since or 0, asked.until or 1 << 62)
    first, last, count = indexed.index.rows(query, (str(found.log), *bounds, found.head.size))[0]
    return {"first": first, "last": last, "records": count} if count else None


def _counts(indexed: Indexed, asked: Asked) -> Iterator[dict[str, Any]]:
    """Count the records of each action by what was decided."""
    from vault.audit import query

    for action in audit_record.ACTIONS:
        for decision in audit_record.DECISIONS:
            wanted = query.Filter(
                action=(action,), decision=(decision,), since=asked.since, until=asked.until
            )
            number = query.count(indexed.index, wanted)
            if number:
                yield {"action": action, "decision": decision, "records": number}


def _records(indexed: Indexed, asked: Asked, **fields: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Give the newest records that hold, one more than are listed."""
    from vault.audit import query

    wanted = query.Filter(since=asked.since, until=asked.until, **fields)
    for row in query.page(indexed.index, wanted, most=LISTED).rows:
        if row.record is not None:
            yield _record(row, row.record)


def _left_out(indexed: Indexed, asked: Asked, listed: Sequence[object], **fields: tuple[str, ...]) -> int:
    from vault.audit import query

    wanted = query.Filter(since=asked.since, until=asked.until, **fields)
    return max(0, query.count(indexed.index, wanted) - len(listed))


def _record(row: "Row", record: audit_record.AuditRecord) -> dict[str, Any]:
    return {
        "id": record.record_id.hex(),
        "time": record.time,
        "actor": record.actor,
        "known": record.known,
        "action": record.action,
        "decision": record.decision,
        "code": record.code,
        "environment": record.environment,
        "model": record.model,
        "version": record.version,
        "subject": record.subject,
        "log": row.log,
        "index": row.position,
    }


# --- for people ---


def _markdown(value: dict[str, Any]) -> Iterator[str]:
    """Write the report for people; its first line answers whether the record is whole."""
    because = f" because {_text(value['because'])}" if value["because"] else ""
    yield f"Record whole: {value['record_whole']}{because}"
    yield ""
    yield f"# Audit report of the vault {value['vault']}"
    yield ""
    author = value["author"]
    yield f"- Written {value['created']} by {value['program']}, under policy {value['policy']['version']}."
    if author is None:
        yield "- **Not signed**: there was no identity on the machine that wrote it."
    else:
        yield f"- Signed by {author['name'] or 'somebody unknown to the policy'}, key {author['key']}."
    yield f"- About records from {value['since'] or 'the beginning'} to {value['until'] or 'its writing'}."
    yield f"- To check it again: `mvault audit report verify {_stem(value)}`"
    yield ""
    yield "## The logs"
    yield ""
    yield from _table(
        ("Log", "Holds", "Size", "Root", "Entries in range", "Records"),
        (
            (
                entry["log"],
                "yes" if entry["holds"] else "**no**",
                _number(entry["size"]),
                f"`{entry['root']}`" if entry["root"] else "-",
                f"{entry['range']['first']}-{entry['range']['last']}" if entry["range"] else "none",
                _number(entry["range"]["records"]) if entry["range"] else "0",
            )
            for entry in value["logs"]
        ),
    )
    yield ""
    for entry in value["logs"]:
        for finding in entry["findings"]:
            yield f"- {entry['log']}, {finding['check']}, {finding['level']}: {_text(finding['message'])}"
    yield from _records_text(value)
    yield ""
    yield "## What this cannot show"
    yield ""
    for text in value["not_checked"]:
        yield f"- {_text(text)}"
    yield ""


def _records_text(value: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield "## What happened"
    yield ""
    yield from _table(
        ("Action", "Decision", "Records"),
        ((entry["action"], entry["decision"], _number(entry["records"])) for entry in value["counts"]),
    )
    for key, title in (("refused", "Denied and refused"), ("changes", "What was changed")):
        yield ""
        yield f"## {title}"
        yield ""
        if not value[key]:
            yield "Nothing."
            continue
        yield from _table(
            ("Time", "Who", "Action", "What", "Code", "Log", "Entry"),
            (
                (
                    entry["time"],
                    entry["actor"] or "-",
                    entry["action"],
                    _what(entry),
                    entry["code"] or "",
                    entry["log"],
                    str(entry["index"]),
                )
                for entry in value[key]
            ),
        )
        if value[f"{key}_left_out"]:
            yield ""
            yield f"{_number(value[f'{key}_left_out'])} older ones are left out: mvault audit log"


def _stem(value: dict[str, Any]) -> str:
    end = "json" if value["author"] is None else "dsse"
    return f"audit-report-{value['created'].replace('-', '').replace(':', '')}.{end}"


def _what(entry: dict[str, Any]) -> str:
    if entry["model"] is None:
        return str(entry["subject"] or entry["environment"] or "")
    version = f":{entry['version']}" if entry["version"] else ""
    place = f"@{entry['environment']}" if entry["environment"] else ""
    return f"{entry['model']}{version}{place}"


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _table(titles: Sequence[str], rows: "Iterator[tuple[str, ...]]") -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(_text(cell) for cell in row)} |"


def _text(text: str) -> str:
    """Write what may come from a stranger so that it neither ends its cell or line nor becomes markup."""
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
    return shown.replace("|", "\\|").replace("<", "&lt;")
