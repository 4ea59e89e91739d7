"""`mvault ls` and `show`: look at models."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from vault.cli.command import verb
from vault.cli.completion import ModelName, ReferenceText
from vault.cli.labelling import notes
from vault.cli.options import Common, common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import clean, count, scalar, size, when
from vault.errors import NotFound

if TYPE_CHECKING:
    from vault.actions.listing import Details, Event, ModelRow, Release

_SHOWN = 12  # names of features, parameters and the like that fit a line or two


@verb(
    "ls",
    examples=(
        "mvault ls                       # every model",
        "mvault ls churn                 # the versions of one",
        "mvault ls nepse                 # the models below nepse/",
        "mvault ls | cut -f1             # names alone: piped tables are tab-separated",
    ),
)
@click.argument("model", required=False, type=ModelName())
@click.pass_context
def ls(context: click.Context, model: str | None) -> None:
    """List models with what each environment uses, or the versions of MODEL.

    Columns when piped: model, newest, versions, in use; for a model: version,
    created, formats, bytes, in use, publishers, tags.
    """
    common = common_of(context)
    opened = common.open()
    rows = opened.list(model or "")
    if model is not None and not rows:
        raise NotFound(f"There is no model {model}.", subject=model, hint="See what there is: mvault ls")
    releases: Sequence[Release] | None = None
    if model is not None and any(row.model == model for row in rows):
        releases = opened.versions(model)
    console = common.console
    if console.json({"models": [_model(row, releases if row.model == model else None) for row in rows]}):
        return
    if releases is not None:
        _print_releases(common, releases)
        rows = [row for row in rows if row.model != model]
    if rows:
        _print_models(common, rows)
    elif releases is None:
        console.notice("There are no models yet. Publish one: mvault push NAME FILE")


def _print_models(common: Common, rows: "Sequence[ModelRow]") -> None:
    common.console.table(
        (
            Column("MODEL", shrinks=True),
            Column("NEWEST"),
            Column("VERSIONS", number=True),
            Column("IN USE", shrinks=True),
        ),
        [
            (
                Cell(row.model),
                Cell(row.newest or ""),
                Cell(str(row.versions)),
                Cell(
                    ", ".join(f"{place} {version}" for place, version in row.channels.items()),
                    ",".join(f"{place}={version}" for place, version in row.channels.items()),
                ),
            )
            for row in rows
        ],
    )


def _print_releases(common: Common, releases: "Sequence[Release]") -> None:
    common.console.table(
        (
            Column("VERSION"),
            Column("CREATED"),
            Column("FORMATS", shrinks=True),
            Column("SIZE", number=True),
            Column("IN USE", shrinks=True),
            Column("BY", shrinks=True),
            Column("TAGS", shrinks=True),
        ),
        [
            (
                Cell(entry.version),
                Cell(when(entry.created), entry.created),
                Cell(", ".join(entry.formats), ",".join(entry.formats)),
                Cell(size(entry.size), str(entry.size)),
                Cell(", ".join(entry.channels) or _gone(entry), ",".join(entry.channels)),
                Cell(", ".join(entry.publishers), ",".join(entry.publishers)),
                Cell(", ".join(entry.tags), ",".join(entry.tags)),
            )
            for entry in releases
        ],
    )


@verb(
    "show",
    examples=(
        "mvault show churn                     # the newest in dev",
        "mvault show churn:3",
        "mvault show churn@prod --json",
    ),
)
@click.argument("reference", metavar="REF", type=ReferenceText())
@click.pass_context
def show(context: click.Context, reference: str) -> None:
    """Describe the version that REF means; what is confidential, only if you may read it there."""
    common = common_of(context)
    found = common.open().show(reference)
    console = common.console
    value = {
        **_release(found.release),
        "tags": sorted(found.labels.tags),
        "files": list(found.files),
        "metadata": found.metadata,
        "unread": found.unread,
        "votes": [
            {"time": vote.time, "action": vote.action, "where": vote.where, "who": list(vote.who)}
            for vote in found.votes
        ],
        "notes": notes(found.labels),
        "parents": [
            {
                "reference": f"{entry.model}:{entry.version}",
                "relation": entry.relation,
                "digest": f"sha256:{entry.manifest}",
            }
            for entry in found.parents
        ],
    }
    if console.json(value):
        return
    console.fields(_fields(found, verbose=console.style.verbose))
    console.heading("")
    verbose = console.style.verbose
    files = [
        (
            Cell(_text(file["path"])),
            Cell(_text(file["role"])),
            Cell(_text(file["format"])),
            Cell(size(_integer(file["size"])), _text(file["size"])),
            _sha256(file.get("sha256"), verbose=verbose),
        )
        for file in found.files
    ]
    if not console.to_terminal:
        files = [(Cell("file"), *row) for row in files]  # type: ignore[misc]
    console.table(
        (
            Column("FILE", shrinks=True),
            Column("ROLE"),
            Column("FORMAT"),
            Column("SIZE", number=True),
            Column("SHA-256", shrinks=verbose),
        ),
        files,
    )


def _fields(found: "Details", *, verbose: bool) -> list[tuple[str, Cell]]:
    entry = found.release
    rows = [
        ("Reference", Cell(entry.reference)),
        (
            "Published",
            Cell(f"{when(entry.created)} by {', '.join(entry.publishers)}", entry.created),
        ),
        ("In use", Cell(", ".join(entry.channels) or _gone(entry) or "nowhere", ",".join(entry.channels))),
        ("Formats", Cell(", ".join(entry.formats), ",".join(entry.formats))),
        ("Size", Cell(f"{size(entry.size)} in {count(len(found.files), 'file')}", str(entry.size))),
        ("Digest", Cell(entry.digest)),
    ]
    for title, action in (("Adopted", "adopt"), ("Load tests", "test"), ("Approved", "approve")):
        votes = [vote for vote in found.votes if vote.action == action]
        if votes:
            rows.append((title, Cell(", ".join(_vote(vote) for vote in votes))))
    rows += _said(found)
    if found.metadata is None:
        return [*rows, ("Confidential", Cell(f"not shown: {found.unread}", ""))]
    info = found.metadata
    if verbose:
        rows += [
            ("Pins", Cell(f"{_text(file['path'])}: {pins}")) for file in found.files if (pins := _pins(file))
        ]
    return [*rows, *((title, Cell(text)) for title, text in _described(info, verbose=verbose) if text)]


def _said(found: "Details") -> list[tuple[str, Cell]]:
    """Tell what is signed beside the version, and what it comes from."""
    rows = []
    if found.labels.tags:
        tags = sorted(found.labels.tags)
        rows.append(("Tags", Cell(", ".join(tags), ",".join(tags))))
    for entry in found.labels.notes:
        rows.append(("Note", Cell(f"{entry.text} ({' and '.join(entry.who)}, {when(entry.created)})")))
    for parent in found.parents:
        rows.append((parent.relation.capitalize(), Cell(f"{parent.model}:{parent.version}")))
    return rows


def _pins(file: Mapping[str, object]) -> str:
    """Name the types and globals that were recorded of a file: nothing else in it is ever loaded."""
    pins = file.get("pins")
    return ", ".join(str(name) for name in pins) if isinstance(pins, list) else ""


def _vote(vote: "Event") -> str:
    who = " and ".join(vote.who)
    said = f"{vote.detail} " if vote.detail else ""
    return f"{said}by {who} for {vote.where}" if vote.where else f"{said}by {who}"


def _origin(adopted: object) -> str:
    """Name the old file that a version was adopted from, and where it lay."""
    if not isinstance(adopted, dict):
        return ""
    return f"{scalar(adopted.get('path'))} in {scalar(adopted.get('source'))}"


def _described(info: Mapping[str, object], *, verbose: bool) -> list[tuple[str, str]]:
    """Tell what metadata says, shortest first; long lists are cut unless -v."""
    return [
        ("Estimator", scalar(info.get("estimator"))),
        ("Metrics", _mapping(info.get("metrics"), verbose=verbose)),
        ("Parameters", _mapping(info.get("params"), verbose=verbose)),
        ("Features", _listed(info.get("features"), verbose=verbose)),
        ("Classes", _listed(info.get("classes"), verbose=verbose)),
        ("Published with tags", _listed(info.get("tags"), verbose=verbose)),
        ("Published with note", scalar(info.get("notes"))),
        ("Training data", _training(info)),
        ("Adopted from", _origin(info.get("adopted"))),
        ("Git", _git(info.get("git"))),
        ("Runs", _runs(info.get("runs"))),
        ("Python", scalar(info.get("python"))),
        ("Libraries", _mapping(info.get("libraries"), verbose=verbose)),
    ]


def _mapping(value: object, *, verbose: bool) -> str:
    if not isinstance(value, dict):
        return ""
    return _cut([f"{clean(str(name))} {scalar(entry)}" for name, entry in value.items()], verbose=verbose)


def _listed(value: object, *, verbose: bool) -> str:
    return _cut([scalar(entry) for entry in value], verbose=verbose) if isinstance(value, list) else ""


def _cut(parts: list[str], *, verbose: bool) -> str:
    if verbose or len(parts) <= _SHOWN:
        return ", ".join(parts)
    return ", ".join(parts[:_SHOWN]) + f" and {len(parts) - _SHOWN} more (-v)"


def _training(info: Mapping[str, object]) -> str:
    digest, kind, rows = (info.get(f"training_{name}") for name in ("data", "kind", "rows"))
    if not isinstance(digest, str):
        return ""
    held = f" ({kind or 'rows'}{f' of {rows:,} rows' if isinstance(rows, int) else ''})"
    return clean(f"{digest}{held}")


def _runs(value: object) -> str:
    if not isinstance(value, dict):
        return ""
    found = [f"{name} {run.get('run')}" for name, run in value.items() if isinstance(run, dict)]
    return clean(", ".join(found))


def _git(value: object) -> str:
    if not isinstance(value, dict):
        return ""
    dirty = ", with changes that were not committed" if value.get("dirty") else ""
    branch = f" on {value['branch']}" if value.get("branch") else ""
    return clean(f"{str(value.get('commit'))[:12]}{branch}{dirty}")


def _sha256(value: object, *, verbose: bool) -> Cell:
    if not isinstance(value, str):
        return Cell("", "")
    return Cell(value if verbose else f"{value[:12]}…", value)


def _text(value: object) -> str:
    return str(value)


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0


def _model(row: "ModelRow", releases: "Sequence[Release] | None") -> dict[str, object]:
    return {
        "model": row.model,
        "newest": row.newest,
        "versions": row.versions,
        "channels": row.channels,
        "releases": None if releases is None else [_release(entry) for entry in releases],
    }


def _gone(entry: "Release") -> str:
    """Say of a version in use nowhere that it was removed."""
    if not entry.removed:
        return ""
    return "deleted" if entry.kept_until is None else f"removed, kept until {entry.kept_until[:10]}"


def _release(entry: "Release") -> dict[str, object]:
    return {
        "reference": entry.reference,
        "model": entry.model,
        "version": entry.version,
        "created": entry.created,
        "publishers": list(entry.publishers),
        "formats": list(entry.formats),
        "size": entry.size,
        "digest": entry.digest,
        "channels": list(entry.channels),
        "tags": list(entry.tags),
        "removed": entry.removed or None,
        "kept_until": entry.kept_until,
    }
