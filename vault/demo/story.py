"""Tell the demo's story: chapters and aligned rows for people, one JSON document for programs."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TextIO

_GREEN: Final = "\x1b[32m"
_RED: Final = "\x1b[31m"
_BOLD: Final = "\x1b[1m"
_PLAIN: Final = "\x1b[0m"


@dataclass(slots=True)
class Story:
    """Writes what happens as it happens, counts what was promised, and remembers what broke.

    `quiet` writes nothing until `document`. `facts` is what `--json` prints.
    """

    out: TextIO
    quiet: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    kept: int = 0
    broken: list[str] = field(default_factory=list)
    _chapters: int = 0
    _widths: tuple[int, ...] = ()

    def chapter(self, title: str, *widths: int) -> None:
        """Begin a chapter whose rows have columns of these widths; columns after them are free."""
        self._chapters += 1
        self._widths = widths
        self._write(f"\n{self._paint(_BOLD, f'{self._chapters}. {title}')}")

    def say(self, text: str) -> None:
        """Write a sentence."""
        self._write(f"   {text}")

    def row(self, *cells: str) -> None:
        """Write a row of the chapter's table."""
        self._write(self._line(cells))

    def promise(self, *cells: str, kept: bool, otherwise: str) -> None:
        """Write a row about something that must hold; `otherwise` says what happened if it did not."""
        if kept:
            self.kept += 1
            self._write(f"{self._line(cells)}  {self._paint(_GREEN, 'ok')}")
            return
        self.broken.append(f"{cells[0]}: {otherwise}")
        self._write(f"{self._line(cells)}  {self._paint(_RED, 'BROKEN')}  {otherwise}")

    def record(self, part: str, fact: dict[str, Any]) -> None:
        """Add an entry to one list of the JSON document."""
        self.facts.setdefault(part, []).append(fact)

    def document(self) -> None:
        """Write the JSON document."""
        self.out.write(json.dumps(self.facts, indent=2) + "\n")

    def end(self, seconds: float) -> bool:
        """Write the last line; give whether every promise was kept, of which there was at least one."""
        whole = self.kept > 0 and not self.broken
        count = f"{self.kept + len(self.broken)} checks in {seconds:.0f} s"
        if whole:
            self._write(f"\n{self._paint(_GREEN, 'Everything went as promised')}: {count}.")
        else:
            self._write(f"\n{self._paint(_RED, 'Not everything went as promised')}: {count}.")
            for line in self.broken:
                self._write(f"   {line}")
        self.facts |= {
            "ok": whole,
            "checks": self.kept + len(self.broken),
            "broken": self.broken,
            "seconds": round(seconds, 1),
        }
        return whole

    def _line(self, cells: Sequence[str]) -> str:
        padded = [cell.ljust(width) for cell, width in zip(cells, self._widths, strict=False)]
        return "   " + "  ".join([*padded, *cells[len(padded) :]])

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._coloured() else text

    def _coloured(self) -> bool:
        return self.out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def _write(self, line: str) -> None:
        if not self.quiet:
            self.out.write(line.rstrip() + "\n")
            self.out.flush()
