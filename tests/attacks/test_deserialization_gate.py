"""Attacks that use nothing but allowed names: each ends in a refusal by the enforcing machine."""

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from tests.attacks.test_deserialization_pickle import WARM, Call, P, S, short
from vault.core.pickle_globals import DEFAULT_PICKLE_GLOBALS
from vault.errors import FormatRefused
from vault.loaders import pickle_gate


def allowed(*names: str) -> frozenset[str]:
    return frozenset(names) | DEFAULT_PICKLE_GLOBALS


def gate(data: bytes, *names: str, joblib: bool = False) -> str:
    """Through the gate with names that an operator might well allow; return the message."""
    with pytest.raises(FormatRefused) as caught:
        pickle_gate.restore(data, allowed(*names), joblib=joblib)
    return caught.value.message


SPLIT = "sklearn.model_selection._split"


def test_build_on_a_class_cannot_replace_its_methods() -> None:
    before = KFold.split
    poisoned = P + short(SPLIT) + short("KFold") + b"\x93}" + short("split") + b"Nsb."
    told = gate(poisoned, f"{SPLIT}.KFold")
    slots = P + short(SPLIT) + short("KFold") + b"\x93(N}" + short("split") + b"Nstb."
    gate(slots, f"{SPLIT}.KFold")
    assert "state of a global" in told
    assert KFold.split is before


RIDGE = short("sklearn.linear_model._ridge") + short("Ridge") + b"\x93"
TRIPLET = short("sklearn.impute._iterative") + short("_ImputerTriplet") + b"\x93"
MAKE = P + RIDGE + b")\x81"


@pytest.mark.parametrize(
    "state",
    [
        b"}" + short("predict") + b"Ns",
        b"}" + short("fit") + RIDGE + b"s",
        b"}" + short("__class__") + RIDGE + b"s",
        b"}" + short("__setstate__") + b"Ns",
        b"(N}" + short("coef_") + b"Nst",
        b"(}}" + short("coef_") + b"Nst",
        b"K\x01",
        b"]",
        b"}K\x01Ns",
    ],
)
def test_state_cannot_replace_methods_or_reach_beyond_attributes(state: bytes) -> None:
    gate(MAKE + state + b"b.")
    assert callable(Ridge.predict)


@pytest.mark.parametrize(
    "data",
    [
        P + RIDGE + b")R.",
        P + RIDGE + b"K\x01\x85\x81.",
        P + RIDGE + b")}" + short("alpha") + b"K\x01s\x92.",
        P + short("sklearn.tree._tree") + short("Tree") + b"\x93)R.",
        P + short("sklearn.tree._tree") + short("Tree") + b"\x93)\x81.",
        P + TRIPLET + b"K\x01K\x02\x86\x81.",
        P + TRIPLET + b"K\x01K\x02K\x03\x87}" + short("x") + b"Ns\x92.",
        P + TRIPLET + b"K\x01K\x02K\x03\x87\x81}" + short("x") + b"Nsb.",
        P + short("sklearn.utils._bunch") + short("Bunch") + b"\x93K\x01\x85\x81.",
        P + short("sklearn.utils._bunch") + short("Bunch") + b"\x93)\x81]e.",
        P + short("numpy.random._mt19937") + short("MT19937") + b"\x93)\x81.",
        P + short("sklearn.isotonic") + short("IsotonicRegression") + b"\x93)\x81Nb.",
        MAKE + b"(K\x01K\x02u.",
        MAKE + b"(K\x01e.",
    ],
)
def test_constructors_are_not_called_and_objects_not_filled(data: bytes) -> None:
    gate(data)


def test_a_named_tuple_is_made_of_its_parts_only() -> None:
    stream = P + TRIPLET + b"K\x01K\x02K\x03\x87\x81."
    found = pickle_gate.restore(stream, allowed(), joblib=False)
    assert found._asdict() == {"feat_idx": 1, "neighbor_feat_idx": 2, "estimator": 3}


@pytest.mark.parametrize(
    "name",
    ["numpy.ndarray", "numpy.random._mt19937.MT19937", "sklearn.tree._tree.Tree", "builtins.set"],
)
def test_what_stands_for_a_name_is_of_no_use_inside_a_model(name: str) -> None:
    module, _, last = name.rpartition(".")
    stream = MAKE + b"}" + short("alpha") + short(module) + short(last) + b"\x93sb."
    assert "cannot be checked" in gate(stream)
    assert "cannot be checked" in gate(P + short(module) + short(last) + b"\x93.")


def test_a_loop_over_compiled_code_is_restored_in_its_one_place_only() -> None:
    loop = short("sklearn.cluster._kmeans") + short("_kmeans_single_lloyd") + b"\x93"
    state = b"}" + short("_kmeans_single") + loop + b"s"
    bisecting = short("sklearn.cluster._bisect_k_means") + short("BisectingKMeans") + b"\x93)\x81"
    found = pickle_gate.restore(P + bisecting + state + b"b.", allowed(), joblib=False)
    assert found._kmeans_single.__name__ == "_kmeans_single_lloyd"
    gate(MAKE + state + b"b.")
    gate(P + bisecting + b"}" + short("init") + loop + b"sb.")
    gate(P + loop + b")R.")


def test_an_alias_of_another_modules_function_is_refused() -> None:
    told = gate(Call("sklearn.utils.validation", "np").stream(), "sklearn.utils.validation.np")
    assert "neither a class nor a function" in told
    told = gate(Call("sklearn.pipeline", "clone").stream(), "sklearn.pipeline.clone")
    assert "neither a class nor a function" in told


def test_a_name_that_does_not_exist_is_a_refusal() -> None:
    assert "does not exist" in gate(Call("sklearn.pipeline", "Gone").stream(), "sklearn.pipeline.Gone")
    assert "does not exist" in gate(Call("sklearn.gone", "Gone").stream(), "sklearn.gone.Gone")


DTYPE = short("numpy") + short("dtype") + b"\x93"


def dtype_stream(code: str, state: Any) -> bytes:
    packed = pickle.dumps(state, 3)[2:-1]
    return P + DTYPE + short(code) + b"\x89\x88\x87R" + packed + b"b."


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("f8", (3, "<", None, None, None, -1, -1, 63)),
        ("O8", (3, "|", None, None, None, -1, -1, 0)),
        ("f8", (3, "<", None, None, None, -1, -1)),
        ("V16", (3, "|", None, ("a",), {"a": ("x", 12)}, 16, 1, 0)),
        ("V16", (3, "|", None, ("a", "b"), {"a": 1}, 16, 1, 0)),
        ("V16", (3, "|", None, ("a",), {"b": (1, 2)}, 16, 1, 0)),
        ("U999999999999", (3, "<", None, None, None, 4, 4, 8)),
        ("f8", (3, "<", ("f8", (2,)), None, None, -1, -1, 0)),
        ("l33t", (3, "<", None, None, None, -1, -1, 0)),
        ("f8", (3, "?", None, None, None, -1, -1, 0)),
        (",".join(["f8"] * 3), (3, "<", None, None, None, -1, -1, 0)),
    ],
)
def test_flags_and_fields_of_a_dtype_are_never_taken_from_the_file(code: str, state: Any) -> None:
    try:
        found = pickle_gate.restore(dtype_stream(code, state), allowed(), joblib=False)
    except FormatRefused:
        return
    assert found in (np.dtype("f8"), np.dtype(object))
    assert found.flags == np.dtype(found.str).flags


RECONSTRUCT = short("numpy._core.multiarray") + short("_reconstruct") + b"\x93"
NDARRAY = short("numpy") + short("ndarray") + b"\x93"


@pytest.mark.parametrize(
    "state",
    [
        (1, (10,), "DTYPE", False, bytes(8)),
        (1, (2**40,), "DTYPE", False, bytes(8)),
        (1, (-1,), "DTYPE", False, bytes(8)),
        (1, (1,), "DTYPE", False, [1]),
        (1, (1,), "DTYPE", False, "text"),
        (1, (1,), None, False, bytes(8)),
        (1, [1], "DTYPE", False, bytes(8)),
        (1, (True,), "DTYPE", False, bytes(8)),
        (2, (1,), "DTYPE", False, bytes(8)),
        (1, (1,), "DTYPE", 0, bytes(8)),
    ],
)
def test_arrays_whose_parts_do_not_fit_are_refused(state: Any) -> None:
    packed = pickle.dumps(state, 3)[2:-1]
    marker = pickle.dumps("DTYPE", 3)[2:-3]
    dtype = (
        DTYPE
        + short("f8")
        + b"\x89\x88\x87R(K\x03"
        + short("<")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    head = P + RECONSTRUCT + NDARRAY + b"K\x00\x85C\x01b\x87R"
    stream = head + packed.replace(marker + b"q\x00", dtype).replace(marker + b"q\x01", dtype) + b"b."
    gate(stream)


def test_arrays_of_a_subclass_or_without_state_are_refused() -> None:
    for kind in (b"", short("numpy.ma.core") + short("MaskedArray") + b"\x93"):
        gate(P + RECONSTRUCT + (kind or short("x")) + b"K\x00\x85C\x01b\x87R.", "numpy.ma.core.MaskedArray")
    gate(P + RECONSTRUCT + NDARRAY + b"K\x00\x85C\x01b\x87R.")
    gate(P + RECONSTRUCT + NDARRAY + b"J\xff\xff\xff\x7f\x85C\x01b\x87R.")
    gate(P + DTYPE + short("f8") + b"\x89\x88\x87R.")


def test_every_truncation_of_a_model_is_refused() -> None:
    for length in range(len(WARM)):
        gate(WARM[:length])


def test_deep_nesting_is_refused_and_does_not_end_the_process() -> None:
    deep = P + b"(" * 200_000 + b"t" * 200_000
    for data in (deep + S, P + b"]" + b"\x85" * 300_000 + S, P + b"N" + b"\x85" * 300_000 + b"\x94}h\x00Ns."):
        try:
            pickle_gate.restore(data, allowed(), joblib=False)
        except FormatRefused:
            continue
