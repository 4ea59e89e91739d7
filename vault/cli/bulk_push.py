"""`mvault push --from TABLE`: publish many models, a row of a table each."""

from collections.abc import Mapping
from typing import Any

import click

from vault.cli import bulk
from vault.cli.bulk import Telling
from vault.cli.options import Common


def is_many(context: click.Context, many: Mapping[str, Any]) -> bool:
    """Tell whether a push is of a table, or a dry run.

    Raises:
        UsageError: what is to be pushed is not said, or twice.
    """
    model, paths = context.params.get("model"), context.params.get("paths")
    if many["listed"] is not None:
        if model is not None:
            raise click.UsageError("Give MODEL and PATH, or --from TABLE, not both.", context)
        return True
    for name, value in (("MODEL", model), ("PATH...", paths)):
        if not value:
            raise click.UsageError(f"Missing argument '{name}'.", context)
    if many["threads"] is not None:
        raise click.UsageError("--threads is for many models.", context)
    return bool(many["dry_run"])


def push(context: click.Context, common: Common, many: Mapping[str, Any]) -> None:
    """Push what a table lists, or look at what one push would do.

    Raises:
        UsageError: an option that is about one model.
    """
    given = context.params
    if many["listed"] is not None:
        bulk.only(context)
        rows: Any = many["listed"]
    elif "-" in given["paths"]:
        raise click.UsageError("--dry-run reads files, not standard input.", context)
    else:
        rows = [{name: given[name] for name in ("sample", "public")}]
        rows[0] |= {"name": given["model"], "source": [*given["paths"]]}
    opened = common.open()
    words = Telling(
        f"published to {opened.env}",
        "published before",
        bulk.command(common, "push", None, many) if many["listed"] else "",
        dry_run=many["dry_run"],
    )
    bulk.finish(
        context,
        common,
        lambda: opened.push_all(rows, threads=many["threads"], dry_run=many["dry_run"]),
        words,
    )
