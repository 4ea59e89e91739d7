"""Load a legacy pickle or joblib file, which runs whatever it says, in a process that was confined for it.

This is the one place where a pickle is loaded without the gate. It refuses to
run in a process that can still write a file, so that no mistake elsewhere can
bring it into the user's own process (docs/decisions/0012).
"""

import io
import mmap
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import MappingProxyType, ModuleType
from typing import Any, Final

_JOBLIB: Final = (b"joblib.numpy_pickle", b"joblib\nnumpy_pickle")  # as protocols 2 to 5 and 0 write it
# zlib, gzip, bzip2, xz, lzma and LZ4: joblib's own way to unpack also serves a pickle in a gzip file.
_COMPRESSED: Final = (b"\x78", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x5d\x00\x00", b"\x04\x22\x4d\x18")
# Modules of scikit-learn that others took over; everywhere else a leading underscore was added (0.22).
_RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sklearn.cluster.k_means_": "sklearn.cluster._kmeans",
        "sklearn.ensemble.gradient_boosting": "sklearn.ensemble._gb",
        "sklearn.ensemble.voting_classifier": "sklearn.ensemble._voting",
        "sklearn.externals.joblib": "joblib",
        "sklearn.linear_model.sgd_fast": "sklearn.linear_model._sgd_fast",
        "sklearn.neighbors.dist_metrics": "sklearn.metrics._dist_metrics",
        "sklearn.neighbors.kd_tree": "sklearn.neighbors._kd_tree",
        "sklearn.neighbors.unsupervised": "sklearn.neighbors._unsupervised",
        "sklearn.svm.classes": "sklearn.svm._classes",
        "sklearn.tree.tree": "sklearn.tree._classes",
    }
)


def load(descriptor: int) -> Any:
    """Load the object in the open file `descriptor`; whatever the pickle says is done.

    Pickles of every protocol, of Python 2 as well, and joblib files, compressed
    or not.

    Raises:
        RuntimeError: this process is not confined.
        Exception: anything that the pickle, or the code it calls, raises.
    """
    if not _cannot_write():
        raise RuntimeError("A pickle is loaded in a confined process only.")
    sys.meta_path.append(_Renamed())
    with open(descriptor, "rb", closefd=False) as file:
        head = file.read(16)
        file.seek(0)
        if head.startswith(_COMPRESSED) or _names_joblib(descriptor):
            import joblib

            return joblib.load(file)
        return _unpickle(file)


def complete(model: object) -> None:
    """Give estimators of an older scikit-learn the parameters that came after it, with their defaults.

    Without them such an estimator predicts, but can be neither shown nor copied.
    """
    pending, seen = [model], set[int]()
    while pending:
        item = pending.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, list | tuple):
            pending.extend(item)
        elif isinstance(item, dict):
            pending.extend(item.values())
        elif getattr(getattr(item, "dtype", None), "kind", "") == "O":
            pending.extend(getattr(item, "flat", ()))
        elif type(item).__module__.startswith("sklearn.") and hasattr(item, "__dict__"):
            _complete(item)
            pending.extend(vars(item).values())


def _complete(estimator: object) -> None:
    """Set each parameter of the constructor that the estimator lacks, if it has a default."""
    names = getattr(type(estimator), "_get_param_names", None)
    if names is None:
        return
    import inspect

    parameters = inspect.signature(type(estimator)).parameters
    for name in names():
        default = parameters[name].default if name in parameters else inspect.Parameter.empty
        if name not in vars(estimator) and default is not inspect.Parameter.empty:
            setattr(estimator, name, default)


def _cannot_write() -> bool:
    """Tell whether this process may not make any file longer: a limit that it cannot lift again."""
    import resource

    return resource.getrlimit(resource.RLIMIT_FSIZE) == (0, 0)


def _names_joblib(descriptor: int) -> bool:
    """Tell whether arrays stand between the opcodes, as joblib alone writes them."""
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as whole:
        return any(whole.find(name) >= 0 for name in _JOBLIB)


def _unpickle(file: io.BufferedReader) -> Any:
    import pickle

    try:
        return pickle.load(file)  # noqa: S301 (what this process was confined for)
    except UnicodeDecodeError:  # bytes that Python 2 called text
        file.seek(0)
        return pickle.load(file, encoding="latin1")  # noqa: S301


class _Renamed(MetaPathFinder, Loader):
    """Find modules of scikit-learn under the names that they had before 0.22."""

    def __init__(self) -> None:
        self._kept: dict[str, ModuleSpec | None] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer for a name that nothing else found, if the module has another name now."""
        return ModuleSpec(fullname, self) if self._module(fullname) is not None else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Give the module under its present name."""
        found = self._module(spec.name)
        if found is not None:
            self._kept[spec.name] = found.__spec__
        return found

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as it is: it has run under its present name."""
        module.__spec__ = self._kept.pop(module.__spec__.name if module.__spec__ else "", module.__spec__)

    @staticmethod
    def _module(name: str) -> ModuleType | None:
        import pkgutil

        package, _, last = name.rpartition(".")
        if not name.startswith("sklearn.") or last.startswith("_"):
            return None
        for prefix, now in _RENAMED.items():
            if name == prefix or name.startswith(prefix + "."):
                present = now + name[len(prefix) :]
                break
        else:
            present = f"{package}._{last}"
        try:
            found = pkgutil.resolve_name(present)
        except (ImportError, AttributeError):
            return None
        return found if isinstance(found, ModuleType) else None
