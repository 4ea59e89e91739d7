"""What commands share that work on many models: their options, and how they tell what became of each."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vault.cli import errors
from vault.cli.options import Common, CommonOption
from vault.cli.tables import Cell, Column
from vault.cli.text import count, when

if TYPE_CHECKING:
    from vault.actions.bulk_results import Batch, Done, Failed

F = TypeVar("F", bound=Callable[..., Any])


def many_options(*, dry_run: bool = True, each: str = "every REF", metavar: str = "FILE") -> Callable[[F], F]:
    """Give a command `--from`, `--threads` and, where it changes something, `--dry-run`, as `**many`."""

    def add(function: F) -> F:
        click.option("--threads", type=click.IntRange(1, 64), metavar="N", help="How many models at a time.")(
            function
        )
        if dry_run:
            click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")(function)
        click.option(
            "--from",
            "listed",
            metavar=metavar,
            help=f"Do it for {each} in {metavar}, one a line; - is standard input.",
        )(function)
        return function

    return add


def meant(
    context: click.Context, reference: str | None, many: Mapping[str, Any]
) -> tuple[str, list[str] | None]:
    """Give the one reference that is meant; or, of many models and in a dry run, all of them.

    Raises:
        UsageError: neither REF nor --from was given, or both, or --threads for one model.
        ValueError, NotFound, Unavailable: the list cannot be read.
    """
    from vault.actions import bulk_references

    listed = many["listed"]
    if (reference is None) == (listed is None):
        name = next(entry.human_readable_name for entry in context.command.params)
        reason = f"Missing argument '{name}'." if reference is None else f"Give {name} or --from, not both."
        raise click.UsageError(reason, context)
    if listed is not None:
        return "", [str(entry) for entry in bulk_references.listed(listed)]
    one = reference or ""
    if bulk_references.is_pattern(one) or many.get("dry_run"):
        return one, [one]
    if many["threads"] is not None:
        raise click.UsageError("--threads is for many models.", context)
    return one, None


def only(context: click.Context, *allowed: str) -> None:
    """Refuse what is about one model where many are meant; `allowed` are parameters that are not.

    Raises:
        UsageError: something else was given.
    """
    for parameter in context.command.params:
        name = parameter.name or ""
        if isinstance(parameter, CommonOption) or name in (*allowed, "listed", "threads", "dry_run"):
            continue
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            shown = (
                parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name
            )
            raise click.UsageError(f"{shown} is for one model, not for many.", context)


@dataclass(frozen=True, slots=True)
class Telling:
    """The words for what was done: `did`, such as `promoted to prod`, and the command that does the rest."""

    did: str
    there: str
    again: str
    dry_run: bool = False
    note: str = ""  # on a run that goes on with an earlier one


def command(common: Common, verb: str, reference: str | None, many: Mapping[str, Any], **more: Any) -> str:
    """Write a command as it is to be typed again."""
    words = ["mvault", verb]
    vault = common.given.get("vault")
    if vault is not None:
        words += ["--vault", vault]
    words += [reference] if reference is not None else ["--from", many["listed"]]
    for name, value in more.items():
        if value is True:
            words.append(f"--{name}")
        elif value not in (None, False):
            words += ([] if name.startswith("_") else [f"--{name}"]) + [str(value)]
    return shlex.join(words)


def finish(context: click.Context, common: Common, act: Callable[[], "Batch[Any]"], words: Telling) -> None:
    """Do it, print what became of each model, and end with the status of the worst."""
    from vault.actions.bulk_results import Interrupted

    try:
        found = act()
        status = found.exit_status
    except Interrupted as interrupted:
        found, status = interrupted.batch, errors.INTERRUPTED
    tell(common, found, words, interrupted=status == errors.INTERRUPTED)
    context.exit(status)


def tell(common: Common, found: "Batch[Any]", words: Telling, *, interrupted: bool) -> None:
    """Print a run over many models."""
    console = common.console
    if console.json(as_json(found, dry_run=words.dry_run)):
        return
    rows = _rows(found, everything=not console.to_terminal or console.style.verbose or words.dry_run)
    if rows:
        titles = ("", "MODEL", "VERSION", "CODE", "WHY")
        console.table([Column(title, shrinks=title == "WHY") for title in titles], rows)
    if found.began is not None:
        from vault.core import names

        begun = when(names.time_text(found.began))
        console.notice(f"This went on with what was begun {begun}.{words.note}")
    console.notice(_sum(found, words))
    if found.stopped is not None:
        failure = errors.describe(found.stopped, debug=False)
        console.warn(
            f"It was stopped, as no other would fare better: {failure.message} {failure.hint}".rstrip()
        )
    if interrupted:
        console.warn("Interrupted. What was begun was ended.")
    if (not found.whole or interrupted) and not words.dry_run:
        console.notice(f"To do what is left: {words.again}")


def _rows(found: "Batch[Any]", *, everything: bool) -> list[Sequence[Cell]]:
    rows: list[Sequence[Cell]] = []
    if everything:
        rows += [
            (Cell(entry.state), Cell(entry.model), Cell(entry.reference), Cell(""), Cell(""))
            for entry in found.done
        ]
    for entry in found.failed:
        failure = errors.describe(entry.error, debug=False)
        why = f"{failure.message} {failure.hint}".rstrip()
        rows.append(
            (
                Cell("failed"),
                Cell(entry.model),
                Cell(entry.asked),
                Cell(failure.code),
                Cell(why, failure.message),
            )
        )
    for state, names in (("left", found.left if everything else ()), ("skipped", found.skipped)):
        rows += [(Cell(state), Cell(""), Cell(name), Cell(""), Cell("")) for name in names]
    return rows


def _sum(found: "Batch[Any]", words: Telling) -> str:
    already = sum(entry.state == "already" for entry in found.done)
    total = len(found.done) + len(found.failed) + len(found.left) + len(found.skipped)
    fresh = len(found.done) - already
    parts = [f"{fresh:,} {'would be ' if words.dry_run else ''}{words.did}"]
    if already:
        parts.append(f"{already:,} {words.there}")
    for number, what in (
        (len(found.failed), "failed"),
        (len(found.left), "not tried"),
        (len(found.skipped), "skipped, where nothing genuine lies"),
    ):
        if number:
            parts.append(f"{number:,} {what}")
    return f"{count(total, 'model')}: {', '.join(parts)}."


def as_json(found: "Batch[Any]", *, dry_run: bool) -> dict[str, object]:
    """Write a run as docs/cli.md, "Many models", describes it."""
    from vault.core import names

    return {
        "done": [_done(entry) for entry in found.done],
        "failed": [_failed(entry) for entry in found.failed],
        "left": list(found.left),
        "skipped": list(found.skipped),
        "stopped": None if found.stopped is None else _error(found.stopped),
        "dry_run": dry_run,
        "began": None if found.began is None else names.time_text(found.began),
    }


def _done(entry: "Done[Any]") -> dict[str, object]:
    value: dict[str, object] = {
        "model": entry.model,
        "reference": entry.reference,
        "state": entry.state,
    }
    if isinstance(entry.result, Path):
        value["path"] = str(entry.result)
    return value


def _failed(entry: "Failed") -> dict[str, object]:
    return {"model": entry.model, "reference": entry.asked, "error": _error(entry.error)}


def _error(error: BaseException) -> dict[str, str]:
    failure = errors.describe(error, debug=False)
    return {
        "code": failure.code,
        "message": failure.message,
        "subject": failure.subject,
        "hint": failure.hint,
    }
