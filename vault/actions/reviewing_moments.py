"""Read moments as reviewers write them: `2h`, `3d`, `yesterday`, a day, or a time of ISO 8601."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

_AGO: Final = re.compile(r"([0-9]{1,9})\s*(s|m|min|h|d|w)(?:\s+ago)?\Z", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", re.ASCII)
_DAYS: Final = {"today": 0, "yesterday": -1}
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?:Z|[+-][0-9]{2}:[0-9]{2})?\Z", re.ASCII
)


def since(text: str, now: int) -> int:
    """Give the moment that a range begins with, in seconds since 1970; a day means its beginning.

    `now` is such a moment as well. A day, or a time without zone, is this machine's local one.

    Raises:
        ValueError: it is no moment, or long before 1970.
    """
    return _moment(text, now, lambda day: day)


def until(text: str, now: int) -> int:
    """Give the moment that a range ends before; a day counts whole.

    Raises:
        ValueError: it is no moment, or long before 1970.
    """
    return _moment(text, now, lambda day: day + timedelta(days=1))


def _moment(text: str, now: int, of_day: Callable[[datetime], datetime]) -> int:
    try:
        return max(0, _seconds(text.strip(), now, of_day))
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{text!r} is no moment. Write 90m, 2h, 3d or 1w for how long ago; today or yesterday; a day, "
            "2026-05-03; or a time, 2026-05-03T14:00Z."
        ) from None


def _seconds(text: str, now: int, of_day: Callable[[datetime], datetime]) -> int:
    """Raise ValueError, OverflowError or OSError for what is no moment."""
    ago = _AGO.match(text)
    if ago:
        return now - int(ago[1]) * _SECONDS[ago[2]]
    if text == "now":
        return now
    if text in _DAYS:
        midnight = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0)  # noqa: DTZ006 (local)
        return int(of_day(midnight + timedelta(days=_DAYS[text])).timestamp())
    if _DAY.match(text):
        return int(of_day(datetime.strptime(text, "%Y-%m-%d")).timestamp())  # noqa: DTZ007 (local)
    if _TIME.match(text):
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo is None else moment.astimezone(UTC)).timestamp())
    raise ValueError(text)
