"""Write and read plain weights, named arrays in a safetensors file, without the safetensors library.

Format: the safetensors specification (huggingface/safetensors, README
"Format"). Reading is our own because the bytes are hostile; writing is a
header and the arrays' bytes.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from vault.core import safetensors_header, strict_json
from vault.errors import FormatRefused, MissingLibrary, Refused

if TYPE_CHECKING:
    from vault.core.admission import Admitted

_DTYPES: Final[Mapping[str, str]] = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
    "C64": "complex64",
    # NumPy has none of these; the package ml_dtypes adds them to it.
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
_ADDED: Final = ("BF16", "F8_E4M3", "F8_E5M2")
_KINDS: Final = {dtype: kind for kind, dtype in _DTYPES.items()}
_ALIGNED: Final = 8


def holds(arrays: Mapping[str, Any]) -> bool:
    """Tell whether safetensors has a type for each of these arrays; it has none for text and dates."""
    return all(array.dtype.name in _KINDS for array in arrays.values())


def dump(arrays: Mapping[str, Any]) -> bytes:
    """Write named arrays as a safetensors file: the widest types first, so that each array is aligned.

    Raises:
        ValueError: a name that is no text, or an array of a type that safetensors does not have.
        MissingLibrary: NumPy is not installed.
    """
    np = _numpy()
    given: dict[str, Any] = {}
    for name, array in arrays.items():
        if not isinstance(name, str) or name == "__metadata__" or array.dtype.name not in _KINDS:
            raise ValueError(f"{name!r} ({array.dtype}) is nothing that a safetensors file can hold.")
        order = "<" if array.dtype.kind in "iufc" else "="
        given[name] = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder(order))
    header: dict[str, strict_json.JSONValue] = {}
    parts: list[Any] = []
    position = 0
    for name in sorted(given, key=lambda name: (-given[name].dtype.itemsize, name)):
        array, shape = given[name], arrays[name].shape
        header[name] = {
            "dtype": _KINDS[array.dtype.name],
            "shape": list(shape),
            "data_offsets": [position, position + array.nbytes],
        }
        parts.append(array.reshape(-1).view(np.uint8).data)
        position += array.nbytes
    text = strict_json.encode(header)
    text += b" " * (-len(text) % _ALIGNED)
    data = b"".join((len(text).to_bytes(8, "little"), text, *parts))
    try:
        safetensors_header.check(data)
    except Refused as refusal:
        raise ValueError(f"These arrays make a file that is not loaded: {refusal.message}") from refusal
    return data


def load(admitted: "Admitted") -> dict[str, Any]:
    """Read a safetensors file: its arrays by name, read-only and over the verified bytes themselves.

    Nothing is copied, unless an array does not lie at an address that its type
    needs. Call `.copy()` for an array that can be changed.

    Raises:
        FormatRefused: the header is wrong, or a truth value is neither 0 nor 1.
        MissingLibrary: NumPy is not installed; or ml_dtypes, for bfloat16 and 8-bit floats.
        TypeError: `admitted` does not come from the admission.
    """
    from vault.core.admission import Admitted

    if type(admitted) is not Admitted:
        raise TypeError("A loader takes an Admitted value only.")
    return restore(admitted.data, subject=admitted.subject)


def restore(data: bytes | memoryview, *, subject: str) -> dict[str, Any]:
    """Read the arrays from bytes; see `load`.

    Raises:
        FormatRefused, Malformed, MissingLibrary.
    """
    np = _numpy()
    view = memoryview(data).toreadonly().cast("B")
    found: dict[str, Any] = {}
    for name, tensor in safetensors_header.tensors(view, subject=subject).items():
        dtype = _dtype(np, tensor.kind, subject)
        if 0 in tensor.shape:
            found[name] = np.zeros(tensor.shape, dtype)
            found[name].flags.writeable = False
            continue
        part = view[tensor.start : tensor.end]
        if tensor.kind == "BOOL" and np.frombuffer(part, np.uint8).max() > 1:
            raise FormatRefused(
                f"{subject}: {name[:80]!r} has truth values that are neither true nor false.",
                code="format-content",
                subject=subject,
            )
        array = np.frombuffer(part, dtype)
        if not array.flags.aligned:
            array = array.copy()
            array.flags.writeable = False
        found[name] = array.reshape(tensor.shape)
    return found


def _dtype(np: Any, kind: str, subject: str) -> Any:
    if kind not in _ADDED:
        dtype = np.dtype(_DTYPES[kind])
        return dtype.newbyteorder("<")
    try:
        import ml_dtypes
    except ModuleNotFoundError:
        raise MissingLibrary(
            f"{subject} has numbers of type {kind}, which NumPy alone cannot hold.",
            subject=subject,
            hint="Install ml_dtypes here: pip install ml_dtypes",
        ) from None
    return np.dtype(getattr(ml_dtypes, _DTYPES[kind]))


def _numpy() -> Any:
    try:
        import numpy as np
    except ModuleNotFoundError:
        raise MissingLibrary("Reading weights needs NumPy.", hint="Install it: pip install numpy") from None
    return np
