"""Commands whose help shows examples and does not repeat the common options."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from vault.cli.options import CommonOption, common_options

Examples = Sequence[str]
USAGE = 2  # the exit status of a mistake in how the command was called


class Verb(click.Command):
    """A command that takes the common options too, and shows examples in its help."""

    def __init__(self, *arguments: Any, examples: Examples = (), **more: Any) -> None:
        """Make the command; `examples` are command lines, each may be followed by ` # what it does`.

        A common option that the command explains as its own is left out of the common ones.
        """
        super().__init__(*arguments, **more)
        own = {name for parameter in self.params for name in parameter.opts}
        self.params.extend(option for option in common_options() if own.isdisjoint(option.opts))
        self.examples = tuple(examples)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, and where the common ones are explained."""
        _write_options(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        _write_examples(self.examples, formatter)


class Family(click.Group):
    """A group of commands, each loaded when it is first used, with the common options and examples."""

    def __init__(
        self,
        *arguments: Any,
        examples: Examples = (),
        lazy: Mapping[str, tuple[str, str]] | None = None,
        **more: Any,
    ) -> None:
        """Make the group; `lazy` gives by name where a command is (`module:name`) and its short help."""
        super().__init__(*arguments, **more)
        self.params.extend(common_options())
        self.examples = tuple(examples)
        self.lazy = dict(lazy or {})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; without any argument show the help, as for any other mistake on stderr."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(USAGE)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order in which people meet them."""
        return [*self.lazy, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Give a command, and import what it is in if that has not happened yet."""
        if cmd_name in self.lazy:
            module, _, name = self.lazy[cmd_name][0].partition(":")
            found: click.Command = getattr(importlib.import_module(module), name)
            return found
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that `args` begin with; for a misspelt one, say which it might be.

        Raises:
            UsageError: there is no such command.
        """
        name = args[0]
        known = self.get_command(ctx, name) is not None
        if not known and not ctx.resilient_parsing and not name.startswith("-"):
            import difflib

            close = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            ctx.fail(f"There is no command {name!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their short help, importing none of them."""
        rows = [(name, text) for name, (_, text) in self.lazy.items()]
        rows += [
            (name, command.get_short_help_str(80))
            for name, command in self.commands.items()
            if not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write commands and options."""
        self.format_commands(ctx, formatter)
        if ctx.parent is None:
            click.Command.format_options(self, ctx, formatter)
        else:
            _write_options(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        _write_examples(self.examples, formatter)


def verb(
    name: str, *, examples: Examples, family: Family | None = None, **more: Any
) -> Callable[[Callable[..., Any]], Verb]:
    """Make a function a command called `name`, in `family` if one is given."""

    def make(function: Callable[..., Any]) -> Verb:
        made: Verb = click.command(name, cls=Verb, examples=examples, **more)(function)
        if family is not None:
            family.add_command(made)
        return made

    return make


def _write_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    own = [
        record
        for parameter in command.get_params(ctx)
        if isinstance(parameter, click.Option)
        and not isinstance(parameter, CommonOption)
        and (record := parameter.get_help_record(ctx)) is not None
    ]
    if own:
        with formatter.section("Options"):
            formatter.write_dl(own)
    formatter.write_paragraph()
    formatter.write_text("Common options, such as --vault, --identity, --json, -q and -v: see mvault --help.")


def _write_examples(examples: Examples, formatter: click.HelpFormatter) -> None:
    if not examples:
        return
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
