"""Say what each loader of skops may restore, beyond what its node looks like.

Source: `skops/io/_general.py` and `_numpy.py` of skops 0.16.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from vault.core.skops_types import NUMPY_SCALARS

BUNCH: Final = "sklearn.utils._bunch.Bunch"
DICTS: Final = frozenset({"builtins.dict", "collections.OrderedDict", BUNCH})
# What skops turns the text of a dictionary key back into: it calls the type with that text.
KEY_TYPES: Final = NUMPY_SCALARS | {"builtins.bool", "builtins.float", "builtins.int", "builtins.str"}
# Constructors that are called with arguments of the file's choosing and do nothing but hold them.
CONSTRUCTIBLE: Final = frozenset(
    {"builtins.complex", "builtins.frozenset", "builtins.range", "datetime.timedelta", "datetime.timezone"}
    | {"datetime.date", "datetime.datetime", "zoneinfo.ZoneInfo"}
)
REFUSED_LOADERS: Final[Mapping[str, str]] = {
    "CachedNode": "no release of skops writes it",
    "MethodNode": "it calls a method of its choosing (CVE-2025-54412)",
    "OperatorFuncNode": "it calls an operator of its choosing (CVE-2025-54413)",
    "QuantileForestNode": "its compiled state cannot be checked",
}
# `functools.partial` only around this: HistGradientBoosting checks its numeric columns so.
PARTIAL_TARGETS: Final = frozenset({"sklearn.utils.validation.check_array"})
MASKED: Final = frozenset({"numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray"})
RANDOM_STATES: Final = frozenset({"numpy.random.mtrand.RandomState", "numpy.random.RandomState"})
GENERATORS: Final = frozenset({"numpy.random._generator.Generator", "numpy.random.Generator"})
# Named tuples and their number of parts: skops makes them by their constructor.
NAMED_TUPLES: Final[Mapping[str, int]] = {"sklearn.impute._iterative._ImputerTriplet": 3}
# Loops of compiled code that trust their arguments: only the attribute of the class that keeps one.
KEPT_FUNCTIONS: Final = frozenset(
    f"sklearn.cluster._kmeans._kmeans_single_{name}" for name in ("elkan", "lloyd")
)
_KEEPER: Final = "sklearn.cluster._bisect_k_means.BisectingKMeans"
_KEPT_AS: Final = "_kmeans_single"
# Compiled classes that take a tuple for their state; all else is given its attributes by name.
_TUPLE_STATES: Final = (
    "sklearn.metrics._dist_metrics.",
    "sklearn.neighbors._ball_tree.",
    "sklearn.neighbors._kd_tree.",
)


_BIT_GENERATORS: Final = frozenset({"MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"})


def is_special(name: str) -> bool:
    """Tell whether others look for an attribute of this name on their own account.

    From `__array_interface__` NumPy takes the address of an array, a number of the file's choosing.
    SciPy's distributions keep a text of their own in `__doc__`, which nobody follows.
    """
    return name.startswith("__") and name != "__doc__"


def why_no_state(content: object, owner: str) -> str:
    """Tell why a node is not the state of an instance of the class `owner`; empty if it is.

    Attributes come as a dictionary, nothing as null; anything else would be
    merged into the attributes as pairs, whose names nobody has seen.
    """
    if not isinstance(content, dict):
        return "A state is not a node."
    loader = content.get("__loader__")
    if loader == "DictNode" and content.get("__class__") == "dict":
        names = content.get("content")
        special = isinstance(names, dict) and any(map(is_special, names))
        return "It sets an attribute whose name is special." if special else ""
    if loader == "JsonNode" and content.get("content") == "null":
        return ""
    if loader == "TupleNode" and owner.startswith(_TUPLE_STATES):
        return ""
    return f"It gives a {owner.rpartition('.')[2]} a state that is not attributes."


def kept_function(content: Any, owner: str) -> object:
    """Return the node of the loop that `owner` may keep, from its checked state; None for none."""
    if owner != _KEEPER or content["__loader__"] != "DictNode" or not isinstance(content["content"], dict):
        return None
    return content["content"].get(_KEPT_AS)


def names_bit_generator(state: Any) -> bool:
    """Tell whether the dictionary node of a generator's state names a bit generator of NumPy."""
    try:
        return json.loads(state["content"]["bit_generator"]["content"]) in _BIT_GENERATORS
    except (KeyError, TypeError, ValueError):
        return False
