"""What a check found: one finding for each thing that was looked at, and their sum."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vault.core.trust import Skipped
from vault.errors import VaultError

UNAVAILABLE: Final = frozenset({"unavailable", "storage-full", "storage-denied", "storage-archived"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    `level` is `ok`, `note` (worth knowing), `skipped` (a stranger's, treated as absent) or `bad`.
    """

    level: str
    subject: str
    message: str
    code: str = ""


@dataclass(slots=True)
class Report:
    """What a check saw. `whole` is true when nothing is bad; skipped objects do no harm but are told."""

    findings: list[Finding] = field(default_factory=list)
    versions: int = 0
    files: int = 0
    bytes: int = 0
    earlier: int = 0  # versions and channels that an earlier check looked at, which was stopped
    since: int | None = None  # when that one began, in seconds since 1970

    @property
    def whole(self) -> bool:
        """Tell whether everything that counts verified."""
        return not any(entry.level == "bad" for entry in self.findings)

    @property
    def unread(self) -> bool:
        """Tell whether the store did not give something, which may be as it should be."""
        return any(entry.code in UNAVAILABLE for entry in self.findings)

    def ok(self, subject: str, message: str) -> None:
        """Note something that verified."""
        self.findings.append(Finding("ok", subject, message))

    def bad(self, error: VaultError, subject: str) -> None:
        """Note something that counts and did not verify."""
        self.findings.append(Finding("bad", subject, error.message, error.code))

    def skip(self, skipped: Iterable[Skipped]) -> None:
        """Note what is treated as absent."""
        self.findings.extend(Finding("skipped", entry.name, entry.reason, entry.code) for entry in skipped)

    def add(self, other: "Report") -> None:
        """Take in what was found about one item."""
        self.findings += other.findings
        self.versions += other.versions
        self.files += other.files
        self.bytes += other.bytes


def kept(found: Report) -> dict[str, Any]:
    """Write what was found of one item as a journal keeps it."""
    rows = [[entry.level, entry.subject, entry.message, entry.code] for entry in found.findings]
    return {"findings": rows, "versions": found.versions, "files": found.files, "bytes": found.bytes}


def reported(kept: Mapping[str, Any]) -> Report | None:
    """Read what an earlier check kept of an item; None if that makes no sense, so that it is done again."""
    rows = kept.get("findings")
    numbers = [kept[name] for name in ("versions", "files", "bytes") if type(kept.get(name)) is int]
    if not isinstance(rows, list) or len(numbers) != 3:
        return None
    findings = []
    for row in rows:
        if not isinstance(row, list) or len(row) != 4 or not all(isinstance(text, str) for text in row):
            return None
        findings.append(Finding(*row))
    versions, files, size = numbers
    return Report(findings, versions, files, size)
