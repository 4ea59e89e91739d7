"""`mvault recovery` and `mvault identity backup`: keys on paper, and back from it."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vault.cli.command import Family, verb
from vault.cli.options import Common, common_of
from vault.cli.text import when

if TYPE_CHECKING:
    from vault.actions.key_backups import Printed

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    "recovery",
    cls=Family,
    examples=(
        "mvault recovery print | lp              # the recovery key, on paper",
        "mvault identity backup | lp             # and your identity",
        "mvault recovery confirm                 # both are in a safe place",
        "mvault recovery read typed.txt --output recovery.txt",
    ),
)
def recovery() -> None:
    """Keep the keys on paper: print them, type them in again, say that it was done."""


@verb(
    "print",
    family=recovery,
    examples=("mvault recovery print | lp", "mvault recovery print /media/stick/recovery.txt"),
)
@click.argument("file", type=_FILE, required=False)
@click.pass_context
def print_(context: click.Context, file: Path | None) -> None:
    """Print a sheet of the vault's recovery key: FILE, or the one that `init` wrote.

    Whoever holds the sheet can read every model. It is text with a check on every line,
    and a stock age program takes the key from it as well.
    """
    from vault.actions import key_backups

    common = common_of(context)
    _show(common, key_backups.recovery_sheet(common.settings(), file))


@verb("backup", examples=("mvault identity backup | lp", "mvault identity backup --identity anna.json"))
@click.pass_context
def identity_backup(context: click.Context) -> None:
    """Print a sheet of your identity file, encrypted under its passphrase as it is."""
    from vault.actions import key_backups

    common = common_of(context)
    _show(common, key_backups.identity_sheet(common.settings()))


def _show(common: Common, sheet: "Printed") -> None:
    value = {"kind": sheet.kind, "vault": f"sha256:{sheet.vault}", "lines": list(sheet.lines)}
    if not common.console.json(value):
        common.console.lines(sheet.lines)


@verb("read", family=recovery, examples=("mvault recovery read typed.txt --output recovery.txt",))
@click.argument("sheet", type=_FILE)
@click.option("-o", "--output", type=_FILE, required=True, metavar="FILE", help="Where the key goes.")
@click.pass_context
def read(context: click.Context, sheet: Path, output: Path) -> None:
    """Make a key file out of a SHEET that was typed in from paper.

    A mistake is told by its line. Spaces and the case of letters do not matter.
    """
    from vault.actions import key_backups

    common = common_of(context)
    found = key_backups.read_sheet(sheet, output)
    common.console.outcome(
        {"kind": found.kind, "vault": f"sha256:{found.vault}", "path": str(output)},
        plain=str(output),
        message=f"Wrote the {found.kind} of the vault sha256:{found.vault} to {shlex.quote(str(output))}.",
    )


@verb("confirm", family=recovery, examples=("mvault recovery confirm",))
@click.pass_context
def confirm(context: click.Context) -> None:
    """Say that the vault's keys are kept elsewhere too, so that nobody is reminded any more.

    Noted on this machine alone. Say it when the recovery key and your identity, or the
    sheets of both, lie in two safe places.
    """
    from vault.actions import key_backups, opening

    common = common_of(context)
    day = key_backups.confirm(common.settings(), opening.clock())
    common.console.outcome(
        {"confirmed": day},
        plain=day,
        message="Noted. Try it once a year: mvault restore --drill LOCATION --recovery FILE",
    )


@verb("status", family=recovery, examples=("mvault recovery status",))
@click.pass_context
def status(context: click.Context) -> None:
    """Say when the keys were confirmed to be kept elsewhere, and when a drill was last held here."""
    from vault.actions import key_backups, recovery_notes

    common = common_of(context)
    settings = common.settings()
    found = recovery_notes.of(settings, key_backups.vault_of(settings))
    value = {"confirmed": found.keys, "drill": found.drill, "outcome": found.outcome}
    keys = "never" if found.keys is None else when(found.keys)
    drill = "never" if found.drill is None else f"{when(found.drill)}, {found.outcome}"
    common.console.outcome(
        value,
        plain=f"{found.keys or '-'} {found.drill or '-'} {found.outcome or '-'}",
        message=f"Keys confirmed to be kept elsewhere: {keys}.\nLast drill held on this machine: {drill}.",
    )
