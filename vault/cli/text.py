"""Words for the screen: names that cannot steer a terminal, sizes, times, paths."""

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_UNITS = ("kB", "MB", "GB", "TB", "PB")


def clean(text: str) -> str:
    """Escape everything in `text` that is not printable, line ends and tabs included.

    Names may come from a stranger's storage, and a terminal obeys what it is sent.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def paragraph(text: str) -> str:
    """Clean a text but keep its lines apart."""
    return "\n".join(clean(line) for line in text.split("\n"))


def size(count: int) -> str:
    """Write a number of bytes for people, in powers of ten as `ls --si` does."""
    if count < 1_000:
        return f"{count} B"
    value = float(count)
    for unit in _UNITS:
        value /= 1_000
        if value < 999.95 or unit == _UNITS[-1]:
            break
    return f"{value:.1f} {unit}"


def when(moment: str, now: float | None = None) -> str:
    """Tell a time such as `2026-11-23T05:00:00Z`: how long ago within a week, else the local day."""
    try:
        seconds = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return clean(moment)
    age = (time.time() if now is None else now) - seconds
    if not -_MINUTE < age < 7 * _DAY:
        return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d")
    if age < _MINUTE:
        return "just now"
    for length, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if age >= length:
            number = int(age // length)
            return f"{number} {name}{'' if number == 1 else 's'} ago"
    return "just now"


def some(values: Sequence[str], *, verbose: bool, most: int = 12) -> str:
    """Join names with commas; unless `verbose`, only the first so many of them."""
    if verbose or len(values) <= most:
        return ", ".join(values)
    return ", ".join(values[:most]) + f" and {len(values) - most} more (-v)"


def count(number: int, what: str) -> str:
    """Write a number and what is counted, in its plural where that is due."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def short(path: Path | str) -> str:
    """Write a path as people do, with `~` for the home folder."""
    text = str(path)
    home = os.environ.get("HOME", "").rstrip("/")
    if home and text.startswith(home + "/"):
        text = "~" + text[len(home) :]
    return clean(text)


def scalar(value: object) -> str:
    """Write a JSON scalar as people do; nothing for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return clean(str(value))
