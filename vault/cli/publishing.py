"""`mvault push` and `mvault promote`: put models in, and into use."""

import json
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from vault.cli import bulk, bulk_push
from vault.cli.bulk import Telling, many_options
from vault.cli.command import verb
from vault.cli.completion import ReferenceText
from vault.cli.options import Common, common_of
from vault.cli.text import clean, count
from vault.errors import NotFound

BUMPS = ("major", "minor", "patch", "prerelease", "timestamp")
_LIST_BYTES = 16 * 1024 * 1024


@verb(
    "push",
    examples=(
        "mvault push churn model.skops",
        "mvault push churn exported/ --version 1.4.0 --metric auc=0.91 --note 'May'",
        "mvault push nepse/NABIL model.onnx --features columns.json",
        "mvault push churn tuned.onnx --parent churn@prod --bump minor",
        "mvault push churn exported/ --signed-by signers",
        "train | mvault push churn -                  # from standard input",
        "mvault push --from models.csv                # many: docs/many-models.md",
    ),
)
@click.argument("model", metavar="MODEL", required=False)
@click.argument("paths", metavar="PATH...", nargs=-1, type=click.Path(allow_dash=True))
@click.option("--version", metavar="VERSION", help="3, 1.4.0 or 20261123T050000Z (the next number).")
@click.option("--metric", "metrics", multiple=True, metavar="NAME=NUMBER", help="A measure. Repeatable.")
@click.option("--param", "params", multiple=True, metavar="NAME=TEXT", help="A parameter. Repeatable.")
@click.option(
    "--features",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Feature names, in order: a JSON list, or one a line.",
)
@click.option(
    "--sample",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Rows to try the model on later (npz or JSON); they are encrypted too.",
)
@click.option("--note", metavar="TEXT", help="What to know about this version.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A label. Repeatable.")
@click.option(
    "--parent",
    "parents",
    multiple=True,
    metavar="REF[=RELATION]",
    help="A version it comes from: fine-tuned-from (the default), converted-from or same-data. Repeatable.",
)
@click.option(
    "--bump",
    type=click.Choice(BUMPS),
    help="Take the next version of this kind, instead of --version.",
)
@click.option(
    "--training-data",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Record a digest of this file or folder; it is not stored.",
)
@click.option(
    "--public",
    is_flag=True,
    help="Publish every file's SHA-256; it lets anybody confirm a guess at a small file.",
)
@click.option(
    "--signed-by",
    "signed_by",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Publish PATH only if somebody in FILE signed it (as mvault verify --trusted). Repeatable.",
)
@click.option(
    "--documents",
    is_flag=True,
    help="Put a model card and a bill of materials into the package, signed with it.",
)
@many_options(each="every model", metavar="TABLE")
@click.pass_context
def push(
    context: click.Context,
    /,
    model: str | None,
    paths: tuple[str, ...],
    version: str | None,
    metrics: tuple[str, ...],
    params: tuple[str, ...],
    features: Path | None,
    sample: Path | None,
    note: str | None,
    tags: tuple[str, ...],
    parents: tuple[str, ...],
    bump: str | None,
    training_data: Path | None,
    public: bool,
    signed_by: tuple[Path, ...],
    documents: bool,
    **many: Any,
) -> None:
    """Package the files and folders PATH as a new version of MODEL, sign, seal and publish them.

    A zip archive is unpacked into the package. Files are published as they
    are; a pickle is refused unless the policy and you allow it. TABLE is CSV,
    TSV or JSON lines, with a row for each model.
    """
    common = common_of(context)
    if bulk_push.is_many(context, many):
        bulk_push.push(context, common, many)
        return
    sources: list[Any] = [sys.stdin.buffer if path == "-" else path for path in paths]
    measures = {name: _number(name, text) for name, text in _pairs("--metric", metrics).items()}
    settings = _pairs("--param", params)
    columns = None if features is None else _names(features)
    opened = common.open()
    reference = opened.push(
        model or "",
        sources,
        version=version,
        metrics=measures,
        params=settings,
        features=columns,
        sample=sample,
        notes=note,
        tags=tags,
        public=public,
        signed_by=list(signed_by) or None,
        training_data=training_data,
        parents=parents,
        bump=bump,
        documents=documents,
    )
    onward = opened.policy.onward(reference.model, opened.env)
    common.console.outcome(
        {
            "reference": str(reference),
            "model": reference.model,
            "version": reference.version,
            "environment": opened.env,
        },
        plain=str(reference),
        message=f"Published {reference} to {opened.env}, signed and encrypted."
        + ("" if onward is None else f"\nNext: mvault promote{_where(common)} {reference} --env {onward}"),
    )
    style = common.console.style
    heard = common.console.to_terminal and not style.quiet and not style.json
    if heard and (told := opened.key_backup_reminder()):
        common.console.warn(told)


@verb(
    "promote",
    examples=(
        "mvault promote churn:3 --env prod",
        "mvault promote churn --env prod              # the newest in dev",
        "mvault promote churn:4 --env prod --slot b   # a challenger, beside it",
        "mvault promote 'nepse/*@staging' --env prod  # many: docs/many-models.md",
    ),
)
@click.argument("reference", metavar="REF", type=ReferenceText(), required=False)
@click.option("--env", "env", metavar="ENV", help="The environment that is to use it.  [required]")
@click.option("--slot", default="main", show_default=True, help="The slot of the environment.")
@many_options()
@click.pass_context
def promote(
    context: click.Context, /, reference: str | None, env: str | None, slot: str, **many: Any
) -> None:
    """Make the environment ENV use the version REF, or those that a pattern such as 'nepse/*' means."""
    common = common_of(context)
    one, several = bulk.meant(context, reference, many)
    environment = env or common.given.get("env")
    if environment is None:
        raise click.UsageError("Say where to: --env ENV, as in --env prod.", context)
    opened = common.open(env=False)
    if several is not None:
        place = environment if slot == "main" else f"{environment}/{slot}"
        where = {"env": environment, "slot": None if slot == "main" else slot}
        again = bulk.command(common, "promote", reference, many, **where)
        words = Telling(f"promoted to {place}", "there already", again, dry_run=many["dry_run"])
        options = {"threads": many["threads"], "dry_run": many["dry_run"]}
        act = partial(opened.promote_all, several, env=environment, slot=slot, **options)
        bulk.finish(context, common, act, words)
        return
    done = opened.promote(one, env=environment, slot=slot)
    version = f"{done.reference.model}:{done.version}"
    if done.already:
        message = f"{done.reference} names {version} already; its keys are in place."
    else:
        message = f'{done.reference} is {version} now. Load it: load_model("{done.reference}")'
        if done.witnesses:
            who = "a witness has" if done.witnesses == 1 else f"{done.witnesses} witnesses have"
            message = (
                f"{done.reference} is {version} as soon as {who} cosigned the log. "
                "They run: mvault audit witness"
            )
    value: dict[str, object] = {
        "reference": str(done.reference),
        "version": done.version,
        "environment": environment,
        "slot": slot,
        "already": done.already,
        "skipped": [
            {"subject": entry.name, "code": entry.code, "message": entry.reason} for entry in done.skipped
        ],
    }
    if common.console.style.verbose:
        value["seq"] = done.seq
        message += f"\nThis is record {done.seq} of the channel."
    common.console.outcome(value, plain=str(done.reference), message=message)
    if done.skipped:
        number = count(len(done.skipped), "object")
        common.console.warn(
            f"{number} in storage did not count and were skipped: "
            + "; ".join(f"{clean(entry.name)} ({entry.reason})" for entry in done.skipped[:3])
            + ". See: mvault check"
        )


def _where(common: Common) -> str:
    given = common.given.get("vault")
    return "" if given is None else f" --vault {shlex.quote(given)}"


def _pairs(option: str, texts: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE.", param_hint=option)
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice.", param_hint=option)
        found[name] = value
    return found


def _number(name: str, text: str) -> float:
    import math

    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise click.BadParameter(f"{name}={text} is not a number.", param_hint="--metric")
    return number


def _names(path: Path) -> list[str]:
    """Read feature names: a JSON list of texts, or one a line."""
    try:
        with path.open("rb") as file:
            data = file.read(_LIST_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"There is no {path}.", subject=str(path)) from None
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}.", param_hint="--features") from None
    try:
        text = data.decode("utf-8")
        found = json.loads(text) if text.lstrip()[:1] == "[" else text.splitlines()
    except (ValueError, RecursionError):
        found = None
    if (
        len(data) > _LIST_BYTES
        or not isinstance(found, list)
        or not all(isinstance(name, str) for name in found)
    ):
        raise click.BadParameter(
            f"{path} is neither a JSON list of names nor UTF-8 text with one name a line.",
            param_hint="--features",
        )
    return [name for name in found if name]
