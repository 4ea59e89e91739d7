"""Print what a command found: data on stdout, messages on stderr; tables, plain lines or JSON."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click

from vault.cli import tables
from vault.cli.progress import Bar
from vault.cli.tables import Cell, Column
from vault.cli.text import clean, paragraph
from vault.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Style:
    """How to print: JSON, colour (`auto`, `always` or `never`), progress bars, quiet, verbose."""

    json: bool = False
    color: str = "auto"
    progress: bool = True
    quiet: bool = False
    verbose: bool = False


class Console:
    """Where a command prints. One value of JSON, or one table or text, goes to stdout."""

    def __init__(self, style: Style) -> None:
        """Look at the streams once: whether they are terminals decides the form."""
        self.style = style
        self.to_terminal = _is_terminal(sys.stdout)
        self._bar = Bar() if style.progress and not style.quiet and _is_terminal(sys.stderr) else None

    def report(self, done: int, total: int, what: str) -> None:
        """Take progress from the vault (`ports.Progress`); without a terminal nothing is shown."""
        if self._bar is not None:
            self._bar.report(done, total, what)

    def settle(self) -> None:
        """Take the progress bar away, before anything else is printed."""
        if self._bar is not None:
            self._bar.clear()

    def colored(self, stream_is_terminal: bool) -> bool:
        """Tell whether to colour what goes to a stream."""
        if self.style.color != "auto":
            return self.style.color == "always"
        return stream_is_terminal and os.environ.get("TERM", "") not in {"", "dumb"}

    def json(self, value: object) -> bool:
        """Print `value` if JSON is wanted, and tell whether it was.

        Everything outside ASCII is escaped, so that no name can steer a terminal.
        """
        if self.style.json:
            import json

            self.settle()
            echo(json.dumps(value, indent=2 if self.to_terminal else None))
        return self.style.json

    def outcome(self, value: object, *, plain: str, message: str) -> None:
        """Print what a command did: `plain` for scripts, `message` for people, `value` as JSON.

        On a terminal the message says it all, so that `plain` is left out.
        """
        if self.json(value):
            return
        if not self.to_terminal or self.style.quiet:
            self.lines([plain])
        self.notice(message)

    def notice(self, text: str) -> None:
        """Tell people something on stderr; scripts and quiet users are spared."""
        if not self.style.quiet and not self.style.json:
            self.settle()
            click.echo(paragraph(text), err=True)

    def detail(self, text: str) -> None:
        """Tell people who asked for more (`-v`) something on stderr."""
        if self.style.verbose:
            self.settle()
            click.echo(paragraph(text), err=True)

    def warn(self, text: str) -> None:
        """Tell people on stderr what they ought to look after, whatever else is silent."""
        self.settle()
        label = "Warning:"
        if self.colored(_is_terminal(sys.stderr)):
            label = click.style(label, fg="yellow", bold=True)
        click.echo(f"{label} {paragraph(text)}", err=True)

    def lines(self, lines: Sequence[str]) -> None:
        """Print lines of data."""
        self.settle()
        for line in lines:
            echo(clean(line))

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
        """Print a table: aligned and with a heading on a terminal, else tab-separated without one."""
        self.settle()
        if not self.to_terminal:
            for row in rows:
                echo("\t".join(clean(cell.piped) for cell in row))
            return
        import shutil

        width = shutil.get_terminal_size().columns
        color = self.colored(True)
        echo(tables.render(columns, rows, width=width, color=color), end="", color=color)

    def fields(self, rows: Sequence[tuple[str, Cell]]) -> None:
        """Print names and values, one pair a line."""
        if self.to_terminal:
            columns = (Column(""), Column("", shrinks=True))
            self.table(columns, [(Cell(name), value) for name, value in rows])
            return
        self.table((), [(Cell(name.lower().replace(" ", "-")), value) for name, value in rows])

    def heading(self, text: str) -> None:
        """Print a line above what follows, on a terminal only."""
        if self.to_terminal:
            self.settle()
            echo(click.style(clean(text), bold=True) if self.colored(True) else clean(text))


def echo(text: str, *, end: str = "\n", color: bool | None = None) -> None:
    """Print data on standard output.

    Raises:
        Unavailable: it cannot be written, since the disk behind it is full, say.
        BrokenPipeError: its reader went away.
    """
    try:
        click.echo(f"{text}{end}", nl=False, color=color)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Unavailable(f"The output cannot be written: {error.strerror}.") from None


def _is_terminal(stream: object) -> bool:
    try:
        return bool(stream is not None and stream.isatty())  # type: ignore[attr-defined]
    except ValueError:  # it was closed
        return False
