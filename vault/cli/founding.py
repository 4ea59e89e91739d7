"""`mvault init`: a vault for one person, and what its owner must know about it."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vault.cli.command import verb
from vault.cli.options import Common, common_of
from vault.cli.text import short
from vault.errors import NoUsableKey

if TYPE_CHECKING:
    from vault.actions.founding import NewVault
    from vault.actions.init import Joining
    from vault.vault import Vault

UNPROTECTED_HINT = "Or pass --no-passphrase, and let the file's permissions protect it."


@verb(
    "init",
    examples=(
        "mvault init models/",
        "mvault init models/ --no-passphrase         # in a script",
        "mvault init models/ --service web=web.pub   # a loader that may read prod",
        "mvault init models/ --recipient x25519      # any age program can recover it",
        "mvault init models/ --recovery /media/stick/key.txt",
        "mvault init models/ --team --key ben=ben.pub",
        "mvault init models/ --team --root-holder ben=ben.pub --threshold 2",
    ),
)
@click.argument("location", required=False)
@click.option("--name", metavar="NAME", help="What the new identity is called (your user name).")
@click.option(
    "--recipient",
    type=click.Choice(["hybrid", "x25519"]),
    default="hybrid",
    show_default=True,
    help="The kind of age keys: post-quantum, or what every age program reads.",
)
@click.option("--no-passphrase", is_flag=True, help="Write the new identity without a passphrase.")
@click.option(
    "--service",
    "services",
    multiple=True,
    metavar="NAME=FILE",
    help="Let a loader read prod; FILE is what `mvault identity export` printed there. Repeatable.",
)
@click.option(
    "--recovery",
    type=click.Path(dir_okay=False, path_type=str),
    metavar="FILE",
    help="Where to write the recovery key (your configuration folder).",
)
@click.option(
    "--policy",
    type=click.Path(exists=True, dir_okay=False, path_type=str),
    metavar="FILE",
    help="A policy in place of the shipped solo.yaml.",
)
@click.option("--team", is_flag=True, help="Begin with the roles of the shipped team.yaml.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="NAME=FILE",
    help="The public identity of somebody whom the policy names. Repeatable.",
)
@click.option(
    "--root-holder",
    "holders",
    multiple=True,
    metavar="NAME=FILE",
    help="Somebody who holds the root beside you; FILE is a public identity. Repeatable.",
)
@click.option(
    "--threshold",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="How many root holders must sign, beginning with the vault's first policy.",
)
@click.pass_context
def init(
    context: click.Context,
    location: str | None,
    name: str | None,
    recipient: str,
    no_passphrase: bool,
    services: tuple[str, ...],
    recovery: str | None,
    policy: str | None,
    team: bool,
    keys: tuple[str, ...],
    holders: tuple[str, ...],
    threshold: int,
) -> None:
    """Make a vault in the empty folder LOCATION, owned by you alone and trusted on this machine.

    You get an identity if you have none, a policy with dev and prod, and a
    recovery key, which belongs offline. With a --threshold of more than one you
    get drafts that the other root holders sign before there is a vault.
    """
    from vault.cli import founding_together
    from vault.starting import init as make

    common = common_of(context)
    before = common.settings()
    common.tell_settings(common.settings(vault=location))
    told: list[NewVault] = []
    founders = founding_together.founders(keys, holders, threshold)
    try:
        if threshold > 1:
            founding_together.begin(
                common,
                location,
                name=name,
                kind=recipient,
                services=[_service(text) for text in services],
                protect=not no_passphrase,
                recovery=None if recovery is None else Path(recovery),
                policy=policy,
                starter="team" if team else "solo",
                founders=founders,
            )
            return
        made = make(
            location or common.given.get("vault"),
            name=name,
            identity=common.given.get("identity"),
            recipient=recipient,
            no_passphrase=no_passphrase,
            services=[_service(text) for text in services],
            recovery=recovery,
            policy=policy,
            team=team,
            founders=founders,
            created=told.append,
            env=common.given.get("env"),
            **common.unlocking(),
        )
    except NoUsableKey as error:
        if no_passphrase:
            raise
        hint = f"{error.hint} {UNPROTECTED_HINT}".lstrip()
        raise NoUsableKey(error.message, code=error.code, subject=error.subject, hint=hint) from None
    from vault.actions import opening

    place = opening.as_named(location or before.vault, made.location)
    _tell(common, told[0], made, place, new_here=before.vault is None)


def _tell(common: Common, new: "NewVault", made: "Vault", place: str, *, new_here: bool) -> None:
    """Print what there is now; `new_here` is whether no vault was named before."""
    remembered = remember(common, place) if new_here else None
    common.console.outcome(
        {
            "vault": made.id,
            "location": new.location,
            "identity": {"path": str(new.identity), "created": new.made_identity},
            "recovery": str(new.recovery),
            "settings": None if remembered is None else str(remembered),
        },
        plain=made.id,
        message=_story(common, new, made, place, remembered),
    )


def _service(text: str) -> "Joining":
    from vault.actions.identities import joining
    from vault.core import names
    from vault.errors import Malformed

    name, equals, file = text.partition("=")
    if not equals or not file:
        raise click.BadParameter(f"{text!r} is not NAME=FILE.", param_hint="--service")
    try:
        who = names.principal(name)
    except Malformed as error:
        raise click.BadParameter(error.message, param_hint="--service") from None
    return joining(Path(file), who)


def remember(common: Common, place: str) -> Path | None:
    """Write `mvault.toml` here, so that commands in this folder find the vault; never over another."""
    from vault.settings import PROJECT_FILE

    path = Path.cwd() / PROJECT_FILE
    text = json.dumps(place, ensure_ascii=False)  # a TOML basic string: it is printable
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(
                f"# Commands of mvault in this folder, and below it, use this vault.\nvault = {text}\n"
            )
    except (OSError, UnicodeError) as error:
        common.console.detail(f"{path} was not written: {error}")
        return None
    return path


def _story(common: Common, new: "NewVault", made: "Vault", place: str, remembered: Path | None) -> str:
    """Tell a new owner what there is now, what to look after, and what to type next."""
    shown = shlex.quote(place)
    where = "" if remembered is not None else f" --vault {shown}"
    identity = "Made just now; keep a copy" if new.made_identity else "The one you had"
    lines = [
        f"Made a vault in {place}, and trusted it on this machine.",
        "",
        f"  Identity      {short(new.identity or '')}",
        f"                {identity}. It signs what you publish.",
        f"  Recovery key  {short(new.recovery)}",
        "                Opens every model if all else is lost, for whoever holds it.",
        "                Move it offline now, to two places; no command needs it here.",
        "                On paper: mvault recovery print",
    ]
    if remembered is not None:
        lines += [
            f"  Settings      {short(remembered.name)}",
            "                Commands in this folder find the vault by it.",
        ]
    lines += [
        "",
        "Fingerprint, to be told to everybody who will use this vault:",
        f"  {made.id}",
        "They type:",
        f"  mvault trust {shown} --root {made.id}",
        "",
        *first_steps(made, common, where),
    ]
    return "\n".join(lines)


def first_steps(made: "Vault", common: Common, where: str) -> list[str]:
    """Give what to type next in a new vault: what this identity may do there, and who is missing.

    `where` is the option that names the vault, where nothing else does.
    """
    from vault.cli.policy_diff import my_name
    from vault.core import names

    model, dev = names.model("churn"), names.environment("dev")
    me = my_name(made, common)
    lines = []
    if me is not None and any(entry.name == me for entry in made.policy.who_can("publish", model, dev)):
        lines.append(f"  mvault push{where} churn model.skops")
    onward = None if me is None else made.policy.onward(model, dev, who=me)
    if onward is not None:
        lines.append(f"  mvault promote{where} churn:1 --env {onward}")
    lacking = [entry for entry in made.policy.check() if entry.severity == "error"]
    if lacking:
        lines.append(f"  mvault team add{where} NAME=FILE --role ROLE")
    return [
        *(["Next:", *lines] if lines else []),
        *(f"So far, {entry.subject}: {entry.message}." for entry in lacking),
    ]
