"""`mvault audit witness` and `mvault audit anchor`: hold the writers of logs to one history."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from vault.cli.command import verb
from vault.cli.options import common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import count
from vault.errors import VaultError

if TYPE_CHECKING:
    from vault.actions.anchoring import Anchored
    from vault.actions.witnessing import LogWitnessed, Witnessed
    from vault.cli.output import Console

_AGAIN = 7  # the status of what may go better the next time
_CONFLICT = 9


def _named(log: str | None, env: str | None) -> str | None:
    """Give the log that is meant; None means all.

    Raises:
        UsageError: two are named.
    """
    if log is not None and env is not None:
        raise click.UsageError("Name a log with --log or an environment with --env, not both.")
    return f"env/{env}" if env is not None else log


@verb(
    "witness",
    examples=(
        "mvault audit witness --begin   # once, on the machine of the witness",
        "mvault audit witness           # then daily, or after each promotion",
        "mvault audit witness --env prod --every 60",
    ),
)
@click.option("--log", "log", metavar="LOG", help="Only this log: trust, env/ENV or access/WHO/INSTANCE.")
@click.option("--env", metavar="ENV", help="Only the log of this environment.")
@click.option(
    "--every", type=click.IntRange(1, 86_400), metavar="SECONDS", help="Go on, and look again so often."
)
@click.option("--begin", is_flag=True, help="Begin anew where nothing is remembered.")
@click.pass_context
def witness(context: click.Context, log: str | None, env: str | None, every: int | None, begin: bool) -> None:
    """Cosign the logs that you may witness, if they continue what you cosigned before.

    Run it where the people who write the logs have no access: on a machine or in
    a CI job of its own, with an identity whose role has `witness`. What was
    cosigned is remembered in the state folder (MVAULT_STATE_DIR), which has to
    last: a witness that forgets could be shown two histories. A log that was
    rewritten or cut off is not cosigned; what the store offered is kept beside
    the memory, and the status is 3. Columns when piped: log, result, entries,
    root.
    """
    common = common_of(context)
    opened = common.open(env=False)
    wanted = _named(log, env)
    while True:
        status = _look(common.console, lambda: opened.audit.witness(wanted, begin=begin), every)
        if every is None or status not in {0, _AGAIN, _CONFLICT}:
            context.exit(status)
        time.sleep(every)


def _look(console: "Console", run: "Callable[[], Witnessed]", every: int | None) -> int:
    """Look once; what may go better the next time ends nothing where there is a next time."""
    try:
        found = run()
    except VaultError as error:
        if every is None or error.exit_status not in {_AGAIN, _CONFLICT}:
            raise
        console.warn(f"{error} Looking again in {every} s.")
        return error.exit_status
    if not console.json(_value(found)):
        columns = (Column("LOG"), Column("RESULT"), Column("ENTRIES", number=True), Column("ROOT"))
        console.table(columns, [_row(entry) for entry in found.logs])
        if not found.logs:
            console.notice("There is no log yet that this identity may witness.")
    for entry in found.logs:
        _tell(console, entry)
    return found.status


def _row(entry: "LogWitnessed") -> tuple[Cell, ...]:
    root = Cell(f"{entry.root[:16]}…" if entry.root else "", entry.root)
    return Cell(str(entry.log)), Cell(entry.result), Cell(f"{entry.size:,}", str(entry.size)), root


def _tell(console: "Console", entry: "LogWitnessed") -> None:
    for note in entry.notes:
        console.warn(note)
    if entry.error is not None:
        console.warn(f"{entry.log}: {entry.error}")
    if entry.kept is not None:
        console.warn(f"What the store offered is kept in {entry.kept}")


def _value(found: "Witnessed") -> dict[str, object]:
    return {
        "witness": found.witness,
        "logs": [
            {
                "log": str(entry.log),
                "result": entry.result,
                "size": entry.size,
                "root": entry.root or None,
                "since": entry.since,
                "notes": list(entry.notes),
                "error": _error(entry.error),
                "kept": None if entry.kept is None else str(entry.kept),
            }
            for entry in found.logs
        ],
    }


def _error(error: VaultError | None) -> dict[str, str] | None:
    if error is None:
        return None
    return {"code": error.code, "message": error.message, "subject": error.subject, "hint": error.hint}


@verb(
    "anchor",
    examples=(
        "mvault audit anchor             # into the trust log",
        "mvault audit anchor --env prod  # into the log of prod",
    ),
)
@click.option("--env", metavar="ENV", help="Record them in the log of this environment.")
@click.pass_context
def anchor(context: click.Context, env: str | None) -> None:
    """Record how far every access log has come, so that the loss of one is noticed.

    Loads, pulls and denials are in a log of their own for each instance of a
    service. Deleting such a log whole would leave no trace; `mvault audit verify`
    misses it once its head is anchored. Run it daily, as somebody who may `log`
    there. A log that does not continue what was anchored before is not anchored,
    and the status is 3. Columns when piped: log, entries, root.
    """
    common = common_of(context)
    console = common.console
    found = common.open(env=False).audit.anchor(env)
    if not console.json(_anchored(found)):
        columns = (Column("LOG"), Column("ENTRIES", number=True), Column("ROOT"))
        rows = [
            (
                Cell(str(entry.log)),
                Cell(f"{entry.head.size:,}", str(entry.head.size)),
                Cell(f"{entry.head.root.hex()[:16]}…", entry.head.root.hex()),
            )
            for entry in found.added
        ]
        if rows:
            console.table(columns, rows)
        kept = f"; {found.unchanged} had not changed" if found.unchanged else ""
        console.notice(f"{count(len(found.added), 'access log')} anchored in {found.log}{kept}.")
    for log, error in found.troubles:
        console.warn(f"{log}: {error}")
    context.exit(found.status)


def _anchored(found: "Anchored") -> dict[str, object]:
    return {
        "log": str(found.log),
        "added": [
            {"log": str(entry.log), "size": entry.head.size, "root": entry.head.root.hex()}
            for entry in found.added
        ],
        "unchanged": found.unchanged,
        "troubles": [{"log": str(log), **(_error(error) or {})} for log, error in found.troubles],
    }
