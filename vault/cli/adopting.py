"""`mvault adopt`: take over a folder, a bucket or a registry of models that exist already."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vault.cli import converting_options
from vault.cli.command import verb
from vault.cli.options import common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import count
from vault.errors import Conflict, FormatRefused, Unavailable

if TYPE_CHECKING:
    from vault.cli.output import Console
    from vault.core.adoption_report import AdoptionReport, Item

_GIB = 1 << 30
_SHOWN = 40
_STATES = {
    "adopted": "adopted",
    "would-adopt": "would adopt",
    "already": "adopted before",
    "same": "the same again",
    "remains": "remains",
}
_SUMS = {
    "adopted": "adopted",
    "would-adopt": "would be adopted",
    "already": "adopted before",
    "same": "the same again",
    "remains": "to look at",
}
_ORDER = ("remains", "adopted", "would-adopt", "same", "already")


@verb(
    "adopt",
    examples=(
        "mvault adopt old/ --as '{model}/v{version}/model.joblib' --dry-run",
        "mvault adopt old/ --as '{model}/v{version}/model.joblib' --report told.md",
        "mvault adopt s3://old --as '{env}/{model}/{version}/'   # whole folders",
        "mvault adopt mlflow:sqlite:///mlflow.db --alias champion=prod --promote",
    ),
)
@click.argument("source", metavar="PATH|URL")
@click.option(
    "--as",
    "as_",
    metavar="PATTERN",
    help="How paths below PATH name models: {model}, {version}, {env}, *.",
)
@click.option(
    "--to",
    type=click.Choice(["skops", "onnx"]),
    default="skops",
    help="What pickles are converted to.  [skops]",
)
@click.option(
    "--sample-as",
    metavar="PATTERN",
    help="Where rows lie to compare predictions on, named as the models are.",
)
@converting_options.tolerance
@click.option(
    "--rename",
    "renames",
    multiple=True,
    metavar="OLD=NEW",
    help="A name in place of another: MODEL=NEW, MODEL:VERSION=NEW:VERSION or :VERSION=:VERSION.",
)
@click.option("--fix-names", is_flag=True, help="Take what is suggested for names that break the grammar.")
@click.option(
    "--alias",
    "aliases",
    multiple=True,
    metavar="ALIAS=ENV",
    help="Which environment an alias of MLflow stands for. Repeatable.",
)
@click.option("--promote", is_flag=True, help="Promote what the source uses, by {env} or --alias.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A label for every version. Repeatable.")
@click.option("--note", metavar="TEXT", help="What to know about these versions.")
@click.option("--dry-run", is_flag=True, help="Look at the files; convert and publish nothing.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write what became of every file to FILE, as .md or .json.",
)
@converting_options.memory
@converting_options.timeout
@click.option(
    "--threads", type=click.IntRange(1, 16), metavar="N", help="How many are converted at once.  [2]"
)
@click.pass_context
def adopt(
    context: click.Context,
    source: str,
    as_: str | None,
    to: str,
    sample_as: str | None,
    tolerance: float,
    renames: tuple[str, ...],
    fix_names: bool,
    aliases: tuple[str, ...],
    promote: bool,
    tags: tuple[str, ...],
    note: str | None,
    dry_run: bool,
    report: Path | None,
    memory: int,
    timeout: int,
    threads: int | None,
) -> None:
    """Publish the models of the folder PATH, a bucket or MLflow, with their versions and their origin.

    Pickles are converted in confined processes and never loaded in this one;
    originals stay as they are. Run it again after it was stopped. Ends with
    status 5 if something was refused or not converted, else 9 where names or
    versions clash, else 7 where something could not be read.
    """
    common = common_of(context)
    if report is not None and report.suffix.lower() not in {".md", ".json"}:
        raise click.BadParameter("It ends in .md or .json.", param_hint="--report")
    opened = common.open()
    found = opened.adopt(
        source,
        as_=as_,
        to=to,
        sample_as=sample_as,
        tolerance=tolerance,
        rename=renames,
        fix_names=fix_names,
        alias=_aliases(aliases),
        promote=promote,
        tags=tags,
        notes=note,
        dry_run=dry_run,
        memory=memory * _GIB,
        seconds=timeout,
        threads=threads,
    )
    if report is not None:
        _write(report, found)
    console = common.console
    if not console.json(found.as_json()):
        _print(console, found)
    context.exit(_status(found))


def _aliases(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, environment = text.rpartition("=")
        if not (equals and name and environment):
            raise click.BadParameter(f"{text!r} is not ALIAS=ENV.", param_hint="--alias")
        found[name] = environment
    return found


def _status(found: "AdoptionReport") -> int:
    """Give the gravest status that what remains asks for."""
    codes = {item.code for item in found.remaining}
    clashes = {"conflict", "malformed-name"}
    unread = {"unavailable", "not-found", "storage-archived", "storage-denied"}
    if not codes:
        return 0
    if codes - clashes - unread:
        return FormatRefused.exit_status
    return Conflict.exit_status if codes & clashes else Unavailable.exit_status


def _write(target: Path, found: "AdoptionReport") -> None:
    """Write the report.

    Raises:
        Unavailable: it cannot be written.
    """
    if target.suffix.lower() == ".md":
        text = found.markdown()
    else:
        text = json.dumps(found.as_json(), indent=2) + "\n"
    try:
        target.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise Unavailable(f"{target} cannot be written: {error.strerror}.", subject=str(target)) from None


def _print(console: "Console", found: "AdoptionReport") -> None:
    items = sorted(found.items, key=lambda item: _ORDER.index(item.outcome))
    shown = items if console.style.verbose or not console.to_terminal else items[:_SHOWN]
    if shown:
        console.table(
            (
                Column("STATE"),
                Column("VERSION"),
                Column("FROM", shrinks=True),
                Column("WAS"),
                Column("WHY", shrinks=True),
            ),
            [_row(item) for item in shown],
        )
    if len(shown) < len(items):
        console.notice(f"… and {len(items) - len(shown):,} more: -v, or --report FILE.")
    for item in found.items:
        for text in item.warnings:
            console.detail(f"{item.path}: {text}")
    console.notice(_told(found))
    for entry in found.promotions:
        if entry.done:
            console.notice(f"{entry.reference} is in {entry.environment} now.")
        elif entry.reason:
            console.warn(f"{entry.reference} was not promoted to {entry.environment}: {entry.reason}")
        else:
            console.notice(f"Used there: mvault promote {entry.reference} --env {entry.environment}")


def _row(item: "Item") -> tuple[Cell, ...]:
    why = _why(item) if item.outcome == "remains" else _compared(item)
    return (
        Cell(_STATES[item.outcome], item.outcome),
        Cell(item.reference),
        Cell(item.path),
        Cell(f"{item.format} → {item.became}" if item.became not in {"", item.format} else item.format),
        Cell(why),
    )


def _why(item: "Item") -> str:
    """Say why a file remains, without its path, which stands beside."""
    reason = item.reason
    if reason.startswith(f"{item.path} "):
        reason = f"It{reason.removeprefix(item.path)}"
    return f"{reason.removeprefix(f'{item.path}: ')} {item.hint}".strip()


def _compared(item: "Item") -> str:
    found = item.comparison
    if found is None:
        return ""
    if found.rows == 0:
        return "nothing was compared"
    weak = ", weak" if found.weak else ""
    return f"{found.differing:.2%} of {found.rows:,} {found.sample} rows differ{weak}"


def _told(found: "AdoptionReport") -> str:
    """Sum up in a few words."""
    sums = {outcome: sum(item.outcome == outcome for item in found.items) for outcome in _SUMS}
    parts = [f"{sums[outcome]:,} {text}" for outcome, text in _SUMS.items() if sums[outcome]]
    text = f"{found.source}: {', '.join(parts) or 'nothing fits the pattern'}."
    if found.unmatched:
        text += f" {count(len(found.unmatched), 'file')} not named by the pattern"
        text += f", such as {found.unmatched[0]}." if not found.items else "."
    if found.aside:
        text += f" {count(len(found.aside), 'thing')} not looked at."
    if found.dry_run:
        text += " Nothing was published: run it without --dry-run."
    return text
