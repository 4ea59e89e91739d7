"""Lay out a table for a terminal: with rich where it is installed, plainly where it is not."""

from collections.abc import Sequence
from dataclasses import dataclass

from vault.cli.text import clean

_GAP = 2
_LEAST = 8  # a column that gives way keeps at least this width


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading; whether it gives way when there is no room; whether it is a number."""

    title: str
    shrinks: bool = False
    number: bool = False


class Cell:
    """What stands in a table: as people read it, and as scripts do."""

    __slots__ = ("piped", "shown")

    def __init__(self, shown: str, piped: str | None = None) -> None:
        """Take the text for people, and that for scripts where it differs."""
        self.shown = shown
        self.piped = shown if piped is None else piped


def render(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, width: int, color: bool) -> str:
    """Write a table of at most `width` columns of characters, each line with its line end."""
    cells = [[clean(cell.shown) for cell in row] for row in rows]
    try:
        return _with_rich(columns, cells, width, color=color)
    except ImportError:
        return plain(columns, cells, width)


def plain(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> str:
    """Write a table without rich: cells of columns that give way continue below themselves."""
    titles = [column.title for column in columns]
    table = [titles, *rows] if any(titles) else [*rows]
    widths = _widths(columns, table, width)
    lines = []
    for row in table:
        pieces = [_pieces(text, room) for text, room in zip(row, widths, strict=True)]
        for index in range(max(map(len, pieces), default=0)):
            parts = []
            for column, room, piece in zip(columns, widths, pieces, strict=True):
                text = piece[index] if index < len(piece) else ""
                parts.append(text.rjust(room) if column.number else text.ljust(room))
            lines.append((" " * _GAP).join(parts).rstrip())
    return "".join(f"{line}\n" for line in lines)


def _widths(columns: Sequence[Column], table: Sequence[Sequence[str]], width: int) -> list[int]:
    """Give every column what it needs; take what is too much from the widest that gives way."""
    widths = [max((len(row[index]) for row in table), default=0) for index in range(len(columns))]
    over = sum(widths) + _GAP * (len(columns) - 1) - width
    while over > 0:
        able = [index for index, column in enumerate(columns) if column.shrinks and widths[index] > _LEAST]
        if not able:
            able = [index for index in range(len(columns)) if widths[index] > _LEAST]
        if not able:
            break
        widest = max(able, key=lambda index: widths[index])
        widths[widest] -= 1
        over -= 1
    return widths


def _pieces(text: str, room: int) -> list[str]:
    """Break a text into lines of at most `room` characters, at spaces where there are any."""
    pieces = []
    while len(text) > room > 0:
        cut = text.rfind(" ", 1, room + 1)
        if cut < 1:
            cut = room
        pieces.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    return [*pieces, text]


def _with_rich(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, *, color: bool) -> str:
    """Write a table with rich.

    Raises:
        ImportError: rich is not installed (extra `ui`).
    """
    import io

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, _GAP, 0, 0),
        show_header=any(column.title for column in columns),
        header_style="bold",
    )
    for column in columns:
        table.add_column(
            Text(column.title),
            justify="right" if column.number else "left",
            overflow="fold",
            no_wrap=not column.shrinks,
        )
    for row in rows:
        table.add_row(*(Text(text) for text in row))  # Text: no name is taken for markup
    target = io.StringIO()
    console = Console(
        file=target,
        width=width,
        force_terminal=color,
        no_color=not color,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )
    console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in target.getvalue().splitlines())
