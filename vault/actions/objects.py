"""Small objects in a store: created once, read within a limit, listed by number."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Final

from vault.core import envelope, layout, limits
from vault.errors import Conflict, NotFound, Refused, Unavailable
from vault.ports import CreatesInStream, CreatesTogether, ReadsAhead, Store

_ATTEMPTS: Final = 32


def create(store: Store, name: str, data: bytes) -> None:
    """Create `name`; identical bytes already there count as success, since an answer may have been lost.

    Raises:
        Conflict: other bytes are there.
        Unavailable: the store failed.
    """
    try:
        with store.create(name, size=len(data)) as sink:
            sink.write(data)
    except Conflict:
        if not _holds(store, name, data):
            raise


def create_all(store: Store, objects: Mapping[str, bytes]) -> None:
    """Create many small objects, name → bytes, as `create` does each; together where the store can.

    Raises:
        Conflict: other bytes have one of the names.
        Unavailable: the store failed. In either case some of the objects may be there, each whole.
    """
    left = store.create_all(objects) if isinstance(store, CreatesTogether) else objects
    for name in left:
        create(store, name, objects[name])


def reading_ahead(store: Store, prefix: str, inner: str) -> AbstractContextManager[None]:
    """Prepare for reads below `prefix` while the block runs, where the store can; `inner` as `ReadsAhead`.

    Raises:
        Unavailable: the store failed.
    """
    return store.reading_ahead(prefix, inner) if isinstance(store, ReadsAhead) else nullcontext()


def create_stream(store: Store, batches: Iterable[Mapping[str, bytes]]) -> Iterator[None]:
    """Do as `create_all` with batch after batch; tell when each is durable, in order.

    The next batch may be taken before the last one is told.

    Raises:
        Conflict, Unavailable: as `create_all`.
    """
    if not isinstance(store, CreatesInStream):
        for batch in batches:
            create_all(store, batch)
            yield
        return
    ahead: deque[Mapping[str, bytes]] = deque()

    def taken() -> Iterator[Mapping[str, bytes]]:
        for batch in batches:
            ahead.append(batch)
            yield batch

    for left in store.create_stream(taken()):
        batch = ahead.popleft()
        for name in left:
            create(store, name, batch[name])
        yield


def _holds(store: Store, name: str, data: bytes) -> bool:
    """Tell whether `name` is an object with exactly these bytes.

    Raises:
        Unavailable: it is an object, and cannot be read now.
    """
    try:
        return store.stat(name).size == len(data) and store.read(name, limit=len(data)) == data
    except (NotFound, Refused):
        return False
    except Unavailable:
        folder, slash, leaf = name.rpartition("/")
        if leaf in store.list_folders(folder + slash):
            raise
        return False  # it has the name and is no object: a folder, a link


def read_listed(store: Store, name: str, *, limit: int) -> bytes:
    """Read an object that a listing named: one that is gone or refused is unavailable, never absent.

    Raises:
        Unavailable: it cannot be read.
        Malformed: it is larger than `limit`.
    """
    try:
        return store.read(name, limit=limit)
    except NotFound:
        raise Unavailable(
            f"{name} was listed and is gone.",
            subject=name,
            hint="Try again; if it stays so, run mvault check.",
        ) from None


def votes(store: Store, folder: str, *, limit: int = limits.APPROVAL_BYTES) -> Iterator[tuple[str, bytes]]:
    """Read what may be a vote; what is not named after its own content is a stranger's and takes no place.

    Raises:
        Unavailable: one that was listed cannot be read.
    """
    listed = (name for name in store.list(folder) if layout.is_approval(name.removeprefix(folder)))
    found = 0
    for name in islice(listed, limits.APPROVAL_NAMES):
        try:
            data = read_listed(store, name, limit=limit)
        except Refused:
            continue  # too large for a vote
        if not layout.fits_content(name, envelope.digest(data)):
            continue
        yield name, data
        found += 1
        if found == limits.PRINCIPALS:
            break


def numbers(store: Store, folder: str) -> list[int]:
    """List the numbers of the numbered records in a folder, ascending; other names are not records."""
    found = (layout.parse_number(name) for name in store.list_folders(folder))
    return sorted(number for number in found if number is not None)


def create_next(store: Store, folder: str, build: Callable[[int], bytes]) -> int:
    """Create a numbered record at the lowest free number, whoever else writes there; give the number.

    For records whose order does not matter; `build` makes the record for a number.

    Raises:
        Conflict: there is no free number, or others are always faster.
        Unavailable: the store failed.
    """
    tried: list[int] = []  # a listing does not tell of everything that has a name, such as a folder
    for _ in range(_ATTEMPTS):
        number = lowest_free([*numbers(store, folder), *tried], 0, folder)
        try:
            create(store, folder + layout.numbered(number), build(number))
        except Conflict:
            tried.append(number)
            continue
        return number
    raise Conflict(f"Others keep writing to {folder}.", subject=folder, hint="Try again.")


def lowest_free(taken: Collection[int], above: int, what: str, *, genuine: int = 0) -> int:
    """Give the lowest number above `above` that is not taken; strangers may have squatted some.

    `genuine` of those taken are records all the same, of an earlier era, and are no gap.

    Raises:
        Conflict: the next `limits.GAP` numbers, and `genuine` more, are all taken.
    """
    occupied = frozenset(taken)
    for number in range(above + 1, above + 2 + limits.GAP + genuine):
        if number not in occupied and number <= limits.NUMBER_MAX:
            return number
    raise Conflict(
        f"The next {limits.GAP:,} numbers of {what} are taken by objects that are no records.",
        subject=what,
        hint="Somebody with write access fills the store. Remove what mvault check reports.",
    )
