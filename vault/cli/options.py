"""The options that every command takes, and what they stand for: settings, a console, an opened vault."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vault.cli.output import Console, Style

if TYPE_CHECKING:
    from vault.settings import Settings
    from vault.vault import Vault

# What -v tells of the settings, in this order.
_SETTINGS = ("vault", "identity", "trust", "env", "passphrase", "config_dir", "state_dir")


@dataclass(slots=True)
class Common:
    """What was given of the common options, before or after the command's name; the last one counts."""

    given: dict[str, Any] = field(default_factory=dict)
    _console: Console | None = None
    _settings: "Settings | None" = None

    def take(self, name: str, value: object) -> None:
        """Note an option that was given."""
        self.given[name] = value
        self._console, self._settings = None, None

    def flag(self, name: str) -> bool:
        """Tell whether a flag was given."""
        return bool(self.given.get(name))

    def flags(self, **instead: object) -> dict[str, object]:
        """Give the options as `vault.settings` names them; `instead` replaces some."""
        found = {
            "vault": self.given.get("vault"),
            "identity": self.given.get("identity"),
            "trust": self.given.get("trust"),
            "env": self.given.get("env"),
            **self.unlocking(),
            "json": True if self.flag("json") else None,
            "color": "never" if self.flag("no_color") else None,
            "progress": False if self.flag("quiet") else None,
        }
        return {**found, **{name: value for name, value in instead.items() if value is not None}}

    def unlocking(self) -> dict[str, Any]:
        """Give what says where a passphrase comes from."""
        command = self.given.get("passphrase_command")
        return {
            "passphrase_file": self.given.get("passphrase_file"),
            "passphrase_fd": self.given.get("passphrase_fd"),
            "passphrase_command": None if command is None else split(command),
        }

    def settings(self, **instead: object) -> "Settings":
        """Gather the settings of this process; flags come first.

        Raises:
            Malformed, ValueError: see `vault.settings.load_settings`.
        """
        from vault.settings import load_settings

        if instead:
            return load_settings(flags=self.flags(**instead), environ=os.environ, cwd=Path.cwd())
        if self._settings is None:
            self._settings = load_settings(flags=self.flags(), environ=os.environ, cwd=Path.cwd())
        return self._settings

    @property
    def console(self) -> Console:
        """Where to print, as the settings say."""
        if self._console is None:
            display = self.settings().display
            self._console = Console(
                Style(
                    json=display.json,
                    color=display.color,
                    progress=display.progress,
                    quiet=self.flag("quiet"),
                    verbose=self.flag("verbose"),
                )
            )
        return self._console

    def settle(self) -> None:
        """Take a progress bar away that is still shown."""
        if self._console is not None:
            self._console.settle()

    def open(self, *, env: bool = True) -> "Vault":
        """Open the vault that the settings name; `env` is whether --env names the reader's environment.

        Raises:
            VaultError, ValueError: see `vault.open`.
        """
        from vault.starting import open as open_vault

        self.tell_settings(self.settings())
        found = open_vault(
            self.given.get("vault"),
            identity=self.given.get("identity"),
            env=self.given.get("env") if env else None,
            trust=self.given.get("trust"),
            **self.unlocking(),
        )
        found.progress = self.console.report
        return found

    def tell_settings(self, settings: "Settings") -> None:
        """Say, with -v, what each setting is and where it came from."""
        if not self.flag("verbose"):
            return
        for name in _SETTINGS:
            source = settings.source(name)
            value = getattr(settings, name)
            if name == "passphrase":
                value = None if source == "default" else "set"
            if value is not None:
                self.console.detail(f"{name}: {value} ({source})")


def split(command: str) -> list[str]:
    """Split the text of --passphrase-command into a program and its arguments, as a shell would.

    Raises:
        ValueError: it has a quotation mark without its pair.
    """
    import shlex

    try:
        return shlex.split(command)
    except ValueError:
        raise ValueError("--passphrase-command has a quotation mark without its pair.") from None


def common_of(context: click.Context) -> Common:
    """Give the common options of a running command."""
    root = context.find_root()
    if not isinstance(root.obj, Common):
        root.obj = Common()
    return root.obj


def _note(context: click.Context, parameter: click.Parameter, value: object) -> None:
    """Keep a common option where the command finds it, if it was given here."""
    name = parameter.name or ""
    if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
        common_of(context).take(name, value)


class CommonOption(click.Option):
    """An option of every command; `mvault --help` explains it, the others only name it."""


def common_options() -> list[click.Parameter]:
    """Make the options that every command takes."""

    def option(*names: str, help: str, **more: Any) -> CommonOption:
        return CommonOption([*names], help=help, expose_value=False, callback=_note, **more)

    file = click.Path(path_type=str)
    return [
        option("--vault", metavar="LOCATION", help="The vault: a folder.  [MVAULT_VAULT]"),
        option("--env", metavar="ENV", help="The environment to work in (dev).  [MVAULT_ENV]"),
        option("--identity", type=file, metavar="FILE", help="Your identity file.  [MVAULT_IDENTITY]"),
        option("--trust", type=file, metavar="FILE", help="A trust file, for containers.  [MVAULT_TRUST]"),
        option(
            "--passphrase-file",
            type=file,
            metavar="FILE",
            help="Read the passphrase from a file.  [MVAULT_PASSPHRASE_FILE]",
        ),
        option(
            "--passphrase-fd",
            type=int,
            metavar="N",
            help="Read the passphrase from an open descriptor.  [MVAULT_PASSPHRASE_FD]",
        ),
        option(
            "--passphrase-command",
            metavar="COMMAND",
            help="Take the passphrase from what a command prints.  [MVAULT_PASSPHRASE_COMMAND]",
        ),
        option("--json", is_flag=True, help="Print one JSON value; its shape is in docs/cli.md."),
        option("-q", "--quiet", is_flag=True, help="Print data and errors only."),
        option(
            "-v",
            "--verbose",
            is_flag=True,
            help="Tell more: sequence numbers, error codes, where settings came from.",
        ),
        option("-y", "--yes", is_flag=True, help="Answer questions with yes; whom to trust is never one."),
        option("--no-color", is_flag=True, help="No colour.  [NO_COLOR]"),
        option("--debug", is_flag=True, help="Show where an error came from."),
    ]
