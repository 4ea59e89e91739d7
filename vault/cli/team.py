"""`mvault team`: let people in and out, without writing a policy file."""

import shlex
from typing import TYPE_CHECKING

import click

from vault.cli.command import Family, verb
from vault.cli.options import Common, common_of
from vault.cli.policy_asking import key_text, key_value
from vault.cli.policy_signing import applied_value, lack_of, lift_option, people, standing_value, story_of
from vault.cli.tables import Cell, Column

if TYPE_CHECKING:
    from vault.actions.teaming import Changed
    from vault.core.names import Principal


@click.command(
    "team",
    cls=Family,
    examples=(
        "mvault team list",
        "mvault team add ben=ben.pub --role release-manager --starter",
        "mvault team add cleo=cleo.pub --role data-scientist --root-holder",
        "mvault team add web=web.pub --role loader --owner ben --model churn",
        "mvault team remove ben",
    ),
)
def team() -> None:
    """Let people and services in and out, and see who is there.

    Where your signature is enough, a change is in force at once. Otherwise it
    is written as drafts for the other root holders: mvault policy sign.
    """


@verb("list", family=team, examples=("mvault team list", "mvault team list --json"))
@click.pass_context
def list_team(context: click.Context) -> None:
    """List who is in the vault: roles, where they read, and who holds the root.

    A retired key counts only for what a log had by then. Columns when piped:
    name, kind, roles, reads, root, keys.
    """
    common = common_of(context)
    found = common.open().changes.team()
    value = {
        "people": [
            {
                "name": entry.name,
                "kind": entry.kind,
                "roles": list(entry.roles),
                "models": None if entry.models is None else list(entry.models),
                "owners": list(entry.owners),
                "keys": entry.keys,
                "retired": [key_value(key) for key in entry.retired],
                "reads": list(entry.reads),
                "root": entry.holds_root,
            }
            for entry in found.people
        ],
        "threshold": found.threshold,
        "holders": found.holders,
    }
    if not common.console.json(value):
        common.console.table(
            (
                Column("NAME"),
                Column("KIND"),
                Column("ROLES", shrinks=True),
                Column("READS"),
                Column("ROOT"),
                Column("KEYS"),
            ),
            [
                (
                    Cell(entry.name),
                    Cell(entry.kind or ""),
                    Cell(", ".join(entry.roles)),
                    Cell(", ".join(entry.reads)),
                    Cell("yes" if entry.holds_root else ""),
                    Cell(
                        f"{entry.keys}, {len(entry.retired)} retired" if entry.retired else str(entry.keys),
                        ", ".join([str(entry.keys), *(key_text(key) for key in entry.retired)]),
                    ),
                )
                for entry in found.people
            ],
        )
    if found.advice is not None:
        common.console.notice(found.advice)


def _names(texts: tuple[str, ...], option: str) -> "list[Principal]":
    from vault.core import names
    from vault.errors import Malformed

    try:
        return [names.principal(text) for text in texts]
    except Malformed as error:
        raise click.BadParameter(error.message, param_hint=option) from None


@verb(
    "add",
    family=team,
    examples=(
        "mvault team add ben=ben.pub --role release-manager --starter",
        "mvault team add cleo=cleo.pub --role data-scientist --root-holder",
        "mvault team add web=web.pub --role loader --owner ben --model churn",
        "mvault team add ben=bens-new-laptop.pub",
    ),
)
@click.argument("who", metavar="NAME=FILE")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="A role of the policy. Repeatable.")
@click.option("--model", "models", multiple=True, metavar="PATTERN", help="Only these models. Repeatable.")
@click.option(
    "--owner",
    "owners",
    multiple=True,
    metavar="NAME",
    help="Makes it a service of this person's. Repeatable.",
)
@click.option("--root-holder", is_flag=True, help="Let them hold the root as well.")
@click.option("--starter", is_flag=True, help="Bring in the roles and environments of the shipped team.yaml.")
@click.option("--accept-outage", is_flag=True, help="Go on even though channels in use would stop.")
@lift_option
@click.pass_context
def add(
    context: click.Context,
    who: str,
    roles: tuple[str, ...],
    models: tuple[str, ...],
    owners: tuple[str, ...],
    root_holder: bool,
    starter: bool,
    accept_outage: bool,
    lift_withdrawals: bool,
) -> None:
    """Let NAME join with the public identity in FILE (`mvault identity export`).

    For somebody who is there already, roles and the key are added to theirs.
    """
    from vault.arguments import given
    from vault.core.policy import pattern

    common = common_of(context)
    ((name, files),) = people([who], "NAME=FILE").items()
    done = common.open().changes.add(
        name,
        files,
        roles=_names(roles, "--role"),
        models=tuple(given(pattern, text) for text in models) if models else None,
        owners=_names(owners, "--owner"),
        root_holder=root_holder,
        starter=starter,
        accept_outage=accept_outage,
        lift_withdrawals=lift_withdrawals,
    )
    _tell(common, done, f"{name} joined.")


@verb("remove", family=team, examples=("mvault team remove ben", "mvault team remove web --accept-outage"))
@click.argument("who", metavar="NAME")
@click.option("--accept-outage", is_flag=True, help="Go on even though channels in use would stop.")
@lift_option
@click.pass_context
def remove(context: click.Context, who: str, accept_outage: bool, lift_withdrawals: bool) -> None:
    """Take NAME out of the policy, and out of the root.

    What NAME alone published stops counting: adopt it or promote other versions
    first. So does what NAME withdrew: somebody else signs it once more first. What
    NAME could read may have been kept.
    """
    common = common_of(context)
    (name,) = _names((who,), "NAME")
    done = common.open().changes.remove(name, accept_outage=accept_outage, lift_withdrawals=lift_withdrawals)
    _tell(common, done, f"{name} left.")


@verb("retire", family=team, examples=("mvault team retire ana", "mvault team retire train-hydro"))
@click.argument("who", metavar="NAME")
@click.option("--accept-outage", is_flag=True, help="Go on even though channels in use would stop.")
@lift_option
@click.pass_context
def retire(context: click.Context, who: str, accept_outage: bool, lift_withdrawals: bool) -> None:
    """Let NAME leave in peace: what the logs have of NAME counts on.

    The heads of all logs are recorded in the trust log, and NAME's keys count for
    what they had by then. NAME can sign nothing more, and reads nothing new. Where
    a key may have been stolen, remove NAME instead.
    """
    common = common_of(context)
    (name,) = _names((who,), "NAME")
    done = common.open().changes.retire(name, accept_outage=accept_outage, lift_withdrawals=lift_withdrawals)
    _tell(common, done, f"{name} is retired; what the logs have of {name} counts on.")


def _tell(common: Common, done: "Changed", news: str) -> None:
    paths = " ".join(shlex.quote(str(path)) for path in done.paths)
    value = {
        "applied": None if done.applied is None else applied_value(done.applied),
        "drafts": [
            {"path": str(path), **standing_value(entry)}
            for path, entry in zip(done.paths, done.drafts, strict=True)
        ],
    }
    if done.applied is not None:
        common.console.outcome(value, plain="applied", message=f"{news} {story_of(done.applied)}")
        return
    lacking = dict.fromkeys(lack_of(entry) for entry in done.drafts if entry.missing)
    common.console.outcome(
        value,
        plain=paths,
        message=f"Nothing has changed yet. {' '.join(lacking)} They run: mvault policy sign {paths}. "
        f"Then: mvault policy apply {paths}",
    )
