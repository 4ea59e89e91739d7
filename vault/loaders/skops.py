"""Write and restore scikit-learn estimators as skops files."""

import gc
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vault.core import native_state, pins, skops_walk
from vault.errors import FormatRefused, MissingLibrary, Refused

if TYPE_CHECKING:
    from vault.core.admission import Admitted


def dump(obj: object) -> tuple[bytes, tuple[str, ...]]:
    """Write `obj` as a skops file; return its bytes and the names to pin, sorted.

    Two calls give different bytes for one object: skops names members by
    memory addresses.

    Raises:
        ValueError: skops cannot write it, or wrote something that the static stage refuses.
        MissingLibrary: skops is not installed.
    """
    io_skops = _skops()
    try:
        data: bytes = io_skops.dumps(obj)
    except Exception as error:  # any exception of the object's own __getstate__ and __reduce__
        raise ValueError(f"skops cannot write {type(obj).__name__}: {_first_line(error)}") from error
    try:
        found = skops_walk.walk(data)
    except Refused as refusal:
        raise ValueError(
            f"skops wrote {type(obj).__name__} in a form that is not loaded: {refusal}"
        ) from refusal
    return data, found.pins


def load(admitted: "Admitted", trusted: AbstractSet[str]) -> Any:
    """Restore the object of a skops file whose static stage has passed.

    `trusted` is the operator's allowance. What skops is told to trust is what
    was pinned *and* is allowed, never what the file asks for.

    Raises:
        FormatRefused: a type outside both lists, or compiled state that is out of range.
        MissingLibrary: skops, or the library of a pinned type, is not installed.
        TypeError: `admitted` does not come from the admission.
    """
    from vault.core.admission import Admitted

    if type(admitted) is not Admitted:
        raise TypeError("A loader takes an Admitted value only.")
    usable = pins.check_pins(admitted.pins, admitted.pins, trusted, subject=admitted.subject)
    return restore(admitted.data, usable, subject=admitted.subject)


def restore(data: memoryview, usable: AbstractSet[str], *, subject: str) -> Any:
    """Restore an object from bytes that were walked, trusting exactly the types in `usable`.

    Raises:
        FormatRefused: skops refuses, or compiled state is out of range.
        MissingLibrary: skops, or the library of a type, is not installed.
    """
    io_skops = _skops()
    try:
        with _collector_paused():
            model = io_skops.loads(_as_bytes(data), trusted=skops_walk.trusted(usable))
    except ModuleNotFoundError as error:
        raise MissingLibrary(
            f"{subject} needs {error.name}, which is not installed.", subject=subject, hint="Install it here."
        ) from None
    except Exception as error:  # what tampered state makes a constructor raise is not foreseeable
        raise FormatRefused(
            f"{subject} could not be restored: {_first_line(error)}",
            code="format-content",
            subject=subject,
            hint="Publish it again from a trusted copy.",
        ) from None
    native_state.check(model, subject=subject)
    return model


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the cyclic garbage collector from walking the same growing tree again and again.

    skops makes tens of thousands of objects that all stay until it is done: a
    third of its time went into looking for garbage among them.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _as_bytes(data: memoryview) -> bytes:
    """Return the bytes behind a view, without a copy where it covers a whole bytes object."""
    whole = data.obj
    return whole if isinstance(whole, bytes) and data.nbytes == len(whole) else bytes(data)


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


def _skops() -> Any:
    try:
        import skops.io
    except ModuleNotFoundError:
        raise MissingLibrary(
            "Reading and writing skops files needs skops and scikit-learn.",
            hint="Install them: pip install 'model-artifact-vault[sklearn]'",
        ) from None
    return skops.io
