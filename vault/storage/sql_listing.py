"""List names of a database in pages: what each page is asked with, and that it comes in order."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from vault.core import limits
from vault.storage import naming

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from vault.storage.sql_database import Database

FIRST: Final = "!"

_BEHIND_ALL: Final = "\x7f"  # sorts after every character that a name has
_LAST: Final = "\U0010ffff"  # sorts after every character that there is


def sizes(database: "Database", prefix: str) -> Iterator[tuple[str, int]]:
    """Yield the names that start with `prefix`, in code-point order, with the sizes that their rows tell.

    Raises:
        Unavailable: the database failed, does not give its names in order, or has no size of one.
    """
    from vault.storage.sql_reading import check_size

    clause = database.dialect.statements.sizes
    after = ""
    while True:
        given = {"after": after, "low": prefix, "high": behind(prefix)}

        def act(connection: "Connection", given: dict[str, str] = given) -> list[tuple[object, object]]:
            return [(row[0], row[1]) for row in connection.execute(clause, given)]

        page = database.run("list", prefix, act)
        if not page:
            return
        first = after
        for shown, size in page:
            name = shown.decode("latin-1") if isinstance(shown, bytes) else str(shown)
            check_order(prefix, name >= after and name > first)
            if naming.is_name(name):
                yield name, check_size(name, size)
            after = name
        after = shortened(after)


def clamp(after: str) -> str:
    """Give what sorts among names as `after` does, and has only characters that a database takes."""
    for place, char in enumerate(after[: limits.STORE_NAME_CHARS + 1]):
        if char > "~":
            return after[:place] + _BEHIND_ALL
        if char < FIRST:
            return after[:place]
    return after[: limits.STORE_NAME_CHARS + 1]


def shortened(name: str) -> str:
    """Give `name`, or for one that is too long to be one a text that sorts after all that begin like it."""
    return name if len(name) <= limits.STORE_NAME_CHARS else name[: limits.STORE_NAME_CHARS] + _LAST


def behind(prefix: str) -> str:
    """Give the least text that sorts after everything that starts with `prefix`."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else _BEHIND_ALL


def check_order(prefix: str, holds: bool) -> None:
    """Demand that a database gives names in order.

    Raises:
        Unavailable: it does not.
    """
    if not holds:
        from vault.storage import sql_answers

        raise sql_answers.altered(prefix, "names do not come in order")
