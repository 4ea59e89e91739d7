"""`mvault access`: who can read which environment, and new keys for it."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vault.cli.command import Family, verb
from vault.cli.options import common_of
from vault.cli.policy_signing import lack_of
from vault.cli.tables import Cell, Column
from vault.cli.text import clean, count, size
from vault.errors import AccessDenied, NoUsableKey, Refused, Unavailable

if TYPE_CHECKING:
    from vault.actions.access_plan import Copy
    from vault.actions.access_rotate import Rotated, RotationPlan
    from vault.actions.access_sync import Synced, SyncPlan
    from vault.cli.output import Console
    from vault.core.trust import Skipped

_UNAVAILABLE = frozenset({"unavailable", "storage-full", "storage-denied"})


@click.command(
    "access",
    cls=Family,
    examples=(
        "mvault access show                   # who can read what",
        "mvault access sync                   # give new readers the keys they lack",
        "mvault access rotate prod --dry-run",
        "mvault access rotate prod            # after somebody left",
    ),
)
def access() -> None:
    """Show who can read which environment, hand out its key, and rotate it.

    Each environment has a key in numbered epochs, stored wrapped for everybody
    who may read there. Revoking somebody takes a new epoch, and protects what
    is stored from then on.
    """


@verb(
    "show",
    family=access,
    examples=("mvault access show", "mvault access show prod", "mvault access show --json"),
)
@click.argument("environment", metavar="[ENV]", required=False)
@click.pass_context
def show(context: click.Context, environment: str | None) -> None:
    """Tell who can read each environment, or ENV: by the policy, and by the wrapped keys in storage.

    No key is needed. Columns when piped: environment, who, kind, whether the
    policy makes them a reader, epochs that they have a key of, note.
    """
    from vault.actions.access import KEPT

    common = common_of(context)
    found = common.open(env=False).access(environment)
    value = {
        "complete": found.complete,
        "environments": [
            {
                "environment": place.environment,
                "epochs": list(place.epochs),
                "complete": place.complete,
                "readers": [
                    {
                        "who": entry.who,
                        "kind": entry.kind,
                        "reads": entry.reads,
                        "epochs": list(entry.epochs),
                        "missing": list(entry.missing),
                        "former": list(entry.former),
                        "garbage": entry.garbage,
                        "note": entry.note,
                    }
                    for entry in place.readers
                ],
            }
            for place in found.environments
        ],
    }
    console = common.console
    if console.json(value):
        return
    rows = [
        (
            Cell(place.environment),
            Cell(entry.who),
            Cell(entry.kind),
            Cell("yes" if entry.reads else "no"),
            Cell(",".join(map(str, sorted({*entry.epochs, *entry.former})))),
            Cell(entry.note),
        )
        for place in found.environments
        for entry in place.readers
    ]
    columns = (
        Column("ENVIRONMENT"),
        Column("WHO"),
        Column("KIND"),
        Column("READS"),
        Column("EPOCHS"),
        Column("NOTE", shrinks=True),
    )
    console.table(columns, rows)
    for place in found.environments:
        for entry in place.leaks:
            console.warn(
                f"{entry.who} holds a key to what is stored in {place.environment} now. "
                f"To change that: mvault access rotate {place.environment}"
            )
    console.notice(KEPT[0])


@verb(
    "sync",
    family=access,
    examples=(
        "mvault access sync --dry-run",
        "mvault access sync",
        "mvault access sync prod --again web   # web says that its copy does not open",
    ),
)
@click.argument("environment", metavar="[ENV]", required=False)
@click.option("--again", multiple=True, metavar="NAME", help="Write a new copy for NAME anyhow. Repeatable.")
@click.option("--dry-run", is_flag=True, help="Print the plan and do nothing.")
@click.pass_context
def sync(context: click.Context, environment: str | None, again: tuple[str, ...], dry_run: bool) -> None:
    """Write the wrapped keys that readers and recovery lack, in every environment or in ENV.

    You must hold the environment's key. Old epochs are included, so that a new
    reader can read old models. Doing it twice is no error.
    """
    common = common_of(context)
    console = common.console

    def planned(plan: "SyncPlan") -> None:
        _tell_sync(console, plan)

    done = common.open(env=False).sync_access(environment, again=again, dry_run=dry_run, planned=planned)
    value = {
        "dry_run": dry_run,
        "present": done.plan.present,
        "planned": [_copy(entry) for entry in done.plan.writes],
        "written": [_copy(entry) for entry in done.written],
        "locked": [_copy(entry) for entry in done.locked],
        "problems": _problems(done.problems),
    }
    if not console.json(value):
        shown = done.plan.writes if dry_run else done.written
        if shown:
            columns = (Column("ENVIRONMENT"), Column("EPOCH", number=True), Column("WHO"))
            console.table(
                columns,
                [(Cell(entry.environment), Cell(str(entry.epoch)), Cell(entry.who)) for entry in shown],
            )
        if not dry_run:
            _tell_synced(console, done)
    context.exit(0 if dry_run else _sync_status(done))


def _tell_sync(console: "Console", plan: "SyncPlan") -> None:
    if not plan.writes:
        console.notice(f"Nothing is missing: {count(plan.present, 'wrapped key')} in place.")
        return
    who = ", ".join(dict.fromkeys(f"{entry.who} ({entry.environment})" for entry in plan.writes))
    console.notice(f"Plan: write {count(len(plan.writes), 'wrapped key')}, for {who}.")


def _tell_synced(console: "Console", done: "Synced") -> None:
    if done.written:
        console.notice(f"Wrote {count(len(done.written), 'wrapped key')}.")
    for place in dict.fromkeys(f"{entry.environment} epoch {entry.epoch}" for entry in done.locked):
        console.warn(
            f"You do not hold the key of {place}, so you cannot hand it out. "
            "Somebody who does runs the same command."
        )
    _warn(console, done.problems)


def _sync_status(done: "Synced") -> int:
    if done.problems:
        return _status(done.problems)
    return NoUsableKey.exit_status if done.locked else 0


@verb(
    "rotate",
    family=access,
    examples=(
        "mvault access rotate prod --dry-run",
        "mvault access rotate prod",
        "mvault access rotate prod --deep            # encrypt every payload anew",
        "mvault access rotate prod -o draft.json     # several people sign policies",
        "mvault access rotate prod --continue        # after that, or after a kill",
    ),
)
@click.argument("environment", metavar="ENV")
@click.option("--deep", is_flag=True, help="Encrypt every payload anew, under fresh keys.")
@click.option(
    "--continue", "resume", is_flag=True, help="Make no new key; do what is missing for the newest."
)
@click.option("--dry-run", is_flag=True, help="Print the plan and do nothing.")
@click.option(
    "-o",
    "--output",
    "draft",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write the draft of the policy, where several people sign it (policy-N.json).",
)
@click.pass_context
def rotate(
    context: click.Context, environment: str, deep: bool, resume: bool, dry_run: bool, draft: Path | None
) -> None:
    """Give ENV a new key and wrap everything that is stored there to it.

    Take the policy's rights away from whoever leaves first: new keys are
    wrapped for the readers by the policy in force. What is stored from then on
    is out of reach for everybody else; whoever could read a model may have kept it.
    """
    common = common_of(context)
    console = common.console

    def planned(plan: "RotationPlan") -> None:
        _tell_plan(console, plan)

    opened = common.open(env=False)
    done = opened.rotate_access(
        environment, deep=deep, resume=resume, dry_run=dry_run, draft=draft, folder=Path(), planned=planned
    )
    plan = done.plan
    value = {
        "environment": plan.environment,
        "epoch": plan.epoch,
        "deep": plan.deep,
        "dry_run": dry_run,
        "plan": {
            "begins": plan.begins,
            "signatures": plan.signatures,
            "copies": plan.copies,
            "readers": list(plan.readers),
            "versions": plan.versions,
            "headers": plan.headers,
            "bytes": plan.bytes,
        },
        "draft": None if done.draft is None else str(done.draft),
        "versions": done.versions,
        "written": done.written,
        "already": done.already,
        "problems": _problems(done.problems),
        "skipped": _problems(done.skipped),
    }
    if not console.json(value) and not dry_run:
        _print_rotated(console, done)
    failed = done.problems or (() if done.copies is None else done.copies.problems)
    context.exit(_status(failed) if failed else 0)


def _tell_plan(console: "Console", plan: "RotationPlan") -> None:
    from vault.actions.access import KEPT

    lines = [f"Plan for {plan.environment}, epoch {plan.epoch}:"]
    if plan.begins:
        lines.append(f"  a new key, wrapped {count(plan.copies, 'time')}, for: {', '.join(plan.readers)}")
        lines.append(f"  a new policy, which takes {count(plan.signatures, 'signature')}")
    what = "payload" if plan.deep else "key header"
    lines.append(
        f"  at most {count(plan.headers, what)} of {count(plan.versions, 'version')}, "
        f"{size(plan.bytes)} to be written"
    )
    if plan.deep:
        lines.append("  old ciphertext remains in storage until it is pruned; nothing is overwritten")
    console.notice("\n".join([*lines, *KEPT]))


def _print_rotated(console: "Console", done: "Rotated") -> None:
    plan = done.plan
    place = plan.environment
    if done.draft is not None:
        console.lines([str(done.draft)])
        console.notice(
            f"The new key is stored, and the draft of the policy that puts it in force is in {done.draft}. "
            f"{'' if done.standing is None else lack_of(done.standing)}\n"
            f"They run: mvault policy sign {done.draft}. Then: mvault policy apply {done.draft}, and "
            f"mvault access rotate {place} --continue{' --deep' if plan.deep else ''}"
        )
        return
    if not console.to_terminal or console.style.quiet:
        console.table((), [(Cell(place), Cell(str(plan.epoch)))])
    what = "payload" if plan.deep else "key header"
    there = f", {done.already:,} were there" if done.already else ""
    console.notice(f"{place}: wrote {count(done.written, what)} of {count(done.versions, 'version')}{there}.")
    if done.copies is not None:
        _tell_synced(console, done.copies)
    if done.skipped:
        console.notice(f"{count(len(done.skipped), 'object')} did not count and did no harm: mvault check")
    _warn(console, done.problems)


def _warn(console: "Console", problems: "Iterable[Skipped]") -> None:
    listed = list(problems)
    for entry in listed[:10]:
        console.warn(f"{clean(entry.name)}: {entry.reason}")
    if len(listed) > 10:
        console.warn(f"{count(len(listed) - 10, 'more problem')}; --json lists all.")


def _copy(entry: "Copy") -> dict[str, object]:
    return {"environment": entry.environment, "epoch": entry.epoch, "who": entry.who}


def _problems(problems: "Iterable[Skipped]") -> list[dict[str, str]]:
    return [{"subject": entry.name, "code": entry.code, "message": entry.reason} for entry in problems]


def _status(problems: "Iterable[Skipped]") -> int:
    """Give the exit status where something was left out: 7 for a store, 4 for a key service, or else 3."""
    codes = {entry.code for entry in problems}
    if codes == {"key-service-denied"}:
        return AccessDenied.exit_status
    return Unavailable.exit_status if codes <= _UNAVAILABLE else Refused.exit_status
