"""Digest training data, so that a version can say which data it was trained on without holding them."""

import hashlib
from typing import Any

_LABEL = b"mvault/v1/data\x00"


def fingerprint(data: Any) -> str:
    """Give `sha256:…` of an array, a DataFrame or a Series: names, types, shape and values, in row order.

    Text and other objects count by their text. The index of a DataFrame does not count.

    Raises:
        TypeError: the data are of another kind.
    """
    digest = hashlib.sha256(_LABEL)
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        for name in data.columns:
            _part(digest, str(name).encode("utf-8"))
            _array(digest, data[name].to_numpy())
    elif hasattr(data, "toarray"):
        _array(digest, data.toarray())
    elif hasattr(data, "__array__") or isinstance(data, list | tuple):
        import numpy as np

        _array(digest, np.asarray(data))
    else:
        raise TypeError(f"Training data are an array, a list or a DataFrame, not {type(data).__name__}.")
    return f"sha256:{digest.hexdigest()}"


def _part(digest: Any, data: bytes) -> None:
    digest.update(len(data).to_bytes(8, "big"))
    digest.update(data)


def _array(digest: Any, values: Any) -> None:
    import numpy as np

    if values.dtype.hasobject:
        _part(digest, b"text")
        _part(digest, repr(values.shape).encode("ascii"))
        for value in values.ravel():
            _part(digest, str(value).encode("utf-8", "surrogatepass"))
        return
    little = values.dtype.newbyteorder("<")
    _part(digest, little.str.encode("ascii"))
    _part(digest, repr(values.shape).encode("ascii"))
    if values.size:
        digest.update(np.ascontiguousarray(values, dtype=little).reshape(-1).view("u1").data)
