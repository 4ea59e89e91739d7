"""Write one new object into a database: chunk by chunk, and its name with the last."""

import secrets
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Final

from sqlalchemy import Connection, TextClause, exc

from vault.core import limits
from vault.errors import Unavailable
from vault.ports import Buffer
from vault.storage import answers
from vault.storage.sql_database import Database
from vault.storage.sql_statements import CHUNK, CONTENT_BYTES

_FIRST_BUFFER: Final = 64 * limits.KIB
_TOGETHER: Final = 500  # objects in one transaction, of which each has one chunk
_TOGETHER_BYTES: Final = 8 * limits.MIB


def create_together(database: Database, objects: Mapping[str, bytes]) -> list[str]:
    """Create small objects, name → bytes, many in one transaction; return the names of those that were not.

    Left are large ones and those whose name is taken, in SQLite with all that were in their transaction.

    Raises:
        Unavailable: the database failed; what became visible is whole.
    """
    left = [name for name, data in objects.items() if len(data) > CHUNK]
    for batch in _batches({name: data for name, data in objects.items() if len(data) <= CHUNK}):
        contents = [secrets.token_bytes(CONTENT_BYTES) for _ in batch]
        act = partial(_insert_together, database, batch, contents)
        try:
            created = database.run("create", next(iter(batch)), act)
        except exc.IntegrityError:
            created = set()
        left += [name for name in batch if name not in created]
    return left


def _insert_together(
    database: Database, batch: Mapping[str, bytes], contents: list[bytes], connection: Connection
) -> Collection[object]:
    """Insert objects in one transaction; give the names of those that were."""
    statements = database.dialect.statements.together
    if len(statements) == 1:
        columns = {
            "names": [*batch],
            "sizes": [len(data) for data in batch.values()],
            "contents": contents,
            "data": [*batch.values()],
        }
        return {*connection.execute(statements[0], columns).scalars()}
    rows = [
        {"name": name, "size": len(data), "content": content, "data": data}
        for (name, data), content in zip(batch.items(), contents, strict=True)
    ]
    with database.transaction(connection):
        for statement in statements:
            connection.execute(statement, rows)
    return batch


def _batches(objects: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    batch: dict[str, bytes] = {}
    size = 0
    for name, data in objects.items():
        if len(batch) == _TOGETHER or (batch and size + len(data) > _TOGETHER_BYTES):
            yield batch
            batch, size = {}, 0
        batch[name] = data
        size += len(data)
    if batch:
        yield batch


class SqlSink:
    """Collects a chunk at a time; nothing is visible before `publish`.

    Each chunk is a transaction of its own, so that however large an object is, no transaction stays
    open; they lie under a random content id that no name has yet.
    """

    def __init__(self, database: Database, name: str, size: int | None) -> None:
        """Write the object `name`, which may be known to get `size` bytes."""
        self._database = database
        self._name = name
        self._content = secrets.token_bytes(CONTENT_BYTES)
        self._buffer = bytearray(min(_FIRST_BUFFER if size is None else max(size, 1), CHUNK))
        self._filled = 0
        self._seq = 0
        self._open = True
        self._failed = False

    def write(self, data: Buffer) -> None:
        """Append `data`.

        Raises:
            ValueError: the block of `create` has ended.
            Unavailable: the database failed or is full; the object will not become visible.
        """
        if not self._open:
            raise ValueError("write after the object was finished")
        self._refuse_after_failure()
        rest = memoryview(data).cast("B")
        self._failed = True  # until this is done: an interrupt leaves part of it behind
        while rest:
            if self._filled == CHUNK:
                self._put_chunk()
            room = self._room(self._filled + len(rest))
            length = min(len(rest), room)
            self._buffer[self._filled : self._filled + length] = rest[:length]
            self._filled += length
            rest = rest[length:]
        self._failed = False

    def close(self) -> None:
        """Take no more bytes."""
        self._open = False

    def publish(self) -> None:
        """Store the last chunk and the name in one transaction.

        If its answer is lost the same is sent again: with the content id that only this writer knows,
        a name that is taken by then tells by whom.

        Raises:
            Conflict: the name is taken.
            Unavailable: the database failed, or lost a chunk; unless it failed to answer in the end,
                nothing is visible.
        """
        self._refuse_after_failure()
        given = {
            "name": self._name,
            "size": self._seq * CHUNK + self._filled,
            "content": self._content,
            "seq": self._seq,
            "data": memoryview(self._buffer)[: self._filled],
        }

        def act(connection: Connection) -> None:
            statements = self._database.dialect.statements.publish
            if len(statements) == 1:
                self._insert(connection, statements[0], given)
                return
            with self._database.transaction(connection):
                for statement in statements:
                    self._insert(connection, statement, given)

        try:
            self._database.run("store", self._name, act)
        except exc.IntegrityError as error:
            if self._owner() != self._content:
                raise answers.conflict(self._name) from error

    def _insert(self, connection: Connection, statement: TextClause, given: dict[str, object]) -> None:
        """Insert one row; none is inserted where an earlier chunk is missing."""
        done = connection.execute(statement, given, execution_options={"preserve_rowcount": True})
        if done.rowcount != 1:
            raise self._lost()

    def _owner(self) -> bytes:
        """Give the content id that the name has."""

        def act(connection: Connection) -> list[object]:
            found = connection.execute(self._database.dialect.statements.owner, {"name": self._name})
            return [row[0] for row in found]

        found = self._database.run("store", self._name, act)
        if not found:
            raise self._lost()  # so it is the chunk that was there: somebody writes under our content id
        return found[0] if isinstance(found[0], bytes) else b""

    def _put_chunk(self) -> None:
        given = {"content": self._content, "seq": self._seq, "data": memoryview(self._buffer)}

        def act(connection: Connection) -> None:
            with self._database.relaxed(connection):
                connection.execute(self._database.dialect.statements.put_chunk, given)

        try:
            self._database.run("write", self._name, act)
        except exc.IntegrityError as error:
            if not self._is_stored(given):
                raise self._lost() from error
        self._seq += 1
        self._filled = 0

    def _is_stored(self, given: dict[str, object]) -> bool:
        """Tell whether the chunk that is there is the one that was sent: its answer was lost."""

        def act(connection: Connection) -> bool:
            return connection.execute(self._database.dialect.statements.same_chunk, given).first() is not None

        return self._database.run("write", self._name, act)

    def _room(self, wanted: int) -> int:
        """Enlarge the buffer, up to a chunk, if `wanted` bytes are to be in it; say how much room it has."""
        if wanted > len(self._buffer) < CHUNK:
            self._buffer += bytes(min(CHUNK, max(wanted, 2 * len(self._buffer))) - len(self._buffer))
        return len(self._buffer) - self._filled

    def _lost(self) -> Unavailable:
        return Unavailable(
            f"{self._name} was not stored: the database lost some of it, or somebody swept it away.",
            subject=self._name,
            hint="Try again.",
        )

    def _refuse_after_failure(self) -> None:
        if self._failed:
            raise Unavailable(
                f"An earlier write to {self._name} failed, so it was not stored.",
                subject=self._name,
                hint="Try again.",
            )
