"""Say what a database answered: which errors are worth another attempt, and what to tell a person."""

import sqlite3
from typing import Final

from sqlalchemy import exc

from vault.errors import Unavailable

# SQLSTATE classes and codes of PostgreSQL ("PostgreSQL Error Codes"), names of SQLite ("Result Codes").
UNIQUE: Final = frozenset({"23505", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE"})
_FULL: Final = frozenset({"53100", "SQLITE_FULL"})
_DENIED: Final = frozenset({"42501", "25006", "28000", "28P01", "SQLITE_AUTH", "SQLITE_PERM"})
_DENIED_FAMILIES: Final = ("SQLITE_READONLY",)
_TRANSIENT: Final = frozenset(
    {"40001", "40P01", "53300", "57P01", "57P02", "57P03", "SQLITE_BUSY_RECOVERY", "SQLITE_BUSY_SNAPSHOT"}
)
_TRANSIENT_CLASS: Final = "08"  # connection exceptions
# What libpq reports from a failed connection carries no code, only the server's words.
_DENIED_WORDS: Final = (
    "authentication failed",
    "authentication method",
    "no pg_hba.conf entry",
    "no password supplied",
    "permission denied",
    "is not permitted to log in",
    'role "',
)
_WHY_CHARS: Final = 200


def code(error: BaseException) -> str:
    """Give the SQLSTATE, or SQLite's name, of what a driver raised; empty if it has none."""
    cause = getattr(error, "orig", None) or error
    found = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
    return found if isinstance(found, str) else ""


def is_taken(error: BaseException) -> bool:
    """Tell whether a row with that key exists already."""
    return isinstance(error, exc.IntegrityError) and code(error) in UNIQUE


def is_absent(error: BaseException) -> bool:
    """Tell whether there is no table of that name: nobody has made the vault's yet."""
    if code(error) == "42P01":
        return True
    return code(error) == "SQLITE_ERROR" and "no such table" in str(getattr(error, "orig", ""))


def is_transient(error: BaseException) -> bool:
    """Tell whether the same statement may well succeed on a new connection in a moment."""
    if not isinstance(error, exc.DBAPIError):
        return False
    found = code(error)
    if found:
        return found in _TRANSIENT or found.startswith(_TRANSIENT_CLASS)
    return isinstance(error, exc.OperationalError | exc.InterfaceError) and not _denied_by_words(error)


def unavailable(error: BaseException, doing: str, name: str) -> Unavailable:
    """Say that the database failed while `doing` something to `name`."""
    found = code(error)
    if found in _FULL:
        kind, hint = "storage-full", "Make room for the database, then try again."
    elif found in _DENIED or found.startswith(_DENIED_FAMILIES) or _denied_by_words(error):
        kind, hint = "storage-denied", "Ask whoever runs the database for the right (docs/storage/sql.md)."
    elif found.startswith("SQLITE_BUSY"):
        kind, hint = "unavailable", "Another process holds the database; try again when it is done."
    elif found.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_TOOBIG")):
        kind, hint = "unavailable", "Restore the file from a backup."
    elif found == "3F000":
        kind, hint = "unavailable", "Make the schema first: CREATE SCHEMA …"
    else:
        kind, hint = "unavailable", "Check that the database is up and reachable, then try again."
    message = f"Could not {doing} {name or 'the store'}: {_why(error)}."
    return Unavailable(message, code=kind, subject=name, hint=hint)


def altered(name: str, why: str) -> Unavailable:
    """Say that the tables hold something that no vault has written."""
    return Unavailable(
        f"What the database holds of {name or 'the vault'} was altered or lost: {why}.",
        subject=name,
        hint="Restore it from a backup, and find out who may write to these tables.",
    )


def _denied_by_words(error: BaseException) -> bool:
    if code(error) or not isinstance(error, exc.OperationalError):
        return False
    text = str(error.orig)
    return any(words in text for words in _DENIED_WORDS)


def _why(error: BaseException) -> str:
    """Give the first line of a driver's message, printable and short: a server chose the words."""
    if isinstance(error, exc.TimeoutError):
        return "every connection is in use"
    cause = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    text = "".join(char if char.isprintable() else " " for char in (lines or [""])[0])[:_WHY_CHARS]
    if isinstance(cause, sqlite3.Error) and code(error) == "SQLITE_INTERRUPT":
        return "it took too long"
    return text.rstrip(" .") or type(cause).__name__
