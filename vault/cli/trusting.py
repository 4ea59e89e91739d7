"""`mvault trust`: trust a vault on this machine, and hand that trust on to a container."""

import shlex
import sys
from pathlib import Path

import click

from vault.cli.command import Family, verb
from vault.cli.options import Common, common_of
from vault.cli.output import echo
from vault.errors import Refused


class Trust(Family):
    """`mvault trust LOCATION` and `mvault trust export`: what is no command's name is a location."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the name of the hidden command `location` before arguments that name no command."""
        wants_help = any(name in args for name in ctx.help_option_names)
        if args and not wants_help and not any(name in self.commands for name in args):
            args = ["location", *args]
        return super().parse_args(ctx, args)


@click.command(
    "trust",
    cls=Trust,
    subcommand_metavar="LOCATION [--root sha256:…] | export [FILE]",
    examples=(
        "mvault trust models/ --root sha256:4bd6a7b2…   # what its owner told you",
        "mvault trust models/                           # at a terminal: compare by eye",
        "mvault trust models/ --root sha256:8c01e5d9… --replace  # its keys were lost",
        "mvault trust export trust.json                 # for a container",
    ),
)
def trust() -> None:
    """Trust the vault at LOCATION on this machine, or export the trust that you have.

    --root sha256:… is the fingerprint as its owner told it to you, by another
    way than the storage itself. Without it you are shown the fingerprint and
    asked to compare it, at a terminal only. A folder called `export` is
    written ./export.
    """


@verb("location", family=trust, examples=("mvault trust models/ --root sha256:4bd6a7b2…",), hidden=True)
@click.argument("location")
@click.option("--root", metavar="sha256:…", help="The fingerprint that its owner told you.")
@click.option("--replace", is_flag=True, help="In place of another that is trusted there; needs --root.")
@click.pass_context
def trust_location(context: click.Context, location: str, root: str | None, replace: bool) -> None:
    """Trust the vault at LOCATION on this machine."""
    from vault.actions import opening, trusting

    if replace and root is None:
        raise click.UsageError(
            "--replace needs --root, the fingerprint that its owner told you by another way.", context
        )
    common = common_of(context)
    settings = common.settings(vault=location)
    common.tell_settings(settings)
    store = opening.locate(settings)
    wanted = trusting.parse_root(root) if root is not None else None
    if wanted is None:
        wanted = trusting.fingerprint(store)
        _compare(common, location, f"sha256:{wanted}")
    old = trusting.pin(settings, store, wanted, replace=replace)
    changed = ""
    if old is not None:
        changed = (
            f"Until now it was trusted as sha256:{old.root}, since {old.added[:10]}; from now on as "
            f"sha256:{wanted}. What was seen of the old vault is kept and does not bind the new one.\n"
        )
    common.console.outcome(
        {
            "location": store.location,
            "vault": f"sha256:{wanted}",
            "replaced": None if old is None else f"sha256:{old.root}",
        },
        plain=f"sha256:{wanted}",
        message=f"{changed}{location} is trusted on this machine. "
        f"Next: mvault ls --vault {shlex.quote(location)}",
    )


def _compare(common: Common, location: str, fingerprint: str) -> None:
    """Show a fingerprint to a person and let them decide; nobody else may trust on first use.

    Raises:
        Refused: `not-trusted`: nobody is there, or they did not type `yes`.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()) or common.console.style.json:
        raise Refused(
            f"{location} was not trusted: nobody is at a terminal to compare its fingerprint.",
            code="not-trusted",
            subject=location,
            hint=f"Ask its owner for it, then: mvault trust {shlex.quote(location)} --root sha256:…",
        )
    click.echo(
        f"The vault at {location} says that its fingerprint is\n\n  {fingerprint}\n\n"
        "Compare it with what its owner tells you by another way: in person, by telephone.\n"
        "Whoever can write to that storage could have put another vault there.",
        err=True,
    )
    click.echo("Type yes if they are the same: ", err=True, nl=False)
    if sys.stdin.readline(100).strip().lower() != "yes":
        raise Refused(
            f"{location} was not trusted; nothing was changed.",
            code="not-trusted",
            subject=location,
            hint="Compare the fingerprints, then try again.",
        )


@verb(
    "export",
    family=trust,
    examples=(
        "mvault trust export > trust.json",
        "mvault trust export trust.json --vault models/",
        "MVAULT_TRUST=trust.json mvault ls --vault models/    # on the other machine",
    ),
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.pass_context
def export(context: click.Context, file: Path | None) -> None:
    """Write a trust file for a container, to FILE or standard output.

    It holds the vault's fingerprint, the state that this machine has seen, so
    that nothing older is taken, and what you allow to be loaded. It is no
    secret; whoever can change it decides what is trusted there.
    """
    common = common_of(context)
    opened = common.open()
    data = opened.export_trust()
    if file is None:
        common.console.settle()
        echo(data.decode("utf-8"))
        return
    from vault.actions.identities import create_file

    create_file(file, data + b"\n")
    common.console.outcome(
        {"path": str(file), "vault": opened.id},
        plain=str(file),
        message=f"Wrote {file}. Bring it to the other machine by a way that you trust, and set "
        f"MVAULT_TRUST={shlex.quote(str(file))} there.",
    )
