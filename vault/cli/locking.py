"""`mvault lock`: exact versions for channels, to be kept in git."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vault.cli.command import verb
from vault.cli.options import Common, common_of
from vault.cli.output import echo
from vault.cli.tables import Cell, Column
from vault.cli.text import count
from vault.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vault.actions.locking import Compared


@verb(
    "lock",
    examples=(
        "mvault lock 'nepse/*@prod' > models.lock",
        "mvault lock churn@prod churn@prod/b > models.lock",
        "mvault lock --check models.lock      # can it be loaded, what moved on?",
        "mvault pull churn@prod out/ --lock models.lock",
    ),
)
@click.argument("channels", metavar="CHANNEL|PATTERN@ENV...", nargs=-1)
@click.option(
    "--check",
    "checked",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Compare a lock file with the vault instead.",
)
@click.pass_context
def lock(context: click.Context, channels: tuple[str, ...], checked: Path | None) -> None:
    """Print the exact versions that channels name now, as a lock file.

    One line for each channel, in order, with the version and the digest of its
    manifest. load_model(…, lock="models.lock") and mvault pull --lock then take
    exactly that version, by all the usual rules. With --check: is each line
    still allowed (else status 3), and does the channel name something else by
    now? Columns of --check when piped: channel, version, state, now, why.
    """
    common = common_of(context)
    if checked is not None:
        if channels:
            raise click.UsageError("Give channels or --check FILE, not both.", context)
        rows = common.open().check_lock(checked)
        _print(common, rows)
        context.exit(Refused.exit_status if any(row.state == "refused" for row in rows) else 0)
    if not channels:
        raise click.UsageError("Say what to lock: churn@prod, or 'nepse/*@prod'.", context)
    opened = common.open()
    text = opened.lock(*channels).decode("ascii")
    lines = [line.split(" ") for line in text.splitlines()[2:]]
    value = {
        "vault": opened.id,
        "channels": [
            {"reference": name, "version": version, "manifest": digest} for name, version, digest in lines
        ],
    }
    if not common.console.json(value):
        common.console.settle()
        echo(text, end="")


def _print(common: Common, rows: "Sequence[Compared]") -> None:
    console = common.console
    value = {
        "channels": [
            {
                "reference": row.reference,
                "version": row.version,
                "state": row.state,
                "now": row.now,
                "reason": row.reason,
                "code": row.code,
            }
            for row in rows
        ]
    }
    if console.json(value):
        return
    shown = rows if console.style.verbose else [row for row in rows if row.state != "current"]
    if shown:
        console.table(
            (
                Column("CHANNEL", shrinks=True),
                Column("LOCKED"),
                Column("STATE"),
                Column("NOW"),
                Column("WHY", shrinks=True),
            ),
            [
                (Cell(row.reference), Cell(row.version), Cell(row.state), Cell(row.now), Cell(row.reason))
                for row in shown
            ],
        )
    behind = sum(row.state == "behind" for row in rows)
    refused = sum(row.state == "refused" for row in rows)
    told = f"{behind} of them name another version by now" if behind else "each is what its channel names"
    verdict = f"{refused} cannot be loaded any more." if refused else f"all can be loaded; {told}."
    console.notice(f"{count(len(rows), 'channel')} locked: {verdict}")
