"""Pick out, among the globals of a pickle, those that no model has a use for.

This is narrower than what the gate forbids: an old model may well name
`functools.partial` or `builtins.getattr`. Whatever is listed here starts
programs, opens files or sockets, or runs text as code, and a file that names it
is an attack or a mistake.
"""

from collections.abc import Iterable
from typing import Final

_MODULES: Final = frozenset(
    [
        "_posixsubprocess", "_socket", "asyncio", "bdb", "code", "codeop", "commands", "concurrent",
        "ctypes", "ensurepip", "ftplib", "http", "idlelib", "imaplib", "importlib",
        "multiprocessing", "nt", "os", "pdb", "pip", "poplib", "popen2", "posix", "profile", "pty",
        "pydoc", "requests", "runpy", "shutil", "signal", "smtplib", "socket", "socketserver",
        "sqlite3", "ssl", "subprocess", "telnetlib", "tempfile", "timeit", "trace", "urllib",
        "urllib2", "venv", "webbrowser", "xmlrpc", "zipimport",
    ]
)  # fmt: skip
_BUILTINS: Final = frozenset({"builtins", "__builtin__", "__builtins__"})
_RUNNERS: Final = frozenset(
    {"__import__", "apply", "breakpoint", "compile", "eval", "exec", "execfile", "file", "input", "open"}
)


def among(names: Iterable[str]) -> tuple[str, ...]:
    """Give those of the dotted `names` that start programs, open files or sockets, or run text; sorted."""
    return tuple(sorted(name for name in names if _is_danger(name)))


def _is_danger(name: str) -> bool:
    first, _, rest = name.partition(".")
    return first in _MODULES or (first in _BUILTINS and rest.partition(".")[0] in _RUNNERS)
