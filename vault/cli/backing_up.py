"""`mvault backup`: bring a backup up to date, and verify one."""

import re
from typing import TYPE_CHECKING, Any

import click

from vault.cli.command import Family, verb
from vault.cli.options import Common, common_of
from vault.cli.text import clean, count, size
from vault.errors import Refused

if TYPE_CHECKING:
    from vault.actions.backing_up_run import Backup

_RATE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?) *(k|M|G|Ki|Mi|Gi)?B?(?:/s)?\Z", re.ASCII)
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_SHOWN = 20


class Rate(click.ParamType[int]):
    """A number of bytes a second, such as `10MiB/s`."""

    name = "RATE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it.

        Raises:
            BadParameter: it is none.
        """
        if isinstance(value, int):
            return value
        found = _RATE.match(str(value).strip())
        amount = 0 if found is None else int(float(found[1]) * _UNITS[found[2] or ""])
        if amount < 1:
            self.fail(f"{value!r} is no rate; say 10MiB/s.", param, ctx)
        return amount


class Percent(click.ParamType[float]):
    """A share, such as `5%`."""

    name = "N%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it.

        Raises:
            BadParameter: it is none.
        """
        try:
            found = float(str(value).strip().removesuffix("%"))
        except ValueError:
            found = 0.0
        if not 0 < found <= 100:
            self.fail(f"{value!r} is no share; say 5%.", param, ctx)
        return found


class Backups(Family):
    """`mvault backup TO` and `mvault backup verify TO`: what is no command's name is a location."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the name of the hidden command `to` before arguments that name no command."""
        wants_help = any(name in args for name in ctx.help_option_names)
        if args and not wants_help and not any(name in self.commands for name in args):
            args = ["to", *args]
        return super().parse_args(ctx, args)


@click.command(
    "backup",
    cls=Backups,
    subcommand_metavar="TO | verify TO",
    examples=(
        "mvault backup /mnt/nas/models   # all of it; the next time what is new",
        "mvault backup s3://copies/models --limit 10MiB/s",
        "mvault backup verify s3://copies/models    # read everything there",
        "mvault backup verify s3://copies/models --sample 5%",
    ),
)
def backup() -> None:
    """Copy the vault, encrypted as it is, to TO: a folder, s3://, gs://, az://, postgresql:// or sqlite://.

    No key is needed. What is new is read back and verified there; what the backup has
    stays there, whatever becomes of the vault. Ended early, it goes on where it was.
    With an identity that may archive or delete every model, a receipt is signed, which
    `mvault retain` and `mvault doctor` go by. docs/backup.md tells how to get it back.
    A folder called `verify` is written ./verify.

    Options: --name, --limit RATE, --limit-requests N, --threads N, --prune, --dry-run,
    --no-receipt.
    """


def _shared(command: Any) -> Any:
    for option in (
        click.option("--name", metavar="NAME", help="The backup's name in receipts (made from its place)."),
        click.option("--limit", type=Rate(), metavar="RATE", help="At most so much a second, as in 10MiB/s."),
        click.option("--threads", type=click.IntRange(1, 64), metavar="N", help="How many copy at once."),
        click.option("--no-receipt", is_flag=True, help="Sign no receipt."),
    ):
        command = option(command)
    return command


@verb("to", family=backup, examples=("mvault backup /mnt/nas/models",), hidden=True)
@click.argument("to", metavar="TO")
@_shared
@click.option(
    "--limit-requests", type=click.IntRange(1), metavar="N", help="At most so many requests a second."
)
@click.option("--prune", is_flag=True, help="Remove from the backup what the vault does not have any more.")
@click.option("--dry-run", is_flag=True, help="Say what would be copied and removed, and do nothing.")
@click.pass_context
def backup_to(
    context: click.Context,
    to: str,
    name: str | None,
    limit: int | None,
    limit_requests: int | None,
    threads: int | None,
    no_receipt: bool,
    prune: bool,
    dry_run: bool,
) -> None:
    """Bring the backup at TO up to date."""
    common = common_of(context)
    done = common.open().backup(
        to,
        name=name,
        limit=limit,
        limit_requests=limit_requests,
        threads=threads,
        prune=prune,
        dry_run=dry_run,
        receipt=not no_receipt,
    )
    told = "Would copy" if dry_run else "Copied"
    message = (
        f"{told} {count(done.copied, 'object')} ({size(done.copied_bytes)}) to {clean(done.destination)}."
    )
    if prune:
        message += f" {'Would remove' if dry_run else 'Removed'} {count(done.pruned, 'object')} there."
    if not dry_run:
        message += f" It holds {count(done.versions, 'verified version')}."
    _tell(common, done, message)


@verb("verify", family=backup, examples=("mvault backup verify s3://copies/models --sample 5%",))
@click.argument("at", metavar="TO")
@_shared
@click.option(
    "--sample", type=Percent(), default="100%", metavar="N%", help="Read the files of so many versions (all)."
)
@click.pass_context
def verify(
    context: click.Context,
    at: str,
    name: str | None,
    limit: int | None,
    threads: int | None,
    no_receipt: bool,
    sample: float,
) -> None:
    """Read what the backup at TO holds and verify it: signatures, channels, files, logs.

    It is judged by itself, by nothing but the vault's fingerprint, as after a disaster.
    """
    common = common_of(context)
    done = common.open().verify_backup(
        at, name=name, percent=sample, limit=limit, threads=threads, receipt=not no_receipt
    )
    _tell(
        common,
        done,
        f"{clean(done.destination)} holds {count(done.objects, 'object')} ({size(done.size)}) and "
        f"{count(done.versions, 'verified version')}; {size(done.verified_bytes)} of files were read.",
    )


def _tell(common: Common, done: "Backup", message: str) -> None:
    console = common.console
    value = {
        "name": done.name,
        "destination": done.destination,
        "objects": done.objects,
        "bytes": done.size,
        "copied": done.copied,
        "copied_bytes": done.copied_bytes,
        "pruned": done.pruned,
        "versions": done.versions,
        "verified_bytes": done.verified_bytes,
        "receipt": done.receipt,
        "no_receipt": done.no_receipt or None,
        "dry_run": done.dry_run,
        "whole": done.whole,
        "findings": findings_value(done.findings),
    }
    if done.receipt is not None:
        message += f" Receipt {done.receipt} of {done.name} is signed."
    console.outcome(value, plain=f"{done.copied} {done.copied_bytes} {done.versions}", message=message)
    if not console.style.json:
        tell_findings(common, done.findings)
        if done.no_receipt and not done.dry_run and done.no_receipt != "none was wanted":
            console.notice(
                f"No receipt was signed: {done.no_receipt}. So retention does not count this backup."
            )
    if not done.whole:
        raise click.exceptions.Exit(Refused.exit_status)


def findings_value(findings: Any) -> list[dict[str, str]]:
    """Give findings as JSON has them."""
    return [
        {"level": entry.level, "subject": entry.subject, "code": entry.code, "message": entry.message}
        for entry in findings
    ]


def tell_findings(common: Common, findings: Any) -> None:
    """Warn of what does not hold, and of what may be missing; with -v tell of what was passed over."""
    bad = [entry for entry in findings if entry.level == "bad"]
    for entry in bad[:_SHOWN]:
        common.console.warn(f"{clean(entry.subject)}: {clean(entry.message)}")
    if len(bad) > _SHOWN:
        common.console.warn(f"And {len(bad) - _SHOWN:,} more; --json lists them.")
    for entry in findings:
        if entry.level == "note":
            common.console.warn(f"{clean(entry.subject)}: {clean(entry.message)}")
        if entry.level == "skipped":
            common.console.detail(f"{clean(entry.subject)} was passed over: {clean(entry.message)}")
