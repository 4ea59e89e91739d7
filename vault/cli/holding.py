"""`mvault hold`: keep versions from being removed, release them, list what is held."""

from typing import TYPE_CHECKING

import click

from vault.cli.command import verb
from vault.cli.completion import ReferenceText
from vault.cli.options import Common, common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import clean, when

if TYPE_CHECKING:
    from vault.actions.holding import Held
    from vault.vault import Vault

_LIST = "list"


@verb(
    "hold",
    examples=(
        "mvault hold churn:3 --reason 'complaint 2026-114'  # this version",
        "mvault hold 'nepse/*' --reason 'audit of 2026'     # new ones too",
        "mvault hold list",
        "mvault hold churn:3 --release --reason 'closed'",
    ),
)
@click.argument("what", metavar="REF|PATTERN|list", default=_LIST, type=ReferenceText())
@click.option(
    "--reason", metavar="TEXT", help="Why, in one line. Everybody who reads the storage can read it."
)
@click.option("--release", is_flag=True, help="End the holds on exactly this.")
@click.pass_context
def hold(context: click.Context, what: str, reason: str | None, release: bool) -> None:
    """Keep a version, or every version of a model or pattern, from being removed.

    A hold outlasts whatever rules say, and those who may delete. It ends when somebody
    who may hold releases it. `list` shows what is held.
    """
    common = common_of(context)
    if what == _LIST and reason is None and not release:
        _show(common, common.open())
        return
    if release:
        done = common.open().release(what, **({} if reason is None else {"reason": reason}))
        common.console.outcome(
            {"what": what, "released": [_value(entry) for entry in done.holds]},
            plain=what,
            message=f"{what} is held no longer.",
        )
        return
    if reason is None:
        raise click.UsageError(f"Say why: mvault hold {what} --reason TEXT", context)
    made = common.open().hold(what, reason=reason)
    common.console.outcome(
        _value(made),
        plain=made.digest,
        message=f"{made.subject} is held: mvault retain leaves it until somebody releases it, by: "
        f"mvault hold {made.subject} --release",
    )


def _show(common: Common, opened: "Vault") -> None:
    found = opened.holds()
    console = common.console
    skipped = [{"name": one.name, "code": one.code, "message": one.reason} for one in found.skipped]
    if console.json({"holds": [_value(entry) for entry in found.holds], "skipped": skipped}):
        return
    for entry in found.skipped:
        console.warn(f"{clean(entry.name)} does not count as a hold: {entry.reason}")
    if not found.holds:
        console.notice("Nothing is held.")
        return
    columns = (Column("HELD", shrinks=True), Column("BY"), Column("SINCE"), Column("WHY", shrinks=True))
    console.table(
        columns,
        [
            (
                Cell(entry.subject),
                Cell(", ".join(entry.who), ",".join(entry.who)),
                Cell(when(entry.created), entry.created),
                Cell(entry.reason),
            )
            for entry in found.holds
        ],
    )


def _value(entry: "Held") -> dict[str, object]:
    return {
        "what": entry.subject,
        "pattern": entry.pattern,
        "version": entry.version,
        "manifest": None if entry.manifest is None else f"sha256:{entry.manifest}",
        "reason": entry.reason,
        "who": list(entry.who),
        "created": entry.created,
        "digest": f"sha256:{entry.digest}",
    }
