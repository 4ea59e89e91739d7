"""`mvault root`: who votes on policies, and how many of them it takes."""

from pathlib import Path

import click

from vault.cli.command import Family, verb
from vault.cli.options import common_of
from vault.cli.policy_signing import FILE, expires_option, people, tell_drafts


@click.command(
    "root",
    cls=Family,
    examples=(
        "mvault root draft --holder anna --holder ben=ben.pub --threshold 2",
        "mvault root draft --expires 2y       # the same people: renew it",
        "mvault policy sign policy-for-root-2.json root-2.json",
        "mvault policy apply policy-for-root-2.json root-2.json",
    ),
)
def root() -> None:
    """Change or renew the root: the people whose signatures make a policy count.

    The draft of a root is signed and applied as that of a policy is: mvault
    policy sign, apply and status.
    """


@verb(
    "draft",
    family=root,
    examples=(
        "mvault root draft --holder anna --holder ben=ben.pub --threshold 2",
        "mvault root draft --threshold 3",
        "mvault root draft --expires 2y",
    ),
)
@click.option("-o", "--output", type=FILE, metavar="DRAFT", help="Where to write it (root-N.json).")
@click.option(
    "--holder",
    "holders",
    multiple=True,
    metavar="NAME[=FILE]",
    help="One of all its people; FILE is a public identity, not needed for those whom the vault knows.",
)
@click.option("--threshold", type=click.IntRange(1, 64), metavar="N", help="How many of them it takes.")
@expires_option
@click.pass_context
def draft(
    context: click.Context,
    output: Path | None,
    holders: tuple[str, ...],
    threshold: int | None,
    expires: str | None,
) -> None:
    """Draft the next root; without --holder the same people stay, as for a renewal.

    It must be signed by enough holders of the root in force and by enough of its
    own. Where the policy in force would not count under it, a draft of the
    policy is written beside it, to be signed and applied together.
    """
    common = common_of(context)
    chosen = people(holders, "--holder", bare=True) if holders else None
    written = common.open().changes.draft_root(output, holders=chosen, threshold=threshold, expires=expires)
    tell_drafts(common, written)
