"""`mvault history`: what happened to a model."""

import click

from vault.cli.command import verb
from vault.cli.completion import ModelName
from vault.cli.options import common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import when


@verb(
    "history",
    examples=("mvault history churn", "mvault history churn --json", "mvault history churn -v"),
)
@click.argument("model", type=ModelName())
@click.pass_context
def history(context: click.Context, model: str) -> None:
    """Tell what happened to MODEL, newest first, as the signed records say it.

    Columns when piped: time, action, reference, where, who, digest, and what
    was said: a tag or a note.
    """
    common = common_of(context)
    events = common.open().history(model)
    console = common.console
    verbose = console.style.verbose
    value = [
        {
            "time": event.time,
            "action": event.action,
            "reference": event.reference,
            "where": event.where,
            "who": list(event.who),
            "digest": event.digest,
            "detail": event.detail,
            **({"seq": event.seq} if verbose else {}),
        }
        for event in events
    ]
    if console.json({"model": model, "events": value}):
        return
    columns = [
        Column("WHEN"),
        Column("WHAT", shrinks=True),
        Column("VERSION", shrinks=True),
        Column("WHERE"),
        Column("BY", shrinks=True),
    ]
    rows = [
        [
            Cell(when(event.time), event.time),
            Cell(f"{event.action} {event.detail}" if event.detail else event.action, event.action),
            Cell(event.reference),
            Cell(event.where),
            Cell(", ".join(event.who), ",".join(event.who)),
        ]
        for event in events
    ]
    if verbose or not console.to_terminal:
        columns.append(Column("DIGEST"))
        for row, event in zip(rows, events, strict=True):
            row.append(Cell(f"{event.digest[:19]}…", event.digest))
            if not console.to_terminal:
                row.append(Cell(event.detail))
        if not console.to_terminal:
            columns.append(Column("SAID"))
    if verbose:
        columns.append(Column("SEQ", number=True))
        for row, event in zip(rows, events, strict=True):
            row.append(Cell("" if event.seq is None else str(event.seq)))
    console.table(columns, rows)
