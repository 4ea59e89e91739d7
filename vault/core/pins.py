"""Compare what a file names with what was pinned at publishing and with what the operator allows.

A pin is a dotted name, `module.attribute`. Pins come with the artifact and are
signed by its publisher; the allowance is the operator's own. Neither replaces
the other: a list that only the signer controls protects from nobody else.
"""

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Final

from vault.errors import FormatRefused

# No list can allow these: each runs code, opens files, or hands out something that does.
_NEVER_MODULES: Final = frozenset(
    [
        "_io",
        "_pickle",
        "_posixsubprocess",
        "_thread",
        "_winapi",
        "asyncio",
        "atexit",
        "bdb",
        "builtins.__import__",
        "cloudpickle",
        "code",
        "codeop",
        "commands",
        "concurrent",
        "ctypes",
        "dill",
        "distutils",
        "dis",
        "ensurepip",
        "fileinput",
        "ftplib",
        "functools",
        "gc",
        "glob",
        "http",
        "idlelib",
        "imaplib",
        "importlib",
        "inspect",
        "io",
        "ipaddress",
        "itertools",
        "joblib",
        "linecache",
        "logging",
        "marshal",
        "mmap",
        "multiprocessing",
        "nntplib",
        "nt",
        "ntpath",
        "numpy.distutils",
        "numpy.f2py",
        "numpy.testing",
        "operator",
        "os",
        "pathlib",
        "pdb",
        "pickle",
        "pickletools",
        "pip",
        "pkgutil",
        "platform",
        "poplib",
        "posix",
        "posixpath",
        "profile",
        "pty",
        "pydoc",
        "requests",
        "runpy",
        "setuptools",
        "shelve",
        "shutil",
        "signal",
        "site",
        "smtplib",
        "socket",
        "socketserver",
        "sqlite3",
        "ssl",
        "subprocess",
        "sys",
        "sysconfig",
        "tarfile",
        "tempfile",
        "telnetlib",
        "test",
        "threading",
        "timeit",
        "torch.hub",
        "torch.jit",
        "torch.load",
        "torch.serialization",
        "trace",
        "turtle",
        "types",
        "unittest",
        "urllib",
        "uuid",
        "venv",
        "webbrowser",
        "weakref",
        "winreg",
        "xmlrpc",
        "zipapp",
        "zipfile",
        "zipimport",
        "scipy.io",
        "sklearn.datasets",
        "sklearn.externals",
        "sklearn.utils._testing",
        "pandas.io",
        "vault",
    ]
)
_NEVER_NAMES: Final = frozenset(
    [
        "_codecs.decode",
        "codecs.decode",
        "codecs.open",
        "copyreg.add_extension",
        "numpy.DataSource",
        "numpy.fromfile",
        "numpy.fromregex",
        "numpy.genfromtxt",
        "numpy.load",
        "numpy.loadtxt",
        "numpy.memmap",
        "numpy.save",
        "numpy.savetxt",
        "numpy.savez",
        "numpy.savez_compressed",
        "numpy.frompyfunc",
        "numpy.vectorize",
        "numpy.apply_along_axis",
        "numpy._core._methods._dump",
        "numpy._core.memmap.memmap",
        "numpy.core.memmap.memmap",
        "numpy.lib.npyio.load",
        "numpy.lib._npyio_impl.load",
        "numpy.lib.format.open_memmap",
        "numpy.lib._utils_impl.safe_eval",
        "pandas.eval",
        "pandas.read_pickle",
        "sklearn.utils.fixes._eval",
    ]
)
_NEVER_LAST: Final = frozenset(
    [
        "NDArrayWrapper",
        "ZNDArrayWrapper",
        "__builtins__",
        "__import__",
        "breakpoint",
        "compile",
        "delattr",
        "eval",
        "exec",
        "execfile",
        "fromfile",
        "getattr",
        "globals",
        "import_module",
        "input",
        "load_module",
        "loadtxt",
        "locals",
        "memmap",
        "open",
        "open_memmap",
        "partial",
        "popen",
        "read_pickle",
        "runstring",
        "setattr",
        "system",
        "tofile",
        "vars",
    ]
)
# How NumPy and Cython restore objects. The gate calls none of them as long as it cannot check the state.
_REBUILDERS: Final = frozenset(
    f"numpy.random._pickle.__{kind}_ctor" for kind in ("bit_generator", "generator", "randomstate")
)
_CYTHON: Final = re.compile(r"(numpy|scipy|sklearn)(\.\w+)*\.__pyx_unpickle_\w+")
# joblib's own wrapper of arrays names no file and is read by this package's reader, never by joblib.
ARRAY_WRAPPER: Final = "joblib.numpy_pickle.NumpyArrayWrapper"


@lru_cache(maxsize=4_096)
def is_forbidden(name: str) -> bool:
    """Tell whether `name` may not be used whatever a list says.

    That is: callables that run code, open files, reach attributes or call
    something later, and everything in modules that exist for such things.
    """
    if name == ARRAY_WRAPPER or name in _REBUILDERS or _CYTHON.fullmatch(name):
        return False
    parts = name.split(".")
    if any(part.startswith("__") for part in parts) or name in _NEVER_NAMES or parts[-1] in _NEVER_LAST:
        return True
    return any(".".join(parts[:length]) in _NEVER_MODULES for length in range(1, len(parts) + 1))


def check_pins(
    observed: AbstractSet[str],
    pinned: Iterable[str],
    allowance: AbstractSet[str],
    *,
    subject: str = "",
) -> frozenset[str]:
    """Return the names that may be used: exactly those observed, if they were pinned and are allowed.

    Raises:
        FormatRefused: `pins-mismatch` when `observed` and `pinned` differ in any name;
            `not-allowed` when a name lies outside `allowance`, or may never be used.
    """
    recorded = frozenset(pinned)
    if observed != recorded:
        surplus, missing = sorted(observed - recorded), sorted(recorded - observed)
        told = "; ".join(
            f"{label} {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
            for label, names in (("not recorded:", surplus), ("recorded, but absent:", missing))
            if names
        )
        raise FormatRefused(
            f"{subject or 'The file'} does not name what was recorded when it was published ({told}).",
            code="pins-mismatch",
            subject=subject,
            hint="Publish it again from a trusted copy.",
        )
    forbidden = sorted(name for name in observed if is_forbidden(name))
    if forbidden:
        raise FormatRefused(
            f"{subject or 'The file'} names {forbidden[0]}, which is never loaded.",
            code="not-allowed",
            subject=subject,
            hint="No allowance can permit it: save the model without it.",
        )
    beyond = sorted(observed - allowance)
    if beyond:
        raise FormatRefused(
            f"{subject or 'The file'} names {', '.join(beyond[:5])}{' …' if len(beyond) > 5 else ''}, "
            "which this loader's operator does not allow.",
            code="not-allowed",
            subject=subject,
            hint="If you have reviewed it, add it to the allowance (`allow=` or the user configuration).",
        )
    return frozenset(observed)
