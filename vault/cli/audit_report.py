"""`mvault audit report`: what the logs tell, on paper and signed; and a report checked again."""

from collections.abc import Sequence
from pathlib import Path

import click

from vault.cli.audit_filters import times
from vault.cli.audit_verifying import finding_value, sentence
from vault.cli.command import Family, verb
from vault.cli.options import common_of
from vault.cli.tables import Cell, Column


class Report(Family):
    """`mvault audit report` writes one; `mvault audit report verify FILE` checks one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the name of the hidden command `write` before arguments that name no command."""
        wants_help = any(name in args for name in ctx.help_option_names)
        if not wants_help and not any(name in self.commands for name in args[:1]) and not _later(args):
            args = ["write", *args]
        return super().parse_args(ctx, args)


def _later(args: Sequence[str]) -> bool:
    """Tell whether `verify` stands after common options that came first."""
    return "verify" in args and args[0].startswith("-") and "-o" not in args and "--output" not in args


@click.command(
    "report",
    cls=Report,
    subcommand_metavar="[-o DIR] [--since TIME] [--until TIME] | verify FILE",
    examples=(
        "mvault audit report                       # here, about everything",
        "mvault audit report -o reports/ --since 2026-05-01 --until 2026-05-31",
        "mvault audit report verify reports/audit-report-20261123T050000Z.dsse",
    ),
)
def report() -> None:
    """Write a report of what the logs tell, in Markdown and JSON, or check one again.

    Its first line answers whether the record is whole. It names the checkpoint,
    size and root, of each log, so that `verify` can tell later whether the log
    still continues it; then the range of entries, what was denied and refused,
    what was changed, and what could not be checked. It is signed by your
    identity (a third file, .dsse); without one it says that it is not signed.

    \b
    -o, --output DIR   where to write it; this folder
    --since TIME       about records from then on: 30d, yesterday, 2026-05-01
    --until TIME       before then; a day counts whole
    """


@verb("write", family=report, examples=("mvault audit report -o reports/",), hidden=True)
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=Path(), metavar="DIR",
    help="Where to write it; this folder.",
)  # fmt: skip
@times
@click.pass_context
def write(context: click.Context, output: Path, since: str | None, until: str | None) -> None:
    """Write a report into DIR."""
    from vault.actions.reviewing_reporting import Asked
    from vault.cli.audit_filters import moments
    from vault.cli.audit_reading import tell_troubles

    common = common_of(context)
    audit = common.open(env=False).audit
    found = audit.report(output, Asked(*moments(since, until)))
    console = common.console
    tell_troubles(console, audit.indexed)
    signed = "" if found.signed is None else f", signed in {found.signed.name}"
    unsigned = " It is not signed: there is no identity on this machine." if found.signed is None else ""
    checked = found.signed or found.payload
    console.outcome(
        {
            "whole": found.whole,
            "because": found.because,
            "markdown": str(found.markdown),
            "json": str(found.payload),
            "signed": None if found.signed is None else str(found.signed),
        },
        plain=str(found.markdown),
        message=f"{sentence(found.whole, found.because)}\n"
        f"Wrote {found.markdown} and {found.payload.name}{signed}.{unsigned} "
        f"To check it again: mvault audit report verify {checked}",
    )
    context.exit(found.status)


@verb(
    "verify",
    family=report,
    examples=(
        "mvault audit report verify reports/audit-report-20261123T050000Z.dsse",
        "mvault audit report verify audit-report.dsse --vault copy/ --trust trust.json",
    ),
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_context
def verify(context: click.Context, file: Path) -> None:
    """Check a report again: FILE is its .dsse, or its .json if it was not signed.

    Who signed it, and whether their key still counts; whether the .md and .json
    beside it are the ones that it was written with; and whether every log still
    begins with the checkpoint that the report names. Status 3 if something does
    not hold: an unsigned report does not. Columns when piped: level, about,
    check, message, code.
    """
    common = common_of(context)
    found = common.open(env=False).audit.check_report(file)
    console = common.console
    value = {
        "holds": found.holds,
        "signer": found.signer,
        "whole": found.claims.whole,
        "because": found.claims.because,
        "created": found.claims.created,
        "findings": [{"about": entry.log, **finding_value(entry)} for entry in found.findings],
    }
    if not console.json(value):
        columns = (Column(""), Column("ABOUT", shrinks=True), Column("CHECK"), Column("FOUND", shrinks=True))
        rows = [
            (Cell(entry.level), Cell(entry.log), Cell(entry.check), Cell(entry.message), Cell(entry.code))
            for entry in found.findings
        ]
        console.table(columns, [row[:4] for row in rows] if console.to_terminal else rows)
        claim = sentence(found.claims.whole, found.claims.because)
        verdict = "The report holds" if found.holds else "The report does not hold"
        console.notice(f"{verdict}. On {found.claims.created} it said: {claim}")
    context.exit(found.status)
