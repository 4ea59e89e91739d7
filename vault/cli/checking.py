"""`mvault check` and `mvault inspect`: does what is stored hold, and what would a file do?"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vault.cli.command import verb
from vault.cli.completion import ReferenceText
from vault.cli.options import common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import count, size
from vault.errors import FormatRefused, NotFound, Refused, Unavailable

if TYPE_CHECKING:
    from vault.actions.checking import Finding, Report
    from vault.cli.output import Console
    from vault.core.inspection import Inspection

_UNAVAILABLE = frozenset({"unavailable", "storage-full", "storage-denied"})
_VERDICTS = {"data": "data only", "needs-pins": "needs pins", "refused": "refused"}


@verb(
    "check",
    examples=(
        "mvault check                     # everything; no key is needed",
        "mvault check churn:3",
        "mvault check churn@prod --data   # decrypt and compare as well",
    ),
)
@click.argument("reference", metavar="[REF]", required=False, type=ReferenceText())
@click.option("--all", "everything", is_flag=True, help="Check everything, as without REF.")
@click.option("--data", is_flag=True, help="Decrypt every file and compare it too; this needs your key.")
@click.pass_context
def check(context: click.Context, reference: str | None, everything: bool, data: bool) -> None:
    """Check the version REF, or the whole vault: signatures, places and stored bytes.

    What strangers put there does no harm and is listed as skipped; what holds
    is listed with -v only. Ends with status 3 if anything that counts does not
    hold. Columns when piped: level, subject, message, code.
    """
    if reference is not None and everything:
        raise click.UsageError("Give a REF or --all, not both.", context)
    common = common_of(context)
    report = common.open().check(reference, data=data)
    console = common.console
    shown = [entry for entry in report.findings if console.style.verbose or entry.level != "ok"]
    value = {
        "whole": report.whole,
        "versions": report.versions,
        "files": report.files,
        "bytes": report.bytes,
        "findings": [
            {"level": entry.level, "subject": entry.subject, "message": entry.message, "code": entry.code}
            for entry in shown
        ],
    }
    if not console.json(value):
        _print_report(console, report, shown)
    context.exit(_status(report))


def _print_report(console: "Console", report: "Report", shown: "list[Finding]") -> None:
    """Print what does not hold or does not count (with -v what holds too), then the sum of it."""
    rows = [
        (Cell(entry.level), Cell(entry.subject), Cell(entry.message), Cell(entry.code)) for entry in shown
    ]
    columns = (
        Column(""),
        Column("WHAT", shrinks=True),
        Column("FOUND", shrinks=True),
        Column("CODE"),
    )
    if rows:
        console.table(columns, rows)
    bad = sum(entry.level == "bad" for entry in report.findings)
    skipped = sum(entry.level == "skipped" for entry in report.findings)
    looked = (
        f"Checked {count(report.versions, 'version')}, {count(report.files, 'file')}, {size(report.bytes)}"
    )
    aside = f" {count(skipped, 'object')} did not count and did no harm." if skipped else ""
    verdict = "everything holds." if bad == 0 else f"{count(bad, 'problem')}, listed above."
    console.notice(f"{looked}: {verdict}{aside}")


def _status(report: "Report") -> int:
    """Give the exit status: 3 unless all that is wrong is that it is not there, or did not answer."""
    codes = {entry.code for entry in report.findings if entry.level == "bad"}
    if not codes:
        return 0
    if codes == {NotFound.default_code} and report.versions == 0:
        return NotFound.exit_status
    return Unavailable.exit_status if codes <= _UNAVAILABLE else Refused.exit_status


@verb(
    "inspect",
    examples=(
        "mvault inspect model.pkl",
        "mvault inspect downloads/ --json",
    ),
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.pass_context
def inspect(context: click.Context, paths: tuple[Path, ...]) -> None:
    """Tell what the files PATH, and those in folders, would do if they were loaded; they never are.

    A verdict is `data only` (nothing in it can run), `needs pins` (loadable
    where its types or globals are pinned and allowed) or `refused`. Ends with
    status 5 if a file is refused. No vault is needed. Columns when piped:
    file, format, verdict, reasons.
    """
    from vault.starting import inspect as look

    console = common_of(context).console
    found: list[Inspection] = []
    for path in _files(paths):
        console.report(len(found), 0, str(path))
        found.append(look(path))
    refused = any(entry.verdict == "refused" for entry in found)
    if not console.json({"files": [_inspection(entry) for entry in found]}):
        _print_inspections(console, found)
    context.exit(FormatRefused.exit_status if refused else 0)


def _files(paths: tuple[Path, ...]) -> Iterator[Path]:
    """Give the files named, and those below folders, in order; links are not followed into."""
    for path in paths:
        if not path.is_dir() or path.is_symlink():
            yield path
            continue
        for folder, folders, names in os.walk(path, onerror=_raise):
            folders.sort()
            for name in sorted(names):
                file = Path(folder, name)
                if not file.is_symlink() and file.is_file():
                    yield file


def _raise(error: OSError) -> None:
    raise Unavailable(f"{error.filename} cannot be read: {error.strerror}.", subject=str(error.filename))


def _print_inspections(console: "Console", found: "list[Inspection]") -> None:
    if not found:
        console.notice("There are no files there.")
    if not console.to_terminal:
        rows = [
            (
                Cell(entry.path),
                Cell(entry.format),
                Cell(entry.verdict),
                Cell("; ".join((*entry.reasons, *entry.dangers))),
            )
            for entry in found
        ]
        console.table((), rows)
        return
    if len(found) > 1 and not console.style.verbose:
        _print_overview(console, found)
        return
    for entry in found:
        console.heading(entry.path)
        rows_ = [
            ("Format", Cell(entry.format)),
            ("Verdict", Cell(_VERDICTS[entry.verdict])),
            *(("Danger", Cell(text)) for text in entry.dangers),
            *(("Because", Cell(text)) for text in entry.reasons),
        ]
        for title, values in (("Globals", entry.globals), ("Types", entry.types)):
            if values:
                rows_.append((title, Cell(_some(values, verbose=console.style.verbose))))
        if entry.versions:
            versions = ", ".join(f"{name} {value}" for name, value in entry.versions.items())
            rows_.append(("Versions", Cell(versions)))
        console.fields(rows_)


def _print_overview(console: "Console", found: "list[Inspection]") -> None:
    """Print one line a file; what to look at first comes first."""
    order = ("refused", "needs-pins", "data")
    ranked = sorted(found, key=lambda entry: order.index(entry.verdict))
    console.table(
        (Column("VERDICT"), Column("FORMAT"), Column("FILE", shrinks=True), Column("WHY", shrinks=True)),
        [
            (
                Cell(_VERDICTS[entry.verdict]),
                Cell(entry.format),
                Cell(entry.path),
                Cell(" ".join((*entry.dangers, *entry.reasons))),
            )
            for entry in ranked
        ],
    )


def _some(values: tuple[str, ...], *, verbose: bool, most: int = 12) -> str:
    if verbose or len(values) <= most:
        return ", ".join(values)
    return ", ".join(values[:most]) + f" and {len(values) - most} more (-v)"


def _inspection(entry: "Inspection") -> dict[str, object]:
    return {
        "path": entry.path,
        "format": entry.format,
        "verdict": entry.verdict,
        "code": entry.code,
        "reasons": list(entry.reasons),
        "dangers": list(entry.dangers),
        "globals": list(entry.globals),
        "types": list(entry.types),
        "versions": dict(entry.versions),
    }
