"""`mvault audit verify`: is the record whole?"""

from typing import TYPE_CHECKING, Any

import click

from vault.cli.command import verb
from vault.cli.options import common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import clean

if TYPE_CHECKING:
    from vault.actions.reviewing_replaying import Finding, LogFound
    from vault.actions.reviewing_verifying import Verification
    from vault.cli.output import Console

_OK = "ok"


@verb(
    "verify",
    examples=(
        "mvault audit verify                            # every log",
        "mvault audit verify --log env/prod -v          # one, with every check",
        "mvault audit verify --vault copy/ --trust trust.json   # anywhere, no key",
        "mvault audit verify --json | jq -r .whole      # yes, no, or not checkable",
    ),
)
@click.option("--log", "name", metavar="NAME", help="Only this log, such as env/prod.")
@click.pass_context
def verify(context: click.Context, name: str | None) -> None:
    """Replay every log from its files: is the record whole? No key is needed.

    Each commit's signature, and the tree computed anew from the entries; what
    this machine, its trust file, the policy and anchors know of the log; what
    witnesses have cosigned; one record for each number of a channel; tiles and
    checkpoints, which other programs read. What holds is remembered. The answer
    is `yes`; `no` (status 3); or `not checkable`, with the reason: a log whose
    end was cut off looks like one that never was longer, unless somebody
    remembers it. Status 7 if a log cannot be read.

    Piped, lines of several kinds: whole, answer, reason; log, name, holds,
    entries, root, commits, checks; finding, level, log, check, message, code;
    unchecked, what no look at these files can show.
    """
    common = common_of(context)
    found = common.open(env=False).audit.verify(name)
    console = common.console
    if not console.json(_value(found)):
        print_verification(console, found)
    context.exit(found.status)


def print_verification(console: "Console", found: "Verification") -> None:
    """Print the answer, then log by log what it rests on, then what it does not tell."""
    verbose = console.style.verbose
    shown = [entry for entry in found.findings if verbose or entry.level != _OK]
    if not console.to_terminal:
        console.table((), [(Cell("whole"), Cell(found.whole), Cell(found.because))])
        console.table((), [(Cell("log"), *_log(entry, piped=True)) for entry in found.logs])
        console.table((), [(Cell("finding"), *_finding(entry)) for entry in shown])
        console.table((), [(Cell("unchecked"), Cell(text)) for text in found.limits])
        return
    console.heading(sentence(found.whole, found.because))
    if found.logs:
        console.heading("")
        columns = (
            Column("LOG", shrinks=True),
            Column("HOLDS"),
            Column("ENTRIES", number=True),
            Column("CHECKED", shrinks=True),
        )
        console.table(columns, [_log(entry) for entry in found.logs])
    if shown:
        console.heading("")
        columns = (Column(""), Column("LOG", shrinks=True), Column("CHECK"), Column("FOUND", shrinks=True))
        console.table(columns, [_finding(entry)[:4] for entry in shown])
    console.notice("\nWhat no look at these files can show:")
    for text in found.limits:
        console.notice(f"- {clean(text)}")


def sentence(whole: str, because: str) -> str:
    """Write the answer to the first question of every review."""
    return f"Record whole: {whole}" + (f" because {because}" if because else "")


def _log(entry: "LogFound", *, piped: bool = False) -> tuple[Cell, ...]:
    head = entry.head
    bad = any(told.level == "bad" for told in entry.findings)
    holds = "yes" if entry.holds else "no" if bad else "unknown"
    size = "" if head is None else f"{head.size:,}"
    checks = Cell(", ".join(dict.fromkeys(told.check for told in entry.findings if told.level == _OK)))
    if not piped:
        return Cell(str(entry.log)), Cell(holds), Cell(size), checks
    root = "" if head is None else head.root.hex()
    return (
        *(Cell(str(entry.log)), Cell(holds), Cell("" if head is None else str(head.size)), Cell(root)),
        *(Cell(str(entry.commits)), checks),
    )


def _finding(entry: "Finding") -> tuple[Cell, ...]:
    return Cell(entry.level), Cell(entry.log), Cell(entry.check), Cell(entry.message), Cell(entry.code)


def _value(found: "Verification") -> dict[str, Any]:
    return {
        "whole": found.whole,
        "because": found.because,
        "logs": [
            {
                "log": str(entry.log),
                "origin": entry.origin,
                "holds": entry.holds,
                "size": None if entry.head is None else entry.head.size,
                "root": None if entry.head is None else entry.head.root.hex(),
                "commits": entry.commits,
                "findings": [finding_value(told) for told in entry.findings],
            }
            for entry in found.logs
        ],
        "unchecked": list(found.limits),
    }


def finding_value(entry: "Finding") -> dict[str, str]:
    """Give a finding in its JSON shape (docs/cli.md)."""
    return {"level": entry.level, "check": entry.check, "message": entry.message, "code": entry.code}
