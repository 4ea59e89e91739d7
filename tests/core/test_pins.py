"""Pins: what is observed equals what was pinned and lies within the operator's own allowance."""

import pytest

from vault.core import pins
from vault.core.pickle_globals import DEFAULT_PICKLE_GLOBALS, STAND_INS
from vault.core.skops_types import DEFAULT_SKOPS_TYPES
from vault.errors import FormatRefused


def code(observed: set[str], pinned: set[str], allowance: set[str]) -> str:
    with pytest.raises(FormatRefused) as caught:
        pins.check_pins(observed, pinned, allowance)
    return caught.value.code


def test_equal_and_allowed_names_pass() -> None:
    assert pins.check_pins({"a.B"}, ["a.B"], {"a.B", "c.D"}) == {"a.B"}
    assert pins.check_pins(set(), [], set()) == frozenset()


def test_a_name_more_or_less_than_pinned_is_refused() -> None:
    assert code({"a.B", "c.D"}, {"a.B"}, {"a.B", "c.D"}) == "pins-mismatch"
    assert code({"a.B"}, {"a.B", "c.D"}, {"a.B", "c.D"}) == "pins-mismatch"


def test_a_list_from_the_artifact_alone_allows_nothing() -> None:
    assert code({"a.B"}, {"a.B"}, set()) == "not-allowed"


FORBIDDEN = [
    "os.system",
    "posix.system",
    "nt.system",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.exec",
    "builtins.getattr",
    "builtins.__import__",
    "builtins.open",
    "builtins.compile",
    "operator.attrgetter",
    "operator.methodcaller",
    "functools.partial",
    "importlib.import_module",
    "numpy.load",
    "numpy.memmap",
    "numpy.fromfile",
    "numpy._core.memmap.memmap",
    "numpy.lib.npyio.load",
    "joblib.load",
    "joblib.numpy_pickle.NDArrayWrapper",
    "joblib.numpy_pickle_compat.NDArrayWrapper",
    "joblib.numpy_pickle_compat.ZNDArrayWrapper",
    "joblib.numpy_pickle.load",
    "pickle.loads",
    "_pickle.loads",
    "cloudpickle.loads",
    "dill.loads",
    "sklearn.datasets._base.load_files",
    "sklearn.datasets.fetch_openml",
    "shutil.rmtree",
    "socket.socket",
    "ctypes.CDLL",
    "runpy.run_path",
    "code.InteractiveInterpreter",
    "timeit.timeit",
    "webbrowser.open",
    "pip.main",
    "marshal.loads",
    "types.CodeType",
    "torch.load",
    "torch.hub.load",
    "pandas.read_pickle",
    "pandas.io.pickle.read_pickle",
    "numpy.testing._private.utils.runstring",
    "asyncio.unix_events._UnixSubprocessTransport._start",
    "pydoc.pipepager",
    "bdb.Bdb",
    "cProfile.__builtins__",
    "vault.open",
]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_names_that_no_list_can_allow(name: str) -> None:
    assert pins.is_forbidden(name)
    assert code({name}, {name}, {name}) == "not-allowed"


def test_the_shipped_defaults_hold_nothing_forbidden() -> None:
    assert not [name for name in DEFAULT_SKOPS_TYPES | DEFAULT_PICKLE_GLOBALS if pins.is_forbidden(name)]
    assert STAND_INS <= DEFAULT_PICKLE_GLOBALS
    assert len(DEFAULT_SKOPS_TYPES) > 250


def test_the_shipped_types_exist() -> None:
    import importlib

    missing = []
    for name in DEFAULT_SKOPS_TYPES:
        module, _, attribute = name.rpartition(".")
        try:
            getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError):
            missing.append(name)
    # Losses, locations and aliases of releases before or after the installed ones.
    assert len(missing) < 15, missing
