"""Hash the cells of one column, however they come in pieces (docs/lineage.md, "Digest of training data").

A column has four running hashes: of its cells, of the lengths of those that
have no fixed width, of the numbers of its missing rows, and of what is no text
in a column of objects. Cells of one kind have one spelling, whichever library
holds them.
"""

import datetime
import decimal
import fractions
import hashlib
import pathlib
import struct
import uuid
from collections.abc import Mapping
from typing import Any, Final

LABEL: Final = b"mvault/v2/data-column\x00"
TEXT: Final = "text"
BINARY: Final = "binary"
DEPTH: Final = 16  # lists and dicts inside each other, in one cell
# Values whose text is all there is to them, and the same everywhere.
_SPELLED: Final = (
    *(datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, fractions.Fraction),
    *(uuid.UUID, pathlib.PurePath),
)

_SPELLED_NAMES: Final = frozenset(
    {"Timestamp", "Timedelta", "Period", "Interval", "datetime64", "timedelta64"}
)


class Column:
    """One column, fed in order in any pieces; `digest` tells what it came to."""

    def __init__(self, name: str = "") -> None:
        """Begin an empty column; `name` is for messages."""
        self.name = name
        self.rows = 0
        self._kind: str | None = None
        self._values, self._lengths, self._missing, self._tagged = (hashlib.sha256() for _ in range(4))

    def _settle(self, kind: str) -> None:
        if self._kind not in (None, kind):
            raise ValueError(
                f"A chunk of the training data has {self.name or 'its values'} as {kind}, and an earlier one "
                f"as {self._kind}: give every chunk the same types."
            )
        self._kind = kind

    def _note_missing(self, mask: Any) -> None:
        """Hash the numbers of the rows that are missing; `mask` has shape (rows,)."""
        import numpy as np

        self._missing.update((np.flatnonzero(mask).astype("<u8") + np.uint64(self.rows)).data)

    def fixed(self, kind: str, values: Any, mask: Any = None) -> None:
        """Take cells of one width, an array of shape (rows,); where `mask` is true they are missing.

        Missing numbers with a fraction are NaN, and every NaN is the same one.
        """
        import numpy as np

        self._settle(kind)
        values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        if mask is not None and not mask.any():
            mask = None
        if values.dtype.kind in "fc":
            values = _one_nan(values, mask)
        elif mask is not None:
            values = values.copy()
            values[mask] = 0
            self._note_missing(mask)
        self._values.update(values.view("u1").data)
        self.rows += len(values)

    def varying(self, kind: str, data: Any, lengths: Any, mask: Any = None) -> None:
        """Take cells of any width: their bytes one after another, and the length of each, (rows,)."""
        self._settle(kind)
        if mask is not None and mask.any():
            self._note_missing(mask)
        self._values.update(data)
        self._lengths.update(lengths.astype("<u8", copy=False).data)
        self.rows += len(lengths)

    def objects(self, values: list[Any]) -> None:
        """Take Python objects: texts, what is missing, and a few other types, each in its own spelling.

        Raises:
            TypeError: an object of another type.
        """
        import numpy as np

        missing = np.zeros(len(values), bool)
        tagged: dict[int, bytes] = {}
        try:
            joined = "".join(values)
        except TypeError:
            values = list(values)
            for row, value in enumerate(values):
                if isinstance(value, str):
                    continue
                values[row] = ""
                if _is_missing(value):
                    missing[row] = True
                else:
                    tag, tagged[row] = _spelled(value, DEPTH)
                    self._tagged.update(struct.pack("<Qc", self.rows + row, tag))
            joined = "".join(values)
        data = joined.encode("utf-8", "surrogatepass")
        lengths = np.fromiter(map(len, values), "<u8", len(values))
        if len(data) != len(joined):
            lengths = _in_bytes(joined, lengths)
        if tagged:
            edges = _edges(lengths).tolist()
            data = b"".join(tagged.get(row, data[edges[row] : edges[row + 1]]) for row in range(len(values)))
            for row, spelled in tagged.items():
                lengths[row] = len(spelled)
        self.varying(TEXT, data, lengths, missing)

    def digest(self) -> bytes:
        """Give what the column came to: 32 bytes."""
        kind = (self._kind or TEXT).encode("ascii")
        head = LABEL + len(kind).to_bytes(8, "big") + kind + self.rows.to_bytes(8, "big")
        parts = (self._values, self._lengths, self._missing, self._tagged)
        return hashlib.sha256(head + b"".join(part.digest() for part in parts)).digest()


def _in_bytes(joined: str, lengths: Any) -> Any:
    """Turn the lengths of texts that were joined, in characters, into those of their UTF-8, in bytes."""
    import numpy as np

    points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4")
    widths = np.int64(1) + (points > 0x7F) + (points > 0x7FF) + (points > 0xFFFF)
    return np.diff(_edges(widths)[_edges(lengths)]).astype("<u8")


def _edges(lengths: Any) -> Any:
    """Give where each part begins, and where the last one ends."""
    import numpy as np

    return np.concatenate((np.zeros(1, "i8"), np.cumsum(lengths, dtype="i8")))


def _one_nan(values: Any, mask: Any) -> Any:
    """Give numbers with one spelling of NaN, which also stands for what is missing."""
    import numpy as np

    odd = np.isnan(values)
    if mask is not None:
        odd |= mask
    if odd.any():
        values = values.copy()
        values[odd] = np.nan if values.dtype.kind == "f" else complex(np.nan, np.nan)
    return values


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    if isinstance(value, decimal.Decimal):
        return value.is_nan()
    if type(value).__module__ == "numpy" and value.dtype.kind in "mM" and value.shape == ():
        return str(value) == "NaT"
    return isinstance(value, float | complex) and value != value  # noqa: PLR0124 (NaN alone differs from itself)


def _spelled(value: Any, depth: int) -> tuple[bytes, bytes]:
    """Spell an object that is no text and not missing: a letter for its type, and its bytes.

    Raises:
        TypeError: its type has no spelling, or it is nested too deep.
    """
    if type(value).__module__ == "numpy" and value.shape == () and value.dtype.kind not in "mMO":
        value = value.item()
    found = _number(value)
    if found is not None:
        return found
    if isinstance(value, bytes | bytearray):
        return b"y", bytes(value)
    if depth and isinstance(value, Mapping):
        return b"m", b"".join(_nested(part, depth - 1) for item in value.items() for part in item)
    if depth and (isinstance(value, list | tuple) or getattr(value, "shape", None)):
        return b"l", b"".join(_nested(part, depth - 1) for part in value)
    if isinstance(value, _SPELLED) or type(value).__name__ in _SPELLED_NAMES:
        return b"o", f"{type(value).__name__}\x00{value}".encode()
    raise TypeError(
        f"Training data hold {type(value).__module__}.{type(value).__qualname__}, which has no spelling of "
        "its own: turn it into text, numbers or bytes."
    )


def _number(value: Any) -> tuple[bytes, bytes] | None:
    if isinstance(value, bool):
        return b"b", bytes([value])
    if isinstance(value, int):
        return b"i", str(int(value)).encode("ascii")
    if isinstance(value, float):
        return b"f", struct.pack("<d", value)
    if isinstance(value, complex):
        return b"c", struct.pack("<dd", value.real, value.imag)
    return None


def _nested(value: Any, depth: int) -> bytes:
    if isinstance(value, str):
        tag, data = b"t", value.encode("utf-8", "surrogatepass")
    elif _is_missing(value):
        tag, data = b"n", b""
    else:
        tag, data = _spelled(value, depth)
    return tag + struct.pack("<Q", len(data)) + data
