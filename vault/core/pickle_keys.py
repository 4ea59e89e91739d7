"""Bound what a pickle may use as a key of a dict or an element of a set."""

from typing import Any, Final

_PARTS: Final = 1_000
_BITS: Final = 61  # of Python's hash of a number: larger ones collide at will
_PLAIN: Final = frozenset({bool, bytes, complex, float, int, str, type(None)})


def is_bounded_key(key: Any) -> bool:
    """Tell whether hashing `key` is cheap and runs no code of a class.

    Python hashes tuples recursively, without a limit and without a cache: deep
    ones end the process, shared ones take for ever.
    """
    if type(key) in _PLAIN:
        return True
    pending, seen = [key], 0
    while pending:
        part = pending.pop()
        seen += 1
        if seen > _PARTS:
            return False
        if type(part) is tuple or type(part) is frozenset:
            pending.extend(part)
        elif not _hashes_by_identity(type(part)) and not _is_plain(type(part)):
            return False
    return True


def collides_at_will(key: Any) -> bool:
    """Tell whether somebody can make many keys like this one whose hashes are equal.

    Text and bytes are hashed with a secret; numbers, tuples and frozen sets are not.

    Source: `_Py_HashDouble`, `long_hash` and `tuplehash` of CPython 3.11 to 3.13.
    """
    kind = type(key)
    if kind is int:
        return bool(key.bit_length() >= _BITS)
    return kind in (complex, frozenset, tuple) or (
        kind.__module__ == "numpy" and kind.__name__ in ("clongdouble", "complex128", "complex64", "void")
    )


def _hashes_by_identity(kind: Any) -> bool:
    return kind.__hash__ is object.__hash__


def _is_plain(kind: type) -> bool:
    """Tell whether values of a type are hashed by Python or NumPy themselves; classes are, by identity."""
    return kind in _PLAIN or kind is type or kind.__module__ in ("abc", "numpy")
