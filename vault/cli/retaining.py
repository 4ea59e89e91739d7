"""`mvault retain`: remove versions by rules, delete their files later, take a removal back."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vault.cli.command import verb
from vault.cli.completion import ReferenceText
from vault.cli.options import Common, common_of
from vault.cli.output import echo
from vault.cli.retaining_tables import (
    reclaim_value,
    retain_value,
    show_plan,
    show_reclaim,
    show_swept,
    status_of,
    swept_value,
    warn_failed,
)
from vault.cli.text import count, size

if TYPE_CHECKING:
    from vault.actions.reclaiming import ReclaimPlan
    from vault.actions.retaining import Plan
    from vault.core.retention_plan import ModelRules
    from vault.vault import Vault

_COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


def _rules(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that are rules: restic's."""
    options = [
        *(
            click.option(
                f"--keep-{name}",
                metavar="N",
                help="Keep the newest N versions."
                if name == "last"
                else f"Keep the newest version of each of the last N {stretch} that have one.",
            )
            for name, stretch in zip(_COUNTS, ("", "hours", "days", "weeks", "months", "years"), strict=True)
        ),
        click.option(
            "--keep-within", metavar="SPAN", help="Keep all of that long before the newest, as 30d or 1y6m."
        ),
        *(
            click.option(f"--keep-within-{name}", metavar="SPAN", help=f"Keep {name} ones of that long.")
            for name in _COUNTS[1:]
        ),
        click.option(
            "--keep-tag", multiple=True, metavar="TAG[,TAG]", help="Keep what has all these tags; repeatable."
        ),
        click.option(
            "--group-by",
            metavar="WHAT",
            help="Apply rules to each model, environment or tag, joined with commas; or none.  [model]",
        ),
        click.option("--rules", metavar="FILE", help="Rules by model.  [policies/retention.yaml]"),
        click.option("--require-backup", is_flag=True, help="Remove only what a verified backup holds."),
        click.option("--backup", metavar="NAME", help="Remove only what this backup holds, verified."),
        click.option("--grace", metavar="SPAN", help="How long the files are kept.  [7d]"),
        click.option(
            "--unsafe-allow-remove-all", is_flag=True, help="Let a model lose its last version too."
        ),
        click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@verb(
    "retain",
    examples=(
        "mvault retain --dry-run         # by policies/retention.yaml",
        "mvault retain --keep-last 3 --keep-within 30d --keep-tag champion",
        "mvault retain 'nepse/*' --keep-daily 7 --group-by model,environment",
        "mvault retain churn:3           # this one, unless something needs it",
        "mvault retain --undo churn:3    # while its files are there",
        "mvault retain --reclaim         # delete files after the grace period",
        "mvault retain --leftovers       # of interrupted publications",
    ),
)
@click.argument("what", metavar="[PATTERN|REF]...", nargs=-1, type=ReferenceText())
@_rules
@click.option("--reclaim", is_flag=True, help="Delete the files of what was removed a grace period ago.")
@click.option("--undo", metavar="REF", help="Take the removal of a version back.", type=ReferenceText())
@click.option("--leftovers", is_flag=True, help="Sweep what interrupted publications left behind.")
@click.option("--starter", is_flag=True, help="Print a file of rules to begin with.")
@click.pass_context
def retain(context: click.Context, /, what: tuple[str, ...], **given: Any) -> None:
    """Remove the versions that the rules do not keep. Their files stay for a grace period.

    Whatever the rules say, nothing goes that a channel uses or would go back to, that is
    held (mvault hold), that something kept was made from, that people approved and that
    waits, or that is the last version of its model.
    """
    common = common_of(context)
    modes = [name for name in ("reclaim", "undo", "leftovers", "starter") if given[name]]
    if len(modes) > 1:
        raise click.UsageError(f"--{modes[0]} and --{modes[1]} are two different things.", context)
    if modes and (wrong := _unfit(modes[0], given, what)):
        raise click.UsageError(f"{wrong} does not go with --{modes[0]}.", context)
    if given["starter"]:
        from vault import policyfile

        echo(policyfile.shipped("retention"), end="")
        return
    opened = common.open()
    if given["undo"]:
        _undo(common, opened, given["undo"])
    elif given["reclaim"]:
        _reclaim(context, common, opened, what, given)
    elif given["leftovers"]:
        _leftovers(context, common, opened, given)
    else:
        _retain(context, common, opened, what, given)


def _unfit(mode: str, given: dict[str, Any], what: tuple[str, ...]) -> str:
    """Name an option that a mode has no use for."""
    fits = {
        "reclaim": {"dry_run", "unsafe_allow_remove_all"},
        "leftovers": {"dry_run", "grace"},
    }.get(mode, set())
    for name, value in given.items():
        if value and name != mode and name not in fits:
            return f"--{name.replace('_', '-')}"
    return what[0] if what and mode != "reclaim" else ""


def _retain(
    context: click.Context, common: Common, opened: "Vault", what: tuple[str, ...], given: dict[str, Any]
) -> None:
    named = [entry for entry in what if ":" in entry or "@" in entry]
    patterns = [entry for entry in what if entry not in named]
    if named and patterns:
        raise click.UsageError("Name versions, or patterns of models; not both.", context)
    options = {name: value for name, value in given.items() if name.startswith("keep_") and value}
    backup = given["backup"] or given["require_backup"]
    shared: dict[str, Any] = {
        "dry_run": given["dry_run"],
        "unsafe_allow_remove_all": given["unsafe_allow_remove_all"],
        "confirm": _asking(context, common, show_plan),
    }
    shared |= {"grace": given["grace"]} if given["grace"] else {}
    if named:
        if options or given["rules"] or given["group_by"]:
            raise click.UsageError("Versions that are named go whatever the rules say: give none.", context)
        done = opened.remove(*named, require_backup=backup, **shared)
    elif options:
        if given["rules"]:
            raise click.UsageError("Rules come from options or from --rules, not from both.", context)
        by = {} if given["group_by"] is None else {"group_by": given["group_by"]}
        done = opened.retain(patterns or "*", require_backup=backup, **by, **options, **shared)
    else:
        for name in ("group_by", "require_backup", "backup", "grace"):
            if given[name]:
                option = f"--{name.replace('_', '-')}"
                raise click.UsageError(
                    f"{option} goes with --keep options; files say it themselves.", context
                )
        done = opened.retain(patterns or "*", rules=_file(context, given["rules"]), **shared)
    console = common.console
    if not console.json(retain_value(done, dry_run=given["dry_run"])):
        if given["dry_run"] or not done.plan.going:
            show_plan(console, done.plan)
        _tell_retained(common, done.plan, len(done.removed), given["dry_run"], agreed=done.agreed)
        warn_failed(console, done.failed)
    context.exit(status_of(done.failed))


def _file(context: click.Context, given: str | None) -> "dict[str, ModelRules]":
    from vault.actions import retention_file

    place = retention_file.find(Path.cwd()) if given is None else Path(given)
    if place is None:
        raise click.UsageError(
            f"Say what to keep: --keep-last 3, say, or write {retention_file.PLACE}, which "
            "mvault retain --starter begins.",
            context,
        )
    return retention_file.read(place)


def _tell_retained(common: Common, plan: "Plan", removed: int, dry_run: bool, *, agreed: bool) -> None:
    console = common.console
    going, stay = len(plan.going), len(plan.decisions) - len(plan.going)
    if not agreed:
        console.notice("Nothing was removed.")
    elif dry_run:
        console.notice(
            f"{count(going, 'version')} would be removed ({size(plan.bytes)}), {stay:,} kept. "
            "Nothing was done."
        )
    elif not going:
        console.notice(f"Nothing is to be removed; {count(stay, 'version')} stay.")
    else:
        console.notice(
            f"{count(removed, 'version')} removed, {stay:,} kept. The files are deleted once the grace "
            "period is over, by: mvault retain --reclaim\nTo have one back before: mvault retain --undo REF"
        )


def _asking(context: click.Context, common: Common, show: Callable[..., None]) -> Callable[..., bool]:
    """Make what shows a plan, and asks; --yes answers, and where nobody can be asked it must be given."""

    def confirm(plan: "Plan | ReclaimPlan") -> bool:
        console = common.console
        if not console.style.json:
            show(console, plan)
        if common.flag("yes"):
            return True
        console.settle()
        number = count(len(plan.going), "version")
        if console.style.json or not sys.stdin.isatty():
            raise click.UsageError(
                f"{number} would go ({size(plan.bytes)}). Nothing was done: nobody can be asked here. "
                "Look with --dry-run, then say --yes.",
                context,
            )
        return click.confirm(f"{number}, {size(plan.bytes)}: go on?", default=False, err=True)

    return confirm


def _undo(common: Common, opened: "Vault", reference: str) -> None:
    done = opened.take_back(reference)
    if done.already:
        message = f"{reference} was not removed; nothing was written."
    else:
        message = f"{done.versions[0]} is there again."
        if len(done.versions) > 1:
            message += f" So is what it was made from: {', '.join(done.versions[1:])}."
    common.console.outcome(
        {"reference": reference, "restored": list(done.versions), "already": done.already},
        plain="\n".join(done.versions) or reference,
        message=message,
    )


def _reclaim(
    context: click.Context, common: Common, opened: "Vault", what: tuple[str, ...], given: dict[str, Any]
) -> None:
    console = common.console
    done = opened.reclaim(
        what or "*",
        dry_run=given["dry_run"],
        unsafe_allow_remove_all=given["unsafe_allow_remove_all"],
        confirm=_asking(context, common, show_reclaim),
    )
    if not console.json(reclaim_value(done, dry_run=given["dry_run"])):
        if given["dry_run"] or not done.plan.going:
            show_reclaim(console, done.plan)
        if not done.agreed:
            console.notice("Nothing was deleted.")
        elif given["dry_run"]:
            going = count(len(done.plan.going), "version")
            console.notice(
                f"The files of {going} would be deleted ({size(done.plan.bytes)}). Nothing was done."
            )
        elif not done.plan.going:
            console.notice("Nothing is to be deleted now.")
        else:
            objects = count(done.objects, "object")
            console.notice(
                f"The files of {count(len(done.deleted), 'version')} are deleted: {objects}, "
                f"{size(done.bytes)}. Where the storage keeps versions of objects, its own rules end those."
            )
        for entry in done.kept:
            console.warn(f"{entry.subject} was needed after all, and stays: {entry.reasons[0]}")
        for place in done.elsewhere:
            console.warn(f"{place} keeps files of it, which were archived there: delete them there.")
        warn_failed(console, done.failed)
    context.exit(status_of(done.failed))


def _leftovers(context: click.Context, common: Common, opened: "Vault", given: dict[str, Any]) -> None:
    options = {"grace": given["grace"]} if given["grace"] else {}
    if not given["dry_run"] and not common.flag("yes") and not sys.stdin.isatty():
        raise click.UsageError("Look with --dry-run, then say --yes.", context)
    done = opened.sweep(dry_run=True, **options)
    console = common.console
    if not given["dry_run"]:
        if done.deleted and not common.flag("yes"):
            show_swept(console, done)
            number = count(done.objects, "leftover object")
            if not click.confirm(f"Delete {number}?", default=False, err=True):
                console.notice("Nothing was deleted.")
                return
        done = opened.sweep(**options)
    if not console.json(swept_value(done, dry_run=given["dry_run"])):
        show_swept(console, done)
    context.exit(7 if done.failed else 0)
