"""`mvault audit summary` and `export`: what was unusual, and records for other programs."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vault.cli import audit_filters, audit_rows
from vault.cli.audit_filters import filters, times
from vault.cli.audit_reading import tell_troubles
from vault.cli.command import verb
from vault.cli.options import common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import count, when

if TYPE_CHECKING:
    from vault.audit.summary import First, Rate, Section, Summary
    from vault.cli.output import Console

_FORMATS = ("jsonl", "csv", "ocsf", "cef")
_WEEK = "7d"
_SECTIONS = (
    ("alarming", "Signs of tampering"),
    ("pickles", "Pickles that were refused"),
    ("barred", "Withdrawn versions that were asked for"),
    ("changes", "Changes of policy, root and access"),
    ("unfinished", "Attempts without an outcome"),
    ("unreadable", "Entries that are no records"),
)


@verb(
    "summary",
    examples=(
        "mvault audit summary                   # the last week, against all before",
        "mvault audit summary --since yesterday",
        "mvault audit summary --since 2026-05-01 --until 2026-05-31 --json",
    ),
)
@times
@click.pass_context
def summary(context: click.Context, since: str | None, until: str | None) -> None:
    """Tell what was unusual in a time, measured against each actor's own past; the last week by default.

    Who was denied or refused more often than chance explains (an exact test of
    two rates; p is how likely so many would be); who, which keys, hosts, models
    and hours were new; signs of tampering, refused pickles, withdrawn versions
    that somebody wanted, changes of policy, attempts without an outcome. It
    ranks and proves nothing. Piped, lines of several kinds: rate, actor, denied,
    records, denied before, records before, p, unusual; first, actor, field,
    value, time; and alarming, pickles, barred, changes, unfinished, unreadable,
    each followed by the columns of `mvault audit log`.
    """
    import time

    common = common_of(context)
    start, end = audit_filters.moments(since or _WEEK, until)
    audit = common.open(env=False).audit
    found = audit.summary(since=start or 0, until=end or int(time.time()) + 1)
    console = common.console
    tell_troubles(console, audit.indexed)
    if console.json(_value(found)):
        return
    if console.to_terminal:
        _print(console, found)
        return
    console.table((), [(Cell("rate"), *_rate(entry)) for entry in found.rates])
    console.table((), [(Cell("first"), *_first(entry)) for entry in (*found.firsts, *found.hours)])
    for name, _ in _SECTIONS:
        section: Section = getattr(found, name)
        console.table((), [(Cell(name), *audit_rows.piped(row)) for row in section.rows])


def _print(console: "Console", found: "Summary") -> None:
    console.heading(
        f"{count(found.records, 'record')} in this time, {count(found.past_records, 'record')} before it"
    )
    quiet = []
    if found.rates:
        _heading(console, "Denied or refused")
        columns = (
            *(Column("WHO", shrinks=True), Column("DENIED", number=True), Column("OF", number=True)),
            *(Column("BEFORE", number=True), Column("OF", number=True), Column("P", number=True), Column("")),
        )
        console.table(columns, [_rate(entry) for entry in found.rates])
    else:
        quiet.append("Nobody was denied or refused anything")
    if found.firsts_count or found.hours:
        _heading(console, f"New ({found.firsts_count + len(found.hours):,})")
        new = (Column("WHO", shrinks=True), Column("NEW"), Column("VALUE", shrinks=True), Column("TIME"))
        console.table(new, [_first(entry) for entry in (*found.firsts[:20], *found.hours[:20])])
    else:
        quiet.append("nobody and nothing was new")
    for name, title in _SECTIONS:
        section: Section = getattr(found, name)
        if section.count:
            _heading(console, f"{title} ({section.count:,})")
            console.table(audit_rows.COLUMNS, [audit_rows.cells(row) for row in section.rows])
        else:
            quiet.append(f"no {title[0].lower()}{title[1:]}")
    if quiet:
        text = "; ".join(quiet)
        console.notice(f"\n{text[0].upper()}{text[1:]}.")


def _heading(console: "Console", text: str) -> None:
    console.heading("")
    console.heading(text)


def _number(number: int) -> Cell:
    return Cell(f"{number:,}", str(number))


def _rate(entry: "Rate") -> tuple[Cell, ...]:
    chance = "" if entry.probability is None else f"{entry.probability:.2g}"
    return (
        *(Cell(entry.actor), _number(entry.denied), _number(entry.records)),
        *(_number(entry.past_denied), _number(entry.past_records), Cell(chance or "no past", chance)),
        Cell("unusual" if entry.unusual else "", "yes" if entry.unusual else "no"),
    )


def _first(entry: "First") -> tuple[Cell, ...]:
    from vault.core import names

    moment = names.time_text(entry.time)
    shown = f"{entry.value} h UTC" if entry.field == "hour" else entry.value
    return Cell(entry.actor), Cell(entry.field), Cell(shown, entry.value), Cell(when(moment), moment)


def _value(found: "Summary") -> dict[str, Any]:
    from vault.core import names

    def first(entry: "First") -> dict[str, Any]:
        time = names.time_text(entry.time)
        return {"actor": entry.actor, "field": entry.field, "value": entry.value, "time": time}

    sections: dict[str, Any] = {}
    for name, _ in _SECTIONS:
        section: Section = getattr(found, name)
        sections[name] = {"count": section.count, "records": [audit_rows.value(row) for row in section.rows]}
    return {
        "since": names.time_text(found.since),
        "until": names.time_text(found.until),
        "records": found.records,
        "past_records": found.past_records,
        "rates": [
            {
                "actor": entry.actor,
                "denied": entry.denied,
                "records": entry.records,
                "past_denied": entry.past_denied,
                "past_records": entry.past_records,
                "probability": entry.probability,
                "unusual": entry.unusual,
            }
            for entry in found.rates
        ],
        "firsts": [first(entry) for entry in found.firsts],
        "firsts_count": found.firsts_count,
        "hours": [first(entry) for entry in found.hours],
        **sections,
    }


@verb(
    "export",
    examples=(
        "mvault audit export --format csv -o audit.csv --since 30d",
        "mvault audit export --format ocsf --decision refuse    # for a SIEM",
        "mvault audit export --format cef | nc siem.example.org 514",
    ),
)
@click.option("--format", "form", type=click.Choice(_FORMATS), default="jsonl", help="Which format (jsonl).")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write them there, to a new file; standard output without.",
)  # fmt: skip
@filters
@click.pass_context
def export(context: click.Context, /, form: str, output: Path | None, **given: Any) -> None:
    """Write records for other programs, a line each, as they come from the logs: jsonl, csv, ocsf or cef.

    They are streamed, attempts and outcomes both. No cell of a CSV file is taken
    for a formula by a spreadsheet. OCSF is its class API Activity (6003), CEF is
    version 0. Options of one kind may be repeated: either will do.
    """
    common = common_of(context)
    audit = common.open(env=False).audit
    lines = audit.export(form, audit_filters.asked(given))
    console = common.console
    if output is None:
        if console.style.json and form != "jsonl":
            raise click.UsageError("--json is for messages; choose a form with --format.", context)
        console.settle()
        _stream(lines)
        tell_troubles(console, audit.indexed)
        return
    written = _write(output, lines)
    tell_troubles(console, audit.indexed)
    console.outcome(
        {"path": str(output), "format": form, "records": written},
        plain=str(output),
        message=f"Wrote {count(written, 'record')} to {output}.",
    )


def _stream(lines: Iterable[bytes]) -> None:
    """Send lines to standard output as they are.

    Raises:
        BrokenPipeError: its reader went away.
        Unavailable: it cannot be written.
    """
    from vault.errors import Unavailable

    try:
        for line in lines:
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Unavailable(f"The output cannot be written: {error.strerror}.") from None


def _write(place: Path, lines: Iterator[bytes]) -> int:
    """Write lines to a new file; give how many records there were.

    Raises:
        Conflict: there is one; it is left as it was.
        Unavailable: it cannot be written.
    """
    from vault.errors import Conflict, Unavailable

    written = 0
    try:
        with place.open("xb") as file:
            for line in lines:
                file.write(line)
                written += not (written == 0 and line.startswith(b'"time","actor"'))
    except FileExistsError:
        raise Conflict(
            f"{place} exists and was left as it was.", subject=str(place), hint="Choose another name."
        ) from None
    except OSError as error:
        raise Unavailable(f"{place} cannot be written: {error.strerror}.", subject=str(place)) from None
    return written
