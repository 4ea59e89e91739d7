"""`mvault completion`: the script that lets a shell complete commands, options and model names."""

from typing import TYPE_CHECKING

import click
from click import shell_completion

from vault.cli.command import verb
from vault.cli.output import echo
from vault.errors import VaultError

if TYPE_CHECKING:
    from vault.vault import Vault

_SHELLS = ("bash", "zsh", "fish")


@verb(
    "completion",
    examples=(
        'eval "$(mvault completion bash)"                     # in ~/.bashrc',
        'eval "$(mvault completion zsh)"                      # in ~/.zshrc',
        "mvault completion fish > ~/.config/fish/completions/mvault.fish",
    ),
)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands, options and model names in SHELL."""
    from vault.cli.main import COMPLETION

    found = shell_completion.get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"There is no completion for {shell}.", context)
    root = context.find_root().command
    echo(found(root, {}, "mvault", COMPLETION).source())


class ModelName(click.types.StringParamType):
    """A model's name, completed from what is in the vault."""

    name = "model"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[shell_completion.CompletionItem]:
        """List the models whose names begin so; nothing where the vault cannot be opened without asking."""
        from vault.cli.options import common_of

        try:
            names = self.candidates(common_of(ctx).open())
        except (VaultError, ValueError, OSError):
            return []
        return [shell_completion.CompletionItem(name) for name in names if name.startswith(incomplete)]

    @staticmethod
    def candidates(opened: "Vault") -> list[str]:
        """Give the names to choose from."""
        return [row.model for row in opened.list()]


class ReferenceText(ModelName):
    """A reference, completed with the models, their newest versions and the channels that name them."""

    name = "ref"

    @staticmethod
    def candidates(opened: "Vault") -> list[str]:
        """Give the references to choose from."""
        found = []
        for row in opened.list():
            found += [row.model, f"{row.model}:{row.newest}"]
            found += [f"{row.model}@{place}" for place in row.channels]
        return found
