"""`mvault inspect`: what would files do if they were loaded?"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vault.cli.command import verb
from vault.cli.options import common_of
from vault.cli.output import echo
from vault.cli.tables import Cell, Column
from vault.cli.text import count, some
from vault.errors import FormatRefused, Unavailable

if TYPE_CHECKING:
    from vault.cli.output import Console
    from vault.core.inspection import Inspection

_VERDICTS = {"data": "data only", "needs-pins": "needs pins", "refused": "refused"}
_RANKS = ("refused", "needs-pins", "data")
_SHOWN_MEMBERS = 20


@verb(
    "inspect",
    examples=(
        "mvault inspect model.pkl",
        "mvault inspect downloads/ --json",
        "mvault inspect models/ --sarif findings.sarif   # for a code host; - prints it",
    ),
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--sarif", metavar="FILE", help="Write the findings to FILE as SARIF 2.1.0; - prints them.")
@click.pass_context
def inspect(context: click.Context, paths: tuple[Path, ...], sarif: str | None) -> None:
    """Tell what the files PATH, and those in folders, would do if they were loaded; they never are.

    Archives and compressed files are looked into; links are not followed. A
    verdict is `data only` (nothing in it can run), `needs pins` (loadable
    where its types or globals are pinned and allowed) or `refused`. Ends with
    status 5 if a file is refused, else 7 if one could not be read. No vault is
    needed. Columns when piped: file, format, verdict, reasons.
    """
    from vault.actions import inspecting

    common = common_of(context)
    console = common.console
    looked = [inspecting.inspect(path, progress=console.report) for path in paths]
    found = [file for entry in looked for file in (entry.members if _is_folder(entry) else (entry,))]
    if sarif is not None:
        _write_sarif(console, found, sarif)
    if sarif != "-" and not console.json({"files": [_inspection(file) for file in found], **_summary(found)}):
        _print(console, found)
        for entry in looked:
            if entry.format != "folder" and _is_folder(entry):
                console.notice(f"{entry.path} is a {entry.format}.")
    context.exit(_status(found))


def _is_folder(entry: "Inspection") -> bool:
    return entry.format == "folder" or entry.format.endswith(" folder")


def _status(found: "Sequence[Inspection]") -> int:
    codes = {file.code for file in found if file.verdict == "refused"}
    if codes - {Unavailable.default_code}:
        return FormatRefused.exit_status
    return Unavailable.exit_status if codes else 0


def _write_sarif(console: "Console", found: "Sequence[Inspection]", target: str) -> None:
    """Write a SARIF log.

    Raises:
        Unavailable: the file cannot be written.
    """
    import json

    from vault._version import __version__
    from vault.core import sarif

    text = json.dumps(sarif.log(found, version=__version__, base=str(Path.cwd())), indent=2)
    console.settle()
    if target == "-":
        echo(text)
        return
    try:
        Path(target).write_text(f"{text}\n", encoding="ascii")
    except OSError as error:
        raise Unavailable(f"{target} cannot be written: {error.strerror}.", subject=target) from None


def _print(console: "Console", found: "Sequence[Inspection]") -> None:
    """Print what was found: of one file everything, of several an overview and the sum."""
    if not console.to_terminal:
        console.table((), [_piped(file) for file in found])
    elif len(found) == 1 or console.style.verbose:
        for file in found:
            _print_one(console, file)
    elif found:
        _print_overview(console, found)
    if len(found) != 1:
        console.notice(_told(found))


def _piped(file: "Inspection") -> tuple[Cell, ...]:
    reasons = "; ".join((*file.reasons, *file.dangers))
    return Cell(file.path), Cell(file.format), Cell(file.verdict), Cell(reasons)


def _print_one(console: "Console", file: "Inspection") -> None:
    rows = [
        ("Format", Cell(file.format)),
        ("Verdict", Cell(_VERDICTS[file.verdict])),
        *(("Danger", Cell(text)) for text in file.dangers),
        *(("Because", Cell(text)) for text in file.reasons),
        *(("Note", Cell(note.message)) for note in file.findings if note.level == "note"),
    ]
    verbose = console.style.verbose
    for title, values in (("Globals", file.globals), ("Types", file.types)):
        if values:
            rows.append((title, Cell(some(values, verbose=verbose))))
    if file.versions:
        rows.append(("Versions", Cell(", ".join(f"{name} {value}" for name, value in file.versions.items()))))
    if file.members:
        told = tuple(f"{member.path} ({member.format})" for member in file.members)
        rows.append(("Holds", Cell(some(told, verbose=verbose, most=_SHOWN_MEMBERS))))
    if file.hint:
        rows.append(("Next", Cell(file.hint)))
    console.heading(file.path)
    console.fields(rows)


def _print_overview(console: "Console", found: "Sequence[Inspection]") -> None:
    """Print one line a file; what to look at first comes first."""
    ranked = sorted(found, key=lambda file: _RANKS.index(file.verdict))
    console.table(
        (Column("VERDICT"), Column("FORMAT"), Column("FILE", shrinks=True), Column("WHY", shrinks=True)),
        [
            (Cell(_VERDICTS[file.verdict]), Cell(file.format), Cell(file.path), Cell(_first_reason(file)))
            for file in ranked
        ],
    )


def _first_reason(file: "Inspection") -> str:
    """Give the worst that is to be said of a file, and how much more there is."""
    texts = (*file.dangers, *file.reasons)
    if not texts:
        return ""
    return texts[0] if len(texts) == 1 else f"{texts[0]} (+{len(texts) - 1})"


def _told(found: "Sequence[Inspection]") -> str:
    """Sum up in one sentence, and say what to do next."""
    if not found:
        return "There are no files there."
    sums = {verdict: sum(file.verdict == verdict for file in found) for verdict in _RANKS}
    parts = [f"{number:,} {_VERDICTS[verdict]}" for verdict, number in sums.items() if number]
    text = f"Looked at {count(len(found), 'file')}: {', '.join(parts)}."
    if sums["refused"] or sums["needs-pins"]:
        text += " For the whole story of one: mvault inspect FILE."
    return text


def _summary(found: "Sequence[Inspection]") -> dict[str, object]:
    unread = sum(file.code == Unavailable.default_code for file in found)
    sums = {verdict: sum(file.verdict == verdict for file in found) for verdict in _RANKS}
    return {"summary": {"files": len(found), "unread": unread, **sums}}


def _inspection(file: "Inspection") -> dict[str, object]:
    return {
        "path": file.path,
        "format": file.format,
        "size": file.size,
        "verdict": file.verdict,
        "code": file.code,
        "hint": file.hint,
        "reasons": list(file.reasons),
        "dangers": list(file.dangers),
        "globals": list(file.globals),
        "types": list(file.types),
        "versions": dict(file.versions),
        "findings": [
            {
                "rule": found.rule,
                "level": found.level,
                "message": found.message,
                "member": found.member,
                "offset": found.offset,
            }
            for found in file.findings
        ],
        "members": [_inspection(member) for member in file.members],
    }
