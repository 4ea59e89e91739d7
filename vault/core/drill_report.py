"""Reports of recovery drills: that a backup was brought back, when, and what it was proved to hold.

Whoever signed one vouches for it; it grants nothing (docs/format.md, "Drill report").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vault.core import limits, names, strict_json
from vault.core.backup_receipt import destination
from vault.core.fields import Fields, malformed, one_of, plain, time
from vault.core.manifest import policy_value, read_policy
from vault.core.names import Digest, Environment
from vault.core.policy import LogHead, PolicyId
from vault.core.policy_document import log_head_value, read_log_head

KIND: Final = "drill-report"
PASSED: Final = "passed"
FAILED: Final = "failed"
FAILURES: Final = 200  # that are listed; `failed` counts them all


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that did not hold."""

    subject: str
    message: str
    code: str


@dataclass(frozen=True, slots=True)
class Opened:
    """What a recovery identity opened: versions and bytes decrypted, models loaded, rows compared."""

    environments: tuple[Environment, ...]
    versions: int
    size: int
    loaded: int
    rows: int


@dataclass(frozen=True, slots=True)
class DrillReport:
    """One drill, of the backup at `backup`; `sample` is in percent.

    `opened` is None where no recovery identity was used. `failed` counts what did not hold.
    """

    vault: Digest
    policy: PolicyId
    backup: str
    began: str
    ended: str
    software: str
    objects: int
    size: int
    versions: int
    channels: int
    sample: int
    logs: tuple[LogHead, ...]
    opened: Opened | None
    failed: int
    failures: tuple[Failure, ...]

    @property
    def outcome(self) -> str:
        """`passed` where everything held."""
        return FAILED if self.failed else PASSED


def failures(found: Sequence[tuple[str, str, str]]) -> tuple[Failure, ...]:
    """Give the first failures as a report lists them, each (subject, message, code), cut to what it takes."""
    return tuple(
        Failure(subject[:500] or "-", message[:1_000], code[:64])
        for subject, message, code in found[:FAILURES]
    )


def encode(report: DrillReport) -> bytes:
    """Write the payload of a report."""
    opened = report.opened
    return strict_json.encode(
        {
            "backup": report.backup,
            "began": report.began,
            "channels": report.channels,
            "ended": report.ended,
            "failed": report.failed,
            "failures": [
                {"code": entry.code, "message": entry.message, "subject": entry.subject}
                for entry in report.failures
            ],
            "logs": [log_head_value(head) for head in report.logs],
            "objects": report.objects,
            "opened": None
            if opened is None
            else {
                "environments": list(opened.environments),
                "loaded": opened.loaded,
                "rows": opened.rows,
                "size": opened.size,
                "versions": opened.versions,
            },
            "outcome": report.outcome,
            "policy": policy_value(report.policy),
            "sample": report.sample,
            "size": report.size,
            "software": report.software,
            "vault": report.vault,
            "versions": report.versions,
        }
    )


def parse(payload: bytes, subject: str) -> DrillReport:
    """Parse the payload of a report; whoever signed it.

    Raises:
        Malformed: a field is missing, unknown or of another shape, or its outcome is not what it lists.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    outcome = fields.text("outcome", one_of(PASSED, FAILED))
    found = DrillReport(
        vault=fields.text("vault", names.digest),
        policy=fields.object("policy", read_policy),
        backup=fields.text("backup", destination),
        began=fields.text("began", time),
        ended=fields.text("ended", time),
        software=fields.text("software", plain),
        objects=fields.integer("objects"),
        size=fields.integer("size"),
        versions=fields.integer("versions"),
        channels=fields.integer("channels"),
        sample=fields.integer("sample", 0, 100),
        logs=fields.objects("logs", read_log_head, limits.ENVIRONMENTS + 1),
        opened=fields.optional_object("opened", _opened),
        failed=fields.integer("failed"),
        failures=fields.objects("failures", _failure, FAILURES),
    )
    fields.done()
    if outcome != found.outcome or len(found.failures) != min(found.failed, FAILURES):
        raise malformed(subject, "its outcome is not what it lists")
    return found


def _opened(fields: Fields) -> Opened:
    return Opened(
        environments=fields.texts("environments", names.environment, limits.ENVIRONMENTS),
        versions=fields.integer("versions"),
        size=fields.integer("size"),
        loaded=fields.integer("loaded"),
        rows=fields.integer("rows"),
    )


def _failure(fields: Fields) -> Failure:
    return Failure(fields.text("subject", plain), fields.text("message", plain), fields.text("code", plain))
