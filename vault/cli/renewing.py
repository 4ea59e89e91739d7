"""`mvault renew`: attest that the store offers the newest state, and tell what expires."""

import re

import click

from vault.cli.command import verb
from vault.cli.options import common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import count
from vault.errors import Refused

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
        "mvault renew --within 90d      # are root or policy due in 90 days?",
    ),
)
@click.option("--env", "environments", metavar="ENV", multiple=True, help="Renew this one; may be repeated.")
@click.option(
    "--within", metavar="DAYS", callback=_days, default="30d", help="Tell what expires so soon (30d)."
)
@click.option(
    "--valid", metavar="DAYS", callback=_days, default="7d", help="How long the heads are valid (7d)."
)
@click.pass_context
def renew(context: click.Context, environments: tuple[str, ...], within: int, valid: int) -> None:
    """Sign new heads: what every channel of an environment came to, relied on until they expire.

    By default for every environment that this identity may attest. It needs a
    role with `attest`, no other right and no key to any model, so that a
    service with an identity file of its own can do it. Root and policy that
    expire soon are told; their holders renew them. Ends with status 3 where a
    channel did not hold, after the heads were written. Columns when piped:
    environment, expires, channels.
    """
    common = common_of(context)
    found = common.open(env=False).renew(*environments, valid_days=valid, within_days=within)
    console = common.console
    kept = [entry for renewed in found.heads for entry in renewed.kept]
    value = {
        "heads": [
            {
                "environment": renewed.environment,
                "number": renewed.number,
                "expires": renewed.expires,
                "channels": renewed.channels,
                "kept": [
                    {"channel": entry.name, "message": entry.reason, "code": entry.code}
                    for entry in renewed.kept
                ],
            }
            for renewed in found.heads
        ],
        "due": [
            {
                "document": entry.subject,
                "message": entry.message,
                "hint": entry.hint,
                "expired": entry.expired,
            }
            for entry in found.due
        ],
    }
    if not console.json(value):
        columns = (Column("ENVIRONMENT"), Column("VALID UNTIL"), Column("CHANNELS", number=True))
        rows = [
            (Cell(entry.environment), Cell(entry.expires), Cell(str(entry.channels))) for entry in found.heads
        ]
        if rows:
            console.table(columns, rows)
        else:
            console.notice("No environment asks for heads, so there is nothing to renew.")
        for due in found.due:
            console.warn(f"{due.message} {due.hint}")
        for entry in kept:
            console.warn(f"{entry.name} does not hold, and was attested as it was before: {entry.reason}")
        if kept:
            console.notice(f"{count(len(kept), 'channel')} must be looked after: mvault check")
    context.exit(Refused.exit_status if kept else 0)
