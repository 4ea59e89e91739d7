"""`mvault doctor`: is everything as a load needs it?"""

import click

from vault.cli.command import verb
from vault.cli.completion import ReferenceText
from vault.cli.options import common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import count


@verb(
    "doctor",
    examples=(
        "mvault doctor",
        "mvault doctor --as-loader churn@prod   # every check of a load",
        "mvault doctor --no-write --json | jq .healthy   # in a health check",
    ),
)
@click.option(
    "--as-loader",
    "reference",
    metavar="REF",
    type=ReferenceText(),
    help="Take REF through every check of a load; nothing is deserialized.",
)
@click.option(
    "--write/--no-write",
    "write",
    default=None,
    help="Try what the store honours, or do not; by default if this identity may write.",
)
@click.option("--large", is_flag=True, help="Try it with an object of 17 MiB as well.")
@click.pass_context
def doctor(context: click.Context, reference: str | None, write: bool | None, large: bool) -> None:
    """Look whether everything is as a load needs it, and say what to do where it is not.

    Store, trust, memory, clock, expiry, identity, keys, room and versions. Ends with
    the status of the first error, 0 without any; warnings do not count. Columns
    when piped: level, subject, message, hint, code.
    """
    from vault.starting import doctor as examine

    common = common_of(context)
    common.tell_settings(common.settings())
    found = examine(
        common.given.get("vault"),
        identity=common.given.get("identity"),
        env=common.given.get("env"),
        trust=common.given.get("trust"),
        as_loader=reference,
        write=write,
        large=large,
        **common.unlocking(),
    )
    console = common.console
    value = {
        "healthy": found.healthy,
        "findings": [
            {
                "level": entry.level,
                "subject": entry.subject,
                "message": entry.message,
                "hint": entry.hint,
                "code": entry.code,
            }
            for entry in found.findings
        ],
    }
    if not console.json(value):
        columns = (
            Column(""),
            Column("WHAT", shrinks=True),
            Column("FOUND", shrinks=True),
            Column("WHAT TO DO", shrinks=True),
            Column("CODE"),
        )
        console.table(
            columns,
            [
                (
                    Cell(entry.level),
                    Cell(entry.subject),
                    Cell(entry.message),
                    Cell(entry.hint),
                    Cell(entry.code),
                )
                for entry in found.findings
            ],
        )
        wrong = sum(entry.level == "error" for entry in found.findings)
        warned = sum(entry.level == "warning" for entry in found.findings)
        verdict = "Nothing is wrong" if wrong == 0 else count(wrong, "error")
        console.notice(f"{verdict}, {count(warned, 'warning')}." if warned else f"{verdict}.")
    context.exit(found.status)
