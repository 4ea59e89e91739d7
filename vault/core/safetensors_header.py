"""Check a safetensors file: its header, and that the tensors cover its data exactly.

Format: the safetensors specification (huggingface/safetensors, README
"Format"): 8 bytes of length, a JSON header, then the data without holes.
"""

import math
from dataclasses import dataclass
from typing import Final

from vault.core import limits, strict_json
from vault.errors import FormatRefused

_BITS: Final = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "C64": 64,
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: its type as safetensors names it, its shape, and where its bytes lie in the file."""

    kind: str
    shape: tuple[int, ...]
    start: int
    end: int


def check(data: bytes | memoryview, *, subject: str = "") -> tuple[str, ...]:
    """Return the names of the tensors, sorted.

    Raises:
        As `tensors`.
    """
    return tuple(sorted(tensors(data, subject=subject)))


def tensors(data: bytes | memoryview, *, subject: str = "") -> dict[str, Tensor]:
    """Return the tensors by name, in the order of the header.

    Raises:
        FormatRefused: `format-content`: a header out of bounds, an unknown type, tensors that
            overlap, leave holes or run past the end.
        Malformed: `malformed-json`: a header that is not strict JSON, or names a tensor twice.
    """
    view = memoryview(data).toreadonly().cast("B")
    length = int.from_bytes(view[:8], "little")
    if len(view) < 8 or length > min(limits.SCHEMA_BYTES, len(view) - 8):
        raise _refused("its header runs past the end", subject)
    header = strict_json.parse(
        bytes(view[8 : 8 + length]).rstrip(b" "),
        limit=limits.SCHEMA_BYTES,
        canonical=False,
        subject=subject or "The safetensors header",
    )
    if not isinstance(header, dict):
        raise _refused("its header is not an object", subject)
    header.pop("__metadata__", None)
    found = {name: _tensor(tensor, name, 8 + length, subject) for name, tensor in header.items()}
    position = 8 + length
    for start, end in sorted((tensor.start, tensor.end) for tensor in found.values()):
        if start != position:
            raise _refused("its tensors overlap, or leave a hole", subject)
        position = end
    if position != len(view):
        raise _refused("its data is not as long as its tensors", subject)
    return found


def _tensor(tensor: strict_json.JSONValue, name: str, offset: int, subject: str) -> Tensor:
    if not isinstance(tensor, dict) or set(tensor) != {"dtype", "shape", "data_offsets"}:
        raise _refused(f"tensor {name[:80]!r} is malformed", subject)
    kind, shape, offsets = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
    if kind not in _BITS or not isinstance(shape, list) or len(shape) > limits.NPY_DIMENSIONS:
        raise _refused(f"tensor {name[:80]!r} has an unknown type or shape", subject)
    extents = [extent for extent in shape if type(extent) is int and extent >= 0]
    if len(extents) != len(shape) or not isinstance(offsets, list) or len(offsets) != 2:
        raise _refused(f"tensor {name[:80]!r} has an unknown type or shape", subject)
    start, end = offsets
    if type(start) is not int or type(end) is not int or not 0 <= start <= end:
        raise _refused(f"tensor {name[:80]!r} has offsets out of order", subject)
    if (end - start) * 8 != math.prod(extents) * _BITS[str(kind)]:
        raise _refused(f"tensor {name[:80]!r} is not as long as its shape says", subject)
    return Tensor(str(kind), tuple(extents), offset + start, offset + end)


def _refused(what: str, subject: str) -> FormatRefused:
    return FormatRefused(
        f"{subject or 'The safetensors file'} cannot be read: {what}.", code="format-content", subject=subject
    )
