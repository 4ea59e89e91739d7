"""The tables of the index over the audit log, and how a file comes to have them."""

import sqlite3
from pathlib import Path
from typing import Final

from vault.errors import Refused, Unavailable

NAME: Final = "index.sqlite"
FILES: Final = (NAME, f"{NAME}-wal", f"{NAME}-shm")
WORDS: Final = (
    *("action", "decision", "outcome", "code", "actor", "key", "known", "environment", "slot", "model"),
    *("version", "manifest", "policy", "evidence", "subject", "host"),
)
TALLIED: Final = ("action", "decision", "outcome", "code", "actor", "environment", "model")
# What is new about an actor when it is seen for the first time; `hour` is that of the day, UTC.
FIRSTS: Final = ("actor", "key", "host", "model", "environment", "action")
HOUR: Final = "hour"
FILTERED: Final = (*TALLIED, "log")
NAMED: Final = ("evidence", "manifest", "subject", "host")  # what is asked for by the whole of its text

_SCHEMA: Final = 1
_APPLICATION: Final = 0x6D764149  # "mvAI"

# A column called `name` is what Datasette shows in place of the number that refers to its row.
_TABLES: Final = f"""
CREATE TABLE words(number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE logs(
  number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
  size INTEGER NOT NULL, root BLOB NOT NULL, top INTEGER NOT NULL
);
CREATE TABLE entries(
  row INTEGER PRIMARY KEY, log INTEGER NOT NULL REFERENCES logs(number),
  top INTEGER NOT NULL, position INTEGER NOT NULL, time INTEGER NOT NULL, id BLOB, of BLOB, seq INTEGER,
  {", ".join(f"{name} INTEGER REFERENCES words(number)" for name in WORDS)}
);
CREATE TABLE tallies(
  field TEXT NOT NULL, word INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY(field, word)
) WITHOUT ROWID;
CREATE TABLE firsts(
  actor INTEGER NOT NULL, field TEXT NOT NULL, value INTEGER NOT NULL, time INTEGER NOT NULL,
  PRIMARY KEY(actor, field, value)
) WITHOUT ROWID;
CREATE VIEW records AS SELECT
  entries.row AS row, logs.name AS log, entries.top AS "commit", position,
  strftime('%Y-%m-%dT%H:%M:%SZ', time, 'unixepoch') AS time,
  lower(hex(id)) AS id, lower(hex(of)) AS of, seq,
  {", ".join(f"(SELECT name FROM words WHERE number = {name}) AS {name}" for name in WORDS)}
FROM entries JOIN logs ON logs.number = entries.log;
PRAGMA application_id={_APPLICATION};
PRAGMA user_version={_SCHEMA}
"""  # noqa: S608  nothing but names of this module
INDEXES: Final = {
    # Wide enough to answer every filter without looking at the rows themselves.
    "by_time": f"entries(time, row, {', '.join(FILTERED)})",
    "troubled": f"entries(time, row, {', '.join(FILTERED)}) WHERE code IS NOT NULL",
    "by_actor": "entries(actor, time)",
    "by_model": "entries(model, time)",
    "by_action": "entries(action, time)",
    "by_log": "entries(log, position)",
    "by_id": "entries(id)",
    "by_attempt": "entries(of) WHERE of IS NOT NULL",
    **{f"by_{field}": f"entries({field}, time) WHERE {field} IS NOT NULL" for field in NAMED},
}


class AnotherError(Exception):
    """The file is another program's, or of another layout: as good as damaged."""


def laid_out(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Give a connection whose database has the tables.

    Raises:
        AnotherError: it is not an index of this layout.
        sqlite3.Error: it cannot be used.
    """
    run = connection.execute
    for setting in ("synchronous=NORMAL", "journal_mode=WAL", "trusted_schema=OFF", "cache_size=-65536"):
        run(f"PRAGMA {setting}")
    found = (run("PRAGMA application_id").fetchone()[0], run("PRAGMA user_version").fetchone()[0])
    if found == (0, 0):
        run("BEGIN IMMEDIATE")
        if run("PRAGMA user_version").fetchone()[0] == 0:  # no other process was first
            for statement in _TABLES.split(";"):
                run(statement)
        run("COMMIT")
    elif found != (_APPLICATION, _SCHEMA):
        raise AnotherError
    run("SELECT count(*) FROM logs").fetchone()
    return connection


def remove(folder: Path) -> None:
    """Remove the files of an index.

    Raises:
        OSError: the system says no.
    """
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether an error is the file's own, rather than the disk's or another process's."""
    code = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & 0xFF
    return code in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def translated(error: OSError | sqlite3.Error, folder: Path | None) -> Refused | Unavailable:
    """Say in the vault's own terms why the index cannot be used."""
    if isinstance(error, sqlite3.Error) and is_damage(error):
        return damaged(str(error), folder)
    full = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
    return Unavailable(
        f"The index of the audit log cannot be used: {error}.",
        code="storage-full" if full else "unavailable",
        subject=str(folder),
        hint="Look after that disk and its permissions, then try again.",
    )


def damaged(reason: str, folder: Path | None) -> Refused:
    """Build the refusal of an index that is none."""
    return Refused(
        f"The index of the audit log cannot be used: {reason}.",
        code="memory-damaged",
        subject=str(folder),
        hint="It is no evidence: remove that folder, and it is made again from the log.",
    )
