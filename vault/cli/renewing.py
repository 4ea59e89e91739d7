"""`mvault renew`: attest that the store offers the newest state, and renew root and policy in time."""

import re
import shlex
from typing import TYPE_CHECKING

import click

from vault.cli.command import verb
from vault.cli.options import common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import count
from vault.errors import Refused

if TYPE_CHECKING:
    from vault.actions.renewing import Renewal
    from vault.cli.output import Console

_DAYS = re.compile(r"([1-9][0-9]{0,4})d?\Z", re.ASCII)


def _days(context: click.Context, parameter: click.Parameter, value: str) -> int:
    """Parse a number of days, such as `30d`.

    Raises:
        BadParameter: it is none.
    """
    found = _DAYS.match(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no number of days; write 30d, say.", context, parameter)
    return int(found[1])


@verb(
    "renew",
    examples=(
        "mvault renew                   # daily, as a service that may attest",
        "mvault renew --env prod --valid 3d",
        "mvault renew --within 90d      # root and policy too, if they are due",
        "mvault renew --dry-run         # what would be renewed",
    ),
)
@click.option("--env", "environments", metavar="ENV", multiple=True, help="Renew this one; may be repeated.")
@click.option(
    "--within", metavar="DAYS", callback=_days, default="30d", help="Renew what expires so soon (30d)."
)
@click.option(
    "--valid", metavar="DAYS", callback=_days, default="7d", help="How long the heads are valid (7d)."
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be renewed.")
@click.pass_context
def renew(
    context: click.Context, environments: tuple[str, ...], within: int, valid: int, dry_run: bool
) -> None:
    """Sign anew what is due: heads that tell what every channel came to, and root and policy.

    Heads, by default of every environment that this identity may attest, take a
    role with `attest` and no key to any model, so that a service can do it. A
    root or policy that expires soon is drafted again with only the dates
    changed, signed if you hold the root, and put in force if that is enough;
    otherwise the draft is left here for the others. Ends with status 3 where a
    channel did not hold, after the heads were written. Columns when piped:
    environment, expires, channels.
    """
    common = common_of(context)
    found = common.open(env=False).renew(*environments, valid_days=valid, within_days=within, dry_run=dry_run)
    console = common.console
    kept = [entry for renewed in found.heads for entry in renewed.kept]
    if not console.json(_value(found)):
        columns = (Column("ENVIRONMENT"), Column("VALID UNTIL"), Column("CHANNELS", number=True))
        rows = [
            (Cell(entry.environment), Cell(entry.expires), Cell(str(entry.channels))) for entry in found.heads
        ]
        if rows:
            console.table(columns, rows)
        _tell(console, found, dry_run=dry_run)
        for place in found.planned:
            console.notice(f"The heads of {place} would be renewed.")
        if not (rows or found.due or found.planned or found.problem):
            console.notice("No environment asks for heads, and nothing is due: there is nothing to renew.")
        blind = [renewed.environment for renewed in found.heads if not renewed.remembered]
        if blind:
            console.warn(
                f"This client remembered no heads of {', '.join(blind)}, so it attested what the store shows "
                "and could not have told an older state. Keep its state folder between runs "
                "(MVAULT_STATE_DIR), or give it a recent trust file (MVAULT_TRUST)."
            )
        for entry in kept:
            console.warn(f"{entry.name} does not hold, and was attested as it was before: {entry.reason}")
        if kept:
            console.notice(f"{count(len(kept), 'channel')} must be looked after: mvault check")
        if found.problem is not None:
            console.warn(f"Not all was renewed. {found.problem}")
    status = Refused.exit_status if kept else 0
    context.exit(status if found.problem is None else found.problem.exit_status)


def _value(found: "Renewal") -> dict[str, object]:
    problem = found.problem
    return {
        "heads": [
            {
                "environment": renewed.environment,
                "number": renewed.number,
                "expires": renewed.expires,
                "channels": renewed.channels,
                "remembered": renewed.remembered,
                "kept": [
                    {"channel": entry.name, "message": entry.reason, "code": entry.code}
                    for entry in renewed.kept
                ],
            }
            for renewed in found.heads
        ],
        "due": [
            {
                "document": entry.notice.subject,
                "message": entry.notice.message,
                "hint": entry.notice.hint,
                "expired": entry.notice.expired,
                "renewed": entry.renewed,
                "draft": None if entry.path is None else str(entry.path),
                "waiting": list(entry.waiting),
                "more": entry.more,
            }
            for entry in found.due
        ],
        "planned": list(found.planned),
        "problem": None
        if problem is None
        else {
            "code": problem.code,
            "message": problem.message,
            "subject": problem.subject,
            "hint": problem.hint,
        },
    }


def _tell(console: "Console", found: "Renewal", *, dry_run: bool) -> None:
    """Say what became of a root or policy that is due, and who must sign what is left."""
    from vault.core.names import day_text

    would = "would be" if dry_run else "is"
    for due in found.due:
        if due.renewed is not None:
            console.notice(f"{due.notice.message} It {would} renewed, until {day_text(due.renewed)}.")
            continue
        lack = f" It lacks {count(due.more, 'signature')} of: {', '.join(due.waiting)}." if due.more else ""
        console.warn(f"{due.notice.message} Its renewal {would} drafted in {due.path}.{lack}")
    paths = " ".join(shlex.quote(str(due.path)) for due in found.due if due.path is not None)
    if paths and not dry_run:
        console.notice(f"They run: mvault policy sign {paths}. Then: mvault policy apply {paths}")
