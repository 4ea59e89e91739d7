"""`mvault check`: does what is stored hold?"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from vault.cli import bulk
from vault.cli.bulk import many_options
from vault.cli.command import verb
from vault.cli.completion import ReferenceText
from vault.cli.options import Common, common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import count, size
from vault.errors import NotFound, Refused, Unavailable, VaultError

if TYPE_CHECKING:
    from vault.actions.check_report import Finding, Report
    from vault.cli.output import Console


@verb(
    "check",
    examples=(
        "mvault check                     # everything; no key is needed",
        "mvault check churn:3",
        "mvault check churn@prod --data   # decrypt and compare as well",
        "mvault check 'nepse/*'           # every version and channel of many models",
        "mvault check --all --continue    # go on where it was stopped",
    ),
)
@click.argument("reference", metavar="[REF]", required=False, type=ReferenceText())
@click.option("--all", "everything", is_flag=True, help="Check everything, as without REF.")
@click.option("--data", is_flag=True, help="Decrypt every file and compare it too; this needs your key.")
@click.option("--continue", "resume", is_flag=True, help="Go on with a check of everything that was stopped.")
@many_options(dry_run=False)
@click.pass_context
def check(
    context: click.Context, /, reference: str | None, everything: bool, data: bool, resume: bool, **many: Any
) -> None:
    """Check the version REF, or the whole vault: signatures, places and stored bytes.

    What strangers put there does no harm and is listed as skipped; what holds
    is listed with -v only. A check of everything that was stopped goes on with
    --continue, on the machine where it began and while the policy is the same.
    Ends with status 3 if anything that counts does not hold. Columns when
    piped: level, subject, message, code.
    """
    if reference is not None and (everything or resume):
        raise click.UsageError(f"Give a REF or {'--all' if everything else '--continue'}, not both.", context)
    common = common_of(context)
    report = _checked(context, common, reference, many, data=data, resume=resume)
    console = common.console
    shown = [entry for entry in report.findings if console.style.verbose or entry.level != "ok"]
    value = {
        "whole": report.whole,
        "versions": report.versions,
        "files": report.files,
        "bytes": report.bytes,
        "earlier": report.earlier,
        "findings": [
            {"level": entry.level, "subject": entry.subject, "message": entry.message, "code": entry.code}
            for entry in shown
        ],
    }
    if not console.json(value):
        _print_report(console, report, shown)
    context.exit(_status(report))


def _checked(
    context: click.Context,
    common: Common,
    reference: str | None,
    many: Mapping[str, Any],
    *,
    data: bool,
    resume: bool,
) -> "Report":
    """Check what is meant; of many models, what could not be looked at is a problem like any other."""
    opened = common.open()
    several = None
    if reference is not None or many["listed"] is not None:
        _, several = bulk.meant(context, reference, many)
    elif many["threads"] is not None:
        raise click.UsageError("--threads is for many models.", context)
    if several is None:
        return opened.check(reference, data=data, resume=resume)
    from vault.actions.check_report import Report

    bulk.only(context, "reference", "data")
    found = opened.check_all(several, data=data, threads=many["threads"])
    report = Report()
    for entry in found.done:
        if entry.result is not None:
            report.add(entry.result)
    for failed in found.failed:
        if not isinstance(failed.error, VaultError):
            raise failed.error
        report.bad(failed.error, failed.asked)
    if found.stopped is not None:
        raise found.stopped
    return report


def _print_report(console: "Console", report: "Report", shown: "list[Finding]") -> None:
    """Print what does not hold or does not count (with -v what holds too), then the sum of it."""
    from vault.cli import text
    from vault.core import names

    rows = [
        (Cell(entry.level), Cell(entry.subject), Cell(entry.message), Cell(entry.code)) for entry in shown
    ]
    columns = (
        Column(""),
        Column("WHAT", shrinks=True),
        Column("FOUND", shrinks=True),
        Column("CODE"),
    )
    if rows:
        console.table(columns, rows)
    bad = sum(entry.level == "bad" for entry in report.findings)
    skipped = sum(entry.level == "skipped" for entry in report.findings)
    looked = (
        f"Checked {count(report.versions, 'version')}, {count(report.files, 'file')}, {size(report.bytes)}"
    )
    aside = f" {count(skipped, 'object')} did not count and did no harm." if skipped else ""
    verdict = "everything holds." if bad == 0 else f"{count(bad, 'problem')}, listed above."
    console.notice(f"{looked}: {verdict}{aside}")
    if report.since is not None:
        when = text.when(names.time_text(report.since))
        console.notice(
            f"{report.earlier:,} of these were looked at by the check that was stopped, begun {when}."
        )


def _status(report: "Report") -> int:
    """Give the exit status: 3 unless all that is wrong is that it is not there, or did not answer."""
    from vault.actions.check_report import UNAVAILABLE

    codes = {entry.code for entry in report.findings if entry.level == "bad"}
    if not codes:
        return 0
    if codes == {NotFound.default_code} and report.versions == 0:
        return NotFound.exit_status
    return Unavailable.exit_status if codes <= UNAVAILABLE else Refused.exit_status
