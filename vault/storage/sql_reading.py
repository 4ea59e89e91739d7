"""Read objects from the rows of a database, none of which is trusted."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from vault.core import limits
from vault.storage import answers, sql_answers
from vault.storage.sql_database import Database
from vault.storage.sql_statements import CHUNK, CONTENT_BYTES

HEAD_BYTES: Final = 64 * limits.KIB  # comes with the first look at an object that has no more
_CHUNKS_AT_ONCE: Final = 2  # a work unit of 1 MiB and 256 bytes lies in two


@dataclass(frozen=True, slots=True)
class Head:
    """What a first look at an object gives: its size, its content id, and all of it if that is little."""

    size: int
    content: bytes
    data: bytes | None


def chunk_count(size: int) -> int:
    """Say how many chunks an object of `size` bytes has: an empty one has one."""
    return max(1, -(-size // CHUNK))


def look(database: Database, name: str, *, limit: int) -> Head:
    """Look at an object; its bytes come along if there are at most `limit`, which one chunk holds.

    Raises:
        NotFound: there is no such name.
        Unavailable: the database failed, or what it holds was altered.
    """
    given = {"name": name, "limit": min(limit, CHUNK), "cap": min(limit, CHUNK)}

    def act(connection: Connection) -> list[tuple[object, ...]]:
        return [tuple(row) for row in connection.execute(database.dialect.statements.head, given)]

    rows = database.run("read", name, act)
    if not rows:
        raise answers.not_found(name)
    if len(rows) > 1:
        raise sql_answers.altered(name, "its name is there twice")
    size, content, first, data = rows[0]
    checked = check_size(name, size)
    if not isinstance(content, bytes) or len(content) != CONTENT_BYTES:
        raise sql_answers.altered(name, "its content id is none")
    if first != min(checked, CHUNK):
        raise sql_answers.altered(name, "its first bytes are not there, or another number of them")
    if data is not None and (not isinstance(data, bytes) or len(data) != checked):
        raise sql_answers.altered(name, "its bytes are of another kind or number")
    if data is None and checked <= min(limit, CHUNK):
        raise sql_answers.altered(name, "its bytes are not there")
    return Head(checked, content, data)


def check_size(name: str, size: object) -> int:
    """Check the size that a row tells.

    Raises:
        Unavailable: it is no size.
    """
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= limits.FILE_BYTES:
        raise sql_answers.altered(name, "its size is none")
    return size


class SqlSource:
    """An object of a known size, whose chunks are fetched as they are asked for, by several threads."""

    def __init__(self, database: Database, name: str, head: Head) -> None:
        """Read the object that `head` tells of."""
        self._database = database
        self._name = name
        self._head = head

    @property
    def size(self) -> int:
        """The object's size in bytes."""
        return self._head.size

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; return how many bytes were there.

        Raises:
            ValueError: `offset` is negative.
            Unavailable: the database failed, or does not hold these bytes.
        """
        if offset < 0:
            raise ValueError("an offset is not negative")
        length = min(buffer.nbytes, self._head.size - offset)
        if length <= 0:
            return 0
        target = buffer.cast("B")[:length]
        if self._head.data is not None:
            target[:] = memoryview(self._head.data)[offset : offset + length]
            return length
        done = 0
        while done < length:
            first = (offset + done) // CHUNK
            end = min(offset + length, (first + _CHUNKS_AT_ONCE) * CHUNK)
            self._fetch(offset + done, target[done : end - offset])
            done = end - offset
        return length

    def _fetch(self, offset: int, target: memoryview) -> None:
        """Fetch a range that is not empty and lies in few chunks."""
        first, begin = divmod(offset, CHUNK)
        last, end = divmod(offset + len(target) - 1, CHUNK)
        given = {
            "content": self._head.content,
            "first": first,
            "last": last,
            "begin": begin + 1,
            "end": end + 1,
            "most": last - first + 2,
        }

        def act(connection: Connection) -> None:
            rows = connection.execute(self._database.dialect.statements.range, given)
            expected = iter(range(first, last + 1))
            done = 0
            for seq, size, data in rows:
                if seq != next(expected, None):
                    raise sql_answers.altered(self._name, f"chunk {seq!r} where it has none")
                done += self._place(seq, size, data, target[done:])
            if done != len(target):
                raise sql_answers.altered(self._name, f"chunk {first} or {last} is not there")

        self._database.run("read", self._name, act)

    def _place(self, seq: int, size: object, data: object, target: memoryview) -> int:
        """Copy what a row gave of chunk `seq` to its place; return how much it was."""
        if size != min(CHUNK, self._head.size - seq * CHUNK):
            raise sql_answers.altered(self._name, f"chunk {seq} has another size")
        if not isinstance(data, bytes) or len(data) > len(target):
            raise sql_answers.altered(self._name, f"chunk {seq} is of another kind")
        target[: len(data)] = data
        return len(data)
