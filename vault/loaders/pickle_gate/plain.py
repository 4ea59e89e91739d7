"""Build plain Python values that picklers write as calls: sets, slices, dates and ordered dicts.

Source: `Modules/_datetimemodule.c` and `Lib/collections/__init__.py` of CPython 3.11 to 3.13.
"""

import datetime
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final

from vault.core.pickle_keys import is_bounded_key
from vault.loaders.pickle_gate.parts import require

_ARGUMENTS: Final = frozenset({int, float, str, type(None)})
_DEFAULTS: Final = frozenset({dict, float, int, list, set, str, tuple})


def call(name: str) -> Callable[..., object]:
    """Give the builder of a builtin that picklers of protocol 3 call."""
    return _CALLS[name]


def _sorted_out(kind: Callable[..., object]) -> Callable[..., object]:
    def build(*arguments: Any) -> object:
        require(
            _ARGUMENTS.issuperset(map(type, arguments)), "it makes a plain value of something that is not"
        )
        return kind(*arguments)

    return build


def _keys(kind: Callable[..., object]) -> Callable[..., object]:
    def build(items: Any = ()) -> object:
        require(type(items) in (list, tuple), "it makes a set of something that is no list")
        require(all(is_bounded_key(item) for item in items), "it has a key that computes its own hash")
        return kind(items)

    return build


def _bytearray(content: Any = b"") -> bytearray:
    require(type(content) is bytes, "it makes a bytearray of something else than bytes")
    return bytearray(content)


_CALLS: Final[Mapping[str, Callable[..., object]]] = {
    "builtins.bytearray": _bytearray,
    "builtins.complex": _sorted_out(complex),
    "builtins.frozenset": _keys(frozenset),
    "builtins.set": _keys(set),
    "builtins.slice": _sorted_out(slice),
}


def ordered() -> OrderedDict[Any, Any]:
    """Start an ordered dict; its items follow."""
    return OrderedDict()


def defaulting(factory: Any = None) -> defaultdict[Any, Any]:
    """Start a dict with a default; only plain types make one."""
    require(factory is None or factory in _DEFAULTS, "it has a dict whose default calls something")
    return defaultdict(factory)


def date(content: Any) -> datetime.date:
    """Build a date from its four bytes, through the constructor that checks them."""
    year, month, day = _numbers(content, 4)[1:]
    return datetime.date(year, month, day)


def time(content: Any, zone: Any = None) -> datetime.time:
    """Build a time of day from its six bytes."""
    parts = _bytes_of(content, 6)
    require(zone is None or type(zone) is datetime.timezone, "it has a time in an unknown zone")
    hour, fold = parts[0] & 0x7F, parts[0] >> 7
    return datetime.time(hour, parts[1], parts[2], int.from_bytes(parts[3:6], "big"), zone, fold=fold)


def moment(content: Any, zone: Any = None) -> datetime.datetime:
    """Build a date with a time from its ten bytes."""
    fold, year, month, day = _numbers(content, 10)
    parts = _bytes_of(content, 10)
    require(zone is None or type(zone) is datetime.timezone, "it has a time in an unknown zone")
    micro = int.from_bytes(parts[7:10], "big")
    return datetime.datetime(year, month, day, parts[4], parts[5], parts[6], micro, zone, fold=fold)


def span(days: Any, seconds: Any = 0, microseconds: Any = 0) -> datetime.timedelta:
    """Build a duration."""
    require(all(type(part) is int for part in (days, seconds, microseconds)), "it has a strange duration")
    return datetime.timedelta(days, seconds, microseconds)


def zone(offset: Any, *name: Any) -> datetime.timezone:
    """Build a fixed offset from UTC."""
    require(type(offset) is datetime.timedelta, "it has a zone without an offset")
    require(all(type(part) is str for part in name), "it has a zone whose name is not text")
    return datetime.UTC if not offset and not name else datetime.timezone(offset, *name)


def _bytes_of(content: Any, length: int) -> bytes:
    require(type(content) is bytes and len(content) == length, "it has a date of another length")
    found: bytes = content
    return found


def _numbers(content: Any, length: int) -> tuple[int, int, int, int]:
    parts = _bytes_of(content, length)
    return parts[2] >> 7, parts[0] << 8 | parts[1], parts[2] & 0x7F, parts[3]
