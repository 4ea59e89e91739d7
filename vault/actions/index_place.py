"""Where a vault's registry index lies: a file in this user's state folder, and a server where one is set.

Nothing heavy is imported until an index is opened, so that every change to a vault
can afford to say that it happened (`touch`).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vault.core import names
from vault.core.names import Digest, Model
from vault.errors import Malformed, MissingLibrary, Unavailable
from vault.settings import Settings

if TYPE_CHECKING:
    from vault.registry.database import Database

TOUCHED: Final = "touched"
_FILE: Final = "registry.sqlite"  # as `vault.registry.database` names it
_DIGITS: Final = 32  # of the vault's id, in the name of the folder
_TOUCHED_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Index:
    """An open index. `own` is the file of this reader; `catalog` is a server, or the same as `own`."""

    catalog: "Database"
    own: "Database"
    folder: Path | None  # None: it is in memory, and gone when it is closed

    @property
    def shared(self) -> bool:
        """Whether others share the public half."""
        return self.catalog is not self.own

    def close(self) -> None:
        """Let go of the file and the connections."""
        self.own.close()
        if self.shared:
            self.catalog.close()


def folder_of(state: Path | None, vault: Digest) -> Path | None:
    """Give the folder of a vault's index in a state folder; None without one."""
    return None if state is None else state / "registry" / vault[:_DIGITS]


def open_index(settings: Settings, vault: Digest) -> Index:
    """Open the index, making it where there is none; in memory where the state folder cannot be written.

    Raises:
        MissingLibrary: SQLAlchemy or alembic is not installed.
        ValueError: the setting names no PostgreSQL database.
        Refused: `memory-damaged`: what is there is no index of this vault.
        Unavailable: the server cannot be used.
    """
    _demand("sqlalchemy", "alembic")
    from vault.registry import database

    folder = folder_of(settings.state_dir, vault)
    if folder is not None and not _prepare(folder):
        folder = None
    own = database.open_file(None if folder is None else folder / _FILE, vault)
    try:
        catalog = own if settings.index is None else _server(settings.index, vault)
    except BaseException:
        own.close()
        raise
    return Index(catalog, own, folder)


def _prepare(folder: Path) -> bool:
    """Make the folder and the file, private to their user; tell whether they can be used."""
    from vault.audit import private_files
    from vault.registry import database

    try:
        private_files.make_folder(folder)
        private_files.make_file(folder, database.FILES)
    except OSError:
        return False
    return os.access(folder, os.W_OK) and os.access(folder / _FILE, os.R_OK | os.W_OK)


def _server(url: str, vault: Digest) -> "Database":
    _demand("psycopg")
    from vault.registry import database
    from vault.storage import sql_address, sql_postgres

    address = sql_address.parse(url) if url.startswith(("postgresql://", "postgres://")) else None
    if not isinstance(address, sql_address.PostgresAddress):
        raise ValueError(  # noqa: TRY004 (the text is wrong, not its type)
            "The setting 'index' (MVAULT_INDEX) is the URL of a PostgreSQL database: postgresql://…"
        )
    schema = None if address.schema == sql_address.DEFAULT_SCHEMA else address.schema
    engine = sql_postgres.dialect(address).open_engine()
    return database.open_server(engine, vault, place=address.location, schema_name=schema)


def _demand(*libraries: str) -> None:
    for library in libraries:
        if find_spec(library) is None:
            extra = "postgres" if library == "psycopg" else "registry"
            raise MissingLibrary(
                f"The registry index needs {library}, which is not installed.",
                subject=library,
                hint=f"Install it: pip install 'model-artifact-vault[{extra}]'. "
                "ls, show, history, diff and compare need no index.",
            )


def remove(settings: Settings, vault: Digest) -> None:
    """Remove the file of the index, whatever is in it; what a server has stays.

    Raises:
        Unavailable: it cannot be removed.
    """
    folder = folder_of(settings.state_dir, vault)
    if folder is None:
        return
    for name in (_FILE, f"{_FILE}-wal", f"{_FILE}-shm", TOUCHED):
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(
                f"{folder / name} cannot be removed: {error.strerror}.",
                subject=str(folder / name),
                hint="Look after that folder and its permissions, then try again.",
            ) from None


# --- what happened since ---


def toucher(state: Path | None, vault: Digest) -> Callable[[Model], None] | None:
    """Give what notes that a model changed, for an index that may be there."""
    folder = folder_of(state, vault)
    return None if folder is None else lambda model: touch(folder, model)


def touch(folder: Path, model: Model) -> None:
    """Note that a model changed, if there is an index; what cannot be noted, a later update finds."""
    try:
        if not (folder / _FILE).is_file():
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(folder / TOUCHED, flags, 0o600)
        try:
            if os.fstat(descriptor).st_size < _TOUCHED_BYTES:
                os.write(descriptor, f"{model}\n".encode("ascii"))
        finally:
            os.close(descriptor)
    except OSError:
        return


def take_touched(folder: Path | None) -> list[Model] | None:
    """Give the models that were noted, once; None where there are too many to tell, and [] for none."""
    if folder is None:
        return []
    taken = folder / f"{TOUCHED}.{os.getpid()}"
    try:
        os.rename(folder / TOUCHED, taken)
        descriptor = os.open(taken, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            data = os.read(descriptor, _TOUCHED_BYTES + 1)
        finally:
            os.close(descriptor)
            os.unlink(taken)
    except OSError:
        return []
    if len(data) >= _TOUCHED_BYTES:
        return None
    try:
        found = {names.model(line) for line in data.decode("ascii").split("\n") if line}
    except (UnicodeDecodeError, Malformed):
        return None
    return sorted(found)
