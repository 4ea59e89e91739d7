"""`mvault audit log`, `show` and `lookup`: what happened."""

import json
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from vault.cli import audit_filters, audit_rows
from vault.cli.audit_filters import filters
from vault.cli.command import verb
from vault.cli.options import Common, common_of
from vault.cli.output import echo
from vault.cli.tables import Cell
from vault.cli.text import clean, when
from vault.errors import Unavailable

if TYPE_CHECKING:
    from vault.actions.reviewing import Audit
    from vault.actions.reviewing_finding import Evidence, Shown
    from vault.actions.reviewing_indexing import Indexed
    from vault.audit.query import Filter, Row
    from vault.cli.output import Console

_LIMIT = 50
_LIMIT_HELP = f"At most so many records; 0 for all ({_LIMIT})."
_COUNT = click.IntRange(0)
_FOLLOWED = 10  # records that --follow begins with
_PAUSE = 1.0  # seconds between two looks


@verb(
    "log",
    examples=(
        "mvault audit log --since 2h",
        "mvault audit log --model 'nepse/*' --env prod --action load",
        "mvault audit log --decision deny --decision refuse --since yesterday",
        "mvault audit log --actor web --limit 0 --json > web.json",
        "mvault audit log --follow --json | jq .record.code   # one a line",
    ),
)
@filters
@click.option("--limit", type=_COUNT, metavar="N", help=_LIMIT_HELP)
@click.option("--attempts", is_flag=True, help="Attempts too whose outcome is in the log.")
@click.option("--follow", "-f", is_flag=True, help="Wait for more, until Ctrl-C; oldest first.")
@click.pass_context
def log(context: click.Context, /, limit: int | None, attempts: bool, follow: bool, **given: Any) -> None:
    """List records, newest first: who did what to which model, and what came of it.

    Loads and pulls are recorded before and after; an attempt without outcome was
    interrupted. `?` marks an actor whom no signature proves. What is listed was
    verified when it was indexed; whether it is all, `mvault audit verify` tells.
    Options of one kind may be repeated: either will do. Columns when piped:
    time, actor, action, decision, outcome, code, model, version, environment,
    slot, subject, host, log, index, id.
    """
    common = common_of(context)
    wanted = audit_filters.asked(given)
    audit = common.open(env=False).audit
    if follow:
        _follow(common, audit, wanted, _FOLLOWED if limit is None else limit, attempts=attempts)
        return
    most = _LIMIT if limit is None else limit
    found = audit.log(wanted, attempts=attempts)
    console = common.console
    shown: Iterable[Row] = islice(found, most) if most else found
    if console.style.json:
        records = [audit_rows.value(row) for row in shown]
        tell_troubles(console, audit.indexed)
        console.json({"records": records, "more": next(found, None) is not None})
        return
    tell_troubles(console, audit.indexed)
    _print(console, shown)
    if most and next(found, None) is not None:
        console.notice(f"There are more than these {most}: --limit 0 shows all, --since narrows them.")


def _print(console: "Console", rows: "Iterable[Row]") -> None:
    """Print records as a table for people, or line by line as they come for scripts."""
    if not console.to_terminal:
        for row in rows:
            console.table((), [audit_rows.piped(row)])
        return
    listed = [audit_rows.cells(row) for row in rows]
    if listed:
        console.table(audit_rows.COLUMNS, listed)
    else:
        console.notice("No record is like that. See what there is: mvault audit status")


def tell_troubles(console: "Console", indexed: "Indexed") -> None:
    """Say which logs are not shown up to date, and why."""
    for name, error in indexed.troubles.items():
        closer = "" if isinstance(error, Unavailable) else " Look closer: mvault audit verify"
        console.warn(f"{name} is not shown up to date. {error.message}{closer}")


def _follow(common: Common, audit: "Audit", wanted: "Filter", first: int, *, attempts: bool) -> None:
    """Print the newest records, oldest first, then what comes, until the reader goes away."""
    console = common.console
    begin = list(islice(audit.log(wanted, attempts=attempts), first)) if first else []
    row = audit.newest_row()
    told: set[str] = set()
    _print_followed(console, begin[::-1])
    while True:
        try:
            rows, row = audit.follow(wanted, row, attempts=attempts)
        except Unavailable as error:
            rows = []
            if error.message not in told:
                console.warn(f"{error.message} Trying again.")
                told.add(error.message)
        else:
            for name, trouble in audit.indexed.troubles.items():
                if trouble.message not in told:
                    console.warn(f"{name} is not shown up to date. {trouble.message}")
                    told.add(trouble.message)
        _print_followed(console, rows)
        if not rows:
            time.sleep(_PAUSE)


def _print_followed(console: "Console", rows: "Sequence[Row]") -> None:
    for row in rows:
        if console.style.json:
            echo(json.dumps(audit_rows.value(row)))
        elif console.to_terminal:
            console.lines([_line(row)])
        else:
            console.table((), [audit_rows.piped(row)])


def _line(row: "Row") -> str:
    """Write a record in one line, with the local time of day."""
    at = time.strftime("%H:%M:%S", time.localtime(row.time))
    _, who, did, what, came, ident = (clean(cell.shown) for cell in audit_rows.cells(row))
    return f"{at}  {ident:8}  {who:12}  {did:8}  {what}  {came}"


@verb(
    "show",
    examples=(
        "mvault audit show 48acaaf9               # an id, or its beginning",
        "mvault audit show churn@prod             # the record in force there",
        "mvault audit show churn:3                # its publication",
        "mvault audit show sha256:1217645825d8…   # what tells of a document",
    ),
)
@click.argument("what", metavar="ID|REF")
@click.pass_context
def show(context: click.Context, what: str) -> None:
    """Show one record with everything, its attempt or its outcome, and where the evidence lies.

    ID is a record's id, or its beginning, as `mvault audit log` shows it; REF is
    a channel, for the record in force there, or a version, for its publication;
    sha256:… finds what tells of a signed document or a manifest. The entry is
    read from the log itself. Piped: lines of name and value.
    """
    common = common_of(context)
    audit = common.open(env=False).audit
    found = audit.show(what)
    console = common.console
    tell_troubles(console, audit.indexed)
    rows = [(found.row, found.evidence), *zip(found.kin, found.of_kin, strict=True)]
    if console.json({"records": [{**audit_rows.value(row), **_where(entry)} for row, entry in rows]}):
        return
    for number, (row, entry) in enumerate(rows):
        if number:
            console.heading("")
        console.fields(_fields(row, entry, _role(found, number)))


def _role(found: "Shown", number: int) -> str:
    if not number:
        return ""
    record = found.kin[number - 1].record
    return "Its attempt" if record is not None and record.of is None else "Its outcome"


def _where(entry: "Evidence") -> dict[str, Any]:
    return {
        "evidence_at": {
            "log": entry.log,
            "index": entry.index,
            "commit": entry.commit,
            "size": entry.size,
            "root": entry.root.hex(),
            "document": entry.document,
            "proof": entry.proof,
        }
    }


def _fields(row: "Row", entry: "Evidence", role: str) -> list[tuple[str, Cell]]:
    record = row.record
    found: list[tuple[str, Cell]] = [] if not role else [(role, Cell(""))]
    if record is None:
        found.append(("Entry", Cell("no audit record of this release")))
    else:
        policy = (
            "" if record.policy is None else f"version {record.policy.version}, sha256:{record.policy.digest}"
        )
        values = (
            ("Id", record.record_id.hex()),
            ("Who", f"{record.actor or ''} ({_KNOWN[record.known]})"),
            ("Key", "" if record.key is None else f"sha256:{record.key}"),
            ("Action", record.action),
            ("What", audit_rows.what(record)),
            ("Asked for", record.subject),
            ("Host", record.host),
            ("Manifest", "" if record.manifest is None else f"sha256:{record.manifest}"),
            ("Policy", policy),
            ("Attempt", "" if record.of is None else record.of.hex()),
            ("Document", "" if record.evidence is None else f"sha256:{record.evidence}"),
        )
        found += [
            ("Result", Cell(audit_rows.result(record))),
            ("Time", Cell(f"{record.time} ({when(record.time)})", record.time)),
        ]
        found += [(name, Cell(text)) for name, text in values if text]
    at = f"entry {entry.index:,} of the log {entry.log}, in {entry.commit}"
    found.append(("In the log", Cell(at, f"{entry.log} {entry.index} {entry.commit}")))
    root = entry.root.hex()
    found.append(("Signed at", Cell(f"size {entry.size:,}, root {root}", f"{entry.size} {root}")))
    found += [
        (name, Cell(text))
        for name, text in (("Signed document", entry.document), ("Proof", entry.proof))
        if text
    ]
    return found


_KNOWN = {
    "signature": "a key of theirs signed",
    "os_user": "as the operating system said",
    "claimed": "a claim: the policy does not know that key",
}


@verb(
    "lookup",
    examples=(
        "mvault audit lookup --env prod web-7.example.org",
        "mvault audit lookup --env prod churn@prod -q     # the hash alone",
    ),
)
@click.option("--env", "environment", metavar="ENV", required=True, help="The environment of the records.")
@click.option(
    "--limit",
    type=click.IntRange(0),
    metavar="N",
    default=_LIMIT,
    help=f"At most so many records; 0 for all ({_LIMIT}).",
)
@click.argument("value")
@click.pass_context
def lookup(context: click.Context, environment: str, limit: int, value: str) -> None:
    """Find the records of ENV whose host or subject is VALUE, where the policy keeps these as keyed hashes.

    The key of the hashes follows from the key of the environment, so this takes
    an identity that may read there; nobody else can guess a value. Prints the
    hash, one for each generation of that key, then the records; with -q only the
    hashes. Columns when piped: those of `mvault audit log`, after lines `hash`.
    """
    from vault.arguments import given
    from vault.core import names

    common = common_of(context)
    audit = common.open(env=False).audit
    hashes = audit.lookup(environment, value)
    console = common.console
    rows: list[Row] = []
    if not console.style.quiet:
        found = audit.kept_as(hashes, given(names.environment, environment))
        rows = list(islice(found, limit)) if limit else list(found)
        tell_troubles(console, audit.indexed)
    if console.json({"hashes": list(hashes), "records": [audit_rows.value(row) for row in rows]}):
        return
    if console.style.quiet:
        console.lines(hashes)
        return
    console.fields([("Hash", Cell(text)) for text in hashes])
    console.heading("")
    _print(console, rows)
