"""`mvault archive`: move old versions to a cheaper place, bring them back, print rules for a bucket."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from vault.cli.command import verb
from vault.cli.options import Common, common_of
from vault.cli.output import echo
from vault.cli.tables import Cell, Column
from vault.cli.text import count, size
from vault.errors import Refused, Unavailable

if TYPE_CHECKING:
    from vault.actions.archiving import Row


@verb(
    "archive",
    examples=(
        "mvault archive 'nepse/*' --to /mnt/cold --older-than 90d --dry-run",
        "mvault archive churn:3 --to s3://cold-bucket/old",
        "mvault archive churn --class DEEP_ARCHIVE --keep-last 5",
        "mvault archive --back churn:3                # bring it back, verified",
        "mvault archive --lifecycle s3 --prefix old   # rules for its bucket",
    ),
)
@click.argument("what", metavar="[MODEL|PATTERN|REF]...", nargs=-1)
@click.option("--to", metavar="LOCATION", help="Move them to this folder or URL.")
@click.option("--class", "storage_class", metavar="CLASS", help="Or to a class of the bucket: DEEP_ARCHIVE.")
@click.option("--older-than", metavar="TIME", help="Only what was published so long ago: 90d, 12w, 6m, 2y.")
@click.option("--keep-last", type=int, metavar="N", help="Leave the newest N versions of each model.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be moved, and how much it is.")
@click.option("--back", metavar="REF", help="Bring the files of this version back instead.")
@click.option("--from", "source", metavar="LOCATION", help="With --back: where the archive lies now.")
@click.option("--wait", is_flag=True, help="With --back: wait until a cold class gives them.")
@click.option(
    "--tier",
    type=click.Choice(["Standard", "Bulk", "Expedited"]),
    default="Standard",
    show_default=True,
    help="With --back: how fast, and at what price, a cold class gives them.",
)
@click.option(
    "--lifecycle",
    type=click.Choice(["s3", "gcs", "azure"]),
    help="Print rules by which the archive's bucket moves everything to its coldest class.",
)
@click.option(
    "--prefix", default="", metavar="PREFIX", help="With --lifecycle: the archive's, in its bucket."
)
@click.option("--days", type=int, default=1, show_default=True, help="With --lifecycle: after so many days.")
@click.pass_context
def archive(
    context: click.Context,
    what: tuple[str, ...],
    to: str | None,
    storage_class: str | None,
    older_than: str | None,
    keep_last: int | None,
    dry_run: bool,
    back: str | None,
    source: str | None,
    wait: bool,
    tier: str,
    lifecycle: str | None,
    prefix: str,
    days: int,
) -> None:
    """Move the payloads of old versions to another place, encrypted as they are.

    Each is verified here and there before it is removed here, and a signed
    record says where it went. What a channel names, and the newest version of
    a model, stays. Stopped at any moment nothing is lost; the same command goes
    on. Ends with status 7 or 3 if a version failed. Columns when piped:
    version, state, bytes, where, why.
    """
    common = common_of(context)
    if lifecycle is not None:
        from vault.core import lifecycle_rules

        _only(context, "--lifecycle", what, to, back)
        named = {} if storage_class is None else {"storage_class": storage_class}
        echo(lifecycle_rules.rules(lifecycle, prefix, days=days, **named), end="")
        return
    if back is not None:
        _only(context, "--back", what, to, storage_class, keep_last, older_than)
        row = common.open().unarchive(back, source=source, wait=wait, tier=tier)
        done = "are here already" if row.state == "here" else f"are back here from {row.where}, verified"
        common.console.outcome(
            _value(row), plain=row.reference, message=f"The files of {row.reference} {done}."
        )
        return
    if not what:
        raise click.UsageError("Say what to archive: a version, a model or a pattern.", context)
    opened = common.open()
    rows: list[Row] = []
    for text in what:
        rows += opened.archive(
            text,
            to=to,
            storage_class=storage_class,
            keep_last=keep_last,
            older_than=older_than,
            dry_run=dry_run,
        )
    _print(common, rows, dry_run=dry_run)
    context.exit(_status(rows))


def _only(context: click.Context, option: str, *others: object) -> None:
    if any(other not in (None, ()) for other in others):
        raise click.UsageError(f"{option} is something else: leave out what is to be archived.", context)


def _print(common: Common, rows: "Sequence[Row]", *, dry_run: bool) -> None:
    moved = [row for row in rows if row.state in ("archived", "planned", "incomplete")]
    total = sum(row.size for row in moved)
    console = common.console
    value = {"dry_run": dry_run, "bytes": total, "versions": [_value(row) for row in rows]}
    if console.json(value):
        return
    columns = (
        Column("VERSION", shrinks=True),
        Column("STATE"),
        Column("SIZE", number=True),
        Column("WHERE", shrinks=True),
        Column("WHY", shrinks=True),
    )
    if rows:
        console.table(
            columns,
            [
                (
                    Cell(row.reference),
                    Cell(row.state),
                    Cell(size(row.size) if row.size else "", str(row.size)),
                    Cell(row.where),
                    Cell(row.reason),
                )
                for row in rows
            ],
        )
    would = "would be archived" if dry_run else "archived"
    console.notice(f"{count(len(moved), 'version')} {would}, {size(total)}.")


def _value(row: "Row") -> dict[str, object]:
    return {
        "reference": row.reference,
        "state": row.state,
        "where": row.where,
        "files": row.files,
        "bytes": row.size,
        "reason": row.reason,
        "code": row.code,
    }


def _status(rows: "Sequence[Row]") -> int:
    """Give the exit status: 3 if something did not verify, 7 if something is to be tried again."""
    from vault.actions.archiving import failures
    from vault.actions.check_report import UNAVAILABLE

    codes = {row.code for row in failures(rows)}
    if not codes:
        return 0
    return Unavailable.exit_status if codes <= {*UNAVAILABLE, "conflict"} else Refused.exit_status
