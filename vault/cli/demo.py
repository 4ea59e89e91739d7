"""`mvault demo`: the whole story on real models."""

import click

from vault.cli.command import verb
from vault.cli.options import common_of


@verb(
    "demo",
    examples=(
        "mvault demo                  # under a minute, no network, nothing left behind",
        "mvault demo --keep           # leave the folder, to look around in it",
        "mvault demo --vault s3://bucket/demo   # in a bucket, where nothing lies yet",
    ),
)
@click.option("--keep", is_flag=True, help="Leave the temporary folder, and say where it is.")
@click.pass_context
def demo(context: click.Context, keep: bool) -> None:
    """Train models, save, promote and load them; then play the attacker and see every attack refused.

    Ends with status 0 only if everything went as it must.
    """
    from vault.demo.main import run

    common = common_of(context)
    # Only what was typed: the vault of the user's settings is not for attacks.
    location = common.given.get("vault")
    context.exit(run(location=location, keep=keep, json=common.console.style.json))
