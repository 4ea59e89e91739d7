"""`mvault approve`, `withdraw`, `rollback`, `pending`, `adopt-version`: let versions in, keep them out."""

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from vault.cli import bulk
from vault.cli.bulk import Telling, many_options
from vault.cli.command import verb
from vault.cli.completion import ModelName, ReferenceText
from vault.cli.options import Common, common_of
from vault.cli.policy_diff import my_name
from vault.cli.tables import Cell, Column
from vault.cli.text import clean, count, some

if TYPE_CHECKING:
    from vault.actions.pending import Wait
    from vault.core.in_force import Channel

_ENV = click.option("--env", "env", metavar="ENV", help="The environment.  [required]")


def _environment(context: click.Context, common: Common, env: str | None) -> str:
    found = env or common.given.get("env")
    if found is None:
        raise click.UsageError("Say where: --env ENV, as in --env prod.", context)
    return str(found)


@verb(
    "approve",
    examples=(
        "mvault pending --mine                    # what waits for me",
        "mvault show churn:3",
        "mvault approve churn:3 --env prod",
        "mvault approve 'nepse/*@staging' --env prod   # many: docs/many-models.md",
    ),
)
@click.argument("reference", metavar="REF", type=ReferenceText(), required=False)
@_ENV
@many_options()
@click.pass_context
def approve(context: click.Context, /, reference: str | None, env: str | None, **many: Any) -> None:
    """Sign that the version REF may enter the environment ENV.

    It is verified first. That your vote would not count, since you published
    the version, say, is told early; what decides is what every loader counts.
    """
    common = common_of(context)
    one, several = bulk.meant(context, reference, many)
    environment = _environment(context, common, env)
    opened = common.open(env=False)
    if several is not None:
        words = Telling(
            f"approved for {environment}",
            "approved before",
            bulk.command(common, "approve", reference, many, env=environment),
            dry_run=many["dry_run"],
        )
        options = {"threads": many["threads"], "dry_run": many["dry_run"]}
        bulk.finish(context, common, partial(opened.approve_all, several, env=environment, **options), words)
        return
    done = opened.approve(one, env=environment)
    name = str(done.reference)
    lead = f"You approved {name} for {environment}"
    lead += " before; nothing was written." if done.already else "."
    if done.need == 0:
        rest = f"{environment} asks for no approvals now."
    elif done.have >= done.need:
        rest = f"{done.have} of {done.need} approvals: it may enter.\n"
        who = opened.policy.who_can("promote", done.reference.model, done.environment)
        can = [entry.name for entry in who]
        mine = my_name(opened, common) in can
        rest += f"Next{'' if mine else f', by {some(can, verbose=False)}' if can else ', by whoever may'}: "
        rest += f"mvault promote {name} --env {environment}"
    else:
        from vault.actions.voting import waiting_for

        rest = f"{done.have} of {done.need} approvals. {waiting_for(done.waiting)}"
    common.console.outcome(
        {
            "reference": name,
            "environment": environment,
            "digest": f"sha256:{done.digest}",
            "already": done.already,
            "have": done.have,
            "need": done.need,
            "waiting": list(done.waiting),
        },
        plain=name,
        message=f"{lead} {rest}",
    )


@verb(
    "withdraw",
    examples=(
        "mvault withdraw churn:3 --env prod               # out of every slot, at once",
        "mvault withdraw churn:3 --env prod --replace-with 2",
        "mvault withdraw churn@prod --env prod            # whatever is in use there",
        "mvault withdraw churn:3 --env prod --again       # its signer is leaving",
        "mvault withdraw 'nepse/*@prod' --env prod        # many at once",
    ),
)
@click.argument("reference", metavar="REF", type=ReferenceText(), required=False)
@_ENV
@click.option("--replace-with", "replacement", metavar="VERSION", help="Promote this version in its place.")
@click.option("--slot", metavar="SLOT", help="Replace it in this slot only; it is withdrawn from all.")
@click.option("--again", is_flag=True, help="Sign it once more: whoever withdrew it is about to leave.")
@many_options()
@click.pass_context
def withdraw(
    context: click.Context,
    /,
    reference: str | None,
    env: str | None,
    replacement: str | None,
    slot: str | None,
    again: bool,
    **many: Any,
) -> None:
    """Keep the version REF out of the environment ENV, in every slot of it.

    Loaders refuse it from then on, by channel, version and digest; approvals
    from before never count again. Whoever holds it already, keeps it. It lasts
    for as long as your key counts: before somebody leaves, another repeats what
    they withdrew with --again.
    """
    common = common_of(context)
    one, several = bulk.meant(context, reference, many)
    environment = _environment(context, common, env)
    opened = common.open(env=False)
    if several is not None:
        bulk.only(context, "reference", "env")
        words = Telling(
            f"withdrawn from {environment}",
            "withdrawn before",
            bulk.command(common, "withdraw", reference, many, env=environment),
            dry_run=many["dry_run"],
        )
        options = {"threads": many["threads"], "dry_run": many["dry_run"]}
        bulk.finish(context, common, partial(opened.withdraw_all, several, env=environment, **options), words)
        return
    done = opened.withdraw(one, env=environment, slot=slot, replacement=replacement, again=again)
    if done.already:
        message = f"{one} was withdrawn from {environment} before; nothing was written."
    else:
        message = f"{one} is out of {environment}, in every slot."
        if done.replaced:
            places = ", ".join(map(str, done.replaced))
            message += f" {places} is {done.model}:{done.replacement} now."
        else:
            message += f"\nIf it was in use: mvault rollback {done.model} --env {environment}"
    common.console.outcome(
        {
            "reference": one,
            "model": done.model,
            "environment": environment,
            "digests": [f"sha256:{digest}" for digest in done.digests],
            "written": [_place(where) for where in done.written],
            "replaced": [_place(where) for where in done.replaced],
            "replacement": done.replacement,
            "already": done.already,
        },
        plain=one,
        message=message,
    )


def _place(where: "Channel") -> str:
    return f"{where.environment}/{where.slot}"


@verb(
    "rollback",
    examples=(
        "mvault rollback churn --env prod           # what prod used before",
        "mvault rollback churn --env prod --to 2    # an earlier version, by number",
        "mvault rollback 'nepse/*' --env prod       # one version back for all of them",
    ),
)
@click.argument("model", type=ModelName(), required=False)
@_ENV
@click.option("--to", metavar="VERSION", help="An earlier version of this channel.")
@click.option("--slot", default="main", show_default=True, help="The slot of the environment.")
@click.option("--anew", is_flag=True, help="Forget what a run over many models, which was stopped, had left.")
@many_options()
@click.pass_context
def rollback(
    context: click.Context,
    /,
    model: str | None,
    env: str | None,
    to: str | None,
    slot: str,
    anew: bool,
    **many: Any,
) -> None:
    """Make the environment ENV use again what it used before, or an earlier version.

    Approvals from then still count, unless the version was withdrawn since. Of
    many models each goes one version back, once: a run that was stopped is ended
    by the same command.
    """
    common = common_of(context)
    one, several = bulk.meant(context, model, many)
    environment = _environment(context, common, env)
    opened = common.open(env=False)
    if several is not None:
        bulk.only(context, "model", "env", "slot", "anew")
        place = environment if slot == "main" else f"{environment}/{slot}"
        where = {"env": environment, "slot": None if slot == "main" else slot}
        words = Telling(
            f"one version back in {place}",
            "there already",
            bulk.command(common, "rollback", model, many, **where),
            dry_run=many["dry_run"],
            note=" To begin another rollback: the same command with --anew.",
        )
        options = {"threads": many["threads"], "dry_run": many["dry_run"], "anew": anew}
        act = partial(opened.rollback_all, several, env=environment, slot=slot, **options)
        bulk.finish(context, common, act, words)
        return
    if anew:
        raise click.UsageError("--anew is for many models.", context)
    done = opened.rollback(one, env=environment, slot=slot, to=to)
    version = f"{done.reference.model}:{done.version}"
    again = "already" if done.already else "again"
    value: dict[str, object] = {
        "reference": str(done.reference),
        "version": done.version,
        "environment": environment,
        "slot": slot,
        "already": done.already,
    }
    message = f"{done.reference} is {version} {again}."
    if common.console.style.verbose:
        value["seq"] = done.seq
        message += f"\nThis is record {done.seq} of the channel."
    common.console.outcome(value, plain=str(done.reference), message=message)


@verb(
    "pending",
    examples=("mvault pending", "mvault pending --mine", "mvault pending --json"),
)
@click.option("--mine", is_flag=True, help="Only what waits for you.")
@click.pass_context
def pending(context: click.Context, mine: bool) -> None:
    """List the versions that could enter an environment, and whose turn it is.

    Columns when piped: reference, environment, step, approvals, waiting for, in use.
    """
    common = common_of(context)
    found = common.open().pending(mine=mine)
    console = common.console
    if console.json({"pending": [_value(entry) for entry in found]}):
        return
    if not found:
        console.notice("Nothing waits for you." if mine else "Nothing waits.")
        return
    console.table(
        (
            Column("VERSION", shrinks=True),
            Column("TO"),
            Column("NEXT"),
            Column("APPROVALS"),
            Column("WAITING FOR ANY OF", shrinks=True),
            Column("IN USE"),
        ),
        [
            (
                Cell(f"{entry.model}:{entry.version}"),
                Cell(entry.environment),
                Cell(entry.step),
                Cell(f"{entry.have} of {entry.need}" if entry.need else "", f"{entry.have}/{entry.need}"),
                Cell(", ".join(entry.waiting), ",".join(entry.waiting)),
                Cell(entry.replaces or ""),
            )
            for entry in found
        ],
    )
    if mine:
        console.notice(f"{count(len(found), 'step')} for you, first: {clean(found[0].command)}")


def _value(entry: "Wait") -> dict[str, object]:
    return {
        "reference": f"{entry.model}:{entry.version}",
        "environment": entry.environment,
        "digest": entry.digest,
        "step": entry.step,
        "have": entry.have,
        "need": entry.need,
        "waiting": list(entry.waiting),
        "in_use": entry.replaces,
        "command": entry.command,
    }


@verb(
    "adopt-version",
    examples=(
        "mvault policy can-i adopt churn --env dev",
        "mvault adopt-version churn:3              # its publisher's key was revoked",
    ),
)
@click.argument("reference", metavar="REF", type=ReferenceText())
@click.pass_context
def adopt_version(context: click.Context, reference: str) -> None:
    """Stand in for the publisher of REF whose key was revoked, or who left.

    Every file is decrypted and compared with what was signed. You count as its
    publisher from then on, so that you cannot approve it where others must.
    """
    common = common_of(context)
    done = common.open().adopt_version(reference)
    name = str(done.reference)
    who = ", ".join(done.publishers)
    message = (
        f"{name} needs no adoption: it counts as published by {who}."
        if done.already
        else f"You adopted {name}. It counts as published by {who}."
    )
    common.console.outcome(
        {
            "reference": name,
            "digest": f"sha256:{done.digest}",
            "publishers": list(done.publishers),
            "already": done.already,
        },
        plain=name,
        message=message,
    )
