"""The gate for pickles and joblib files: the only module that names the pickle libraries.

Writing uses them; reading never does. A pickle is run by the machine of
`core/pickle_vm.py`, and `host.py` decides each effect: names come from the
pinned and allowed list only, and arrays, dtypes and compiled state are built by
code of our own, which checks their parts first.
"""

import io
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Final, Literal

from vault.core import joblib_container, native_state, pickle_trace, pickle_vm, pins
from vault.errors import MissingLibrary, Refused
from vault.loaders.pickle_gate.host import Gate

if TYPE_CHECKING:
    from vault.core.admission import Admitted

PROTOCOL: Final = 5


def dump(obj: object, *, container: Literal["joblib", "pickle"] = "joblib") -> tuple[bytes, tuple[str, ...]]:
    """Write `obj` as a pickle or joblib file; return its bytes and the globals to pin, sorted.

    Raises:
        ValueError: it cannot be pickled, or its pickle does something that no gate permits.
        MissingLibrary: joblib is not installed.
    """
    buffer = io.BytesIO()
    try:
        if container == "joblib":
            import joblib

            joblib.dump(obj, buffer, protocol=PROTOCOL)
        else:
            import pickle

            pickle.dump(obj, buffer, protocol=PROTOCOL)
    except ModuleNotFoundError:
        raise MissingLibrary(
            "Writing joblib files needs joblib.", hint="Install it: pip install joblib"
        ) from None
    except Exception as error:  # any exception of the object's own __reduce__ and __getstate__
        raise ValueError(
            f"{type(obj).__name__} cannot be pickled: {type(error).__name__}: {error}"
        ) from error
    data = buffer.getvalue()
    try:
        found = pickle_trace.trace(data, joblib=container == "joblib")
    except Refused as refusal:
        raise ValueError(f"{type(obj).__name__} as a pickle would not be loaded: {refusal}") from refusal
    return data, found.pins


def load(admitted: "Admitted", allowance: AbstractSet[str]) -> Any:
    """Run an admitted pickle or joblib file through the gate; return the object.

    `allowance` is the operator's own: a global must be pinned *and* allowed.

    Raises:
        PickleRefused: an effect that is not permitted, or state that cannot be checked.
        FormatRefused: a global outside both lists, or compiled state out of range.
        TypeError: `admitted` does not come from the admission.
    """
    from vault.core.admission import Admitted

    if type(admitted) is not Admitted:
        raise TypeError("A loader takes an Admitted value only.")
    usable = pins.check_pins(admitted.pins, admitted.pins, allowance, subject=admitted.subject)
    return restore(admitted.data, usable, joblib=admitted.format == "joblib", subject=admitted.subject)


def restore(data: bytes | memoryview, usable: AbstractSet[str], *, joblib: bool, subject: str = "") -> Any:
    """Run a pickle that was traced, with exactly the globals in `usable`.

    Raises:
        PickleRefused: an effect that is not permitted, or state that cannot be checked.
        FormatRefused: compiled state out of range.
    """
    content = joblib_container.unpack(data, subject=subject) if joblib else memoryview(data)
    result = pickle_vm.run(content, Gate(usable, joblib, subject), subject=subject).result
    native_state.check(result, subject=subject)
    return result
