"""`mvault search` and `mvault index`: find versions by what is known of them."""

from typing import TYPE_CHECKING

import click

from vault.cli.command import Family, verb
from vault.cli.options import common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import count, size, when
from vault.core import limits

if TYPE_CHECKING:
    from vault.actions.index_search import Found
    from vault.actions.indexing import Updated
    from vault.cli.output import Console
    from vault.registry.searching import Hit


@verb(
    "search",
    examples=(
        "mvault search 'metric.auc>0.9 and env=prod and format=onnx'",
        "mvault search 'model:nepse/* and param.depth<=5 and not tag=retired'",
        "mvault search 'library.scikit-learn<1.6 and was=prod'  # before an upgrade",
        "mvault search 'weekly forecast' --verify     # words, proved by the store",
    ),
)
@click.argument("query", nargs=-1, required=True)
@click.option(
    "--limit",
    type=click.IntRange(1, limits.SEARCH_RESULTS),
    default=50,
    show_default=True,
    help="Show so many, the newest.",
)
@click.option("--verify", is_flag=True, help="Have the store prove each hit; leave out what it does not.")
@click.option(
    "--update/--no-update",
    default=None,
    help="Compare the index with the store first, or not; as a rule, when it is older than a minute.",
)
@click.pass_context
def search(
    context: click.Context, query: tuple[str, ...], limit: int, verify: bool, update: bool | None
) -> None:
    """Find versions that QUERY asks for, newest first.

    Words are searched for in names, tags, notes, features and the like. Conditions
    compare: metric.NAME, param.NAME, library.NAME, feature, tag, env, was, format,
    model, version, by, approved, created, size, parent, test, digest; and, or, not and
    parentheses join them. Metrics and whatever else is confidential are found only by
    whoever may read them. Quote the query from your shell.

    The answer comes from an index on this machine and is a hint, unless it is
    verified. Columns when piped: reference, created, formats, bytes, in use, tags,
    publishers, then the values that were asked for, as name=value.
    """
    common = common_of(context)
    found = common.open().search(" ".join(query), limit=limit, verify=verify, update=update)
    console = common.console
    if not console.json(
        {
            "query": " ".join(query),
            "hits": [_hit(hit) for hit in found.hits],
            "more": found.more,
            "updated": found.updated,
            "verified": found.verified,
            "refuted": [_skipped(entry.name, entry.code, entry.reason) for entry in found.refuted],
            "skipped": [_skipped(entry.name, entry.code, entry.reason) for entry in found.skipped],
            "unrecorded": list(found.unrecorded),
        }
    ):
        _print(console, found)
    for entry in found.refuted:
        console.warn(f"{entry.name} is left out: {entry.reason}")


def _print(console: "Console", found: "Found") -> None:
    asked = sorted({name for hit in found.hits for name in hit.values})
    if console.to_terminal and not found.hits:
        console.notice("Nothing was found.")
    columns = (
        Column("VERSION", shrinks=True),
        Column("CREATED"),
        Column("FORMATS", shrinks=True),
        Column("SIZE", number=True),
        Column("IN USE", shrinks=True),
        Column("TAGS", shrinks=True),
        Column("BY", shrinks=True),
        *(Column(name.upper(), number=True) for name in asked),
    )
    rows = []
    for hit in found.hits:
        row = [
            Cell(hit.reference),
            Cell(when(hit.created), hit.created),
            _list(hit.formats),
            Cell(size(hit.size), str(hit.size)),
            _list(hit.channels),
            _list(hit.tags),
            _list(hit.publishers),
        ]
        if console.to_terminal:
            row += [Cell(_value(hit, name)) for name in asked]
        else:
            row += [Cell(f"{name}={hit.values[name]}") for name in asked if name in hit.values]
        rows.append(row)
    if rows:
        console.table(columns, rows)
    if found.more:
        console.notice("There are more: see them with --limit, or search for less.")
    if found.skipped:
        console.notice(
            f"{count(len(found.skipped), 'version')} did not verify and are not searched: mvault check"
        )
    if found.unrecorded:
        places = ", ".join(found.unrecorded)
        console.notice(
            f"What only {places} would open was not read, since each such load is recorded there. "
            "To read it all the same: mvault index update --recorded"
        )
    if found.updated is not None:
        console.detail(f"The index was compared with the store at {found.updated}.")


def _value(hit: "Hit", name: str) -> str:
    text = hit.values.get(name, "")
    try:
        return f"{float(text):.6g}" if name.startswith("metric.") else text
    except ValueError:
        return text


def _list(values: tuple[str, ...]) -> Cell:
    return Cell(", ".join(values), ",".join(values))


def _hit(hit: "Hit") -> dict[str, object]:
    return {
        "reference": hit.reference,
        "model": hit.model,
        "version": hit.version,
        "created": hit.created,
        "digest": f"sha256:{hit.manifest}",
        "formats": list(hit.formats),
        "size": hit.size,
        "channels": list(hit.channels),
        "tags": list(hit.tags),
        "publishers": list(hit.publishers),
        "readable": hit.readable,
        "values": dict(hit.values),
    }


def _skipped(name: str, code: str, reason: str) -> dict[str, object]:
    return {"name": name, "code": code, "reason": reason}


# --- the index itself ---


@click.group(
    "index",
    cls=Family,
    examples=(
        "mvault index status            # where it is, how old, how much is in it",
        "mvault index update            # take in what is new in the store",
        "mvault index rebuild           # make it anew; nothing is lost by that",
    ),
)
def index() -> None:
    """Keep the index by which `mvault search` finds versions.

    It lies in this user's state folder; MVAULT_INDEX, or `index` in your own
    configuration, names a PostgreSQL database that a team shares. It decides
    nothing: what is loaded or promoted is judged by the store alone.
    """


@verb("status", family=index, examples=("mvault index status", "mvault index status --json"))
@click.pass_context
def status(context: click.Context) -> None:
    """Tell where the index is, when it was compared with the store, and what it holds."""
    common = common_of(context)
    found = common.open().index.status()
    console = common.console
    value = {
        "place": found.place,
        "shared": found.shared,
        "updated": found.updated,
        "models": found.models,
        "versions": found.versions,
        "channel_records": found.channel_records,
        "readable": found.readable,
    }
    if console.json(value):
        return
    updated = "never: mvault index update" if found.updated is None else when(found.updated)
    console.fields(
        [
            ("Place", Cell(found.place)),
            *([] if found.shared is None else [("Shared", Cell(found.shared))]),
            ("Updated", Cell(updated, found.updated or "")),
            ("Models", Cell(f"{found.models:,}", str(found.models))),
            ("Versions", Cell(f"{found.versions:,}", str(found.versions))),
            ("Channel records", Cell(f"{found.channel_records:,}", str(found.channel_records))),
            ("Readable", Cell(f"{found.readable:,} with metrics and the like", str(found.readable))),
        ]
    )


_RECORDED = click.option(
    "--recorded",
    is_flag=True,
    help="Also read metadata where each load has to be recorded, and have that done.",
)


@verb("update", family=index, examples=("mvault index update", "mvault index update --recorded"))
@_RECORDED
@click.pass_context
def update(context: click.Context, recorded: bool) -> None:
    """Take into the index what the store has and the index has not."""
    common = common_of(context)
    _tell(common.console, common.open().index.update(recorded=recorded))


@verb("rebuild", family=index, examples=("mvault index rebuild", "mvault index rebuild --json"))
@_RECORDED
@click.pass_context
def rebuild(context: click.Context, recorded: bool) -> None:
    """Make the index anew from the store, whatever it was.

    A shared database is emptied first: others search again when this is done.
    """
    common = common_of(context)
    _tell(common.console, common.open().index.rebuild(recorded=recorded))


def _tell(console: "Console", done: "Updated") -> None:
    value = {
        "written": done.written,
        "removed": done.removed,
        "models": done.models,
        "readable": done.readable,
        "followed": done.followed,
        "skipped": [_skipped(entry.name, entry.code, entry.reason) for entry in done.skipped],
        "unrecorded": list(done.unrecorded),
        "read_only": done.read_only,
    }
    told = f"{count(done.written, 'version')} written, {done.removed:,} removed; {done.readable:,} decrypted."
    if done.unrecorded:
        told += f" Not read, since each load is recorded: {', '.join(done.unrecorded)} (--recorded)."
    if done.read_only:
        told += " You may not write to the shared index: what others have not taken in is not in it yet."
    console.outcome(value, plain=str(done.written), message=told)
    for entry in done.skipped:
        console.warn(f"{entry.name} is not in the index: {entry.reason}")
