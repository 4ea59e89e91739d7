"""`mvault demo`: the whole story on real models."""

import click

from vault.cli.command import verb
from vault.cli.options import common_of


@verb(
    "demo",
    examples=(
        "mvault demo                  # under a minute, no network, nothing left behind",
        "mvault demo --keep           # leave the folder, to look around in it",
    ),
)
@click.option("--keep", is_flag=True, help="Leave the temporary folder, and say where it is.")
@click.pass_context
def demo(context: click.Context, keep: bool) -> None:
    """Train models, save, promote and load them; then play the attacker and see every attack refused.

    Ends with status 0 only if everything went as it must.
    """
    from vault.demo.main import run

    context.exit(run(keep=keep, json=common_of(context).console.style.json))
