"""`mvault audit status` and `repair`: the state of the logs, and what can be set right."""

from typing import TYPE_CHECKING, Any

import click

from vault.cli.command import verb
from vault.cli.options import common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import count, when

if TYPE_CHECKING:
    from vault.actions.reviewing_status import Status
    from vault.cli.output import Console


@verb(
    "status",
    examples=(
        "mvault audit status",
        "mvault audit status --json | jq '.waiting[] | select(.records > 0)'",
    ),
)
@click.pass_context
def status(context: click.Context) -> None:
    """Tell what the logs have, what waits on this machine, who may write, and where records go.

    Records of loads and pulls wait on the machine where they are made, and move
    into the identity's access log every 256 records and on exit; `mvault audit
    repair` moves them now. No passphrase is needed. COPIES are tiles and
    checkpoints, which other programs read. Piped, lines of several kinds: log,
    name, entries, commit, time of the newest record, copies, trouble; waiting,
    key, records, since, trouble; writer, name, logs; place.
    """
    common = common_of(context)
    found = common.open(env=False).audit.status()
    console = common.console
    if not console.json(_value(found)):
        (_print if console.to_terminal else _pipe)(console, found)


def _pipe(console: "Console", found: "Status") -> None:
    console.table((), [(Cell("log"), *_log(entry), Cell(entry.trouble)) for entry in found.logs])
    for entry in found.waiting:
        told = (entry.key, str(entry.records), entry.since or "", entry.trouble)
        console.table((), [(Cell("waiting"), *map(Cell, told))])
    who = found.writer
    if who is not None:
        console.table((), [(Cell("writer"), Cell(who.name or ""), Cell(",".join(who.logs)))])
    console.table((), [(Cell("place"), Cell(found.place))])


def _print(console: "Console", found: "Status") -> None:
    if found.logs:
        columns = (
            *(Column("LOG", shrinks=True), Column("ENTRIES", number=True), Column("COMMIT", number=True)),
            *(Column("NEWEST"), Column("COPIES")),
        )
        console.table(columns, [_log(entry) for entry in found.logs])
    else:
        console.heading("Nothing has been recorded in this vault yet.")
    console.heading("")
    rows = []
    for entry in found.waiting:
        whose = "of this identity" if entry.mine else f"of the key {entry.key[:16]}…"
        since = f", since {entry.since} ({when(entry.since)})" if entry.since else ""
        waits = count(entry.records, "record") if entry.records else "nothing"
        text = entry.trouble or f"{waits} {whose}{since}"
        rows.append(("Waiting here", Cell(text)))
    rows = rows or [("Waiting here", Cell("nothing"))]
    if found.writer is not None:
        name = found.writer.name or "somebody whom the policy does not know"
        rows.append(("You", Cell(f"{name}, who may write {', '.join(found.writer.logs) or 'no log'}")))
    rows.append(("Records go to", Cell(found.place)))
    console.fields(rows)
    for log in found.logs:
        if log.trouble:
            console.warn(f"{log.log} is not shown up to date. {log.trouble} Look closer: mvault audit verify")
    if any(entry.records and entry.mine for entry in found.waiting):
        console.notice("Move what waits into the log now: mvault audit repair")
    elif any(entry.copies != "current" for entry in found.logs if not entry.trouble):
        console.notice("Copies that are not current do no harm; write them: mvault audit repair")


def _log(entry: Any) -> tuple[Cell, ...]:
    return (
        Cell(entry.log),
        Cell(f"{entry.entries:,}", str(entry.entries)),
        Cell(f"{entry.commit:,}", str(entry.commit)),
        Cell("" if entry.newest is None else when(entry.newest), entry.newest or ""),
        Cell(entry.copies),
    )


def _value(found: "Status") -> dict[str, Any]:
    who = found.writer
    writer = None
    if who is not None:
        writer = {"name": who.name, "key": f"sha256:{who.key}", "logs": list(who.logs)}
    return {
        "logs": [
            {
                "log": entry.log,
                "entries": entry.entries,
                "commit": entry.commit,
                "root": entry.root,
                "newest": entry.newest,
                "copies": entry.copies,
                "trouble": entry.trouble,
            }
            for entry in found.logs
        ],
        "waiting": [
            {
                "place": str(entry.place),
                "key": entry.key,
                "mine": entry.mine,
                "records": entry.records,
                "since": entry.since,
                "trouble": entry.trouble,
            }
            for entry in found.waiting
        ],
        "writer": writer,
        "place": found.place,
    }


@verb(
    "repair",
    examples=(
        "mvault audit repair      # move what waits; write wrong copies again",
        "mvault audit repair --json | jq .moved",
    ),
)
@click.pass_context
def repair(context: click.Context) -> None:
    """Move this identity's waiting records into its log, and write wrong tiles and checkpoints again.

    Tiles and checkpoints are copies for other programs, and follow from the
    commits of a log, which are never changed. It takes write access to the
    storage, and your identity where records wait. Ends with the status of what
    could not be set right. Piped: the number of records that were moved, then
    lines of log and number of copies.
    """
    common = common_of(context)
    found = common.open(env=False).audit.repair()
    console = common.console
    value = {
        "moved": found.moved,
        "written": found.written,
        "troubles": [{"about": about, "message": str(error)} for about, error in found.troubles],
    }
    if not console.json(value):
        if not console.to_terminal:
            console.lines([str(found.moved)])
            console.table((), [(Cell(log), Cell(str(number))) for log, number in found.written.items()])
        copies = sum(found.written.values())
        done = f"Moved {count(found.moved, 'record')} into the log"
        console.notice(f"{done}, and wrote {count(copies, 'copy').replace('copys', 'copies')} again.")
    for about, error in found.troubles:
        console.warn(f"{about}: {error}")
    context.exit(found.status)
