"""Check a report again: who signed it, whether its files belong together, whether the logs continue it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault.actions import reviewing_logs, reviewing_verifying
from vault.actions.reviewing_replaying import BAD, NOTE, OK, UNKNOWN, Finding, entries
from vault.actions.reviewing_reporting import FORMAT, KIND
from vault.actions.session import Session
from vault.core import envelope, limits, log_names, names, strict_json
from vault.core.fields import Fields, hexadecimal, one_of, plain
from vault.core.log_names import Log
from vault.core.names import Digest
from vault.errors import BadSignature, DigestMismatch, Malformed, NotFound, Refused, Unavailable, VaultError

REPORT: Final = "report"
_LOGS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Named:
    """A checkpoint that a report names."""

    log: Log
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Claims:
    """What a report says of itself: claims, whoever signed them."""

    whole: str
    because: str
    created: str
    vault: Digest
    markdown: str
    logs: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class ReportChecked:
    """What checking a report came to."""

    claims: Claims
    signer: str | None
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Tell whether nothing is wrong with it."""
        return not any(entry.level == BAD for entry in self.findings)

    @property
    def status(self) -> int:
        """Give the exit status: 3 if something does not hold, 7 if a log could not be read, else 0."""
        if not self.holds:
            return Refused.exit_status
        return Unavailable.exit_status if any(entry.level == UNKNOWN for entry in self.findings) else 0


def check(session: Session, path: Path) -> ReportChecked:
    """Check the report in a file: its envelope, or its JSON if it was not signed.

    Raises:
        NotFound, Unavailable: the file cannot be read.
        Malformed: it is no report.
        DigestMismatch: it is of another vault (`misplaced`).
        Refused, Unavailable: the trust documents cannot be had.
    """
    data = _read(path)
    beside = path.with_suffix(".dsse")
    findings: list[Finding] = []
    signer = None
    sealed = None
    if data.startswith(b'{"payload"'):
        sealed = envelope.parse(data, kind=KIND, subject=str(path))
        payload = sealed.payload
    else:
        payload = data
        if beside.exists():
            sealed = envelope.parse(_read(beside), kind=KIND, subject=str(beside))
            if sealed.payload != payload:
                findings.append(
                    _bad("files", f"{path.name} is not what {beside.name} signs.", "digest-mismatch")
                )
    claims = parse(payload, str(path))
    if claims.vault != session.pin:
        raise DigestMismatch(
            f"The report is about the vault sha256:{claims.vault}, and this one is sha256:{session.pin}.",
            code="misplaced",
            subject=str(path),
            hint="Name the vault that it is about: --vault LOCATION",
        )
    if sealed is None:
        findings.append(_bad("signature", "It is not signed, so anybody may have written it.", "unsigned"))
    else:
        signer, told = _signature(session, sealed, str(path))
        findings.append(told)
    findings += _files(path, claims, payload)
    for named in claims.logs:
        findings.append(_continues(session, named))
    return ReportChecked(claims, signer, tuple(findings))


def parse(payload: bytes, subject: str) -> Claims:
    """Parse the JSON of a report, in any spelling.

    Raises:
        Malformed: it is no report of this format.
    """
    fields = Fields(strict_json.parse(payload, canonical=False, subject=subject), subject)
    fields.text("format", one_of(FORMAT))
    whole = (reviewing_verifying.YES, reviewing_verifying.NO, reviewing_verifying.NOT_CHECKABLE)
    return Claims(
        whole=fields.text("record_whole", one_of(*whole)),
        because=fields.text("because", str),
        created=fields.text("created", plain),
        vault=fields.text("vault", _digest),
        markdown=fields.text("markdown", _digest),
        logs=tuple(named for named in fields.objects("logs", _named, _LOGS) if named is not None),
    )


def _digest(text: str) -> Digest:
    return names.digest(text.removeprefix(names.DIGEST_PREFIX))


def _named(fields: Fields) -> Named | None:
    log = fields.text("log", log_names.parse)
    fields.text("origin", plain)
    for name in ("holds", "commit", "range", "findings"):
        fields.raw(name)
    root = fields.optional("root", hexadecimal(32))
    size = fields.raw("size")
    if root is None or size is None:
        return None
    return Named(log, Fields({"size": size}, fields.what).integer("size"), root)


def _signature(session: Session, sealed: envelope.Envelope, subject: str) -> tuple[str | None, Finding]:
    """Say who signed, and whether their key still counts."""
    policy = session.trust().policy
    keys = {key.key_id: key for member in policy.members.values() for key in member.keys}
    try:
        found = envelope.require_signer(
            sealed, {key_id: key.public for key_id, key in keys.items()}, "The report"
        )
    except BadSignature as error:
        return None, _bad("signature", error.message, error.code)
    except Refused as error:
        return None, _bad("signature", f"{error.message} {error.hint}", error.code)
    key_id = min(found)
    holder = policy.holder(key_id)
    who = key_id if holder is None else str(holder.name)
    if keys[key_id].revoked:
        return who, _bad("signature", f"It is signed by {who}, whose key was revoked.", "untrusted-signer")
    if keys[key_id].until is not None:
        return who, Finding(NOTE, REPORT, "signature", f"It is signed by {who}, whose key is retired by now.")
    return who, Finding(OK, REPORT, "signature", f"It is signed by {who}, key sha256:{key_id}.")


def _files(path: Path, claims: Claims, payload: bytes) -> Iterator[Finding]:
    """Compare the files beside it with what it says of them; one that is not there says nothing."""
    markdown = path.with_suffix(".md")
    if markdown.exists():
        same = hashlib.sha256(_read(markdown)).hexdigest() == claims.markdown
        text = f"{markdown.name} is {'what it says' if same else 'not the one that it was written with'}."
        yield Finding(OK, REPORT, "files", text) if same else _bad("files", text, "digest-mismatch")
    beside = path.with_suffix(".json")
    if path.suffix != ".json" and beside.exists() and _read(beside) != payload:
        yield _bad("files", f"{beside.name} is not what {path.name} signs.", "digest-mismatch")


def _continues(session: Session, named: Named) -> Finding:
    """Replay a log, and demand that it continues the checkpoint that the report names."""
    from vault.audit import reading

    log, what = str(named.log), f"size {named.size:,}, root {named.root.hex()[:16]}…"
    known = reviewing_logs.remembered(session).get(log)
    try:
        seen = {named.size: named.root} if named.size else {}
        reader = reading.LogReader(session.store, named.log, session.trust().policy, known=known, seen=seen)
        size = reader.read().head.size
    except (Unavailable, NotFound) as error:
        return Finding(UNKNOWN, log, "checkpoint", error.message, error.code)
    except VaultError as error:
        text = f"The log does not continue the report's checkpoint ({what}): {error.message}"
        return Finding(BAD, log, "checkpoint", text, error.code)
    return Finding(
        OK, log, "checkpoint", f"The report's checkpoint ({what}) begins the log, which has {entries(size)}."
    )


def _bad(check: str, message: str, code: str) -> Finding:
    return Finding(BAD, REPORT, check, message, code)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limits.ENVELOPE_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"There is no file {path}.", subject=str(path)) from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", subject=str(path)) from None
    if len(data) > limits.ENVELOPE_BYTES:
        raise Malformed(f"{path} is larger than any report.", code="too-large", subject=str(path))
    return data
